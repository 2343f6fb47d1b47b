import type { ConnectionInfo, Transport } from '../listener/connection.ts'
import type { ResponseFlag } from '../stream-info.ts'
import type { ServerConnection, ServerConnectionHandler, ServerStream } from './codec.ts'
import { Exchange } from './exchange.ts'
import { ExchangeInfo } from './exchange-info.ts'
import type { RequestHead } from './headers.ts'
import { TIMEOUT } from './local-replies.ts'
import type { HttpManager } from './manager.ts'
import { CodecSniffer, codecFor, type ServerCodecFactory } from './server-codecs.ts'
import { type TimerOwner, WheelTimer } from './timer-wheel.ts'

const IDLE = 1
const MAX_DURATION = 2
const DRAIN = 3
const DELAYED_CLOSE = 4
const HEAD = 5
/** Streams of a connection from which on half of them must not be reset prematurely. */
const PREMATURE_LIMIT = 500

/** One downstream connection of a connection manager: its exchanges, its timeouts, its counters. */
export class HttpConnection implements ServerConnectionHandler, TimerOwner {
  readonly info: ConnectionInfo
  private readonly manager: HttpManager
  private readonly transport: Transport
  private readonly onGone: (connection: HttpConnection) => void
  /** Undefined until the connection's protocol is known. */
  private codec: ServerConnection | undefined
  private isHttp2 = false
  private readonly started: number
  private spare: Exchange | undefined
  /** Exchanges not yet over. */
  private active = 0
  private requests = 0
  /** HTTP/2: requests that are over, and those of them that ended early and soon. */
  private ended = 0
  private premature = 0
  /** Responses from now on say that the connection will close. */
  private draining = false
  /** The last GOAWAY has left: the connection goes with its last stream. */
  private lastCall = false
  private closedLocally = false
  private remoteAbort = false
  private abortedRequests = 0
  private bytesRead = 0
  private bytesWritten = 0
  private readonly idleTimer = new WheelTimer(this, IDLE)
  private readonly durationTimer = new WheelTimer(this, MAX_DURATION)
  private readonly drainTimer = new WheelTimer(this, DRAIN)
  private readonly headTimer = new WheelTimer(this, HEAD)
  /** The stream of a request of which only part of the head is here. */
  private begun: ExchangeInfo | undefined
  private readonly closeTimer = new WheelTimer(this, DELAYED_CLOSE)

  constructor(manager: HttpManager, transport: Transport, onGone: (connection: HttpConnection) => void) {
    this.manager = manager
    this.transport = transport
    this.info = transport.info
    this.onGone = onGone
    const { config, stats, wheel } = manager
    this.started = config.runtime.now()
    stats.cxTotal.inc()
    stats.cxActive.inc()
    if (this.info.tls !== undefined) {
      stats.cxSslTotal.inc()
      stats.cxSslActive.inc()
    }
    const codec = codecFor(config, transport)
    if (codec !== undefined) this.begin(codec)
    else {
      transport.handler = new CodecSniffer(
        transport,
        (decided) => this.begin(decided),
        () => this.onClose(),
      )
    }
    if (config.idleTimeout > 0) wheel.start(this.idleTimer, config.idleTimeout)
    if (config.maxConnectionDuration > 0) wheel.start(this.durationTimer, config.maxConnectionDuration)
  }

  /** The protocol is known. */
  private begin(codec: ServerCodecFactory): void {
    const { stats } = this.manager
    this.codec = codec(this.transport, this.manager, this)
    this.isHttp2 = this.codec.protocol === 'HTTP/2'
    ;(this.isHttp2 ? stats.cxHttp2Total : stats.cxHttp1Total).inc()
    ;(this.isHttp2 ? stats.cxHttp2Active : stats.cxHttp1Active).inc()
  }

  /** A stream begins with the first byte of its request (HCM newStream). */
  onHeadBegun(): void {
    const { config, wheel, stats } = this.manager
    stats.rqTotal.inc()
    stats.rqActive.inc()
    stats.rqHttp1Total.inc()
    this.idleTimer.stop()
    this.begun = new ExchangeInfo(this.info)
    this.begun.begin(config.runtime.now(), config.runtime.wallNow(), 'HTTP/1.1', undefined)
    if (config.requestHeadersTimeout > 0) wheel.start(this.headTimer, config.requestHeadersTimeout)
  }

  /** The head that was waited for is here, or never will be. Returns whether there was one. */
  private headArrived(): boolean {
    if (this.begun === undefined) return false
    this.begun = undefined
    this.headTimer.stop()
    return true
  }

  /** A stream ends without a request. */
  private endBegun(details: string): void {
    const { manager, begun } = this
    if (begun === undefined) return
    this.headArrived()
    begun.responseCodeDetails = details
    begun.listenerName = manager.listener.name
    begun.end = manager.config.runtime.now()
    if (begun.responseCode !== 0) manager.stats.charge(begun.responseCode)
    manager.complete(begun)
  }

