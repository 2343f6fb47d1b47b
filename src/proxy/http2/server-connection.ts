import type { EventEmitter } from 'node:events'
import http2 from 'node:http2'
import type { Runtime, Timer } from '../../runtime.ts'
import type { ServerConnection, ServerConnectionHandler, StreamEnd } from '../http/codec.ts'
import type { ConnectionInfo, Transport } from '../listener/connection.ts'
import { FrameLedger, type LedgerOwner, type StreamFrames } from './frame-ledger.ts'
import { ErrorCode } from './frame-watch.ts'
import { type HeadRefusal, type RequestLimits, readRequestHead } from './heads.ts'
import { Keepalive } from './keepalive.ts'
import { Http2ServerStream } from './server-stream.ts'
import type { Http2Settings } from './settings.ts'
import type { Http2Stats } from './stats.ts'
import { type DuplexOwner, TransportDuplex } from './transport-duplex.ts'

/** What a server connection is made with. */
export interface Http2ServerOptions {
  readonly runtime: Runtime
  readonly settings: Http2Settings
  readonly stats: Http2Stats
  readonly limits: RequestLimits
  /** How long a connection that was cut waits for the peer to close. */
  readonly delayedCloseMs: number
  /** How long the rest of a complete answer may wait for the client to take it; 0: for ever. */
  readonly flushTimeoutMs: number
}

/** What a codec says of any violation that ends the connection (nghttp2's words for a callback that says stop). */
const CODEC_ERROR = 'codec_error:The_user_callback_function_failed'
const INVALID_FIELD = 'http2.invalid.header.field'
const MESSAGING = 'http2.violation.of.messaging.rule'
const REFUSALS = {
  'too many': 'http2.too_many_headers',
  'too large': 'http2.header_list_size_too_large',
  underscore: 'http2.unexpected_underscore',
} as const
const FIRST_WINDOW = 65_535
/** A GOAWAY that names the last of all streams. */
const SHUTDOWN_NOTICE = Buffer.from([0, 0, 8, 7, 0, 0, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0])
/** The library's own limits, out of the way of Envoy's. */
const PLENTY = 2 ** 20

/** Speaks HTTP/2 as the server on a transport, and takes it over: sets its handler, closes it in the end. */
export function createHttp2ServerConnection(
  transport: Transport,
  options: Http2ServerOptions,
  handler: ServerConnectionHandler,
): ServerConnection {
  return new Http2ServerConnection(transport, options, handler)
}

/** The server side of an HTTP/2 connection (ServerConnectionImpl in source/common/http/http2/codec_impl.cc). */
export class Http2ServerConnection implements ServerConnection, DuplexOwner, LedgerOwner {
  readonly protocol = 'HTTP/2'
  readonly info: ConnectionInfo
  readonly stats: Http2Stats
  activeStreams = 0
  readonly options: Http2ServerOptions
  private readonly transport: Transport
  private readonly handler: ServerConnectionHandler
  private readonly ledger: FrameLedger
  private readonly duplex: TransportDuplex
  private readonly session: http2.ServerHttp2Session
  private readonly keepalive: Keepalive | undefined
  private readonly streams = new Map<StreamFrames, Http2ServerStream>()
  /** Nothing more is read or written. */
  private cut = false
  /** Every stream has been told. */
  private closed = false
  private gone = false
  /** Why the connection will end. */
  private ending: StreamEnd | undefined
  private lastCall: Timer | undefined
  /** The client has to be told that the connection will end. */
  private noticeDue = false

  constructor(transport: Transport, options: Http2ServerOptions, handler: ServerConnectionHandler) {
    const { settings, stats, limits, runtime } = options
    this.transport = transport
    this.info = transport.info
    this.handler = handler
    this.options = options
    this.stats = stats
    this.ledger = new FrameLedger(settings, stats, true, this)
    this.duplex = new TransportDuplex(transport, this)
    this.session = http2.performServerHandshake(this.duplex, {
      settings: {
        headerTableSize: settings.headerTableSize,
        enableConnectProtocol: settings.allowConnect,
        maxConcurrentStreams: settings.maxConcurrentStreams,
        initialWindowSize: settings.streamWindow,
        ...listSize(limits),
      },
      maxHeaderListPairs: PLENTY,
      maxSendHeaderBlockLength: PLENTY * 16,
      maxSessionInvalidFrames: PLENTY,
      maxSessionRejectedStreams: PLENTY,
      maxSessionMemory: PLENTY,
      maxOutstandingPings: 16,
      ...LENIENT,
    } as http2.ServerSessionOptions)
    this.session.setLocalWindowSize(Math.max(FIRST_WINDOW, settings.connectionWindow))
    const events: EventEmitter = this.session
    events.on('stream', (stream: http2.ServerHttp2Stream, _lines: unknown, flags: number, raw: string[]) =>
      this.onStream(stream, flags, raw),
    )
    // What goes wrong shows in the frames, and as the end of the streams and of the session.
    events.on('error', ignore)
    events.on('close', () => this.shut(this.ending ?? { remote: false }, true))
    if (settings.keepalive !== undefined) {
      this.keepalive = new Keepalive(
        settings.keepalive,
        runtime,
        () => this.session.ping(() => {}),
        () => {
          stats.keepaliveTimeout.inc()
          this.shut({ remote: false, details: 'downstream_local_disconnect(http2_ping_timeout)' }, false)
        },
      )
    }
  }

