import type { Runtime, Timer } from '../../../runtime.ts'
import type { Cluster, RoutingPriority } from '../../upstream/cluster.ts'
import type { ResetReason } from '../codec.ts'
import type { RequestHead, ResponseHead } from '../headers.ts'
import { H } from '../names.ts'
import { HeaderReader } from './header-matcher.ts'
import { parseRetryGrpcOn, parseRetryOn, RetryOn, type RetryPolicy } from './retry-policy.ts'
import { countAll, type RouteStats } from './route-stats.ts'

/** What became of the wish to retry. */
export type RetryDecision = 'no' | 'yes' | 'overflow' | 'limit'

const GATEWAY = [502, 503, 504]
/** Said to a request that came before TLS was established: tried again at once. */
const TOO_EARLY = 425

/** Whether to retry, and if so when. */
type Wish = 'no' | 'backoff' | 'now'

/** gRPC codes in trailers-only answers, by retry bit. */
const GRPC_BITS: Readonly<Record<string, number>> = {
  '1': RetryOn.GRPC_CANCELLED,
  '4': RetryOn.GRPC_DEADLINE_EXCEEDED,
  '8': RetryOn.GRPC_RESOURCE_EXHAUSTED,
  '13': RetryOn.GRPC_INTERNAL,
  '14': RetryOn.GRPC_UNAVAILABLE,
}

/**
 * The retries of one request (source/common/router/retry_state_impl.cc): counts them, holds the breaker's slot
 * while one runs, and waits between them.
 */
export class RetryState {
  private readonly policy: RetryPolicy
  private readonly cluster: Cluster
  private readonly priority: RoutingPriority
  private readonly runtime: Runtime
  private readonly watching: readonly RouteStats[]
  private readonly retry: () => void
  private on = 0
  private remaining: number
  private statusCodes: readonly number[]
  private headerNames: readonly HeaderReader[] = []
  private attempts = 0
  private armed = false
  private holdsSlot = false
  private timer: Timer | undefined

  private constructor(
    policy: RetryPolicy,
    cluster: Cluster,
    priority: RoutingPriority,
    watching: readonly RouteStats[],
    runtime: Runtime,
    retry: () => void,
  ) {
    this.policy = policy
    this.cluster = cluster
    this.priority = priority
    this.watching = watching
    this.runtime = runtime
    this.retry = retry
    this.remaining = policy.numRetries
    this.statusCodes = policy.statusCodes
  }

  /**
   * The state for a request, or undefined when neither policy nor headers ask for retries. Consumes the
   * `x-envoy-retry-*` headers. `watching` counts beside the cluster; `retry` is called when the back-off is over.
   */
  static create(
    policy: RetryPolicy,
    head: RequestHead,
    cluster: Cluster,
    priority: RoutingPriority,
    watching: readonly RouteStats[],
    runtime: Runtime,
    retry: () => void,
  ): RetryState | undefined {
    const retryOn = head.get(H.retryOn)
    const grpcOn = head.get(H.retryGrpcOn)
    const maxRetries = head.get(H.maxRetries)
    const codes = head.get(H.retriableStatusCodes)
    const names = head.get(H.retriableHeaderNames)
    if (retryOn !== undefined) head.remove(H.retryOn)
    if (grpcOn !== undefined) head.remove(H.retryGrpcOn)
    if (maxRetries !== undefined) head.remove(H.maxRetries)
    if (codes !== undefined) head.remove(H.retriableStatusCodes)
    if (names !== undefined) head.remove(H.retriableHeaderNames)
    let on = policy.on
    if (retryOn !== undefined) on |= parseRetryOn(retryOn)
    if (grpcOn !== undefined) on |= parseRetryGrpcOn(grpcOn)
    if (on !== 0 && policy.retriableRequestHeaders.length > 0) {
      if (!policy.retriableRequestHeaders.some((matcher) => matcher.matches(head))) on = 0
    }
    if (on === 0) return undefined
    const state = new RetryState(policy, cluster, priority, watching, runtime, retry)
    state.on = on
    if (maxRetries !== undefined && /^\d+$/.test(maxRetries)) state.remaining = Number(maxRetries)
    if (codes !== undefined) {
      const extra = codes.split(',').filter((c) => /^\s*\d+\s*$/.test(c))
      state.statusCodes = [...policy.statusCodes, ...extra.map(Number)]
    }
    if (names !== undefined) {
      state.headerNames = names
        .split(',')
        .map((n) => n.trim())
        .filter((n) => n !== '')
        .map((n) => new HeaderReader(n))
    }
    return state
  }

  /** After response headers; `early`: the request itself came before TLS was established. */
  onHeaders(head: ResponseHead, early: boolean): RetryDecision {
    const wish = this.wishOnHeaders(head, early)
    return this.decide(wish, wish === 'backoff' ? this.rateLimitDelay(head) : undefined)
  }

  /** Whether a response would be retried if that were still possible. */
  wantsRetryOnHeaders(head: ResponseHead, early: boolean): boolean {
    return this.wishOnHeaders(head, early) !== 'no'
  }

