import type { Runtime } from '../../../runtime.ts'
import { DataStatus, HeadersStatus, type HttpFilter, TrailersStatus } from '../../filters/filter.ts'
import type { Cluster } from '../../upstream/cluster.ts'
import type { Host } from '../../upstream/host.ts'
import type { ResetReason } from '../codec.ts'
import type { Exchange } from '../exchange.ts'
import type { FilterSlot } from '../filter-slot.ts'
import type { HeaderMap, RequestHead, ResponseHead } from '../headers.ts'
import { type LocalReply, REPLY } from '../local-replies.ts'
import { H } from '../names.ts'
import { type TimerOwner, type TimerWheel, WheelTimer } from '../timer-wheel.ts'
import { accountFailure, type Counted, takeAltStat } from './accounting.ts'
import { replyDirectly } from './direct-reply.ts'
import { type Dropped, dropped } from './drop-overload.ts'
import { KeptBody } from './kept-body.ts'
import { RouterBalancing } from './lb-context.ts'
import { prepareRequest } from './prepare-request.ts'
import { replyHeaders } from './reply-headers.ts'
import { RetryState } from './retry-state.ts'
import type { Forward, Route } from './route.ts'
import { isGrpcContentType } from './route-match.ts'
import type { RouteStats } from './route-stats.ts'
import { type RouterSettings, strictCheck } from './router-settings.ts'
import { type ShadowRequest, startShadows } from './shadow.ts'
import { type RequestTimeouts, setTimeoutHeaders } from './timeouts.ts'
import { type AttemptOwner, UpstreamRequest } from './upstream-request.ts'

const NO_REQUESTS: readonly UpstreamRequest[] = []
const NO_STATS: readonly RouteStats[] = []

/**
 * The request's half of the router: finds cluster and host, makes the head ready, sends attempts and copies, keeps
 * the body while it may be needed again (source/common/router/router.cc). What comes back is its subclass's concern.
 */
export abstract class RouterRequest implements HttpFilter, TimerOwner, AttemptOwner, Counted {
  readonly settings: RouterSettings
  readonly runtime: Runtime
  readonly wheel: TimerWheel
  readonly timeouts: RequestTimeouts = { global: 0, perTry: 0, hedge: false, stream: undefined }
  exchange!: Exchange
  forward!: Forward
  readonly balancing = new RouterBalancing()
  complete = false
  readonly quiet: boolean
  watching: readonly RouteStats[] = NO_STATS
  altStat = ''
  grpc = false
  protected route!: Route
  protected cluster: Cluster | undefined
  protected completedAt = 0
  protected attempts = 0
  protected responseStarted = false
  /** The newest attempt while it runs. */
  protected current: UpstreamRequest | undefined
  /** Attempts that go on although a newer one was started beside them. */
  protected earlier: readonly UpstreamRequest[] = NO_REQUESTS
  protected retries: RetryState | undefined
  /** Retries that wait for their back-off. */
  protected pendingRetries = 0
  protected interimSent = false
  /** The attempt to come makes up for one that took too long. */
  protected afterTimeout = false
  protected setCookie: string | undefined
  protected timeoutStatus = 504
  /** The body is too big to be sent a second time. */
  protected overflowed = false
  protected readonly kept = new KeptBody()
  private shadows: ShadowRequest[] | undefined
  protected readonly globalTimer = new WheelTimer(this, 1)
  private readonly retry = () => this.tryAgain()

  constructor(settings: RouterSettings) {
    this.settings = settings
    this.runtime = settings.runtime
    this.wheel = settings.wheel
    this.quiet = settings.suppressEnvoyHeaders
  }

