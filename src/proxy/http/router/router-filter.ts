import { EMPTY } from '../body-buffer.ts'
import type { ResetReason } from '../codec.ts'
import type { HeaderMap, ResponseHead } from '../headers.ts'
import { DETAILS, httpStatusOf, REPLY, resetDetails, resetFlag, resetReply, timeoutReply } from '../local-replies.ts'
import { H } from '../names.ts'
import {
  accountFailure,
  accountGrpc,
  accountInterim,
  accountResponse,
  accountRetried,
  accountTime,
} from './accounting.ts'
import { followRedirect } from './follow-redirect.ts'
import { applyMutations } from './header-mutation.ts'
import type { RetryDecision } from './retry-state.ts'
import { countAll } from './route-stats.ts'
import { RouterRequest } from './router-request.ts'
import { upgradeOutcome } from './upgrade-response.ts'
import type { UpstreamRequest } from './upstream-request.ts'

/**
 * `envoy.filters.http.router`, the end of every chain. Here is what it does with what comes back: passes responses
 * on, retries, hedges, follows redirects, times out (source/common/router/router.cc). Used again by the next
 * exchange of its connection where the chain is nothing else.
 */
export class RouterFilter extends RouterRequest {
  onInterim(request: UpstreamRequest, head: ResponseHead): void {
    if (this.interimSent) return // one is enough
    this.interimSent = true
    accountInterim(this, request, head.status)
    this.responseStarted = true
    this.retries?.destroy()
    this.retries = undefined
    this.kept.drop()
    if (this.earlier.length > 0) this.leaveOthers(request)
    if (this.settings.proxy100Continue) this.exchange.sendInterim(head)
  }

  onHeaders(request: UpstreamRequest, head: ResponseHead, end: boolean): void {
    const { exchange, forward } = this
    const { info } = exchange
    const { cluster, host } = request
    if (info.upstreamFirstRx === 0) info.upstreamFirstRx = this.runtime.now()
    const status = head.status
    const grpcStatus = this.grpc ? head.get(H.grpcStatus) : undefined
    if (grpcStatus !== undefined) cluster.reportResult(host, httpStatusOf(Number(grpcStatus)))
    else if (cluster.errorMatcher === undefined || this.grpc) cluster.reportResult(host, status)
    else cluster.reportResult(host, cluster.errorMatcher(head) ? Math.max(status, 500) : 200)
    if (cluster.failHealthNow !== undefined && head.has(H.immediateHealthCheckFail)) cluster.failHealthNow(host)
    const early = exchange.request.has(H.earlyData)
    let refused = false
    if (this.retries !== undefined) {
      if (request.retried) refused = this.retries.wantsRetryOnHeaders(head, early)
      else {
        const decision = this.retries.onHeaders(head, early)
        if (this.willRetry(request, decision, false)) {
          accountRetried(this, request, status)
          this.leave(request, end && request.sentAll)
          return
        }
        refused = decision !== 'no'
      }
    }
    if (forward.redirectPolicy?.covers(status) === true && this.redirected(request, head, end)) return
    if (refused && this.othersMayAnswer()) {
      host.stats.rqError.inc()
      this.leave(request, false)
      return
    }
    this.retries?.destroy()
    this.retries = undefined
    this.pendingRetries = 0
    this.kept.drop()
    if (this.completedAt > 0 && !this.quiet) {
      head.set(H.upstreamServiceTime, String(Math.floor(this.runtime.now() - this.completedAt)))
    }
    accountResponse(this, request, head, end)
    this.responseStarted = true
    info.responseCode = status
    info.responseCodeDetails = DETAILS.viaUpstream
    if (this.earlier.length > 0 || request !== this.current) this.settle(request)
    if (exchange.upgrade && !this.settleUpgrade(request, head, end)) return
    if (this.setCookie !== undefined) head.add(H.setCookie, this.setCookie)
    info.response = head
    applyMutations(this.route.responseMutations, head, info)
    if (forward.attemptCountInResponse) head.set(H.attemptCount, String(this.attempts))
    if (end) this.finished(request)
    exchange.encodeHeaders(head, end)
  }

  /** One of several attempts has answered: the others are off, and logs speak of it. */
  private settle(request: UpstreamRequest): void {
    this.leaveOthers(request)
    this.current = request
    this.earlier = []
    this.exchange.flow.source = request
    request.describe()
  }

  /** Whether an attempt under way, or one to come, may still bring a response. */
  private othersMayAnswer(): boolean {
    return this.pendingRetries > 0 || this.running().some((request) => request.awaitingHeaders && !request.over)
  }

  /** Follows a redirect; false: it goes to the client. */
  private redirected(request: UpstreamRequest, head: ResponseHead, end: boolean): boolean {
    const { exchange, forward, settings } = this
    const { stats } = request.cluster
    const next =
      this.complete && !this.overflowed
        ? followRedirect(exchange, head, forward.redirectPolicy!, settings.stats)
        : undefined
    if (next === undefined) {
      stats.counter('upstream_internal_redirect_failed_total').inc()
      return false
    }
    stats.counter('upstream_internal_redirect_succeeded_total').inc()
    const body = next.dropsBody ? EMPTY : this.kept.copy()
    this.leave(request, end && request.sentAll)
    exchange.restart(next.head, body, head)
    return true
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
    if (end) {
      if (request.statusPending) accountGrpc(request, undefined)
      this.finished(request)
    }
    this.exchange.encodeData(chunk, end)
  }

