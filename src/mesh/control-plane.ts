import type { ApiObject } from '../api/objects.ts'
import { type GivenCa, openAuthority } from '../ca/authority.ts'
import type { Ca } from '../ca/ca.ts'
import type { MeshDial } from '../pilot/authn/mesh-dial.ts'
import { ServiceAccounts } from '../pilot/ca-service/service-accounts.ts'
import { SigningKey } from '../pilot/ca-service/signing-key.ts'
import { meshOf } from '../pilot/mesh.ts'
import { Pilot } from '../pilot/pilot.ts'
import type { PushContext } from '../pilot/scope/push-context.ts'
import type { Runtime } from '../runtime.ts'
import type { Snapshot, Store } from '../store/store.ts'
import { AdsServer } from '../xds/server.ts'

/** What a control plane is made of. */
export interface ControlPlaneOptions {
  readonly store: Store
  readonly runtime: Runtime
  /** The CA to use; default: one among the objects, the kept one, or one that is made. */
  readonly ca?: GivenCa | undefined
  /** Keeps a root certificate that is made between runs. */
  readonly dataDir?: string | undefined
  /** istiod's switches. */
  readonly env: Readonly<Record<string, string | undefined>>
  /** A proxy refused what it was sent. `proxy` is `pod.namespace` for those of a mesh, else its node id. */
  /** A proxy refused resources of a type; `patches`: places of the EnvoyFilter patches that are in these. */
  readonly onRejected: (proxy: string, typeUrl: string, message: string, patches: readonly string[]) => void
  /** See PilotOptions. */
  readonly additions?: ((snapshot: Snapshot) => readonly ApiObject[]) | undefined
  /** See PilotOptions. */
  readonly beforePush?: (context: PushContext) => Promise<void> | undefined
  /** See PilotOptions. */
  readonly meshDial?: MeshDial
  /** Takes a line for the log. */
  readonly log?: (line: string) => void
  /** See PilotOptions. */
  readonly warn?: (line: string) => void
  /** Told of changes of the CA. Default: the log. */
  readonly onCa?: (line: string) => void
}

/** A pilot with its certificate authority, and the ADS server that hands out what it makes. */
export interface ControlPlane {
  readonly pilot: Pilot
  readonly ads: AdsServer
  readonly ca: Ca
  /** Issues and reviews the tokens by which outside proxies prove who they are. */
  readonly accounts: ServiceAccounts
  close(): void
}

/** Makes the control plane of a store. Throws CaConfigError when the CA that is given, or kept, cannot be used. */
export function createControlPlane(options: ControlPlaneOptions): ControlPlane {
  const { store, runtime, dataDir, env, additions, beforePush, meshDial, log, warn } = options
  const { trustDomain, rootNamespace } = meshOf(store.snapshot)
  const silent = () => {}
  const authority = openAuthority({
    store,
    runtime,
    given: options.ca,
    dataDir,
    trustDomain,
    rootNamespace,
    env,
    warn: warn ?? log ?? silent,
    log: options.onCa ?? log ?? silent,
  })
  const { ca } = authority
  const signingKey = dataDir === undefined ? SigningKey.make() : SigningKey.kept(dataDir, true)
  const pilot = new Pilot({ store, runtime, ca, env, additions, beforePush, meshDial, log, warn })
  const ads = new AdsServer({
    runtime,
    log,
    source: {
      connected: (connection) => pilot.connected(connection),
      subscribed: (connection, typeUrl) => pilot.subscribed(connection, typeUrl),
      disconnected: (connection) => pilot.disconnected(connection),
      nacked: (connection, typeUrl, { message }) =>
        options.onRejected(
          nameOf(connection.node.id),
          typeUrl,
          message,
          pilot.refusedPatches(connection, typeUrl, message),
        ),
    },
  })
  return {
    pilot,
    ads,
    ca,
    accounts: new ServiceAccounts(pilot, signingKey, runtime),
    close() {
      ads.close()
      pilot.close()
      authority.close()
    },
  }
}

/** `pod.namespace` of a node id `sidecar~ip~pod.namespace~domain`; other ids as they are. */
function nameOf(nodeId: string): string {
  const parts = nodeId.split('~')
  return parts.length === 4 ? parts[2]! : nodeId
}
