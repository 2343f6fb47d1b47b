import type { Runtime } from '../../runtime.ts'
import type { ConnectionInfo } from '../listener/connection.ts'
import type { Cluster, LoadBalancerContext, Pending, PoolCallbacks } from '../upstream/cluster.ts'
import type { Host } from '../upstream/host.ts'
import type { OutlierInput } from '../upstream/outlier-detection.ts'
import type { ClientStream, ClientStreamHandler, ResetReason } from './codec.ts'
import type { HeaderMap, RequestHead, ResponseHead } from './headers.ts'
import { H } from './names.ts'
import type { RetryPolicy } from './router/retry-policy.ts'
import { RetryState } from './router/retry-state.ts'
import { type TimerOwner, timerWheel, WheelTimer } from './timer-wheel.ts'

type Handler = ClientStreamHandler & PoolCallbacks & TimerOwner

/** Whose behalf a request of the proxy's own is on. */
export interface OwnRequestOrigin {
  readonly runtime: Runtime
  readonly downstream: ConnectionInfo | undefined
  /** ALPN that replaces the cluster's list. */
  readonly upstreamAlpn: readonly string[] | undefined
  /** The subset of hosts that it is for, where that counts for more than the cluster's own choice. */
  readonly metadataMatch?: Readonly<Record<string, unknown>> | undefined
  /** When it is made again; undefined: never. */
  readonly retryPolicy?: RetryPolicy | undefined
}

type Protocol = 'HTTP/1.0' | 'HTTP/1.1' | 'HTTP/2'

/**
 * A request that the proxy makes on its own account (source/common/http/async_client_impl.cc): to any host of a
 * cluster, without a route's policies, and once unless it has a retry policy. Subclasses say what becomes of the answer.
 */
export abstract class OwnRequest implements LoadBalancerContext, Handler {
  readonly hash = undefined
  readonly hostSelectionRetryCount = 0
  readonly upstreamServerName = undefined
  readonly overrideHost = undefined
  readonly downstream: ConnectionInfo | undefined
  readonly upstreamAlpn: readonly string[] | undefined
  readonly metadataMatch: Readonly<Record<string, unknown>> | undefined
  readonly headers: RequestHead
  protected readonly cluster: Cluster
  protected readonly runtime: Runtime
  protected host: Host | undefined = undefined
  protected stream: ClientStream | undefined = undefined
  protected over = false
  private readonly retryPolicy: RetryPolicy | undefined
  private retries: RetryState | undefined = undefined
  private protocol: Protocol = 'HTTP/1.1'
  /** ms for all attempts together, and when the first began; 0 is no limit. */
  private timeout = 0
  private startedAt = 0
  /** Of an attempt, where it has less time than all of them. */
  private tryTimer: WheelTimer | undefined = undefined
  /** The attempt is not the first one. */
  protected retried = false
  private pending: Pending | undefined = undefined
  private readonly timer = new WheelTimer(this, 1)

  protected constructor(cluster: Cluster, head: RequestHead, origin: OwnRequestOrigin) {
    const { runtime, downstream, upstreamAlpn, metadataMatch, retryPolicy } = origin
    this.cluster = cluster
    this.headers = head
    this.runtime = runtime
    this.downstream = downstream
    this.upstreamAlpn = upstreamAlpn
    this.metadataMatch = metadataMatch
    this.retryPolicy = retryPolicy
  }

  /** Asks for a stream to a host; false when the cluster has none. `timeout` in ms, 0 is none. */
  protected open(timeout: number, protocol: Protocol): boolean {
    const host = this.cluster.chooseHost(this)
    if (host === undefined) return false
    this.host = host
    if (timeout > 0) timerWheel(this.runtime).start(this.timer, timeout)
    this.protocol = protocol
    if (this.retryPolicy !== undefined) this.beginRetries(this.retryPolicy, timeout)
    this.ask(host)
    return true
  }

