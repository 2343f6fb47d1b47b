import type { Runtime } from '../../runtime.ts'
import type { ConnectionInfo } from '../listener/connection.ts'
import type { ResetReason, ServerStream, ServerStreamHandler, StreamEnd } from './codec.ts'
import { decorateRequest, decorateResponse } from './decorator.ts'
import { ExchangeFlow } from './exchange-flow.ts'
import { ExchangeInfo } from './exchange-info.ts'
import { ExchangeRoute } from './exchange-route.ts'
import { ExchangeTimers } from './exchange-timers.ts'
import type { FilterSlot } from './filter-slot.ts'
import { type HeaderMap, type HeaderName, RequestHead, type ResponseHead } from './headers.ts'
import type { HttpConnection } from './http-connection.ts'
import { admitRequest } from './intake.ts'
import { DETAILS, type LocalReply, REPLY } from './local-replies.ts'
import { composeLocalReply } from './local-reply-head.ts'
import type { HttpManager } from './manager.ts'
import { H } from './names.ts'
import { DecodePath, EncodePath } from './paths.ts'
import { isUpgrade, mutateRequest } from './request-mutation.ts'
import { noteReset } from './reset-outcome.ts'
import { mutateResponse } from './response-mutation.ts'
import type { RedirectHistory } from './router/internal-redirect.ts'
import type { Route, RouteInput } from './router/route.ts'
import { upgradeOutcome } from './router/upgrade-response.ts'

/**
 * One request and its response, from the head's arrival to the access log. One object per connection is used
 * over and over where the filter chain allows it.
 */
export class Exchange implements ServerStreamHandler, RouteInput {
  readonly manager: HttpManager
  readonly runtime: Runtime
  readonly connection: ConnectionInfo
  readonly info: ExchangeInfo
  readonly decode: DecodePath
  readonly encode: EncodePath
  readonly bufferLimit: number
  request: RequestHead = NO_REQUEST
  response: ResponseHead | undefined = undefined
  /** ALPN that a filter wants upstream. */
  upstreamAlpn: readonly string[] | undefined = undefined
  /** A host that a filter wants, by address; `strict`: or none. */
  upstreamOverride: { readonly address: string; readonly strict: boolean } | undefined = undefined
  readonly flow: ExchangeFlow
  readonly routing: ExchangeRoute
  /** The request came from inside (XFF and internal_address_config). */
  internal = false
  /** The last byte of the request has arrived. */
  requestComplete = false
  /** The response head has left. */
  responseStarted = false
  /** A protocol upgrade or CONNECT that the config lets through. */
  upgrade = false
  /** The client went away before the end. */
  aborted = false
  /** Local replies are plain, though the request has become one of gRPC on its way. */
  plainReplies = false
  /** `x-envoy-decorator-operation` for the response; '' for none. */
  decoratorOperation = ''
  /** Redirects of upstreams that were followed for this request; undefined: none. */
  redirects: RedirectHistory | undefined = undefined
  private readonly http: HttpConnection
  private stream: ServerStream | undefined
  private randomValue = -1
  private slots: readonly FilterSlot[] = []
  private reused: readonly FilterSlot[] | undefined
  /** The last byte of the response has left. */
  answered = false
  private finished = true
  private forceRequestId = false
  private readonly timers: ExchangeTimers

  constructor(http: HttpConnection, manager: HttpManager) {
    this.http = http
    this.manager = manager
    this.runtime = manager.config.runtime
    this.connection = http.info
    this.info = new ExchangeInfo(http.info)
    this.decode = new DecodePath(this)
    this.encode = new EncodePath(this)
    this.bufferLimit = manager.bufferLimit
    this.timers = new ExchangeTimers(this, manager)
    this.routing = new ExchangeRoute(this, this.timers)
    this.flow = new ExchangeFlow(manager.stats)
  }

  /** Whether the connection's next request may use this object. */
  get recyclable(): boolean {
    return this.finished && this.requestComplete && this.stream === undefined
  }

  /** A request head has arrived. */
  start(stream: ServerStream, head: RequestHead, endStream: boolean): void {
    this.redirects = undefined
    this.prepare(stream, head, endStream)
    if (!admitRequest(this, head)) return
    const { manager } = this
    const internalOnly = manager.routes?.tableFor(head)?.internalOnlyHeaders ?? NO_HEADERS
    const internal = mutateRequest(head, manager.config, this.connection, this.info, internalOnly)
    if (typeof internal === 'object') {
      manager.stats.rqRejectedByIpDetection.inc()
      this.sendLocalReply(internal)
      return
    }
    this.internal = internal
    this.dispatch(head, endStream)
  }