  private headTimedOut(): void {
    const { begun } = this
    if (begun === undefined) return
    this.manager.stats.rqHeaderTimeout.inc()
    const { body, details } = TIMEOUT.requestHeaders
    begun.responseCode = 408
    begun.bytesSent = body.length
    this.codec?.refuseHead?.(408, body)
    this.endBegun(details)
  }

  onRequest(stream: ServerStream, head: RequestHead, endStream: boolean): void {
    const { stats } = this.manager
    if (!this.headArrived()) {
      stats.rqTotal.inc()
      stats.rqActive.inc()
      ;(this.isHttp2 ? stats.rqHttp2Total : stats.rqHttp1Total).inc()
    }
    this.requests++
    if (this.isHttp2) this.countAgainstMax()
    this.idleTimer.stop()
    const exchange = this.spare ?? new Exchange(this, this.manager)
    this.spare = undefined
    this.active++
    stream.handler = exchange
    exchange.start(stream, head, endStream)
  }

  /** A request starts over, as another stream. */
  restarted(): void {
    const { stats } = this.manager
    stats.rqTotal.inc()
    stats.rqActive.inc()
    ;(this.isHttp2 ? stats.rqHttp2Total : stats.rqHttp1Total).inc()
    this.requests++
  }

  /** HTTP/2 begins to drain with the last request that the connection may carry. */
  private countAgainstMax(): void {
    const { maxRequestsPerConnection: max } = this.manager.config
    if (max === 0 || this.requests < max) return
    this.startDrain()
    this.manager.stats.cxMaxRequests.inc()
  }

  /** An exchange has ended. */
  exchangeDone(exchange: Exchange): void {
    this.active--
    if (exchange.recyclable) this.spare = exchange
    this.countBytes()
    const { config, wheel } = this.manager
    if (this.isHttp2 && this.cutForResets(exchange.info)) return
    if (this.active > 0) return
    if (this.lastCall) this.closeSoon()
    else if (config.idleTimeout > 0 && !this.draining) wheel.start(this.idleTimer, config.idleTimeout)
  }

  /**
   * A client that resets its requests at once, over and over, costs more than it pays: its connection is cut
   * (conn_manager_impl.cc maybeDrainDueToPrematureResets). True: it was.
   */
  private cutForResets(info: ExchangeInfo): boolean {
    this.ended++
    if (info.responseCode === 0 && info.end - info.start < 2000) this.premature++
    if (this.premature * 2 < Math.max(this.ended, PREMATURE_LIMIT) || this.closedLocally) return false
    const { context, config } = this.manager
    context.stats.counter(`${config.statPrefix}downstream_rq_too_many_premature_resets`).inc()
    this.closedLocally = true
    this.transport.destroy(true)
    return true
  }

  /** The client went away, or the proxy ended the connection, with a request open. */
  abortedBy(remote: boolean): void {
    this.remoteAbort = remote
    this.abortedRequests++
  }

  /** Decides, before a response head leaves, whether the connection goes on after it. */
  beforeResponse(stream: ServerStream, requestComplete: boolean, upgraded: boolean): void {
    const { manager } = this
    const { config, stats } = manager
    if (!requestComplete) stats.rqResponseBeforeComplete.inc()
    if (this.isHttp2) {
      this.beforeHttp2Response()
      return
    }
    if (upgraded) return
    if (manager.closing && !this.draining) {
      stats.cxDrainClose.inc()
      this.draining = true
    }
    if (config.maxRequestsPerConnection > 0 && this.requests >= config.maxRequestsPerConnection && !this.draining) {
      stats.cxMaxRequests.inc()
      this.draining = true
    }
    if (!requestComplete) this.draining = true
    else if (this.draining) this.closedLocally = true // closed behind this response, without waiting for the client
    if (this.draining || (this.badRequestPending && !config.keepsOpenOnInvalid)) stream.connection.drain()
  }

  private beforeHttp2Response(): void {
    const { manager } = this
    if (manager.closing && !this.draining) {
      this.startDrain()
      manager.stats.cxDrainClose.inc()
    }
  }

  /** A request asks for an upgrade that it may have; the exchange tells when it is over. */
  upgradeBegun(): void {
    this.manager.stats.cxUpgradesTotal.inc()
    this.manager.stats.cxUpgradesActive.inc()
  }

  /** An upgrade was refused: the connection goes, too. HTTP/1 closes it with the answer. */
  upgradeRefused(): void {
    if (this.isHttp2) this.startDrain()
  }

  /** Set around local replies of 400, which close an HTTP/1 connection, also where the client gets another status. */
  badRequestPending = false

