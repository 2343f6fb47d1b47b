import type { EventEmitter } from 'node:events'
import http2 from 'node:http2'
import type {
  ClientConnection,
  ClientConnectionHandler,
  ClientStream,
  ClientStreamHandler,
  ResetReason,
} from '../http/codec.ts'
import { HeaderMap, headerName, type RequestHead, ResponseHead } from '../http/headers.ts'
import type { ConnectionInfo, Transport } from '../listener/connection.ts'
import { TransportDuplex } from './transport-duplex.ts'

/** What a client connection is told; sizes in bytes. */
export interface Http2ClientSettings {
  /** Default 16 MiB, as Envoy's since 1.36. */
  readonly streamWindow: number
  /** Default 24 MiB. */
  readonly connectionWindow: number
}

/** Envoy's defaults (source/common/http/http2/codec_impl.h, http_option_limits.h). */
export const HTTP2_CLIENT_DEFAULTS: Http2ClientSettings = {
  streamWindow: 16 * 1024 * 1024,
  connectionWindow: 24 * 1024 * 1024,
}

const { NGHTTP2_REFUSED_STREAM, NGHTTP2_INTERNAL_ERROR, NGHTTP2_FLAG_END_STREAM } = http2.constants
type IncomingHead = http2.IncomingHttpHeaders & http2.IncomingHttpStatusHeader

const NOTHING = Buffer.alloc(0)
/** Fields of a connection, which have no place in HTTP/2 (RFC 9113 §8.2.2). */
const HOP = new Set([
  'connection',
  'keep-alive',
  'proxy-connection',
  'transfer-encoding',
  'upgrade',
  'http2-settings',
  'host',
])

/** Speaks HTTP/2 as the client on a connected transport, and takes it over. */
export function createHttp2ClientConnection(
  transport: Transport,
  settings: Http2ClientSettings,
  handler: ClientConnectionHandler,
): ClientConnection {
  return new Http2ClientConnection(transport, settings, handler)
}

class Http2ClientConnection implements ClientConnection {
  readonly protocol = 'HTTP/2'
  readonly info: ConnectionInfo
  readonly session: http2.ClientHttp2Session
  private readonly handler: ClientConnectionHandler
  private readonly streams = new Set<Http2ClientStream>()
  private closed = false

  constructor(transport: Transport, settings: Http2ClientSettings, handler: ClientConnectionHandler) {
    this.info = transport.info
    this.handler = handler
    const duplex = new TransportDuplex(transport, () => this.gone(true))
    this.session = http2.connect('http://upstream', {
      createConnection: () => duplex,
      settings: { enablePush: false, initialWindowSize: settings.streamWindow },
    })
    this.session.on('connect', () => this.session.setLocalWindowSize(settings.connectionWindow))
    this.session.on('goaway', () => handler.onDrain())
    // What goes wrong shows as the end of the streams and of the session.
    this.session.on('error', () => {})
    this.session.on('close', () => this.gone(true))
  }

  get activeStreams(): number {
    return this.streams.size
  }

  newStream(handler: ClientStreamHandler): ClientStream {
    const stream = new Http2ClientStream(this, handler)
    this.streams.add(stream)
    return stream
  }

  close(): void {
    this.gone(false)
    this.session.destroy()
  }

  /** A stream is over, however it ended. */
  over(stream: Http2ClientStream): void {
    if (this.streams.delete(stream) && !this.closed) this.handler.onIdle()
  }

  private gone(remote: boolean): void {
    if (this.closed) return
    this.closed = true
    const open = [...this.streams]
    this.streams.clear()
    for (const stream of open) stream.fail('connection termination')
    this.handler.onClose(remote, open.length > 0)
  }
}

class Http2ClientStream implements ClientStream {
  readonly connection: Http2ClientConnection
  private readonly handler: ClientStreamHandler
  private stream: http2.ClientHttp2Stream | undefined
  private trailersToSend: http2.OutgoingHttpHeaders = {}
  private trailers: HeaderMap | undefined
  private done = false
  /** END_STREAM has come. */
  private ended = false

  constructor(connection: Http2ClientConnection, handler: ClientStreamHandler) {
    this.connection = connection
    this.handler = handler
  }

