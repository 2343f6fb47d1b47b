import type { Runtime } from '../../../runtime.ts'
import { DataStatus, HeadersStatus, type HttpFilter, TrailersStatus } from '../../filters/filter.ts'
import type { ConnectionInfo } from '../../listener/connection.ts'
import type { Cluster, LoadBalancerContext } from '../../upstream/cluster.ts'
import type { Host } from '../../upstream/host.ts'
import { BodyBuffer } from '../body-buffer.ts'
import type { ResetReason } from '../codec.ts'
import type { Exchange } from '../exchange.ts'
import type { FilterSlot } from '../filter-slot.ts'
import type { HeaderMap, RequestHead, ResponseHead } from '../headers.ts'
import { DETAILS, httpStatusOf, type LocalReply, REPLY, resetDetails, resetFlag, resetReply } from '../local-replies.ts'
import { H } from '../names.ts'
import { type TimerOwner, type TimerWheel, WheelTimer } from '../timer-wheel.ts'
import { applyMutations } from './header-mutation.ts'
import { RetryState } from './retry-state.ts'
import { updateAuthority } from './rewrite.ts'
import type { Forward, Route } from './route.ts'
import { isGrpcContentType } from './route-match.ts'
import { invalidNumber, type RouterSettings, strictReply } from './router-settings.ts'
import { ShadowRequest } from './shadow.ts'
import { finalTimeouts, type RequestTimeouts, setTimeoutHeaders } from './timeouts.ts'
import { UpstreamRequest } from './upstream-request.ts'

const NO_HOSTS: readonly Host[] = []

/**
 * `envoy.filters.http.router`, the end of every chain: finds cluster and host, sends the request there and the
 * response back, retries, times out, mirrors (source/common/router/router.cc). Used again by the next
 * exchange of its connection where the chain is nothing else.
 */
export class RouterFilter implements HttpFilter, LoadBalancerContext, TimerOwner {
  readonly runtime: Runtime
  readonly wheel: TimerWheel
  readonly timeouts: RequestTimeouts = { global: 0, perTry: 0 }
  exchange!: Exchange
  forward!: Forward
  /** The request has come in whole. */
  complete = false
  // LoadBalancerContext
  hash: bigint | undefined = undefined
  metadataMatch: LoadBalancerContext['metadataMatch'] = undefined
  downstream: ConnectionInfo | undefined = undefined
  headers: RequestHead | undefined = undefined
  hostSelectionRetryCount = 0
  upstreamServerName: string | undefined = undefined
  upstreamAlpn: readonly string[] | undefined = undefined
  overrideHost: string | undefined = undefined

  private readonly settings: RouterSettings
  private slot!: FilterSlot
  private route!: Route
  private cluster: Cluster | undefined
  private grpc = false
  private completedAt = 0
  private attempts = 0
  private responseStarted = false
  private current: UpstreamRequest | undefined
  private retries: RetryState | undefined
  private tried: readonly Host[] = NO_HOSTS
  private interimSent = false
  private setCookie: string | undefined
  private timeoutStatus = 504
  /** The request body so far, while it may have to be sent again. */
  private readonly kept = new BodyBuffer()
  private keeping = false
  private keptTrailers: HeaderMap | undefined
  private shadows: ShadowRequest[] | undefined
  private readonly globalTimer = new WheelTimer(this, 1)
  private readonly retry = () => this.tryAgain()

  constructor(settings: RouterSettings) {
    this.settings = settings
    this.runtime = settings.runtime
    this.wheel = settings.wheel
  }

