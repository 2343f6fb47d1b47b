import type { Runtime } from '../../runtime.ts'
import type { ConnectionInfo } from '../listener/connection.ts'
import type { ResetReason, ServerStream, ServerStreamHandler } from './codec.ts'
import { ExchangeInfo } from './exchange-info.ts'
import type { FilterSlot } from './filter-slot.ts'
import { grpcTimeout } from './grpc-timeout.ts'
import { type HeaderMap, RequestHead, ResponseHead } from './headers.ts'
import type { HttpConnection } from './http-connection.ts'
import { admitRequest } from './intake.ts'
import { DETAILS, type LocalReply, REPLY, TIMEOUT } from './local-replies.ts'
import { localReplyHead } from './local-reply-head.ts'
import type { HttpManager } from './manager.ts'
import { H } from './names.ts'
import { DecodePath, EncodePath } from './paths.ts'
import { isUpgrade, mutateRequest } from './request-mutation.ts'
import { mutateResponse } from './response-mutation.ts'
import { applyMutations } from './router/header-mutation.ts'
import type { Route, RouteInput } from './router/route.ts'
import { isGrpcContentType } from './router/route-match.ts'
import { type TimerOwner, WheelTimer } from './timer-wheel.ts'

const IDLE = 1
const REQUEST = 2
const MAX_DURATION = 3

/** Who supplies the response body, for backpressure: the router while it streams. */
export interface ResponseSource {
  pauseResponse(): void
  resumeResponse(): void
}

/**
 * One request and its response, from the head's arrival to the access log. One object per connection is used
 * over and over where the filter chain allows it.
 */
export class Exchange implements ServerStreamHandler, RouteInput, TimerOwner {
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
  source: ResponseSource | undefined = undefined
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
  /** `x-envoy-decorator-operation` for the response; '' for none. */
  decoratorOperation = ''
  private readonly http: HttpConnection
  private stream: ServerStream | undefined
  private cachedRoute: Route | undefined
  private routeKnown = false
  private randomValue = -1
  private slots: readonly FilterSlot[] = []
  private reused: { readonly slots: FilterSlot[]; readonly back: FilterSlot[] } | undefined
  private responseComplete = false
  private finished = true
  private forceRequestId = false
  private pauses = 0
  private sourcePauses = 0
  private downstreamFull = false
  private lastActive = 0
  private idleTimeout = 0
  private readonly idleTimer = new WheelTimer(this, IDLE)
  private readonly requestTimer = new WheelTimer(this, REQUEST)
  private readonly durationTimer = new WheelTimer(this, MAX_DURATION)

  constructor(http: HttpConnection, manager: HttpManager) {
    this.http = http
    this.manager = manager
    this.runtime = manager.config.runtime
    this.connection = http.info
    this.info = new ExchangeInfo(http.info)
    this.decode = new DecodePath(this)
    this.encode = new EncodePath(this)
    this.bufferLimit = manager.bufferLimit
  }

  /** Whether the connection's next request may use this object. */
  get recyclable(): boolean {
    return this.finished && this.requestComplete && this.stream === undefined
  }

  /** A request head has arrived. */
  start(stream: ServerStream, head: RequestHead, endStream: boolean): void {
    const { manager, info } = this
    const { config } = manager
    const now = this.runtime.now()
    this.stream = stream
    this.request = head
    this.response = undefined
    this.upstreamAlpn = undefined
    this.source = undefined
    this.internal = false
    this.requestComplete = endStream
    this.responseStarted = false
    this.responseComplete = false
    this.finished = false
    this.upgrade = false
    this.aborted = false
    this.decoratorOperation = ''
    this.cachedRoute = undefined
    this.routeKnown = false
    this.randomValue = -1
    this.slots = []
    this.forceRequestId = false
    this.pauses = 0
    this.sourcePauses = 0
    this.downstreamFull = false
    this.lastActive = now
    this.decode.begin([])
    this.encode.begin([])
    const { protocol } = stream.connection
    info.begin(now, this.runtime.wallNow(), protocol, head)
    info.requestHeaderBytes = head.wireSize
    if (endStream) info.requestComplete = now
    this.idleTimeout = config.streamIdleTimeout
    if (this.idleTimeout > 0) manager.wheel.start(this.idleTimer, this.idleTimeout)
    if (config.requestTimeout > 0 && !endStream) manager.wheel.start(this.requestTimer, config.requestTimeout)
    if (config.maxStreamDuration > 0) manager.wheel.start(this.durationTimer, config.maxStreamDuration)

    if (head.has(H.expect)) this.answerExpect(stream, head)
    if (!admitRequest(this, head)) return
    this.internal = mutateRequest(head, config, this.connection, info, manager.routes?.internalOnlyHeaders ?? [])
    this.forceRequestId = head.has(H.forceTrace)
    const route = this.route()
    if (config.tracing) this.decorate(route)
    if (!this.buildChain(head, route)) return
    if (config.logAtStart) manager.log(info)
    this.decode.startHeaders(head, endStream)
  }