  decodeHeaders(head: RequestHead, end: boolean, slot: FilterSlot): HeadersStatus {
    const { settings } = this
    const { exchange } = slot
    this.begin(exchange)
    settings.stats.rqTotal.inc()
    const route = exchange.route()
    if (route === undefined) {
      settings.stats.noRoute.inc()
      return this.answer(REPLY.noRoute)
    }
    this.route = route
    if (route.redirect !== undefined || route.direct !== undefined) {
      settings.stats.rqDirectResponse.inc()
      replyDirectly(slot, route, head)
      return HeadersStatus.STOP
    }
    const { forward } = route
    if (forward === undefined) return this.answer(REPLY.noRoute)
    this.forward = forward
    const cluster = settings.clusters.get(forward.clusterHeader?.first(head) ?? forward.cluster)
    if (cluster === undefined) {
      settings.stats.noCluster.inc()
      return this.answer({ ...REPLY.noCluster, status: forward.notFoundCode })
    }
    this.cluster = cluster
    const { info } = exchange
    info.clusterName = cluster.name
    info.clusterObservabilityName = cluster.observabilityName
    if (route.watched) this.watch(route, head)
    const refusal = strictCheck(settings.strictHeaders, head)
    if (refusal !== undefined) return this.answer(refusal)
    this.altStat = takeAltStat(head)
    this.grpc = isGrpcContentType(head.get(H.contentType))
    this.setCookie = this.balancing.begin(exchange, head, forward)
    this.attempts = 1
    info.upstreamAttempts = 1
    if (cluster.dropOverload !== undefined) {
      const refused = dropped(cluster, this.runtime)
      if (refused !== undefined) return this.drop(cluster, refused)
    }
    const host = cluster.chooseHost(this.balancing)
    if (host === undefined) return this.noHost(cluster)
    this.timeoutStatus = prepareRequest(head, route, forward, info, this.grpc, settings, this.timeouts)
    this.retries = RetryState.create(
      forward.retryPolicy,
      head,
      cluster,
      forward.priority,
      this.watching,
      this.runtime,
      this.retry,
    )
    this.kept.begin(this.retries !== undefined || forward.redirectPolicy !== undefined)
    if (end) this.markComplete()
    this.send(cluster, host, end)
    if (exchange.decode.ended) return HeadersStatus.STOP // failed at once, and answered
    if (forward.mirrors.length > 0 && head.method !== 'CONNECT') {
      this.shadows = startShadows(forward, head, exchange, settings, this.timeouts.global, end)
    }
    if (end) this.onRequestComplete()
    return HeadersStatus.STOP
  }

  private begin(exchange: Exchange): void {
    this.exchange = exchange
    this.complete = false
    this.responseStarted = false
    this.retries = undefined
    this.pendingRetries = 0
    this.attempts = 0
    this.interimSent = false
    this.afterTimeout = false
    this.overflowed = false
    this.kept.on = false
    this.cluster = undefined
    this.completedAt = 0
    this.watching = NO_STATS
  }

  /** Finds out who counts this request beside the cluster. */
  private watch(route: Route, head: RequestHead): void {
    const virtual = route.virtualHost.virtualClusters?.of(head)
    this.exchange.info.virtualClusterName = virtual?.name || undefined
    const watching: RouteStats[] = []
    if (virtual !== undefined) watching.push(virtual.stats)
    if (route.stats !== undefined) watching.push(route.stats)
    this.watching = watching
  }

  protected answer(reply: LocalReply, overloaded = false): HeadersStatus {
    const { attempts } = this
    this.exchange.sendLocalReply(reply, replyHeaders(this.route?.forward, attempts, overloaded && !this.quiet))
    return HeadersStatus.STOP
  }

  private drop(cluster: Cluster, { reply, header }: Dropped): HeadersStatus {
    accountFailure(this, cluster, undefined, reply.status)
    const more = replyHeaders(this.forward, this.attempts, false)
    this.exchange.sendLocalReply(reply, (head) => {
      if (!this.settings.suppressEnvoyHeaders) head.set(header, 'true')
      more?.(head)
    })
    return HeadersStatus.STOP
  }

  private noHost(cluster: Cluster): HeadersStatus {
    accountFailure(this, cluster, undefined, REPLY.noHealthyHost.status)
    return this.answer(REPLY.noHealthyHost)
  }

  private send(cluster: Cluster, host: Host, end: boolean): void {
    const request = new UpstreamRequest(this, cluster, host)
    if (this.current !== undefined) this.earlier = [...this.earlier, this.current]
    this.current = request
    this.exchange.flow.source = request
    request.start(end)
  }

  decodeData(chunk: Uint8Array, end: boolean): DataStatus {
    if (end) this.markComplete()
    if (this.shadows !== undefined) for (const shadow of this.shadows) shadow.copy(chunk, end)
    if (this.kept.on && !this.kept.add(chunk, this.keepLimit)) {
      if (!this.stopKeeping()) return DataStatus.STOP_NO_BUFFER
    }
    if (this.current !== undefined) this.current.send(chunk, end)
    else if (!this.kept.on && !this.responseStarted) {
      this.answer(REPLY.closedEarly)
      return DataStatus.STOP_NO_BUFFER
    }
    if (end) this.onRequestComplete()
    return DataStatus.STOP_NO_BUFFER
  }