  decodeHeaders(head: RequestHead, end: boolean, slot: FilterSlot): HeadersStatus {
    const { settings } = this
    const { stats } = settings
    const { exchange } = slot
    this.slot = slot
    this.exchange = exchange
    this.complete = false
    this.responseStarted = false
    this.retries = undefined
    this.tried = NO_HOSTS
    this.hostSelectionRetryCount = 0
    this.attempts = 0
    this.interimSent = false
    this.setCookie = undefined
    this.hash = undefined
    this.cluster = undefined
    this.completedAt = 0
    stats.rqTotal.inc()
    const route = exchange.route()
    if (route === undefined) {
      stats.noRoute.inc()
      return this.answer(REPLY.noRoute)
    }
    this.route = route
    if (route.redirect !== undefined || route.direct !== undefined) return this.respondDirectly(route, head)
    const { forward } = route
    if (forward === undefined) return this.answer(REPLY.noRoute)
    this.forward = forward
    const name = forward.clusterHeader === undefined ? forward.cluster : (forward.clusterHeader.first(head) ?? '')
    const cluster = settings.clusters.get(name)
    if (cluster === undefined) {
      stats.noCluster.inc()
      const reply = REPLY.noCluster
      return this.answer(forward.notFoundCode === reply.status ? reply : { ...reply, status: forward.notFoundCode })
    }
    this.cluster = cluster
    const { info } = exchange
    info.clusterName = cluster.name
    info.clusterObservabilityName = cluster.observabilityName
    for (const reader of settings.strictHeaders) {
      const bad = invalidNumber(reader, head)
      if (bad !== undefined) return this.answer(strictReply(reader.name, bad))
    }
    head.remove(H.upstreamAltStatName)
    this.grpc = isGrpcContentType(head.get(H.contentType))
    this.downstream = exchange.connection
    this.headers = head
    this.metadataMatch = forward.metadataMatch
    this.upstreamAlpn = exchange.upstreamAlpn
    if (forward.hashPolicies !== undefined) {
      const hashed = forward.hashPolicies.compute(head, exchange.connection, info)
      this.hash = hashed.hash
      this.setCookie = hashed.setCookie
    }
    this.attempts = 1
    info.upstreamAttempts = 1
    const host = cluster.chooseHost(this)
    if (host === undefined) return this.noHost(cluster)
    this.prepare(head, forward, cluster)
    if (end) this.markComplete()
    this.send(cluster, host, end)
    if (forward.mirrors.length > 0 && head.method !== 'CONNECT') this.mirror(head, forward, end)
    if (end) this.onRequestComplete()
    return HeadersStatus.STOP
  }

  private answer(reply: LocalReply): HeadersStatus {
    this.slot.sendLocalReply(reply)
    return HeadersStatus.STOP
  }

  private respondDirectly(route: Route, head: RequestHead): HeadersStatus {
    this.settings.stats.rqDirectResponse.inc()
    const { redirect, direct } = route
    const location = redirect !== undefined ? redirect.location(head) : direct!.location(head)
    this.slot.sendLocalReply(
      {
        status: redirect?.status ?? direct!.status,
        body: direct?.body ?? '',
        details: DETAILS.directResponse,
        flag: undefined,
      },
      location === undefined ? undefined : (reply) => reply.set(H.location, location),
    )
    return HeadersStatus.STOP
  }

  private noHost(cluster: Cluster): HeadersStatus {
    cluster.stats.chargeResponse(503, this.exchange.internal, false)
    return this.answer(REPLY.noHealthyHost)
  }

  /** Timeouts, headers and retries: everything about the request that the upstream gets to see. */
  private prepare(head: RequestHead, forward: Forward, cluster: Cluster): void {
    const { settings, exchange } = this
    const quiet = settings.suppressEnvoyHeaders
    finalTimeouts(forward, head, this.grpc, settings.respectExpectedTimeout, this.timeouts)
    this.timeoutStatus = 504
    if (head.has(H.upstreamTimeoutAltResponse)) {
      head.remove(H.upstreamTimeoutAltResponse)
      this.timeoutStatus = 204
    }
    if (!quiet) setTimeoutHeaders(head, this.timeouts, 0, forward, this.grpc)
    if (forward.attemptCountInRequest) head.set(H.attemptCount, '1')
    applyMutations(this.route.requestMutations, head, exchange.info)
    const authority = forward.hostRewrite.authority(head, head.path)
    if (authority !== '' && forward.hostRewrite.ofEntry) head.authority = authority
    else if (authority !== '') updateAuthority(head, authority, forward.appendForwardedHost, !quiet)
    if (forward.pathRewrite !== undefined) {
      if (!quiet) head.set(H.originalPath, head.path)
      head.path = forward.pathRewrite.rewrite(head.path)
    }
    this.retries = RetryState.create(forward.retryPolicy, head, cluster, forward.priority, this.runtime, this.retry)
    this.keeping = this.retries !== undefined
    this.keptTrailers = undefined
    this.kept.clear()
    head.remove(H.hedgeOnPerTryTimeout)
  }

  private send(cluster: Cluster, host: Host, end: boolean): void {
    const request = new UpstreamRequest(this, cluster, host)
    this.current = request
    this.exchange.source = request
    request.start(end)
  }

  private mirror(head: RequestHead, forward: Forward, end: boolean): void {
    const { exchange, settings } = this
    for (const policy of forward.mirrors) {
      if (!policy.fraction.hit(this.runtime.randomU32())) continue
      const cluster = settings.clusters.get(policy.clusterName(head))
      if (cluster === undefined) continue
      const shadow = ShadowRequest.start(
        cluster,
        head,
        policy,
        exchange,
        settings.ownAddress,
        this.timeouts.global,
        end,
      )
      if (shadow === undefined) continue
      this.shadows ??= []
      this.shadows.push(shadow)
    }
  }

