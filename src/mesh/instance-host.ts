import type http from 'node:http'
import type { ProxyServer } from '../proxy/server.ts'
import type { OutlierEvent } from '../proxy/upstream/outlier-detection.ts'
import type { Resolver } from '../proxy/upstream/resolver.ts'
import type { Workload } from '../registry/model.ts'
import type { Runtime } from '../runtime.ts'
import type { AdsTransport } from '../xds/stream.ts'
import type { MeshAddresses } from './address-book.ts'
import type { Reach } from './apps/identity.ts'
import type { LoopbackBlock } from './loopback-block.ts'
import type { StreamObserver } from './observed.ts'
import type { MeshIdentity } from './sidecar-bootstrap.ts'

/** What an instance needs of its mesh. */
export interface InstanceHost {
  readonly runtime: Runtime
  readonly block: LoopbackBlock
  readonly addresses: MeshAddresses
  readonly identity: MeshIdentity
  /** Resolves names outside the mesh; undefined: the system does. */
  readonly resolver: Resolver | undefined
  /** A stream to the control plane. */
  readonly ads: AdsTransport
  /** Where what sidecars write to their standard streams goes, by namespace and pod. */
  readonly logDir: string | undefined
  /** A line that a sidecar wrote to its standard streams; only without `logDir`. */
  onLog(workload: Workload, line: string): void
  readonly observer: StreamObserver
  /** What answers for the workload's app, instead of what its annotations say. */
  handler(workload: Workload): http.RequestListener | undefined
  /** The sidecars that run now. */
  proxies(): Iterable<ProxyServer>
  /** The workload's sidecar has ejected a host, or taken it back. */
  onOutlier(workload: Workload, cluster: string, event: OutlierEvent): void
  /** Where a program of the workload connects to reach a name. */
  reach(workload: Workload): Reach
  onProblem(workload: Workload, message: string): void
  /** Something the sidecar has to say: what of its config has no effect, what failed later. */
  onWarning(workload: Workload, line: string): void
  onLine(workload: Workload, line: string): void
}