  /** Most body bytes to keep; the listener's 0 is no limit. */
  private get keepLimit(): number {
    return this.forward.bufferLimit ?? (this.exchange.bufferLimit || Number.POSITIVE_INFINITY)
  }

  /** The body is too big to be sent twice: no retries, no redirects. False: that ended the request. */
  private stopKeeping(): boolean {
    this.kept.drop()
    this.overflowed = true
    this.cluster?.stats.counter('retry_or_shadow_abandoned').inc()
    this.retries?.destroy()
    this.retries = undefined
    if (this.current !== undefined) return true
    this.answer(REPLY.retryBufferOverflow)
    return false
  }

  decodeTrailers(trailers: HeaderMap): TrailersStatus {
    this.markComplete()
    if (this.shadows !== undefined) for (const shadow of this.shadows) shadow.copyTrailers(trailers)
    if (this.kept.on) this.kept.addTrailers(trailers)
    this.current?.sendTrailers(trailers)
    this.onRequestComplete()
    return TrailersStatus.STOP
  }

  private markComplete(): void {
    this.complete = true
    this.completedAt = this.runtime.now()
  }

  private onRequestComplete(): void {
    if (this.responseStarted || this.exchange.decode.ended) return
    if (this.timeouts.global > 0) this.wheel.start(this.globalTimer, this.timeouts.global)
    this.current?.armPerTry()
  }

  /** The back-off is over. */
  private tryAgain(): void {
    const { exchange, forward, settings } = this
    const cluster = settings.clusters.get(this.cluster?.name ?? '')
    this.pendingRetries--
    this.attempts++
    const { info } = exchange
    info.upstreamAttempts = this.attempts
    if (info.upstreamHost !== undefined) {
      info.upstreamAttempted ??= []
      info.upstreamAttempted.push({ host: info.upstreamHost, connectionId: info.upstream?.id ?? 0 })
    }
    const host = cluster?.chooseHost(this.balancing)
    if (cluster === undefined || host === undefined) {
      this.noHost(cluster ?? this.cluster!)
      return
    }
    this.cluster = cluster
    const elapsed = this.completedAt > 0 ? this.runtime.now() - this.completedAt : 0
    if (!this.quiet) setTimeoutHeaders(exchange.request, this.timeouts, elapsed, forward, this.grpc)
    if (forward.attemptCountInRequest) exchange.request.set(H.attemptCount, String(this.attempts))
    if (forward.timeoutRetryHeader) exchange.request.set(H.isTimeoutRetry, String(this.afterTimeout))
    this.afterTimeout = false
    const bodyless = this.complete && this.kept.empty
    this.send(cluster, host, bodyless)
    if (!bodyless && this.current !== undefined) this.kept.replay(this.current, this.complete)
  }

  /** Lets go of an attempt; `clean` keeps its connection for others. */
  protected leave(request: UpstreamRequest, clean: boolean): void {
    if (clean) request.detach()
    else request.abandon()
    if (this.current === request) this.current = undefined
    else if (this.earlier.length > 0) this.earlier = this.earlier.filter((other) => other !== request)
  }

  /** Lets go of all attempts but one. */
  protected leaveOthers(winner: UpstreamRequest | undefined): void {
    for (const request of this.running()) if (request !== winner) this.leave(request, false)
  }

  /** All attempts under way. */
  protected running(): readonly UpstreamRequest[] {
    return this.current === undefined ? this.earlier : [...this.earlier, this.current]
  }

  onDestroy(): void {
    this.globalTimer.stop()
    this.retries?.destroy()
    this.retries = undefined
    if (this.earlier.length > 0) this.leaveOthers(undefined)
    if (this.current !== undefined) {
      this.current.abandon()
      this.current = undefined
    }
    if (this.shadows !== undefined) {
      for (const shadow of this.shadows) shadow.downstreamGone(this.complete)
      this.shadows = undefined
    }
    this.kept.drop()
    this.balancing.end()
  }

  abstract onTimer(): void
  abstract onInterim(request: UpstreamRequest, head: ResponseHead): void
  abstract onHeaders(request: UpstreamRequest, head: ResponseHead, end: boolean): void
  abstract onUpstreamData(request: UpstreamRequest, chunk: Uint8Array, end: boolean): void
  abstract onUpstreamTrailers(request: UpstreamRequest, trailers: HeaderMap): void
  abstract onReset(request: UpstreamRequest, reason: ResetReason, transport: string | undefined): void
  abstract onPerTryTimeout(request: UpstreamRequest, idle: boolean): void
  abstract onMaxDuration(request: UpstreamRequest): void
}
