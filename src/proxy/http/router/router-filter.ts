import type { Runtime } from '../../../runtime.ts'
import { DataStatus, HeadersStatus, type HttpFilter, TrailersStatus } from '../../filters/filter.ts'
import type { Cluster } from '../../upstream/cluster.ts'
import type { Host } from '../../upstream/host.ts'
import type { ResetReason } from '../codec.ts'
import type { Exchange } from '../exchange.ts'
import type { FilterSlot } from '../filter-slot.ts'
import type { HeaderMap, RequestHead, ResponseHead } from '../headers.ts'
import {
  DETAILS,
  httpStatusOf,
  type LocalReply,
  REPLY,
  resetDetails,
  resetFlag,
  resetReply,
  timeoutReply,
} from '../local-replies.ts'
import { H } from '../names.ts'
import { type TimerOwner, type TimerWheel, WheelTimer } from '../timer-wheel.ts'
import { accountFailure, accountResponse } from './accounting.ts'
import { replyDirectly } from './direct-reply.ts'
import { applyMutations } from './header-mutation.ts'
import { KeptBody } from './kept-body.ts'
import { RouterBalancing } from './lb-context.ts'
import { prepareRequest } from './prepare-request.ts'
import { replyHeaders } from './reply-headers.ts'
import { RetryState } from './retry-state.ts'
import type { Forward, Route } from './route.ts'
import { isGrpcContentType } from './route-match.ts'
import { type RouterSettings, strictCheck } from './router-settings.ts'
import { type ShadowRequest, startShadows } from './shadow.ts'
import { type RequestTimeouts, setTimeoutHeaders } from './timeouts.ts'
import { upgradeOutcome } from './upgrade-response.ts'
import { UpstreamRequest } from './upstream-request.ts'

/**
 * `envoy.filters.http.router`, the end of every chain: finds cluster and host, sends the request there and the
 * response back, retries, times out, mirrors (source/common/router/router.cc). Used again by the next
 * exchange of its connection where the chain is nothing else.
 */
export class RouterFilter implements HttpFilter, TimerOwner {
  readonly runtime: Runtime
  readonly wheel: TimerWheel
  readonly timeouts: RequestTimeouts = { global: 0, perTry: 0 }
  exchange!: Exchange
  forward!: Forward
  readonly balancing = new RouterBalancing()
  /** The request has come in whole. */
  complete = false
  /** No x-envoy-* headers of our own. */
  readonly quiet: boolean

