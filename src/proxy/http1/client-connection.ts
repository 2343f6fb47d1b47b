import type { ClientConnection, ClientConnectionHandler, ClientStreamHandler, ResetReason } from '../http/codec.ts'
import { type HeaderMap, type RequestHead, type ResponseHead, takeResponseHead } from '../http/headers.ts'
import type { ConnectionInfo, Transport, TransportHandler } from '../listener/connection.ts'
import { BodyReader, type BodySink } from './body-reader.ts'
import { type ByteOutput, byteOutput } from './byte-output.ts'
import { Http1ClientStream } from './client-stream.ts'
import { isUpgrade } from './connection-header.ts'
import { HeadReader } from './head-reader.ts'
import { INCOMPLETE } from './lines.ts'
import { CONTENT_LENGTH, TRANSFER_ENCODING, UPGRADE } from './names.ts'
import { ResponseParser } from './response-parser.ts'
import type { Http1ClientSettings } from './settings.ts'
import { readTrailers } from './trailers.ts'
import { Framing, writeBody, writeRequestHead, writeTrailers } from './write-message.ts'

const none = Buffer.alloc(0)

/** Methods whose requests usually have no body: without one they leave without `content-length: 0`. */
const bodyless = new Set(['GET', 'HEAD', 'DELETE', 'TRACE', 'CONNECT'])

/**
 * The client side of an HTTP/1 connection (ClientConnectionImpl in source/common/http/http1/codec_impl.cc).
 * One exchange at a time; the pool starts the next one when `onIdle` says so.
 */
export class Http1ClientConnection implements ClientConnection, TransportHandler, BodySink {
  readonly protocol = 'HTTP/1.1'
  readonly info: ConnectionInfo
  private readonly transport: Transport
  private readonly out: ByteOutput
  private readonly settings: Http1ClientSettings
  private readonly handler: ClientConnectionHandler
  private readonly parser: ResponseParser
  private readonly heads: HeadReader<ResponseHead>
  private readonly body = new BodyReader()
  /** The head being read; kept between reads that do not complete it. */
  private head: ResponseHead | undefined = undefined
  private active: Http1ClientStream | undefined = undefined
  private method = ''
  private requestDone = true
  private chunkedOut = false
  private wantsUpgrade = false
  private headersDone = false
  private raw = false
  private paused = false
  /** No further exchange may start. */
  private last = false
  private closing = false
  private closed = false
  private closedByPeer = false
  /** This side has ended a tunnel, and the connection with it. */
  private endedHere = false
  /** A stream was cut off. */
  private interrupted = false

  constructor(transport: Transport, settings: Http1ClientSettings, handler: ClientConnectionHandler) {
    this.transport = transport
    this.out = byteOutput(transport)
    this.info = transport.info
    this.settings = settings
    this.handler = handler
    this.parser = new ResponseParser(settings)
    this.heads = new HeadReader(this.parser, settings)
  }

  get activeStreams(): number {
    return this.active === undefined ? 0 : 1
  }

  /** Starts an exchange. Only when the connection is idle; on one that has closed, the stream is reset by the first send. */
  newStream(handler: ClientStreamHandler): Http1ClientStream {
    const stream = new Http1ClientStream(this, handler)
    if (this.active === undefined) this.active = stream
    this.method = ''
    this.requestDone = false
    this.headersDone = false
    this.raw = false
    this.wantsUpgrade = false
    this.chunkedOut = false
    return stream
  }

  close(): void {
    this.failStream('connection termination')
    this.shut(true)
  }

  // Sending.

  sendHeaders(stream: Http1ClientStream, head: RequestHead, endStream: boolean): void {
    if (stream !== this.active || this.method !== '') return
    if (this.closing) {
      this.failStream('connection termination')
      return
    }
    this.method = head.method
    this.wantsUpgrade = head.method === 'CONNECT' || (head.has(UPGRADE) && isUpgrade(head))
    head.remove(TRANSFER_ENCODING)
    let framing: number = Framing.NONE
    if (!this.wantsUpgrade && !head.has(CONTENT_LENGTH)) {
      if (!endStream) framing = Framing.CHUNKED
      else if (!bodyless.has(head.method)) framing = Framing.EMPTY
    }
    this.chunkedOut = framing === Framing.CHUNKED
    this.requestDone = endStream
    writeRequestHead(this.out, head, framing, this.settings.headerCase)
  }

  sendData(stream: Http1ClientStream, chunk: Uint8Array, endStream: boolean): boolean {
    if (stream !== this.active || this.requestDone) return true
    const room = writeBody(this.out, chunk, this.chunkedOut, endStream)
    if (endStream) this.requestComplete()
    return room
  }

  sendTrailers(stream: Http1ClientStream, trailers: HeaderMap): void {
    if (stream !== this.active || this.requestDone) return
    if (this.chunkedOut && this.settings.enableTrailers) writeTrailers(this.out, trailers, this.settings.headerCase)
    else writeBody(this.out, none, this.chunkedOut, true)
    this.requestComplete()
  }

  resetStream(stream: Http1ClientStream): void {
    if (stream !== this.active) return
    this.active = undefined
    this.interrupted = true
    this.shut(true)
  }

  pauseStream(stream: Http1ClientStream, pause: boolean): void {
    if (stream === this.active) this.setPaused(pause)
  }

  private requestComplete(): void {
    this.requestDone = true
    // The end of a tunnel is the connection's; an upgraded connection is left open, as Envoy does.
    if (!this.raw || this.method !== 'CONNECT') return
    this.endedHere = true
    this.interrupted = true
    this.out.flush()
    this.transport.end()
  }