  private beginRetries(policy: RetryPolicy, timeout: number): void {
    const { headers, cluster, runtime } = this
    this.timeout = timeout
    this.startedAt = runtime.now()
    this.retries = RetryState.create(policy, headers, cluster, 'default', [], runtime, () => this.again())
    if (timeoutOfTry(timeout, policy) === timeout) return
    this.tryTimer = new WheelTimer({ onTimer: () => this.endTry() }, 1)
    timerWheel(runtime).start(this.tryTimer, policy.perTryTimeout)
  }

  private ask(host: Host): void {
    this.host = host
    const pending = this.cluster.newStream(host, this, 'default', this.protocol, this, this)
    if (this.stream === undefined && !this.over) this.pending = pending
  }

  private again(): void {
    if (this.over) return
    this.retried = true
    if (this.timeout > 0) {
      const left = Math.ceil(this.timeout - (this.runtime.now() - this.startedAt))
      this.headers.set(H.expectedTimeout, String(Math.max(1, timeoutOfTry(left, this.retryPolicy))))
    }
    if (this.tryTimer !== undefined) timerWheel(this.runtime).start(this.tryTimer, this.retryPolicy!.perTryTimeout)
    const host = this.cluster.chooseHost(this)
    if (host !== undefined) this.ask(host)
    else {
      this.host = undefined
      this.failed('remote connection failure', undefined)
    }
  }

  /** The time of an attempt is over. */
  private endTry(): void {
    if (this.over) return
    this.cluster.stats.counter('upstream_rq_per_try_timeout').inc()
    this.host?.stats.rqTimeout.inc()
    this.report('timeout')
    this.abandon()
    if (!this.retriesAfterReset('local reset')) this.tryTimedOut()
  }

  /** The last attempt took too long. */
  protected tryTimedOut(): void {}

  /** Whether a response leads to another attempt: it then counts for nothing. */
  protected retriesAfter(head: ResponseHead, end: boolean): boolean {
    const { retries } = this
    if (retries === undefined) return false
    if (retries.onHeaders(head, false) !== 'yes') {
      this.retries = undefined
      retries.destroy()
      return false
    }
    this.report(head.status)
    this.host?.stats.rqError.inc()
    this.cluster.stats.chargeRetriedResponse(head.status)
    this.tryTimer?.stop()
    if (!end) this.stream?.reset()
    this.stream = undefined
    return true
  }

  /** Whether a failure leads to another attempt. */
  protected retriesAfterReset(reason: ResetReason): boolean {
    if (this.retries?.onReset(reason, this.stream !== undefined) !== 'yes') return false
    this.tryTimer?.stop()
    this.host?.stats.rqError.inc()
    this.stream = undefined
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
  abstract onTrailers(trailers: HeaderMap): void
  abstract onReset(reason: ResetReason, details: string | undefined): void
  /** The time for it is over. */
  abstract onTimer(): void

  /** Whether the cluster counts it as one from inside. */
  protected get internal(): boolean {
    return this.headers.get(H.internal) === 'true'
  }

  /** Tells outlier detection how it went. */
  protected report(result: OutlierInput): void {
    if (this.host !== undefined) this.cluster.reportResult(this.host, result)
  }

  /** Nothing more is expected of it. */
  protected finish(): void {
    this.over = true
    this.timer.stop()
    this.tryTimer?.stop()
    this.retries?.destroy()
  }

  /** Gives up what is under way. */
  protected abandon(): void {
    const { pending } = this
    this.pending = undefined
    if (pending !== undefined) pending.cancel()
    else this.stream?.reset()
  }
}

/** ms that an attempt has of the time for all; 0 is no limit. */
export function timeoutOfTry(timeout: number, policy: RetryPolicy | undefined): number {
  const own = policy?.perTryTimeout ?? 0
  return own > 0 && (timeout === 0 || own < timeout) ? own : timeout
}
