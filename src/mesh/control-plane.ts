import type { ApiObject } from '../api/objects.ts'
import { Ca } from '../ca/ca.ts'
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
  /** Keeps the root certificate between runs. */
  readonly dataDir?: string | undefined
  /** istiod's switches. */
  readonly env: Readonly<Record<string, string | undefined>>
  /** A proxy refused what it was sent. `proxy` is `pod.namespace` for those of a mesh, else its node id. */
  readonly onRejected: (proxy: string, typeUrl: string, message: string) => void
  /** See PilotOptions. */
  readonly additions?: ((snapshot: Snapshot) => readonly ApiObject[]) | undefined
  /** See PilotOptions. */
  readonly beforePush?: (context: PushContext) => Promise<void> | undefined
  /** Takes a line for the log. */
  readonly log?: (line: string) => void
  /** See PilotOptions. */
  readonly warn?: (line: string) => void
}

/** A pilot with its certificate authority, and the ADS server that hands out what it makes. */
export interface ControlPlane {
  readonly pilot: Pilot
  readonly ads: AdsServer
  close(): void
}

/** Makes the control plane of a store. Throws when the kept root certificate cannot be used. */
export function createControlPlane(options: ControlPlaneOptions): ControlPlane {
  const { store, runtime, dataDir, env, additions, beforePush, log, warn } = options
  const ca = new Ca({ runtime, dataDir, trustDomain: meshOf(store.snapshot).trustDomain })
  const pilot = new Pilot({ store, runtime, ca, env, additions, beforePush, log, warn })
  const ads = new AdsServer({
    runtime,
    log,
    source: {
      connected: (connection) => pilot.connected(connection),
      subscribed: (connection, typeUrl) => pilot.subscribed(connection, typeUrl),
      disconnected: (connection) => pilot.disconnected(connection),
      nacked: (connection, typeUrl, nack) => options.onRejected(nameOf(connection.node.id), typeUrl, nack.message),
    },
  })
  return {
    pilot,
    ads,
    close() {
      ads.close()
      pilot.close()
    },
  }
}

/** `pod.namespace` of a node id `sidecar~ip~pod.namespace~domain`; other ids as they are. */
function nameOf(nodeId: string): string {
  const parts = nodeId.split('~')
  return parts.length === 4 ? parts[2]! : nodeId
}
