import type { Runtime } from '../../runtime.ts'
import type { ConnectionInfo } from '../listener/connection.ts'
import type { Cluster, LoadBalancerContext, Pending, PoolCallbacks } from '../upstream/cluster.ts'
import type { Host } from '../upstream/host.ts'
import type { OutlierInput } from '../upstream/outlier-detection.ts'
import type { ClientStream, ClientStreamHandler, ResetReason } from './codec.ts'
import type { RequestHead, ResponseHead } from './headers.ts'
import { type TimerOwner, timerWheel, WheelTimer } from './timer-wheel.ts'

type Handler = ClientStreamHandler & PoolCallbacks & TimerOwner

/** Whose behalf a request of the proxy's own is on. */
export interface OwnRequestOrigin {
  readonly runtime: Runtime
  readonly downstream: ConnectionInfo | undefined
  /** ALPN that replaces the cluster's list. */
  readonly upstreamAlpn: readonly string[] | undefined
}

/**
 * A request that the proxy makes on its own account (source/common/http/async_client_impl.cc): to any host of a
 * cluster, once, without a route's policies. Subclasses say what becomes of the answer.
 */
export abstract class OwnRequest implements LoadBalancerContext, Handler {
  readonly hash = undefined
  readonly metadataMatch = undefined
  readonly hostSelectionRetryCount = 0
  readonly upstreamServerName = undefined
  readonly overrideHost = undefined
  readonly downstream: ConnectionInfo | undefined
  readonly upstreamAlpn: readonly string[] | undefined
  readonly headers: RequestHead
  protected readonly cluster: Cluster
  protected readonly runtime: Runtime
  protected host: Host | undefined = undefined
  protected stream: ClientStream | undefined = undefined
  protected over = false
  private pending: Pending | undefined = undefined
  private readonly timer = new WheelTimer(this, 1)

  protected constructor(cluster: Cluster, head: RequestHead, { runtime, downstream, upstreamAlpn }: OwnRequestOrigin) {
    this.cluster = cluster
    this.headers = head
    this.runtime = runtime
    this.downstream = downstream
    this.upstreamAlpn = upstreamAlpn
  }

  /** Asks for a stream to a host; false when the cluster has none. `timeout` in ms, 0 is none. */
  protected open(timeout: number, protocol: 'HTTP/1.0' | 'HTTP/1.1' | 'HTTP/2'): boolean {
    const host = this.cluster.chooseHost(this)
    if (host === undefined) return false
    this.host = host
    if (timeout > 0) timerWheel(this.runtime).start(this.timer, timeout)
    const pending = this.cluster.newStream(host, this, 'default', protocol, this, this)
    if (this.stream === undefined && !this.over) this.pending = pending
    return true
  }

  shouldSelectAnotherHost(): boolean {
    return false
  }

  onPoolReady(stream: ClientStream, host: Host): void {
    this.pending = undefined
    if (this.over) {
      stream.reset()
      return
    }
    this.host = host
    this.stream = stream
    this.send(stream)
  }

  onPoolFailure(reason: ResetReason, details: string | undefined): void {
    this.pending = undefined
    this.failed(reason, details)
  }

  onInterim(): void {}
  onWritable(): void {}

  /** There is a stream to send on. */
  protected abstract send(stream: ClientStream): void
  /** There will be none. */
  protected abstract failed(reason: ResetReason, details: string | undefined): void
  abstract onHeaders(head: ResponseHead, endStream: boolean): void
  abstract onData(chunk: Uint8Array, endStream: boolean): void
  abstract onTrailers(): void
  abstract onReset(reason: ResetReason, details: string | undefined): void
  /** The time for it is over. */
  abstract onTimer(): void

  /** Tells outlier detection how it went. */
  protected report(result: OutlierInput): void {
    if (this.host !== undefined) this.cluster.reportResult(this.host, result)
  }

  /** Nothing more is expected of it. */
  protected finish(): void {
    this.over = true
    this.timer.stop()
  }

  /** Gives up what is under way. */
  protected abandon(): void {
    const { pending } = this
    this.pending = undefined
    if (pending !== undefined) pending.cancel()
    else this.stream?.reset()
  }
}
