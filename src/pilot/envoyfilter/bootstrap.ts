import type { Bootstrap } from '#gen/envoy/config/bootstrap/v3/bootstrap_pb.js'
import type { ProxyNode } from '../proxy.ts'
import type { PushContext } from '../scope/push-context.ts'
import { copyOf, TypeMismatch } from './merge.ts'
import { mergePatch } from './merge-patch.ts'
import type { Patch } from './patch.ts'

/** A patch to the bootstraps of proxies. */
export type BootstrapPatch = Patch<'BOOTSTRAP'>

/** Whether there is any, for whatever proxy. */
export const hasBootstrapPatches = ({ envoyFilters }: PushContext): boolean =>
  envoyFilters.patches.some(({ applyTo }) => applyTo === 'BOOTSTRAP')

/**
 * The patches to the bootstrap of a proxy: to MERGE alone, whatever context they state (istio/istio before its
 * bds-removal, pilot/pkg/xds/bootstrapds.go).
 */
export function bootstrapPatches(push: PushContext, proxy: ProxyNode): readonly BootstrapPatch[] {
  const all = push.envoyFilters.forProxy(proxy)?.all('BOOTSTRAP') ?? []
  const patches = all.filter(({ operation }) => operation === 'MERGE')
  // Whoever asks has the proxy start with them.
  for (const patch of patches) patch.hits++
  return patches
}

/** A bootstrap with a patch merged into it; undefined when the two do not fit, which the patch then tells of. */
export function patchedBootstrap(bootstrap: Bootstrap, patch: BootstrapPatch): Bootstrap | undefined {
  const patched = copyOf(bootstrap)
  try {
    mergePatch(patched, patch)
  } catch (error) {
    if (error instanceof TypeMismatch) return undefined
    throw error
  }
  return patched
}