  /**
   * Ends this pass and starts the request over, changed, as a new stream on the same connection (HCM recreateStream): an
   * internal redirect. `response` is what led there. Nothing of this exchange may be touched after it.
   */
  restart(head: RequestHead, body: Uint8Array, response: ResponseHead): void {
    const { info, internal } = this
    const stream = this.stream!
    const trusted = info.trustedClientIp
    info.request = head
    info.response = response
    info.responseCode = response.status
    info.responseCodeDetails = DETAILS.internalRedirect
    const received = info.bytesReceived
    this.conclude()
    this.http.restarted()
    this.prepare(stream, head, body.length === 0)
    info.trustedClientIp = trusted
    info.bytesReceived = received // the body comes in a second time, on top of the first
    this.internal = internal
    if (!admitRequest(this, head)) return
    this.dispatch(head, body.length === 0)
    if (body.length > 0) this.onData(body, true)
  }

  /** Everything as it is before the first filter sees the request. */
  private prepare(stream: ServerStream, head: RequestHead, endStream: boolean): void {
    const { manager, info } = this
    const now = this.runtime.now()
    this.stream = stream
    this.request = head
    this.response = undefined
    this.upstreamAlpn = undefined
    this.upstreamOverride = undefined
    this.internal = false
    this.requestComplete = endStream
    this.responseStarted = false
    this.answered = false
    this.finished = false
    this.upgrade = false
    this.aborted = false
    this.plainReplies = false
    this.decoratorOperation = ''
    this.routing.clear()
    this.randomValue = -1
    this.slots = []
    this.forceRequestId = false
    this.flow.begin(stream)
    this.decode.begin(NO_SLOTS)
    this.encode.begin(NO_SLOTS)
    info.begin(now, this.runtime.wallNow(), stream.connection.protocol, head)
    info.requestHeaderBytes = head.wireSize
    info.listenerName = manager.listener.name
    if (endStream) info.requestComplete = now
    this.timers.begin(now, endStream)
  }

  private dispatch(head: RequestHead, endStream: boolean): void {
    const { manager, info } = this
    const { config } = manager
    this.forceRequestId = head.has(H.forceTrace)
    const route = this.route()
    if (config.tracing) this.decoratorOperation = decorateRequest(head, route, manager.direction)
    if (!this.buildChain(head, route)) return
    if (config.logAtStart) manager.log(info)
    this.decode.startHeaders(head, endStream)
  }

  private buildChain(head: RequestHead, route: Route | undefined): boolean {
    const { manager } = this
    const connect = head.method === 'CONNECT'
    if (connect || (head.bits !== 0 && isUpgrade(head))) {
      const type = connect ? 'connect' : (head.get(H.upgrade) ?? '').toLowerCase()
      this.upgrade = route?.forward?.upgrades.get(type) ?? manager.config.upgrades.get(type) ?? false
      if (this.upgrade) this.http.upgradeBegun()
      else if (route !== undefined) {
        manager.stats.rqWsOnNonWsRoute.inc()
        this.http.upgradeRefused()
        this.sendLocalReply(REPLY.upgradeRefused)
        return false
      }
    }
    const { chain } = manager
    if (chain.reusable && (route === undefined || route.filters.empty)) {
      if (this.reused === undefined) this.reused = chain.instantiate(this, route)
      else this.reused[0]!.decoding.stopped = 0
      this.slots = this.reused
      this.decode.begin(this.slots)
      this.encode.begin(NO_SLOTS) // a terminal filter makes the response; it does not encode it
      return true
    }
    this.slots = chain.instantiate(this, route)
    this.decode.begin(this.slots)
    this.encode.begin(this.slots.toReversed())
    return true
  }

  route(): Route | undefined {
    return this.routing.get()
  }

  random(): number {
    if (this.randomValue < 0) this.randomValue = this.runtime.randomU32()
    return this.randomValue
  }

  onData(chunk: Uint8Array, endStream: boolean): void {
    this.info.bytesReceived += chunk.length
    if (endStream) this.markComplete()
    else this.timers.touch(this.runtime.now())
    if (!this.decode.ended) this.decode.startData(chunk, endStream)
    else if (endStream) this.stream = undefined // answered long ago
  }

  onTrailers(trailers: HeaderMap): void {
    this.info.requestTrailers = trailers
    this.markComplete()
    if (!this.decode.ended) this.decode.startTrailers(trailers)
    else this.stream = undefined
  }

  private markComplete(): void {
    const now = this.runtime.now()
    this.requestComplete = true
    this.info.requestComplete = now
    this.timers.requestDone(now)
  }

  onReset(why: StreamEnd): void {
    if (this.finished) {
      this.stream = undefined
      return
    }
    noteReset(this.info, this.manager.stats, why)
    this.aborted = true
    if (why.streamOnly !== true && !why.status) this.http.abortedBy(why.remote)
    this.stream = undefined
    this.finish()
  }

  onWritable(): void {
    this.flow.writable()
  }

  /** An interim response from upstream. */
  sendInterim(head: ResponseHead): void {
    if (this.responseStarted || this.stream === undefined) return
    if (!this.info.healthCheck) this.manager.stats.charge(head.status)
    this.stream.sendInterim(head)
  }

  /** The router has a response head. */
  encodeHeaders(head: ResponseHead, end: boolean): void {
    this.response = head
    this.info.response = head
    this.timers.touch(this.runtime.now())
    this.encode.startHeaders(head, end)
  }