  /** After a reset, a connection failure or a per-try timeout ('local reset'). */
  onReset(reason: ResetReason, requestStarted: boolean): RetryDecision {
    return this.decide(this.wantsRetryOnReset(reason, requestStarted) ? 'backoff' : 'no', undefined)
  }

  /** After a per-try timeout whose attempt goes on: whatever the conditions, another one starts beside it. */
  onHedge(): RetryDecision {
    return this.decide('backoff', undefined)
  }

  /** Gives back the slot and forgets a retry that waits. */
  destroy(): void {
    this.release()
  }

  private release(): void {
    this.timer?.cancel()
    this.timer = undefined
    if (!this.holdsSlot) return
    this.holdsSlot = false
    this.cluster.resources.retryDone(this.priority)
  }

  private count(name: string, watched: 'retry' | 'retrySuccess' | 'retryLimitExceeded' | 'retryOverflow'): void {
    this.cluster.stats.counter(`upstream_rq_${name}`).inc()
    countAll(this.watching, watched)
  }

  private decide(wish: Wish, rateLimited: number | undefined): RetryDecision {
    if (this.armed && wish === 'no') this.count('retry_success', 'retrySuccess')
    if (wish !== 'no' && this.remaining === 0) {
      // What was tried before may yet prove to have helped.
      this.count('retry_limit_exceeded', 'retryLimitExceeded')
      return 'limit'
    }
    this.armed = false
    this.release()
    if (wish === 'no') return 'no'
    this.remaining--
    if (!this.cluster.resources.tryRetry(this.priority)) {
      this.count('retry_overflow', 'retryOverflow')
      return 'overflow'
    }
    this.holdsSlot = true
    this.armed = true
    const delay = wish === 'now' ? 0 : this.backOff(rateLimited)
    this.timer = this.runtime.after(delay, () => {
      this.timer = undefined
      this.count('retry', 'retry')
      if (wish === 'backoff') {
        this.cluster.stats
          .counter(`upstream_rq_retry_backoff_${rateLimited === undefined ? 'exponential' : 'ratelimited'}`)
          .inc()
      }
      this.retry()
    })
    return 'yes'
  }

  /** ms to wait, with jitter. */
  private backOff(rateLimited: number | undefined): number {
    if (rateLimited !== undefined) return rateLimited * (1 + this.runtime.random() / 2)
    const ceiling = Math.min(this.policy.baseInterval * 2 ** this.attempts, this.policy.maxInterval)
    this.attempts++
    return Math.floor(this.runtime.random() * ceiling)
  }

  private wishOnHeaders(head: ResponseHead, early: boolean): Wish {
    const { on } = this
    const code = head.status
    if (head.has(H.rateLimited)) return (on & RetryOn.ENVOY_RATE_LIMITED) !== 0 ? 'backoff' : 'no'
    if ((on & RetryOn.SERVER_ERROR) !== 0 && code >= 500 && code < 600) return 'backoff'
    if ((on & RetryOn.GATEWAY_ERROR) !== 0 && GATEWAY.includes(code)) return 'backoff'
    if ((on & RetryOn.RETRIABLE_4XX) !== 0 && code === 409) return 'backoff'
    if ((on & RetryOn.RETRIABLE_STATUS_CODES) !== 0 && this.statusCodes.includes(code)) {
      if (code !== TOO_EARLY) return 'backoff'
      if (!early) return 'now'
    }
    if ((on & RetryOn.RETRIABLE_HEADERS) !== 0) {
      for (const matcher of this.policy.retriableHeaders) if (matcher.matches(head)) return 'backoff'
      for (const reader of this.headerNames) if (reader.first(head) !== undefined) return 'backoff'
    }
    const grpc = head.get(H.grpcStatus)
    return grpc !== undefined && (on & (GRPC_BITS[grpc] ?? 0)) !== 0 ? 'backoff' : 'no'
  }

  private wantsRetryOnReset(reason: ResetReason, requestStarted: boolean): boolean {
    const { on } = this
    if (reason === 'overflow') return false
    if ((on & RetryOn.RESET_BEFORE_REQUEST) !== 0 && !requestStarted) return true
    if ((on & (RetryOn.RESET | RetryOn.SERVER_ERROR | RetryOn.GATEWAY_ERROR)) !== 0) return true
    if ((on & RetryOn.REFUSED_STREAM) !== 0 && reason === 'remote refused stream reset') return true
    return (
      (on & RetryOn.CONNECT_FAILURE) !== 0 &&
      (reason === 'remote connection failure' ||
        reason === 'local connection failure' ||
        reason === 'connection timeout')
    )
  }

  /** ms until the time that a reset header names, if it is worth waiting for. */
  private rateLimitDelay(head: ResponseHead): number | undefined {
    for (const header of this.policy.resetHeaders) {
      const text = head.get(header.name)
      if (text === undefined || !/^\d+$/.test(text)) continue
      const at = Number(text) * 1000
      const ms = header.format === 'seconds' ? at : at - this.runtime.wallNow()
      if (ms > 1 && ms <= this.policy.resetMaxInterval) return ms
    }
    return undefined
  }
}