  onUpstreamTrailers(request: UpstreamRequest, trailers: HeaderMap): void {
    if (request.statusPending) accountGrpc(request, trailers)
    this.finished(request)
    this.exchange.encodeTrailers(trailers)
  }

  /** The response is whole: the attempt is over. */
  private finished(request: UpstreamRequest): void {
    const now = this.runtime.now()
    this.exchange.info.upstreamLastRx = now
    if (this.completedAt > 0) accountTime(this, request, Math.round(now - this.completedAt))
    this.globalTimer.stop()
    this.leave(request, request.sentAll)
  }

  /** An attempt failed or was cut off. */
  onReset(request: UpstreamRequest, reason: ResetReason, transport: string | undefined): void {
    const { exchange } = this
    const { info } = exchange
    const { cluster, host } = request
    info.upstreamHost = request.unassigned ? undefined : host
    if (transport !== undefined) info.upstreamTransportFailure = transport
    this.leave(request, true)
    const overflow = reason === 'overflow'
    if (!overflow) cluster.reportResult(host, 'connect-failed')
    if (this.wouldRetry(reason, request, false)) return
    const status = reason === 'protocol error' ? 502 : 503
    this.accountAbort(request, status, !overflow)
    if (!this.responseStarted && this.othersMayAnswer()) return
    if (exchange.responseStarted) {
      info.flag(resetFlag(reason))
      info.responseCodeDetails = resetDetails(true, reason, transport)
      exchange.resetStream(reason)
      return
    }
    const reply = resetReply(reason, transport, this.attempts > 1)
    // After an interim response the final one has begun, as far as the words go.
    this.answer(this.responseStarted ? { ...reply, details: resetDetails(true, reason, transport) } : reply, overflow)
  }

  /** Counts an attempt that came to nothing, or whose response breaks off. */
  private accountAbort(request: UpstreamRequest, status: number, blame: boolean): void {
    if (!this.responseStarted) {
      accountFailure(this, request.cluster, blame ? request.host : undefined, status)
      return
    }
    if (!request.statusPending) return
    request.statusPending = false
    request.host.stats.rqError.inc()
    this.settings.stats.resetAfterStart.inc()
  }

  private wouldRetry(reason: ResetReason, request: UpstreamRequest, timedOut: boolean): boolean {
    if (this.responseStarted || this.retries === undefined || request.retried) return false
    if (!this.willRetry(request, this.retries.onReset(reason, request.started), timedOut)) return false
    request.host.stats.rqError.inc()
    return true
  }

  /** What a decision means for the request: another attempt comes, or the log says why not. */
  private willRetry(request: UpstreamRequest, decision: RetryDecision, timedOut: boolean): boolean {
    if (decision !== 'yes') {
      this.exchange.info.flagRefusedRetry(decision)
      return false
    }
    this.pendingRetries++
    this.afterTimeout = timedOut
    this.balancing.remember(request.host)
    return true
  }

  /** The global timeout. */
  onTimer(): void {
    for (const request of this.running()) {
      const { cluster, host } = request
      cluster.stats.counter('upstream_rq_timeout').inc()
      countAll(this.watching, 'timeout')
      host.stats.rqTimeout.inc()
      if (request.awaitingHeaders) {
        if (!request.timeoutReported) cluster.reportResult(host, this.timeoutResult)
        this.accountAbort(request, this.timeoutStatus, true)
      }
      this.leave(request, false)
    }
    this.answer(timeoutReply(REPLY.upstreamTimeout, this.timeoutStatus))
  }

  onPerTryTimeout(request: UpstreamRequest, idle: boolean): void {
    const { cluster, host } = request
    if (this.responseStarted && !idle) return // an interim response has come: there is the whole time now
    if (this.timeouts.hedge) {
      this.hedge(request)
      return
    }
    cluster.stats.counter(`upstream_rq_per_try_${idle ? 'idle_' : ''}timeout`).inc()
    host.stats.rqTimeout.inc()
    cluster.reportResult(host, this.timeoutResult)
    this.leave(request, false)
    if (this.wouldRetry('local reset', request, true)) return
    this.accountAbort(request, this.timeoutStatus, true)
    this.answer(timeoutReply(idle ? REPLY.perTryIdleTimeout : REPLY.perTryTimeout, this.timeoutStatus))
  }

  private get timeoutResult(): 'timeout' | 'alternate-timeout' {
    return this.timeoutStatus === 204 ? 'alternate-timeout' : 'timeout'
  }

  /** An attempt takes too long: it goes on, and another one is started beside it. */
  private hedge(request: UpstreamRequest): void {
    request.cluster.reportResult(request.host, this.timeoutResult)
    request.timeoutReported = true
    if (this.responseStarted || this.retries === undefined) return
    request.retried = this.willRetry(request, this.retries.onHedge(), true)
  }

  onMaxDuration(request: UpstreamRequest): void {
    request.cluster.stats.counter('upstream_rq_max_duration_reached').inc()
    this.leave(request, false)
    if (this.wouldRetry('local reset', request, false)) return
    this.answer({ ...REPLY.upstreamMaxDuration, status: this.complete ? 504 : 408 })
  }
}