  sendHeaders(head: RequestHead, endStream: boolean): void {
    const headers: http2.OutgoingHttpHeaders = {
      ':method': head.method,
      ':scheme': head.scheme === '' ? 'http' : head.scheme,
      ':authority': head.authority,
      ':path': head.path,
    }
    copyOut(head, headers)
    const { session } = this.connection
    if (session.closed || session.destroyed) {
      this.fail('connection termination')
      return
    }
    const stream = session.request(headers, { endStream, waitForTrailers: !endStream })
    this.stream = stream
    this.noticeEnd(stream)
    // The type declarations know nothing of the raw lines, which keep repeated names apart.
    const events: EventEmitter = stream
    events.on('headers', (got: IncomingHead, _flags: number, raw: string[]) =>
      this.handler.onInterim(responseHead(got, raw)),
    )
    events.on('response', (got: IncomingHead, flags: number, raw: string[]) => this.onResponse(got, flags, raw))
    events.on('trailers', (_got: IncomingHead, _flags: number, raw: string[]) => {
      this.trailers = copyIn(raw, new HeaderMap(128))
    })
    stream.on('drain', () => {
      if (!this.done) this.handler.onWritable()
    })
    stream.on('wantTrailers', () => stream.sendTrailers(this.trailersToSend))
    stream.on('error', () => {})
    stream.on('close', () => {
      this.fail(stream.rstCode === NGHTTP2_REFUSED_STREAM ? 'remote refused stream reset' : 'remote reset')
    })
  }

  sendData(chunk: Uint8Array, endStream: boolean): boolean {
    const { stream } = this
    if (stream === undefined || stream.destroyed || stream.writableEnded) return true
    // The stream writes later, the caller may reuse its bytes at once.
    const room = chunk.length === 0 || stream.write(Buffer.from(chunk))
    if (endStream) stream.end()
    return room
  }

  sendTrailers(trailers: HeaderMap): void {
    const { stream } = this
    if (stream === undefined || stream.destroyed || stream.writableEnded) return
    copyOut(trailers, this.trailersToSend)
    stream.end()
  }

  reset(): void {
    if (this.done) return
    this.finish()
    this.stream?.close(NGHTTP2_INTERNAL_ERROR)
  }

  pauseReading(): void {
    this.stream?.pause()
  }

  resumeReading(): void {
    this.stream?.resume()
  }

  /** The stream ended before its response was complete. */
  fail(reason: ResetReason): void {
    if (this.done) return
    this.finish()
    this.handler.onReset(reason, undefined)
  }

  private onResponse(got: IncomingHead, flags: number, raw: string[]): void {
    if (this.done) return
    const end = (flags & NGHTTP2_FLAG_END_STREAM) !== 0
    const stream = this.stream!
    if (end) {
      stream.resume()
      this.finish()
    } else {
      // Not before: data that is there already would overtake its head.
      stream.on('data', (chunk: Buffer) => {
        if (!this.done) this.handler.onData(chunk, false)
      })
      stream.on('end', () => this.complete())
    }
    this.handler.onHeaders(responseHead(got, raw), end)
  }

  /**
   * The stream's readable side ends alike after END_STREAM and after RST_STREAM with NO_ERROR; only before the
   * latter is it already closed when its end is pushed.
   */
  private noticeEnd(stream: http2.ClientHttp2Stream): void {
    const push = stream.push.bind(stream)
    stream.push = (chunk: unknown, encoding?: BufferEncoding): boolean => {
      if (chunk === null && !stream.closed) this.ended = true
      return push(chunk, encoding)
    }
  }

  private complete(): void {
    if (this.done || !this.ended) return
    this.finish()
    if (this.trailers !== undefined) this.handler.onTrailers(this.trailers)
    else this.handler.onData(NOTHING, true)
  }

  private finish(): void {
    this.done = true
    this.connection.over(this)
  }
}

function responseHead(headers: IncomingHead, raw: string[]): ResponseHead {
  return copyIn(raw, ResponseHead.create(headers[':status'] ?? 200))
}

/** Names and values in turn, as they came. */
function copyIn<T extends HeaderMap>(raw: readonly string[], to: T): T {
  for (let i = 0; i + 1 < raw.length; i += 2) {
    const name = raw[i]!
    if (!name.startsWith(':')) to.add(headerName(name), raw[i + 1]!)
  }
  return to
}

function copyOut(from: HeaderMap, to: http2.OutgoingHttpHeaders): void {
  from.forEach((name, value) => {
    if (HOP.has(name)) return
    const before = to[name]
    if (before === undefined) to[name] = value
    else to[name] = Array.isArray(before) ? [...before, value] : [String(before), value]
  })
}