  private answerExpect(stream: ServerStream, head: RequestHead): void {
    if (this.manager.config.proxy100Continue || head.get(H.expect)?.toLowerCase() !== '100-continue') return
    head.remove(H.expect)
    this.manager.stats.charge(100)
    stream.sendInterim(ResponseHead.create(100))
  }

  private buildChain(head: RequestHead, route: Route | undefined): boolean {
    const { manager } = this
    const connect = head.method === 'CONNECT'
    if (connect || (head.bits !== 0 && isUpgrade(head))) {
      const type = connect ? 'connect' : (head.get(H.upgrade) ?? '').toLowerCase()
      this.upgrade = route?.forward?.upgrades.get(type) ?? manager.config.upgrades.get(type) ?? false
      if (!this.upgrade && route !== undefined) {
        manager.stats.rqWsOnNonWsRoute.inc()
        this.sendLocalReply(REPLY.upgradeRefused)
        return false
      }
    }
    const { chain } = manager
    if (chain.reusable && (route === undefined || route.filters.empty)) {
      if (this.reused === undefined) {
        const slots = chain.instantiate(this, route)
        this.reused = { slots, back: slots.toReversed() }
      } else this.reused.slots[0]!.decoding.stopped = 0
      this.slots = this.reused.slots
      this.decode.begin(this.slots)
      this.encode.begin([]) // a terminal filter makes the response; it does not encode it
      return true
    }
    this.slots = chain.instantiate(this, route)
    this.decode.begin(this.slots)
    this.encode.begin(this.slots.toReversed())
    return true
  }

  /** x-envoy-decorator-operation of a request (HCM setRequestDecorator). */
  private decorate(route: Route | undefined): void {
    const { request } = this
    const own = route?.decorator
    if (this.manager.direction === 'outbound') {
      if (own?.propagate === true && own.operation !== '') request.set(H.decoratorOperation, own.operation)
      return
    }
    const given = request.get(H.decoratorOperation)
    if (given !== undefined) request.remove(H.decoratorOperation)
    else if (own?.propagate === true) this.decoratorOperation = own.operation
  }

  /** The route in force. */
  route(): Route | undefined {
    if (!this.routeKnown) {
      this.routeKnown = true
      const route = this.manager.routes?.route(this)
      this.cachedRoute = route
      const { info } = this
      info.routeName = route?.name
      info.routeMetadata = route?.metadata
      info.virtualHostName = route?.virtualHost.name
      if (route?.forward !== undefined) this.adopt(route)
    }
    return this.cachedRoute
  }

  clearRouteCache(): void {
    this.routeKnown = false
    this.cachedRoute = undefined
  }

  /** Takes over what a forwarding route says before the router runs: the cluster for logs, timeouts. */
  private adopt(route: Route): void {
    const { wheel, context } = this.manager
    const forward = route.forward!
    const cluster = context.clusters.get(forward.clusterHeader?.first(this.request) ?? forward.cluster)
    this.info.clusterName = cluster?.name
    this.info.clusterObservabilityName = cluster?.observabilityName
    if (forward.idleTimeout !== undefined && forward.idleTimeout !== this.idleTimeout) {
      this.idleTimeout = forward.idleTimeout
      if (this.idleTimeout > 0) wheel.start(this.idleTimer, this.idleTimeout)
      else this.idleTimer.stop()
    }
    if (!forward.usesStreamDuration) return
    const duration = routeDuration(route, this.request)
    if (duration === undefined) return
    if (duration > 0) wheel.start(this.durationTimer, duration)
    else this.durationTimer.stop()
  }