  private setPaused(pause: boolean): void {
    if (pause === this.paused) return
    this.paused = pause
    if (pause) this.transport.pause()
    else this.transport.resume()
  }

  // Reading.

  onData(src: Buffer): void {
    const end = src.length
    let p = 0
    while (p < end && !this.closing) {
      const stream = this.active
      if (stream === undefined || this.method === '') {
        // Nobody asked for this: what it answers is unknown, so nothing after it can be trusted.
        this.failStream('protocol error')
        this.shut(true)
        return
      }
      if (this.raw) {
        stream.handler.onData(p === 0 ? src : src.subarray(p), false)
        return
      }
      if (this.headersDone) {
        p = this.body.read(src, p, end, this)
      } else {
        this.head ??= takeResponseHead()
        p = this.heads.read(src, p, end, this.head)
        if (p === INCOMPLETE) return
        if (p >= 0 && !this.begin(stream)) p = -2
      }
      if (p < 0) {
        this.failStream('protocol error')
        this.shut(true)
        return
      }
    }
  }

  onEnd(): void {
    this.closedByPeer = !this.closing
    this.ended()
    this.shut(false)
  }

  onDrain(): void {
    this.active?.handler.onWritable()
  }

  onClose(): void {
    if (this.closed) return
    this.closedByPeer ||= !this.closing
    this.closing = true
    this.ended()
    this.gone()
  }

  /** Told at once: the pool must not hand out a connection whose socket is still flushing. */
  private gone(): void {
    if (this.closed) return
    this.closed = true
    this.handler.onClose(this.closedByPeer && !this.endedHere, this.interrupted)
  }

  /** A head is complete. False: it must not be there. */
  private begin(stream: Http1ClientStream): boolean {
    const head = this.head!
    this.head = undefined
    const { parser } = this
    const status = head.status
    if (status < 200 && status !== 101) {
      stream.handler.onInterim(head)
      return true
    }
    this.headersDone = true
    this.raw = this.wantsUpgrade && (status === 101 || (this.method === 'CONNECT' && status < 300))
    if (parser.closes || this.raw) this.noMore(!this.raw)
    if (this.raw) {
      stream.handler.onHeaders(head, false)
      if (this.requestDone && stream === this.active) this.requestComplete()
      return true
    }
    if (this.hasNoBody(status)) {
      this.exchangeOver()
      stream.handler.onHeaders(head, true)
      this.afterExchange()
      return true
    }
    if (parser.chunked) this.body.startChunked(this.settings.maxHeadersKb * 1024)
    else if (parser.contentLength > 0) this.body.startLength(parser.contentLength)
    else this.body.startUntilClose()
    stream.handler.onHeaders(head, false)
    return true
  }

  private hasNoBody(status: number): boolean {
    // 101 that nobody asked for: passed on as it is, but what follows it is not understood.
    if (status === 101) this.noMore()
    if (this.method === 'HEAD' || status < 200 || status === 204 || status === 304) return true
    return this.parser.contentLength === 0
  }

  onBody(chunk: Buffer, end: boolean): void {
    const stream = this.active
    if (stream === undefined) return
    if (end) this.exchangeOver()
    stream.handler.onData(chunk, end)
    if (end) this.afterExchange()
  }

  onBodyEnd(trailerBytes: Buffer | undefined): void {
    const stream = this.active
    if (stream === undefined) return
    const trailers = trailerBytes === undefined ? undefined : readTrailers(trailerBytes, this.settings.maxHeadersCount)
    if (trailers === 'invalid') {
      this.failStream('protocol error')
      this.shut(true)
      return
    }
    this.exchangeOver()
    if (trailers === undefined || !this.settings.enableTrailers) stream.handler.onData(none, true)
    else stream.handler.onTrailers(trailers)
    this.afterExchange()
  }

  /** `told`: the upstream has said so. */
  private noMore(told = false): void {
    if (this.last) return
    this.last = true
    this.handler.onDrain(told)
  }

  private exchangeOver(): void {
    this.active = undefined
    this.setPaused(false)
  }

  /** The response is complete: the connection is free, unless one side has said it is the last, or the request is not. */
  private afterExchange(): void {
    if (this.closing || this.active !== undefined) return
    if (this.last || !this.requestDone) {
      this.interrupted ||= !this.requestDone
      this.noMore()
      this.shut(true)
    } else {
      this.handler.onIdle()
    }
  }

  /** The upstream sends no more. */
  private ended(): void {
    const stream = this.active
    if (stream === undefined) return
    if (!this.headersDone) {
      this.failStream(this.heads.isEmpty ? 'connection termination' : 'protocol error')
    } else if (this.raw || this.body.untilClose) {
      this.exchangeOver()
      this.body.abandon()
      stream.handler.onData(none, true)
    } else {
      this.failStream('protocol error')
    }
  }

  private failStream(reason: ResetReason): void {
    if (reason === 'protocol error') this.handler.onProtocolError?.()
    const stream = this.active
    if (stream === undefined) return
    this.active = undefined
    this.interrupted = true
    this.body.abandon()
    stream.handler.onReset(reason, this.info.transportFailure)
  }

  private shut(now: boolean): void {
    if (this.closing) return
    this.closing = true
    this.setPaused(false)
    this.out.flush()
    if (now) this.transport.destroy()
    else this.transport.close()
    this.gone()
  }
}