  /** The head as it goes to a host: with the host's own name where the route says so. */
  headFor(host: Host): RequestHead {
    const { forward, exchange } = this
    if (forward.hostRewrite.auto && host.hostname !== '') {
      updateAuthority(exchange.request, host.hostname, forward.appendForwardedHost, !this.settings.suppressEnvoyHeaders)
    }
    return exchange.request
  }

  get perTryIdleTimeout(): number {
    return this.forward.retryPolicy.perTryIdleTimeout
  }

  /** Called when an attempt has its stream. */
  armAttempt(request: UpstreamRequest): void {
    const duration = this.cluster!.maxStreamDuration
    if (this.perTryIdleTimeout > 0 || duration > 0) request.armStream(this.perTryIdleTimeout, duration)
  }

  decodeData(chunk: Uint8Array, end: boolean): DataStatus {
    if (end) this.markComplete()
    if (this.shadows !== undefined) for (const shadow of this.shadows) shadow.send(chunk, end)
    if (this.keeping) {
      const limit = this.forward.bufferLimit ?? this.exchange.bufferLimit
      if (limit > 0 && this.kept.length + chunk.length > limit) {
        if (!this.stopKeeping()) return DataStatus.STOP_NO_BUFFER
      } else this.kept.append(chunk)
    }
    const { current } = this
    if (current !== undefined) current.send(chunk, end)
    else if (!this.keeping && !this.responseStarted) {
      this.exchange.sendLocalReply(REPLY.closedEarly)
      return DataStatus.STOP_NO_BUFFER
    }
    if (end) this.onRequestComplete()
    return DataStatus.STOP_NO_BUFFER
  }

  /** The body is too big to be sent twice: no retries. False: that ended the request. */
  private stopKeeping(): boolean {
    this.keeping = false
    this.kept.clear()
    this.cluster?.stats.counter('retry_or_shadow_abandoned').inc()
    this.retries?.destroy()
    this.retries = undefined
    if (this.current !== undefined) return true
    this.exchange.sendLocalReply(REPLY.retryBufferOverflow)
    return false
  }