  onCodecError(error: { status: number; details: string; head: RequestHead | undefined; bytesSent: number }): void {
    const { manager } = this
    const { config, stats } = manager
    stats.cxProtocolError.inc()
    stats.rqRxReset.inc()
    if (error.status !== 0) stats.rqResponseBeforeComplete.inc()
    if (!this.headArrived()) {
      stats.rqTotal.inc()
      stats.rqActive.inc()
      stats.rqHttp1Total.inc()
    }
    const info = new ExchangeInfo(this.info)
    const now = config.runtime.now()
    info.begin(now, config.runtime.wallNow(), 'HTTP/1.1', error.head)
    info.flag('DPE')
    info.listenerName = manager.listener.name
    info.responseCode = error.status
    info.responseCodeDetails = error.details
    info.bytesSent = error.bytesSent
    info.end = now
    if (error.status !== 0) stats.charge(error.status)
    manager.complete(info)
  }

  onStreamRefused(details: string, flag: ResponseFlag, fatal: boolean): void {
    const { manager } = this
    const { config, stats } = manager
    stats.rqTotal.inc()
    stats.rqActive.inc()
    stats.rqHttp2Total.inc()
    stats.rqRxReset.inc()
    this.requests++
    const info = new ExchangeInfo(this.info)
    const now = config.runtime.now()
    info.begin(now, config.runtime.wallNow(), 'HTTP/2', undefined)
    info.flag(flag)
    info.listenerName = manager.listener.name
    info.responseCodeDetails = details
    info.end = now
    if (fatal) this.abortedBy(false)
    manager.complete(info)
  }

  onProtocolError(): void {
    this.manager.stats.cxProtocolError.inc()
  }

  onClosing(): void {
    this.closedLocally = true
  }

  onCloseTimeout(): void {
    this.closedLocally = true
    this.manager.stats.cxDelayedCloseTimeout.inc()
  }

  onClose(): void {
    const { stats } = this.manager
    this.idleTimer.stop()
    this.durationTimer.stop()
    this.drainTimer.stop()
    this.closeTimer.stop()
    if (this.begun !== undefined) {
      this.abortedBy(!this.closedLocally)
      if (!this.closedLocally) this.begun.flag('DC')
      this.endBegun(this.closedLocally ? 'downstream_local_disconnect' : 'downstream_remote_disconnect')
    }
    this.countBytes()
    stats.cxActive.dec()
    if (this.info.tls !== undefined) stats.cxSslActive.dec()
    if (this.codec !== undefined) (this.isHttp2 ? stats.cxHttp2Active : stats.cxHttp1Active).dec()
    stats.cxDestroy.inc()
    this.closedLocally ||= this.transport.closedHere === true
    const remote = this.abortedRequests > 0 ? this.remoteAbort : !this.closedLocally
    ;(remote ? stats.cxDestroyRemote : stats.cxDestroyLocal).inc()
    if (this.abortedRequests > 0) {
      stats.cxDestroyActiveRq.inc()
      ;(remote ? stats.cxDestroyRemoteActiveRq : stats.cxDestroyLocalActiveRq).inc()
    }
    stats.cxLength.record(Math.round(this.manager.config.runtime.now() - this.started))
    this.onGone(this)
  }

  onTimer(kind: number): void {
    const { stats } = this.manager
    switch (kind) {
      case IDLE:
        stats.cxIdleTimeout.inc()
        this.endSoon()
        return
      case MAX_DURATION:
        stats.cxMaxDuration.inc()
        this.endSoon()
        return
      case DRAIN:
        if (this.isHttp2) {
          this.codec?.goAway?.()
          this.lastCall = true
        }
        // An HTTP/1 connection is told with its next response; one that has none goes after the delayed close.
        if (this.active === 0) this.closeSoon()
        return
      case HEAD:
        this.headTimedOut()
        return
      default:
        if (this.active > 0) return
        stats.cxDelayedCloseTimeout.inc()
        this.close()
    }
  }

  private closeSoon(): void {
    this.manager.wheel.start(this.closeTimer, this.manager.config.delayedCloseTimeout || 1)
  }

  /** Nothing was ever asked here: close. Else the drain sequence. */
  private endSoon(): void {
    if (this.requests === 0 && this.transport.bytesRead === 0) this.close()
    else this.startDrain()
  }

  /** Tells the client to go: with the next response, or when the drain time is over. */
  private startDrain(): void {
    if (this.draining) return
    this.draining = true
    if (this.isHttp2) this.codec?.drain()
    this.manager.wheel.start(this.drainTimer, this.manager.config.drainTimeout || 1)
  }

  close(): void {
    this.closedLocally = true
    if (this.codec !== undefined) this.codec.close()
    else this.transport.close()
  }

  /** Bytes that Envoy believes to be in the buffer of reads: those of the last one. */
  get buffered(): number {
    return this.transport.lastRead ?? 0
  }

  /** Adds what was read and written since the last time to the counters. */
  countBytes(): void {
    const { stats } = this.manager
    const { bytesRead, bytesWritten } = this.transport
    stats.cxRxBytes.add(bytesRead - this.bytesRead)
    stats.cxTxBytes.add(bytesWritten - this.bytesWritten)
    this.bytesRead = bytesRead
    this.bytesWritten = bytesWritten
  }
}