  encodeData(chunk: Uint8Array, end: boolean): void {
    this.timers.touch(this.runtime.now())
    this.encode.startData(chunk, end)
  }

  encodeTrailers(trailers: HeaderMap): void {
    this.info.responseTrailers = trailers
    this.encode.startTrailers(trailers)
  }

  /**
   * Answers the request here (source/common/http/filter_manager.cc sendLocalReply). The answer passes the encoding
   * filters; if a response has already begun, the stream is reset instead.
   */
  sendLocalReply(reply: LocalReply, modify?: (head: ResponseHead) => void): void {
    const { info } = this
    if (this.finished) return
    if (reply.flag !== undefined) info.flag(reply.flag)
    info.responseCodeDetails = reply.details.replaceAll(' ', '_')
    this.decode.ended = true
    if (this.responseStarted) {
      this.resetStream('local reset')
      return
    }
    const { head, body } = composeLocalReply(this, reply, modify)
    if (this.response !== undefined) this.encode.begin([]) // an answer was under way: this one replaces it
    this.response = head
    info.response = head
    const bodyless = body.length === 0 || this.request.method === 'HEAD'
    this.http.badRequestPending = reply.status === 400
    this.encode.startHeaders(head, bodyless)
    if (!bodyless && !this.encode.ended) this.encode.startData(body, true)
    this.http.badRequestPending = false
  }

  /** The response buffer of a filter is full. */
  responseOverflow(): void {
    this.manager.stats.rsTooLarge.inc()
    this.encode.begin([])
    this.sendLocalReply(REPLY.responseTooLarge)
  }

  /** The head has passed all filters. */
  sendHead(head: ResponseHead, end: boolean): void {
    const { manager, info, stream } = this
    if (stream === undefined) return
    const upgraded = this.upgrade && upgradeOutcome(this.request, head, end) === 'tunnel'
    const asUpgrade = upgraded && this.request.method !== 'CONNECT'
    mutateResponse(head, this.request, manager.config, asUpgrade, this.forceRequestId)
    if (manager.config.tracing) decorateResponse(head, this.decoratorOperation, manager.direction)
    this.http.beforeResponse(stream, this.requestComplete, upgraded)
    if (!this.info.healthCheck) manager.stats.charge(head.status)
    this.responseStarted = true
    info.responseCode = head.status
    info.responseCodeDetails ??= DETAILS.viaUpstream
    const now = this.runtime.now()
    info.downstreamFirstTx = now
    if (info.flags.length > 0 && this.request.method === 'CONNECT') this.noteConnectFailure(stream)
    stream.sendHeaders(head, end)
    info.responseHeaderBytes = head.wireSize
    if (end) this.completeResponse(now)
  }

  /** Ends the connection with this exchange's response. */
  drainConnection(): void {
    this.stream?.connection.drain()
  }

  private noteConnectFailure(stream: ServerStream): void {
    const { flags } = this.info
    if (flags.includes('UF') || flags.includes('UC')) stream.connectFailed?.()
  }

  sendBody(chunk: Uint8Array, end: boolean): void {
    const { stream } = this
    if (stream === undefined) return
    this.info.bytesSent += chunk.length
    const room = stream.sendData(chunk, end)
    if (end) this.completeResponse(this.timers.lastActive)
    else if (!room) this.flow.full()
  }

  sendTrailers(trailers: HeaderMap): void {
    this.stream?.sendTrailers(trailers)
    this.completeResponse(this.runtime.now())
  }

  private completeResponse(now: number): void {
    if (this.answered || this.finished) return
    this.answered = true
    this.info.downstreamLastTx = now
    this.encode.ended = true
    this.decode.ended = true
    if (this.requestComplete) this.stream = undefined
    else this.manager.stats.rqRxReset.inc() // Envoy resets such a stream, and sees its own resets as the client's
    this.finish()
  }

  /** Gives up on a response that has begun. */
  resetStream(reason: ResetReason): void {
    if (this.finished) return
    this.manager.stats.rqTxReset.inc()
    this.manager.stats.rqRxReset.inc() // it sees its own, too
    const { stream } = this
    this.stream = undefined
    this.finish()
    stream?.reset(reason)
  }

  /** End of the exchange. */
  private finish(): void {
    if (this.finished) return
    this.conclude()
    this.http.exchangeDone(this)
    this.response?.release()
    this.response = undefined
  }

  /** Filters, log, counters. */
  private conclude(): void {
    this.finished = true
    this.decode.ended = true
    this.encode.ended = true
    this.timers.stop()
    this.flow.end()
    if (this.upgrade) this.manager.stats.cxUpgradesActive.dec()
    const { info, slots } = this
    for (let i = 0; i < slots.length; i++) slots[i]!.filter.onDestroy?.(slots[i]!)
    info.end = this.runtime.now()
    this.manager.complete(info)
  }
}

const NO_SLOTS: readonly FilterSlot[] = []
const NO_HEADERS: readonly HeaderName[] = []
const NO_REQUEST = RequestHead.create('GET', '/', '')
