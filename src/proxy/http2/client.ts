import type { EventEmitter } from 'node:events'
import http2 from 'node:http2'
import type { Runtime } from '../../runtime.ts'
import type {
  ClientConnection,
  ClientConnectionHandler,
  ClientStream,
  ClientStreamHandler,
  ResetReason,
} from '../http/codec.ts'
import type { ConnectionInfo, Transport } from '../listener/connection.ts'
import { Http2ClientStream } from './client-stream.ts'
import { FrameLedger, type LedgerOwner, type StreamFrames } from './frame-ledger.ts'
import { ErrorCode } from './frame-watch.ts'
import { Keepalive } from './keepalive.ts'
import type { Http2Settings } from './settings.ts'
import type { Http2Stats } from './stats.ts'
import { type DuplexOwner, TransportDuplex } from './transport-duplex.ts'

/** What a client connection is made with. */
export interface Http2ClientOptions {
  readonly runtime: Runtime
  readonly settings: Http2Settings
  readonly stats: Http2Stats
  /** Lines of a response's head. */
  readonly maxHeadersCount: number
}

const FIRST_WINDOW = 65_535
/** The library's own limits, out of the way of Envoy's. */
const PLENTY = 2 ** 20

/** Speaks HTTP/2 as the client on a connected transport, and takes it over. */
export function createHttp2ClientConnection(
  transport: Transport,
  options: Http2ClientOptions,
  handler: ClientConnectionHandler,
): ClientConnection {
  return new Http2ClientConnection(transport, options, handler)
}

/** The client side of an HTTP/2 connection (ClientConnectionImpl in source/common/http/http2/codec_impl.cc). */
export class Http2ClientConnection implements ClientConnection, DuplexOwner, LedgerOwner {
  readonly protocol = 'HTTP/2'
  readonly info: ConnectionInfo
  readonly session: http2.ClientHttp2Session
  readonly ledger: FrameLedger
  readonly options: Http2ClientOptions
  private readonly transport: Transport
  private readonly handler: ClientConnectionHandler
  private readonly duplex: TransportDuplex
  private readonly keepalive: Keepalive | undefined
  private readonly streams = new Set<Http2ClientStream>()
  /** Streams that the library has, over or not. */
  readonly byId = new Map<number, Http2ClientStream>()
  /** Nothing more is read or written. */
  private cut = false
  private closed = false
  private saidGoaway = false
  /** The server broke the protocol: that is why streams end. */
  broken = false

  constructor(transport: Transport, options: Http2ClientOptions, handler: ClientConnectionHandler) {
    const { settings, stats, runtime } = options
    this.transport = transport
    this.info = transport.info
    this.options = options
    this.handler = handler
    this.ledger = new FrameLedger(settings, stats, false, this)
    this.duplex = new TransportDuplex(transport, this)
    this.session = http2.connect('http://upstream', {
      createConnection: () => this.duplex,
      settings: {
        headerTableSize: settings.headerTableSize,
        enablePush: false,
        maxConcurrentStreams: settings.maxConcurrentStreams,
        initialWindowSize: settings.streamWindow,
      },
      maxHeaderListPairs: PLENTY,
      maxSendHeaderBlockLength: PLENTY * 16,
      maxSessionMemory: PLENTY,
      maxOutstandingPings: 16,
      // What the server says it takes is known only later: until then Envoy sends what its own config allows.
      peerMaxConcurrentStreams: PLENTY,
      ...LENIENT,
    } as http2.ClientSessionOptions)
    const events: EventEmitter = this.session
    events.on('connect', () => this.session.setLocalWindowSize(Math.max(FIRST_WINDOW, settings.connectionWindow)))
    events.on('remoteSettings', (peer: http2.Settings) => {
      if (peer.maxConcurrentStreams !== undefined) handler.onStreamLimit?.(peer.maxConcurrentStreams)
    })
    // What goes wrong shows in the frames, and as the end of the streams and of the session.
    events.on('error', () => {})
    events.on('close', () => this.gone(true, 'connection termination'))
    if (settings.keepalive !== undefined) {
      this.keepalive = new Keepalive(
        settings.keepalive,
        runtime,
        () => this.session.ping(() => {}),
        () => {
          stats.keepaliveTimeout.inc()
          this.gone(false, 'connection termination')
        },
      )
    }
  }

  get activeStreams(): number {
    return this.streams.size
  }

  newStream(handler: ClientStreamHandler): ClientStream {
    this.keepalive?.beforeStream()
    const stream = new Http2ClientStream(this, handler)
    this.streams.add(stream)
    return stream
  }

  close(): void {
    this.gone(false, 'connection termination')
  }

  /** A stream ended early. */
  streamReset(reason: ResetReason): void {
    this.handler.onStreamReset?.(reason)
  }

  /** A stream is over, however it ended. */
  over(stream: Http2ClientStream): void {
    if (this.streams.delete(stream) && !this.closed) this.handler.onIdle()
  }

  onBytesIn(chunk: Buffer): boolean {
    if (this.cut) return false
    if (!this.duplex.isBlocked) this.ledger.settle()
    this.ledger.incoming.feed(chunk)
    return true
  }

  onBytesOut(chunk: Buffer): boolean {
    if (!this.cut) this.ledger.outgoing.feed(chunk)
    return !this.cut
  }

  onEnd(): void {
    this.gone(true, 'connection termination')
  }

  onGone(): void {
    this.gone(true, 'connection termination')
  }

  /** PINGs are sent for keep-alive alone. */
  get awaitsPong(): boolean {
    return this.keepalive?.awaitsPong ?? false
  }

  onFrameReceived(pong: boolean): void {
    this.keepalive?.onFrame(pong)
  }

  onGoawayReceived(): void {
    if (this.saidGoaway) return
    this.saidGoaway = true
    this.handler.onDrain(true)
  }

  onFlood(): void {
    this.violation()
  }

  onLocalEnd(): void {}

  onResetReceived(frames: StreamFrames): void {
    setImmediate(() => this.byId.get(frames.id)?.drop())
  }

  onResetSent(_id: number, frames: StreamFrames | undefined, code: number): boolean {
    if (code !== ErrorCode.PROTOCOL_ERROR || frames === undefined || frames.abandoned) return true
    frames.verdict = { details: '', fatal: false }
    // Else it was the body, whose length is not the one that the head gave.
    if (!frames.headLast) return true
    // A head that is no HTTP message.
    this.options.stats.messagingError.inc()
    if (this.options.settings.streamErrorOnly) return true
    this.cut = true
    this.violation()
    return false
  }

  onGoawaySent(): void {
    this.violation()
  }

  /** The server broke the protocol: the connection closes, and takes its streams with it. */
  private violation(): void {
    if (this.broken) return
    this.broken = true
    // Not within the library's own work.
    setImmediate(() => {
      if (this.closed) return
      this.handler.onProtocolError?.()
      this.gone(false, 'protocol error')
    })
  }

  private gone(remote: boolean, reason: ResetReason): void {
    if (this.closed) return
    this.closed = true
    this.cut = true
    this.keepalive?.stop()
    const open = [...this.streams]
    this.streams.clear()
    this.byId.clear()
    for (const stream of open) stream.fail(reason)
    this.ledger.close()
    this.transport.close()
    // Later: the library may be in the middle of something.
    setImmediate(() => this.session.destroy())
    this.handler.onClose(remote, open.length > 0 && !this.broken)
  }
}

/** Options that newer versions of Node know: what Envoy lets pass, passes. */
const LENIENT = { strictFieldWhitespaceValidation: false, strictSingleValueFields: false }