  random(): number {
    if (this.randomValue < 0) this.randomValue = this.runtime.randomU32()
    return this.randomValue
  }

  onData(chunk: Uint8Array, endStream: boolean): void {
    this.info.bytesReceived += chunk.length
    if (endStream) this.markComplete()
    else this.lastActive = this.runtime.now()
    if (!this.decode.ended) this.decode.startData(chunk, endStream)
    else if (endStream) this.settle()
  }

  onTrailers(trailers: HeaderMap): void {
    this.info.requestTrailers = trailers
    this.markComplete()
    if (!this.decode.ended) this.decode.startTrailers(trailers)
    else this.settle()
  }

  private markComplete(): void {
    const now = this.runtime.now()
    this.requestComplete = true
    this.info.requestComplete = now
    this.lastActive = now
    this.requestTimer.stop()
  }

  onReset(why: { remote: boolean; error?: string; status?: number; bytesSent?: number }): void {
    if (this.finished) {
      this.stream = undefined
      return
    }
    const { info } = this
    this.manager.stats.rqRxReset.inc()
    if (why.error !== undefined) {
      this.manager.stats.cxProtocolError.inc()
      info.flag('DPE')
      info.responseCodeDetails = why.error
      if (why.status !== undefined && why.status > 0) {
        info.responseCode = why.status
        info.bytesSent = why.bytesSent ?? 0
        this.manager.stats.charge(why.status)
      }
    } else if (why.remote) {
      info.flag('DC')
      info.responseCodeDetails = DETAILS.downstreamRemoteDisconnect
    } else info.responseCodeDetails ??= 'downstream_local_disconnect'
    this.aborted = true
    this.http.abortedBy(why.remote)
    this.stream = undefined
    this.finish()
  }

  onWritable(): void {
    if (!this.downstreamFull) return
    this.downstreamFull = false
    this.upstreamReading(true)
  }

  onTimer(kind: number): void {
    if (this.finished) return
    const { manager } = this
    switch (kind) {
      case IDLE: {
        const left = this.lastActive + this.idleTimeout - this.runtime.now()
        if (left > 0.5) {
          manager.wheel.start(this.idleTimer, left)
          return
        }
        manager.stats.rqIdleTimeout.inc()
        this.timeOut(TIMEOUT.streamIdle)
        return
      }
      case REQUEST:
        manager.stats.rqTimeout.inc()
        this.timeOut(TIMEOUT.request)
        return
      default:
        manager.stats.rqMaxDuration.inc()
        this.timeOut(TIMEOUT.maxDuration)
    }
  }

  private timeOut(reply: (typeof TIMEOUT)[keyof typeof TIMEOUT]): void {
    this.sendLocalReply({ ...reply, status: this.requestComplete ? 504 : 408 })
  }

  /** Stops the request body's delivery; each call needs a `resumeRequest`. */
  pauseRequest(): void {
    if (this.pauses++ === 0) {
      this.manager.stats.flowPaused.inc()
      this.stream?.pauseReading()
    }
  }

  resumeRequest(): void {
    if (this.pauses === 0 || --this.pauses > 0) return
    this.manager.stats.flowResumed.inc()
    this.stream?.resumeReading()
  }

  /** Stops and restarts the response body at its source. */
  upstreamReading(on: boolean): void {
    if (!on) {
      if (this.sourcePauses++ === 0) this.source?.pauseResponse()
    } else if (this.sourcePauses > 0 && --this.sourcePauses === 0) this.source?.resumeResponse()
  }

  /** An interim response from upstream. */
  sendInterim(head: ResponseHead): void {
    if (this.responseStarted || this.stream === undefined) return
    this.manager.stats.charge(head.status)
    this.stream.sendInterim(head)
  }

  /** The router has a response head. */
  encodeHeaders(head: ResponseHead, end: boolean): void {
    this.response = head
    this.info.response = head
    this.lastActive = this.runtime.now()
    this.encode.startHeaders(head, end)
  }

