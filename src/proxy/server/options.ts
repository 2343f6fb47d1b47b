import type { Bootstrap } from '#gen/envoy/config/bootstrap/v3/bootstrap_pb.js'
import type { Runtime } from '../../runtime.ts'
import type { AdsTransport } from '../../xds/stream.ts'
import type { ListenerContext, LogFiles } from '../context.ts'
import type { CaptureTable } from '../listener/capture.ts'
import type { Address, AddressBook } from '../listener/connection.ts'
import type { DrainStrategy } from '../listener/drain-state.ts'
import type { BindTarget } from '../listener/listener-sockets.ts'
import type { StreamInfo } from '../stream-info.ts'
import type { OutlierEvent } from '../upstream/outlier-detection.ts'
import type { Resolver } from '../upstream/resolver.ts'

/** What a proxy is made of. */
export interface ProxyServerOptions {
  readonly bootstrap: Bootstrap
  readonly runtime: Runtime
  /** Instead of the control plane that the bootstrap names. */
  readonly adsTransport?: AdsTransport
  /** Static clusters, such as `sds-grpc`, that need not be there: what SDS would bring from them comes over ADS. */
  readonly sdsOverAds?: readonly string[]
  /** Sockets that stand for destinations; with them, listeners bind nothing unless `bindAddress` says so. */
  readonly captureTable?: CaptureTable
  /** Opens a capture socket on demand, for the admin interface. */
  readonly capture?: (destination: Address) => Promise<Address>
  readonly book?: AddressBook
  readonly logs?: LogFiles
  /** Resolves the names of clusters. Default: the name servers of the bootstrap, else the system. */
  readonly resolver?: Resolver | undefined
  /** The socket beneath a listener's configured address; undefined: it is not bound. Default: the address itself. */
  readonly bindAddress?: (configured: Address, listener: string) => BindTarget | undefined
  /** Where the admin interface listens, instead of where the bootstrap says. */
  readonly adminAddress?: Address
  /** ms that connections of removed listeners may take to finish. Default 600,000, as Envoy's --drain-time-s. */
  readonly drainTime?: number
  /** Default: gradual, as Envoy's --drain-strategy. */
  readonly drainStrategy?: DrainStrategy
  /** What `/server_info` shows as command line. */
  readonly commandLineOptions?: Readonly<Record<string, unknown>>
  readonly version?: string
  /** Lines for the operator: what is not enforced, what failed later. Default: stderr. */
  readonly warn?: (line: string) => void
  readonly onStreamComplete?: (info: StreamInfo, listener: ListenerContext) => void
  /** A cluster has ejected a host, or taken it back. */
  readonly onOutlier?: (cluster: string, event: OutlierEvent) => void
  /** Somebody asked the proxy to exit (`/quitquitquit`); stopping is the owner's. */
  readonly onQuit?: () => void
}