  /** Tells the client that a GOAWAY will come; streams that are on their way are still served (SubmitShutdownNotice). */
  drain(): void {
    this.noticeDue = true
    this.onWritten()
  }

  /** The library would take no more streams after a GOAWAY of its own: this one goes past it, between two frames. */
  onWritten(): void {
    if (!this.noticeDue || this.cut || !this.ledger.outgoing.betweenFrames) return
    this.noticeDue = false
    this.transport.write(SHUTDOWN_NOTICE)
  }

  goAway(): void {
    if (this.cut || this.session.destroyed) return
    this.stats.goawaySent.inc()
    this.session.goaway(ErrorCode.NO_ERROR)
  }

  close(): void {
    this.shut({ remote: false }, false)
  }

  private onStream(stream: http2.ServerHttp2Stream, flags: number, raw: string[]): void {
    const frames = this.ledger.streams.get(stream.id ?? 0)
    if (frames === undefined || this.closed) {
      stream.on('error', ignore)
      return
    }
    frames.surfaced = true
    const head = readRequestHead(raw, this.options.limits, () => this.stats.droppedUnderscores.inc())
    if (typeof head === 'string') {
      this.refuse(stream, frames, head)
      return
    }
    head.wireSize = frames.headBytes
    const endStream = (flags & http2.constants.NGHTTP2_FLAG_END_STREAM) !== 0
    const exchange = new Http2ServerStream(this, stream, frames, head.method, endStream)
    this.streams.set(frames, exchange)
    this.activeStreams++
    this.handler.onRequest(exchange, head, endStream)
    exchange.begin()
  }

  private refuse(stream: http2.ServerHttp2Stream, frames: StreamFrames, why: HeadRefusal): void {
    const { stats } = this
    stream.on('error', ignore)
    stream.once('close', () => this.ledger.forget(frames.id))
    stream.resume()
    if (why === 'malformed') {
      frames.surfaced = false
      this.onMalformed(frames)
      if (!this.cut) stream.close(ErrorCode.PROTOCOL_ERROR)
      return
    }
    stream.close(ErrorCode.INTERNAL_ERROR)
    const counter = {
      'too many': stats.headerOverflow,
      'too large': stats.headerListTooLarge,
      underscore: stats.rejectedUnderscores,
    }
    counter[why].inc()
    this.handler.onStreamRefused?.(REFUSALS[why], 'DR', false)
  }

  /** Nobody is told more of a stream. */
  streamOver(): void {
    this.activeStreams--
  }

  streamClosed(stream: Http2ServerStream): void {
    this.streams.delete(stream.frames)
    this.ledger.forget(stream.frames.id)
  }

  /** Why a stream is gone: the client reset it, or it broke a rule, or the connection ended; undefined: nobody knows yet. */
  wordsFor(frames: StreamFrames): StreamEnd | undefined {
    const { verdict } = frames
    if (verdict !== undefined)
      return { remote: false, details: verdict.details, flag: 'DPE', streamOnly: !verdict.fatal }
    if (frames.resetIn >= 0) return clientReset(frames.resetIn)
    if (frames.resetOut >= 0) return { remote: false, details: 'http2.remote_reset', flag: 'DPE', streamOnly: true }
    return this.ending
  }

  // Bytes, on their way to and from the library.

  onBytesIn(chunk: Buffer): boolean {
    if (!this.duplex.isBlocked) this.ledger.settle()
    if (this.cut) return false
    // What comes with the bytes that go too far is read all the same: it may be requests.
    this.ledger.incoming.feed(chunk)
    return true
  }

  onBytesOut(chunk: Buffer): boolean {
    if (!this.cut) this.ledger.outgoing.feed(chunk)
    return !this.cut
  }

  onEnd(): void {
    this.shut({ remote: true }, false)
  }

  onGone(): void {
    this.fail({ remote: true })
    if (this.gone) return
    this.gone = true
    this.lastCall?.cancel()
    this.handler.onClose()
  }

  // What the frames say.

  /** PINGs are sent for keep-alive alone. */
  get awaitsPong(): boolean {
    return this.keepalive?.awaitsPong ?? false
  }

  onFrameReceived(pong: boolean): void {
    this.keepalive?.onFrame(pong)
  }

  onGoawayReceived(): void {}

  onFlood(words: string): void {
    this.cutOff({ remote: false, details: `codec_error:${words.replaceAll(' ', '_')}`, flag: 'DPE' })
  }