  private readonly settings: RouterSettings
  private route!: Route
  private cluster: Cluster | undefined
  private grpc = false
  private completedAt = 0
  private attempts = 0
  private responseStarted = false
  private current: UpstreamRequest | undefined
  private retries: RetryState | undefined
  private interimSent = false
  /** The last attempt was cut off by its timeout. */
  private afterTimeout = false
  private setCookie: string | undefined
  private timeoutStatus = 504
  private readonly kept = new KeptBody()
  private shadows: ShadowRequest[] | undefined
  private readonly globalTimer = new WheelTimer(this, 1)
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
    this.exchange = exchange
    this.complete = false
    this.responseStarted = false
    this.retries = undefined
    this.attempts = 0
    this.interimSent = false
    this.kept.on = false
    this.cluster = undefined
    this.completedAt = 0
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
    const refusal = strictCheck(settings.strictHeaders, head)
    if (refusal !== undefined) return this.answer(refusal)
    head.remove(H.upstreamAltStatName)
    this.grpc = isGrpcContentType(head.get(H.contentType))
    this.setCookie = this.balancing.begin(exchange, head, forward)
    this.attempts = 1
    info.upstreamAttempts = 1
    const host = cluster.chooseHost(this.balancing)
    if (host === undefined) return this.noHost(cluster)
    this.timeoutStatus = prepareRequest(head, route, forward, info, this.grpc, settings, this.timeouts)
    this.retries = RetryState.create(forward.retryPolicy, head, cluster, forward.priority, this.runtime, this.retry)
    this.kept.begin(this.retries !== undefined)
    if (end) this.markComplete()
    this.send(cluster, host, end)
    if (exchange.decode.ended) return HeadersStatus.STOP // failed at once, and answered
    if (forward.mirrors.length > 0 && head.method !== 'CONNECT') {
      this.shadows = startShadows(forward, head, exchange, settings, this.timeouts.global, end)
    }
    if (end) this.onRequestComplete()
    return HeadersStatus.STOP
  }

  private answer(reply: LocalReply, overloaded = false): HeadersStatus {
    this.exchange.sendLocalReply(reply, replyHeaders(this.route?.forward, this.attempts, overloaded))
    return HeadersStatus.STOP
  }

  private noHost(cluster: Cluster): HeadersStatus {
    accountFailure(cluster, undefined, REPLY.noHealthyHost.status, this.exchange.internal)
    return this.answer(REPLY.noHealthyHost)
  }

  private send(cluster: Cluster, host: Host, end: boolean): void {
    const request = new UpstreamRequest(this, cluster, host)
    this.current = request
    this.exchange.flow.source = request
    request.start(end)
  }

  decodeData(chunk: Uint8Array, end: boolean): DataStatus {
    if (end) this.markComplete()
    if (this.shadows !== undefined) for (const shadow of this.shadows) shadow.send(chunk, end)
    if (this.kept.on && !this.kept.add(chunk, this.forward.bufferLimit ?? this.exchange.bufferLimit)) {
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

  /** The body is too big to be sent twice: no retries. False: that ended the request. */
  private stopKeeping(): boolean {
    this.kept.drop()
    this.cluster?.stats.counter('retry_or_shadow_abandoned').inc()
    this.retries?.destroy()
    this.retries = undefined
    if (this.current !== undefined) return true
    this.answer(REPLY.retryBufferOverflow)
    return false
  }

  decodeTrailers(trailers: HeaderMap): TrailersStatus {
    this.markComplete()
    if (this.shadows !== undefined) for (const shadow of this.shadows) shadow.sendTrailers(trailers)
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

  onInterim(head: ResponseHead): void {
    this.retries?.destroy()
    this.retries = undefined
    this.kept.drop()
    if (this.settings.proxy100Continue && !this.interimSent) {
      this.interimSent = true
      this.exchange.sendInterim(head)
    }
  }

  onHeaders(request: UpstreamRequest, head: ResponseHead, end: boolean): void {
    const { exchange, forward } = this
    const { info } = exchange
    const { cluster, host } = request
    if (info.upstreamFirstRx === 0) info.upstreamFirstRx = this.runtime.now()
    const status = head.status
    const grpcStatus = this.grpc ? head.get(H.grpcStatus) : undefined
    const effective = grpcStatus !== undefined ? httpStatusOf(Number(grpcStatus)) : status
    cluster.reportResult(host, effective)
    if (this.retries !== undefined) {
      const decision = this.retries.onHeaders(head)
      if (decision === 'yes') {
        cluster.stats.chargeRetriedResponse(status)
        host.stats.rqError.inc()
        this.balancing.remember(host)
        this.leave(request, end && request.sentAll)
        return
      }
      info.flagRefusedRetry(decision)
      this.retries.destroy()
      this.retries = undefined
    }
    this.kept.drop()
    if (this.completedAt > 0 && !this.quiet) {
      head.set(H.upstreamServiceTime, String(Math.floor(this.runtime.now() - this.completedAt)))
    }
    if (forward.attemptCountInResponse) head.set(H.attemptCount, String(this.attempts))
    accountResponse(request, head, effective, exchange.internal)
    this.responseStarted = true
    info.responseCode = status
    info.responseCodeDetails = DETAILS.viaUpstream
    if (exchange.upgrade && !this.settleUpgrade(request, head, end)) return
    if (this.setCookie !== undefined) head.add(H.setCookie, this.setCookie)
    info.response = head
    applyMutations(this.route.responseMutations, head, info)
    if (end) this.finished(request)
    exchange.encodeHeaders(head, end)
  }

  /** Carries out what the answer to an upgrade means. False: the exchange is done with it. */
  private settleUpgrade(request: UpstreamRequest, head: ResponseHead, end: boolean): boolean {
    const outcome = upgradeOutcome(this.exchange.request, head, end)
    if (outcome === 'tunnel') {
      this.globalTimer.stop()
      request.release()
    }
    if (outcome !== 'strip') return true
    this.exchange.info.responseCodeDetails = DETAILS.websocketUnsuccessful
    head.remove(H.contentLength)
    this.leave(request, false)
    this.exchange.encodeHeaders(head, true)
    return false
  }

  onUpstreamData(request: UpstreamRequest, chunk: Uint8Array, end: boolean): void {
    if (end) this.finished(request)
    this.exchange.encodeData(chunk, end)
  }

  onUpstreamTrailers(request: UpstreamRequest, trailers: HeaderMap): void {
    this.finished(request)
    this.exchange.encodeTrailers(trailers)
  }

  /** The response is whole: the attempt is over. */
  private finished(request: UpstreamRequest): void {
    const now = this.runtime.now()
    this.exchange.info.upstreamLastRx = now
    if (this.completedAt > 0) request.cluster.stats.recordRequestTime(Math.round(now - this.completedAt))
    this.globalTimer.stop()
    this.leave(request, request.sentAll)
  }

  /** Lets go of an attempt; `clean` keeps its connection for others. */
  private leave(request: UpstreamRequest, clean: boolean): void {
    if (clean) request.detach()
    else request.abandon()
    if (this.current === request) this.current = undefined
  }

  /** An attempt failed or was cut off. */
  onReset(request: UpstreamRequest, reason: ResetReason, transport: string | undefined): void {
    const { exchange } = this
    const { info } = exchange
    const { cluster, host } = request
    info.upstreamHost = host
    if (transport !== undefined) info.upstreamTransportFailure = transport
    request.detach()
    if (this.current === request) this.current = undefined
    const overflow = reason === 'overflow'
    if (!overflow) cluster.reportResult(host, 'connect-failed')
    if (this.wouldRetry(reason, request)) return
    if (this.responseStarted) {
      info.flag(resetFlag(reason))
      info.responseCodeDetails = resetDetails(true, reason, transport)
      exchange.resetStream(reason)
      return
    }
    const reply = resetReply(reason, transport, this.attempts > 1)
    accountFailure(cluster, overflow ? undefined : host, reply.status, exchange.internal)
    this.answer(reply, overflow)
  }

  private wouldRetry(reason: ResetReason, request: UpstreamRequest): boolean {
    if (this.responseStarted || this.retries === undefined) return false
    const decision = this.retries.onReset(reason, request.started)
    if (decision === 'yes') {
      request.host.stats.rqError.inc()
      this.balancing.remember(request.host)
      return true
    }
    this.exchange.info.flagRefusedRetry(decision)
    return false
  }

  /** The back-off is over. */
  private tryAgain(): void {
    const { exchange, forward, settings } = this
    const cluster = settings.clusters.get(this.cluster?.name ?? '')
    this.attempts++
    exchange.info.upstreamAttempts = this.attempts
    const host = cluster?.chooseHost(this.balancing)
    if (cluster === undefined || host === undefined) {
      if (cluster === undefined) this.answer(REPLY.noCluster)
      else this.noHost(cluster)
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

  /** The global timeout. */
  onTimer(): void {
    const request = this.current
    const cluster = this.cluster!
    if (request !== undefined) {
      cluster.stats.counter('upstream_rq_timeout').inc()
      request.host.stats.rqTimeout.inc()
      if (request.awaitingHeaders) {
        cluster.reportResult(request.host, 'timeout')
        accountFailure(request.cluster, request.host, this.timeoutStatus, this.exchange.internal)
      }
      this.leave(request, false)
    }
    this.answer(timeoutReply(REPLY.upstreamTimeout, this.timeoutStatus))
  }

  onPerTryTimeout(request: UpstreamRequest, idle: boolean): void {
    request.cluster.stats.counter(`upstream_rq_per_try_${idle ? 'idle_' : ''}timeout`).inc()
    request.host.stats.rqTimeout.inc()
    request.cluster.reportResult(request.host, 'timeout')
    this.leave(request, false)
    this.afterTimeout = true
    if (this.wouldRetry('local reset', request)) return
    if (!this.responseStarted) accountFailure(request.cluster, request.host, this.timeoutStatus, this.exchange.internal)
    this.answer(timeoutReply(idle ? REPLY.perTryIdleTimeout : REPLY.perTryTimeout, this.timeoutStatus))
  }

  onMaxDuration(request: UpstreamRequest): void {
    request.cluster.stats.counter('upstream_rq_max_duration_reached').inc()
    const status = this.complete ? 504 : 408
    this.leave(request, false)
    if (this.wouldRetry('local reset', request)) return
    if (!this.responseStarted) accountFailure(request.cluster, request.host, status, this.exchange.internal)
    this.answer({ ...REPLY.upstreamMaxDuration, status })
  }

  onDestroy(): void {
    this.globalTimer.stop()
    this.retries?.destroy()
    this.retries = undefined
    if (this.current !== undefined) {
      this.current.abandon()
      this.current = undefined
    }
    if (this.shadows !== undefined) {
      for (const shadow of this.shadows) shadow.downstreamGone(this.complete && !this.exchange.aborted)
      this.shadows = undefined
    }
    this.kept.drop()
    this.balancing.end()
  }
}