  encodeData(chunk: Uint8Array, end: boolean): void {
    this.lastActive = this.runtime.now()
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
    const grpc = isGrpcContentType(this.request.get(H.contentType))
    const body = typeof reply.body === 'string' ? Buffer.from(reply.body) : reply.body
    const head = localReplyHead(reply, body, grpc)
    info.responseCode = head.status
    if (this.cachedRoute !== undefined) applyMutations(this.cachedRoute.responseMutations, head, info)
    modify?.(head)
    if (this.response !== undefined) this.encode.begin([]) // an answer was under way: this one replaces it
    this.response = head
    info.response = head
    const bodyless = body.length === 0 || grpc || this.request.method === 'HEAD'
    this.http.localReplyPending = true
    this.encode.startHeaders(head, bodyless)
    this.http.localReplyPending = false
    if (!bodyless && !this.encode.ended) this.encode.startData(body, true)
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
    const upgraded = this.upgrade && (head.status === 101 || (this.request.method === 'CONNECT' && head.status < 300))
    mutateResponse(head, this.request, manager.config, upgraded, this.forceRequestId)
    if (this.decoratorOperation !== '') head.set(H.decoratorOperation, this.decoratorOperation)
    this.http.beforeResponse(stream, this.requestComplete, head.status, upgraded)
    manager.stats.charge(head.status)
    this.responseStarted = true
    info.responseCode = head.status
    info.responseCodeDetails ??= DETAILS.viaUpstream
    const now = this.runtime.now()
    info.downstreamFirstTx = now
    stream.sendHeaders(head, end)
    info.responseHeaderBytes = head.wireSize
    if (end) this.completeResponse(now)
  }

  sendBody(chunk: Uint8Array, end: boolean): void {
    const { stream } = this
    if (stream === undefined) return
    this.info.bytesSent += chunk.length
    const room = stream.sendData(chunk, end)
    if (end) this.completeResponse(this.lastActive)
    else if (!room && !this.downstreamFull) {
      this.downstreamFull = true
      this.upstreamReading(false)
    }
  }

  sendTrailers(trailers: HeaderMap): void {
    this.stream?.sendTrailers(trailers)
    this.completeResponse(this.runtime.now())
  }

  private completeResponse(now: number): void {
    if (this.responseComplete || this.finished) return
    this.responseComplete = true
    this.info.downstreamLastTx = now
    this.encode.ended = true
    this.decode.ended = true
    const complete = this.requestComplete
    if (complete) this.stream = undefined
    this.finish()
  }

  /** Gives up on a response that has begun. */
  resetStream(reason: ResetReason): void {
    if (this.finished) return
    this.manager.stats.rqTxReset.inc()
    const { stream } = this
    this.stream = undefined
    this.finish()
    stream?.reset(reason)
  }

  /** The rest of a request that was answered early has come in. */
  private settle(): void {
    this.stream = undefined
  }

  /** End of the exchange: filters, log, counters. */
  private finish(): void {
    if (this.finished) return
    this.finished = true
    this.decode.ended = true
    this.encode.ended = true
    this.idleTimer.stop()
    this.requestTimer.stop()
    this.durationTimer.stop()
    this.source = undefined
    const { info, slots } = this
    for (let i = 0; i < slots.length; i++) slots[i]!.filter.onDestroy?.(slots[i]!)
    info.end = this.runtime.now()
    this.manager.complete(info)
    this.http.exchangeDone(this)
    this.response?.release()
    this.response = undefined
  }
}

const NO_REQUEST = RequestHead.create('GET', '/', '')

/** A route's max_stream_duration for a request, the gRPC timeout header considered; undefined keeps the connection manager's. */
function routeDuration(route: Route, request: RequestHead): number | undefined {
  const forward = route.forward!
  if (forward.grpcTimeoutHeaderMax !== undefined) {
    const header = grpcTimeout(request)
    if (header !== undefined) {
      const max = forward.grpcTimeoutHeaderMax
      const capped = max > 0 && (header === 0 || header > max) ? max : header
      const offset = forward.grpcTimeoutHeaderOffset
      return offset > 0 && offset < capped ? capped - offset : capped
    }
  }
  return forward.maxStreamDuration
}