  onResetReceived(frames: StreamFrames): void {
    setImmediate(() => this.streams.get(frames)?.drop())
  }

  onLocalEnd(frames: StreamFrames): void {
    const stream = this.streams.get(frames)
    if (stream === undefined) return
    stream.flushed()
    // Not within the library's own write.
    if (!frames.remoteEnded) process.nextTick(() => stream.stopRequest())
  }

  onResetSent(id: number, frames: StreamFrames | undefined, code: number): boolean {
    if (frames === undefined) return true
    if (code === ErrorCode.PROTOCOL_ERROR && frames.headLast) this.onMalformed(frames)
    else if (!frames.surfaced) {
      if (code === ErrorCode.REFUSED_STREAM) {
        this.stats.refusedErrors.inc()
        this.ledger.forget(id)
      } else setImmediate(() => this.settleUnseen(frames, code))
    }
    return !this.cut
  }

  /** A head, or trailers, that are no HTTP message. */
  private onMalformed(frames: StreamFrames): void {
    this.stats.messagingError.inc()
    const fatal = !this.options.settings.streamErrorOnly
    // Trailers that do not end the stream; otherwise nothing tells what was wrong, and most often it is a line.
    const details = frames.surfaced && !frames.remoteEnded ? MESSAGING : INVALID_FIELD
    frames.verdict = { details, fatal }
    if (fatal) {
      this.handler.onProtocolError?.()
      this.cutOff({ remote: false, details: CODEC_ERROR, flag: 'DPE' })
    } else setImmediate(() => this.tellRefused(frames, details, false))
  }

  /** A stream that the library refused before anyone heard of it. */
  private settleUnseen(frames: StreamFrames, code: number): void {
    if (this.cut || frames.surfaced) return
    if (code === ErrorCode.ENHANCE_YOUR_CALM) {
      this.stats.headerListTooLarge.inc()
      this.ledger.forget(frames.id)
      this.handler.onStreamRefused?.(REFUSALS['too large'], 'DR', false)
    } else if (code === ErrorCode.PROTOCOL_ERROR) this.onMalformed(frames)
  }

  private tellRefused(frames: StreamFrames, details: string, fatal: boolean): void {
    if (frames.surfaced) return
    frames.surfaced = true
    this.ledger.forget(frames.id)
    this.handler.onStreamRefused?.(details, 'DPE', fatal)
  }

  /** The library gave up: the client broke the protocol of the connection. */
  onGoawaySent(): void {
    this.handler.onProtocolError?.()
    this.ending = { remote: false, details: CODEC_ERROR, flag: 'DPE' }
    this.duplex.detached = true
    setImmediate(() => this.shut(this.ending!, true))
  }

  /** Nothing more is read or written; requests that the library has read already are still heard of, then all ends. */
  private cutOff(why: StreamEnd): void {
    if (this.cut) return
    this.cut = true
    this.ending = why
    setImmediate(() => {
      for (const frames of [...this.ledger.streams.values()]) {
        if (frames.verdict !== undefined) this.tellRefused(frames, frames.verdict.details, true)
      }
      this.shut(why, true)
    })
  }

  /**
   * Ends the connection from here. What was written leaves; `delayed`: the peer has some time to read it, and to
   * close first.
   */
  private shut(why: StreamEnd, delayed: boolean): void {
    if (this.closed) return
    this.cut = true
    if (!why.remote) this.handler.onClosing?.()
    this.duplex.detached = true
    const { delayedCloseMs, runtime } = this.options
    if (delayed && delayedCloseMs > 0) this.lastCall = runtime.after(delayedCloseMs, () => this.transport.destroy())
    else this.transport.close()
    this.fail(why)
  }

  private fail(why: StreamEnd): void {
    if (this.closed) return
    this.closed = true
    this.cut = true
    this.keepalive?.stop()
    for (const [frames, stream] of [...this.streams]) {
      stream.fail((frames.verdict === undefined ? undefined : this.wordsFor(frames)) ?? why)
    }
    this.ledger.close()
    // Later: the library may be in the middle of something.
    setImmediate(() => this.session.destroy())
  }
}

function clientReset(code: number): StreamEnd {
  if (code === ErrorCode.NO_ERROR) return { remote: true, details: '', streamOnly: true }
  const details = code === ErrorCode.REFUSED_STREAM ? 'http2.remote_refuse' : 'http2.remote_reset'
  return { remote: true, details, flag: 'DR', streamOnly: true }
}

/** The library refuses by itself what is longer than it tells clients; it tells them only what is not its default. */
function listSize(limits: RequestLimits): { maxHeaderListSize?: number } {
  // It counts 32 bytes more for each line.
  const size = limits.maxBytes + 32 * limits.maxCount
  return size <= 65_535 ? {} : { maxHeaderListSize: size + 1024 }
}

const ignore = (): void => {}

/** Options that newer versions of Node know: what Envoy lets pass, passes. */
const LENIENT = { strictFieldWhitespaceValidation: false, strictSingleValueFields: false }
