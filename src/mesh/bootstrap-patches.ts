import type { JsonValue } from '@bufbuild/protobuf'
import type { Bootstrap } from '#gen/envoy/config/bootstrap/v3/bootstrap_pb.js'
import {
  type BootstrapPatch,
  bootstrapPatches,
  hasBootstrapPatches,
  patchedBootstrap,
} from '../pilot/envoyfilter/bootstrap.ts'
import { nodeOf } from '../pilot/pilot.ts'
import { NodeError, proxyOf } from '../pilot/proxy.ts'
import type { PushContext } from '../pilot/scope/push-context.ts'
import { noteBootstrapFields } from '../proxy/server/bootstrap-fields.ts'
import { NotEnforced } from '../proxy/server/not-enforced.ts'
import type { Workload } from '../registry/model.ts'
import { writeJson } from '../xds/json.ts'
import { problemText } from '../xds/problem.ts'
import { validate } from '../xds/validate.ts'
import { type MeshIdentity, sidecarBootstrap } from './sidecar-bootstrap.ts'
import type { SidecarSettings } from './sidecar-settings.ts'

/** What finds the patches to the bootstrap of a workload's sidecar. */
export type PatchFinder = (workload: Workload, settings: SidecarSettings) => readonly BootstrapPatch[]

const NONE: readonly BootstrapPatch[] = []

/** Finds patches among the EnvoyFilters of a push. */
export function patchFinder(push: PushContext, identity: MeshIdentity): PatchFinder {
  if (!hasBootstrapPatches(push)) return () => NONE
  return (workload, settings) => {
    if (!workload.injected) return NONE
    // Who a proxy is, is what its bootstrap says.
    const { node } = sidecarBootstrap(workload, identity, settings, { ip: '', port: 0 })
    try {
      return node ? bootstrapPatches(push, proxyOf(nodeOf(node), push.registry, push.env.clusterId)) : NONE
    } catch (error) {
      if (error instanceof NodeError) return NONE
      throw error
    }
  }
}

/** What patches say, wherever they stand: a sidecar has to start anew when it changes. */
export const wordsOfPatches = (patches: readonly BootstrapPatch[]): JsonValue[] =>
  patches.map(({ value }) => writeJson(value))

/** Takes a line about a patch. */
export type TellOfPatch = (line: string) => void

/**
 * A bootstrap with the patches that can be used. Of those that cannot, and of fields that have no effect, `tell` is told
 * with their places. `usable` throws when no proxy can be made of a bootstrap.
 */
export function withBootstrapPatches(
  bootstrap: Bootstrap,
  patches: readonly BootstrapPatch[],
  usable: (bootstrap: Bootstrap) => void,
  tell: TellOfPatch,
): Bootstrap {
  let current = bootstrap
  for (const patch of patches) {
    const refuse = (why: string) => tell(`${patch.place}: the bootstrap stays without it: ${why}`)
    const next = patchedBootstrap(current, patch)
    if (!next) continue
    if (next.admin && bootstrap.admin && patch.value.admin?.address) {
      tell(
        `${patch.place}: not enforced: patch.value.admin.address: where the admin interface listens is the mesh's to say`,
      )
      next.admin.address = bootstrap.admin.address
    }
    const violations = validate(next)
    if (violations.length > 0) {
      refuse(violations.map(problemText).join('; '))
      continue
    }
    try {
      usable(next)
    } catch (error) {
      refuse(error instanceof Error ? error.message : String(error))
      continue
    }
    current = next
    noteFields(patch, tell)
  }
  return current
}

function noteFields({ place, value }: BootstrapPatch, tell: TellOfPatch): void {
  const noted = new NotEnforced((line) => tell(`${place}: ${line}`))
  try {
    noteBootstrapFields(value, noted)
  } catch {
    // Such as refers to what the rest of the bootstrap has.
  }
}