  decodeTrailers(trailers: HeaderMap): TrailersStatus {
    this.markComplete()
    if (this.shadows !== undefined) for (const shadow of this.shadows) shadow.sendTrailers(trailers)
    if (this.keeping) this.keptTrailers = trailers
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
    this.keeping = false
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
        this.remember(host)
        this.leave(request, end && request.sentAll)
        return
      }
      if (decision === 'overflow') info.flag('UO')
      else if (decision === 'limit') info.flag('URX')
      this.retries.destroy()
      this.retries = undefined
    }
    this.keeping = false
    const quiet = this.settings.suppressEnvoyHeaders
    if (this.completedAt > 0 && !quiet) {
      head.set(H.upstreamServiceTime, String(Math.floor(this.runtime.now() - this.completedAt)))
    }
    if (forward.attemptCountInResponse) head.set(H.attemptCount, String(this.attempts))
    const canary = host.canary || head.get(H.upstreamCanary) === 'true'
    cluster.stats.chargeResponse(status, exchange.internal, canary)
    if (effective >= 500) host.stats.rqError.inc()
    else host.stats.rqSuccess.inc()
    this.responseStarted = true
    info.responseCode = status
    info.responseCodeDetails = DETAILS.viaUpstream
    if (exchange.upgrade && !this.settleUpgrade(request, head, end)) return
    if (this.setCookie !== undefined) head.add(H.setCookie, this.setCookie)
    applyMutations(this.route.responseMutations, head, info)
    if (end) this.finished(request)
    exchange.encodeHeaders(head, end)
  }

  /**
   * The answer to an upgrade: agreed (bytes flow both ways, no timeout), refused (goes through as it is), or
   * something else, which leaves without its body (source/common/router/upstream_codec_filter.cc). False: done.
   */
  private settleUpgrade(request: UpstreamRequest, head: ResponseHead, end: boolean): boolean {
    const connect = this.exchange.request.method === 'CONNECT'
    if (head.status === 101 || (connect && head.status < 300)) {
      this.globalTimer.stop()
      request.release()
      return true
    }
    if (head.status >= 400 || connect || end) return true
    this.exchange.info.responseCodeDetails = DETAILS.websocketUnsuccessful
    head.remove(H.contentLength)
    request.abandon()
    this.current = undefined
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
    this.charge(reply.status, overflow ? undefined : host)
    exchange.sendLocalReply(reply, overflow ? (head) => head.set(H.overloaded, 'true') : undefined)
  }

  private wouldRetry(reason: ResetReason, request: UpstreamRequest): boolean {
    if (this.responseStarted || this.retries === undefined) return false
    const decision = this.retries.onReset(reason, request.started)
    if (decision === 'yes') {
      request.host.stats.rqError.inc()
      this.remember(request.host)
      return true
    }
    if (decision === 'overflow') this.exchange.info.flag('UO')
    else if (decision === 'limit') this.exchange.info.flag('URX')
    return false
  }

  private remember(host: Host): void {
    const policy = this.forward.retryPolicy
    if (policy.avoidPreviousHosts || policy.omitCanary) {
      this.tried = [...this.tried, host]
      this.hostSelectionRetryCount = policy.hostSelectionAttempts
    }
  }

  shouldSelectAnotherHost(host: Host): boolean {
    if (this.hostSelectionRetryCount === 0) return false
    const policy = this.forward.retryPolicy
    return (policy.avoidPreviousHosts && this.tried.includes(host)) || (policy.omitCanary && host.canary)
  }

  /** Statistics of an answer that the router made for the upstream. */
  private charge(status: number, host: Host | undefined): void {
    this.cluster?.stats.chargeResponse(status, this.exchange.internal, false)
    host?.stats.rqError.inc()
  }

  /** The back-off is over. */
  private tryAgain(): void {
    const { exchange, forward, settings } = this
    const cluster = settings.clusters.get(this.cluster?.name ?? '')
    this.attempts++
    exchange.info.upstreamAttempts = this.attempts
    const host = cluster?.chooseHost(this)
    if (cluster === undefined || host === undefined) {
      if (cluster !== undefined) this.noHost(cluster)
      else exchange.sendLocalReply(REPLY.noCluster)
      return
    }
    this.cluster = cluster
    const head = exchange.request
    if (forward.attemptCountInRequest) head.set(H.attemptCount, String(this.attempts))
    if (!settings.suppressEnvoyHeaders) {
      const elapsed = this.completedAt > 0 ? this.runtime.now() - this.completedAt : 0
      setTimeoutHeaders(head, this.timeouts, elapsed, forward, this.grpc)
    }
    const bodyless = this.complete && this.kept.length === 0 && this.keptTrailers === undefined
    this.send(cluster, host, bodyless)
    const { current } = this
    if (current === undefined || bodyless) return
    if (this.kept.length > 0) current.send(this.kept.bytes(), this.complete && this.keptTrailers === undefined)
    if (this.keptTrailers !== undefined) current.sendTrailers(this.keptTrailers)
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
        this.charge(this.timeoutStatus, request.host)
      }
      this.leave(request, false)
    }
    this.timedOut(REPLY.upstreamTimeout)
  }

  onPerTryTimeout(request: UpstreamRequest, idle: boolean): void {
    const { stats } = request.cluster
    stats.counter(idle ? 'upstream_rq_per_try_idle_timeout' : 'upstream_rq_per_try_timeout').inc()
    request.host.stats.rqTimeout.inc()
    request.cluster.reportResult(request.host, 'timeout')
    this.leave(request, false)
    if (this.forward.timeoutRetryHeader) this.exchange.request.set(H.isTimeoutRetry, 'true')
    if (this.wouldRetry('local reset', request)) return
    if (!this.responseStarted) this.charge(this.timeoutStatus, request.host)
    this.timedOut(idle ? REPLY.perTryIdleTimeout : REPLY.perTryTimeout)
  }

  onMaxDuration(request: UpstreamRequest): void {
    request.cluster.stats.counter('upstream_rq_max_duration_reached').inc()
    this.leave(request, false)
    if (this.wouldRetry('local reset', request)) return
    if (!this.responseStarted) this.charge(this.complete ? 504 : 408, request.host)
    this.timedOut(this.complete ? REPLY.upstreamMaxDuration : { ...REPLY.upstreamMaxDuration, status: 408 })
  }

  private timedOut(reply: LocalReply): void {
    if (this.timeoutStatus === 204 && reply.status === 504) {
      this.exchange.sendLocalReply({ ...reply, status: 204, body: '' })
    } else this.exchange.sendLocalReply(reply)
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
    this.keeping = false
    if (this.kept.length > 0) this.kept.clear()
    this.keptTrailers = undefined
    this.headers = undefined
  }
}
