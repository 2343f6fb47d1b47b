import type { Timer } from '../../runtime.ts'
import type { ServerConnection, ServerConnectionHandler } from '../http/codec.ts'
import { type HeaderMap, RequestHead, ResponseHead } from '../http/headers.ts'
import type { ConnectionInfo, Transport, TransportHandler } from '../listener/connection.ts'
import { atTurnEnd, type TurnTask } from '../net/turn.ts'
import { BodyReader, type BodySink, TRAILERS_TOO_LARGE } from './body-reader.ts'
import { type ByteOutput, byteOutput } from './byte-output.ts'
import { HeadReader } from './head-reader.ts'
import { INCOMPLETE } from './lines.ts'
import { CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, TRANSFER_ENCODING } from './names.ts'
import { reasonPhrase } from './reasons.ts'
import { type Refusal, RequestParser, refusals } from './request-parser.ts'
import { Http1ServerStream } from './server-stream.ts'
import type { Http1Settings } from './settings.ts'
import { readTrailers } from './trailers.ts'
import { Framing, writeBody, writeResponseHead, writeTrailers } from './write-message.ts'

const none = Buffer.alloc(0)

/**
 * The server side of an HTTP/1 connection (ServerConnectionImpl in source/common/http/http1/codec_impl.cc).
 * One exchange at a time: bytes of later requests wait until it is over.
 */
export class Http1ServerConnection implements ServerConnection, TransportHandler, BodySink, TurnTask {
  readonly info: ConnectionInfo
  private readonly transport: Transport
  private readonly out: ByteOutput
  private readonly settings: Http1Settings
  private readonly handler: ServerConnectionHandler
  private readonly parser: RequestParser
  private readonly heads: HeadReader<RequestHead>
  private readonly body = new BodyReader()
  /** The head of the current request; its bytes are overwritten by the next. */
  private readonly head = new RequestHead(1024)
  private active: Http1ServerStream | undefined = undefined
  private version: 10 | 11 = 11
  /** The request of the current exchange is complete; or its response. */
  private requestDone = true
  private responseStarted = false
  private chunkedOut = false
  private bodyAllowed = true
  private raw = false
  private upgraded = false
  private draining = false
  /** The handler knows of a head that waits for its rest. */
  private headBegun = false
  private closeAfter = false
  /** No more requests are read; what still comes is dropped. */
  private closing = false
  private closed = false
  private processing = false
  /** The handler is being told of a request: what it answers at once, Envoy answers before it has taken note of the request's end. */
  private dispatching = false
  /** Bytes that wait for the current exchange to end, from `heldAt` on. */
  private held: Buffer | undefined = undefined
  private heldAt = 0
  private pausedByStream = false
  private paused = false
  private lastCall: Timer | undefined = undefined

  constructor(transport: Transport, settings: Http1Settings, handler: ServerConnectionHandler) {
    this.transport = transport
    this.out = byteOutput(transport)
    this.info = transport.info
    this.settings = settings
    this.handler = handler
    this.parser = new RequestParser(settings, transport.info.tls !== undefined)
    this.heads = new HeadReader(this.parser, settings)
  }

  get protocol(): 'HTTP/1.0' | 'HTTP/1.1' {
    return this.version === 10 ? 'HTTP/1.0' : 'HTTP/1.1'
  }

  get activeStreams(): number {
    return this.active === undefined ? 0 : 1
  }

  drain(): void {
    this.draining = true
    if (this.active === undefined && !this.closing && this.held === undefined && this.heads.isEmpty) this.finish(false)
  }

  close(): void {
    if (this.closed) return
    const stream = this.active
    this.active = undefined
    this.finish(false)
    stream?.handler.onReset({ remote: false })
  }

  isUpgraded(stream: Http1ServerStream): boolean {
    return this.upgraded && stream === this.active
  }

  // Reading.

  onData(chunk: Buffer): void {
    if (this.closing) return
    if (this.held !== undefined || (this.active !== undefined && this.requestDone)) this.hold(chunk, 0)
    else this.process(chunk, 0)
  }

  onEnd(): void {
    const stream = this.active
    this.active = undefined
    this.finish(false)
    stream?.handler.onReset({ remote: true })
  }

  onDrain(): void {
    this.active?.handler.onWritable()
  }

  onClose(): void {
    if (this.closed) return
    this.closed = true
    this.closing = true
    this.lastCall?.cancel()
    const stream = this.active
    this.active = undefined
    stream?.handler.onReset({ remote: true })
    this.handler.onClose()
  }

  /** The exchange before is over: reads the requests that waited. */
  runAtTurnEnd(): void {
    const held = this.held
    if (held === undefined || this.active !== undefined || this.closing) return
    this.held = undefined
    this.process(held, this.heldAt, true)
    this.updateReading()
  }

  private hold(bytes: Buffer, at: number): void {
    const held = this.held
    this.held =
      held === undefined ? Buffer.from(bytes.subarray(at)) : Buffer.concat([held.subarray(this.heldAt), bytes])
    this.heldAt = 0
    this.updateReading()
  }

  /** Keeps the rest of what was held before: no copy, a long pipeline would be copied for each of its requests. */
  private holdRest(held: Buffer, at: number): void {
    this.held = held
    this.heldAt = at
  }

  private process(src: Buffer, pos: number, wasHeld = false): void {
    const end = src.length
    let p = pos
    this.processing = true
    while (p < end && !this.closing) {
      if (this.raw) {
        this.active?.handler.onData(p === 0 ? src : src.subarray(p), false)
        break
      }
      if (this.body.active) {
        p = this.body.read(src, p, end, this)
        if (p < 0) {
          this.failBody(p === TRAILERS_TOO_LARGE ? refusals.trailersTooLarge : refusals.codecError)
          break
        }
      } else if (this.active !== undefined) {
        if (wasHeld) this.holdRest(src, p)
        else this.hold(src, p)
        break
      } else {
        p = this.heads.read(src, p, end, this.head)
        if (p === INCOMPLETE) {
          if (!this.headBegun && !this.heads.isEmpty) {
            this.headBegun = true
            this.handler.onHeadBegun?.()
          }
          break
        }
        this.headBegun = false
        if (p < 0) {
          this.refuse(this.parser.refusal)
          break
        }
        this.begin()
      }
    }
    this.processing = false
  }

  private begin(): void {
    const { parser, head } = this
    const stream = new Http1ServerStream(this)
    this.active = stream
    this.version = head.version === 11 ? 11 : 10
    this.closeAfter = parser.closes
    this.responseStarted = false
    this.chunkedOut = false
    this.bodyAllowed = head.method !== 'HEAD'
    this.raw = parser.upgrade
    this.requestDone = false
    if (!this.raw) {
      if (parser.chunked) this.body.startChunked(this.settings.maxHeadersKb * 1024)
      else if (parser.contentLength > 0) this.body.startLength(parser.contentLength)
      else this.requestDone = true
    }
    this.dispatching = true
    this.handler.onRequest(stream, head, this.requestDone)
    this.dispatching = false
  }

  onBody(chunk: Buffer, end: boolean): void {
    if (end) this.requestDone = true
    this.active?.handler.onData(chunk, end)
  }

  onBodyEnd(trailerBytes: Buffer | undefined): void {
    const trailers = trailerBytes === undefined ? undefined : readTrailers(trailerBytes, this.settings.maxHeadersCount)
    if (trailers === 'invalid') {
      this.failBody(refusals.codecError)
      return
    }
    this.requestDone = true
    if (trailers === undefined || !this.settings.enableTrailers) this.active?.handler.onData(none, true)
    else this.active?.handler.onTrailers(trailers)
  }

  // Refusing.

  /** Answers what could not be read as a request, and closes. */
  private refuse(why: Refusal): void {
    const bytesSent = this.answer(why)
    this.handler.onCodecError({ status: why.status, details: why.details, head: undefined, bytesSent })
  }

  /** The body of the current request is broken. */
  private failBody(why: Refusal): void {
    const stream = this.active
    this.active = undefined
    this.body.abandon()
    const status = this.responseStarted ? 0 : why.status
    const bytesSent = this.responseStarted ? 0 : this.answer(why, reasonPhrase(why.status), this.head.method !== 'HEAD')
    this.finish(true)
    stream?.handler.onReset({ remote: false, error: why.details, status, bytesSent })
  }

  refuseHead(status: number, text: string): void {
    if (this.active === undefined && !this.closing) this.answer({ status, details: '' }, text)
  }

  private answer(why: Refusal, text: string = reasonPhrase(why.status), withBody = true): number {
    const head = ResponseHead.create(why.status)
    head.add(CONTENT_LENGTH, String(text.length))
    head.add(CONTENT_TYPE, 'text/plain')
    this.settings.decorate(head)
    head.set(CONNECTION, 'close')
    writeResponseHead(this.out, head, 11, Framing.NONE, this.settings.headerCase)
    if (withBody) writeBody(this.out, Buffer.from(text), false, true)
    this.finish(true)
    return withBody ? text.length : 0
  }

  // Answering.

  sendInterim(stream: Http1ServerStream, head: ResponseHead): void {
    if (stream !== this.active || this.responseStarted) return
    writeResponseHead(this.out, head, 11, Framing.NONE, this.settings.headerCase)
  }

  sendHeaders(stream: Http1ServerStream, head: ResponseHead, endStream: boolean): void {
    if (stream !== this.active || this.responseStarted) return
    this.responseStarted = true
    const status = head.status
    const isConnect = this.head.method === 'CONNECT'
    head.remove(TRANSFER_ENCODING)
    let framing: number = Framing.NONE
    if (this.raw && (status === 101 || (isConnect && status >= 200 && status < 300))) {
      this.upgraded = true
    } else {
      const noBody = status < 200 || status === 204 || status === 304
      if (noBody) this.bodyAllowed = false
      if (!noBody && !head.has(CONTENT_LENGTH)) {
        if (endStream && this.head.method !== 'HEAD') framing = Framing.EMPTY
        else if (this.version === 11 && !isConnect) framing = Framing.CHUNKED
        else if (this.bodyAllowed) this.closeAfter = true
        this.chunkedOut = framing === Framing.CHUNKED && this.bodyAllowed
      }
      if (this.draining || !this.requestDone) this.closeAfter = true
      if (this.closeAfter) head.set(CONNECTION, 'close')
      else if (this.version === 10) head.set(CONNECTION, 'keep-alive')
    }
    writeResponseHead(this.out, head, this.version, framing, this.settings.headerCase)
    if (endStream) this.responseComplete()
  }

  sendData(stream: Http1ServerStream, chunk: Uint8Array, endStream: boolean): boolean {
    if (stream !== this.active || !this.responseStarted) return true
    const room = this.bodyAllowed ? writeBody(this.out, chunk, this.chunkedOut, endStream) : true
    if (endStream) this.responseComplete()
    return room
  }

  sendTrailers(stream: Http1ServerStream, trailers: HeaderMap): void {
    if (stream !== this.active || !this.responseStarted) return
    if (this.chunkedOut && this.settings.enableTrailers) writeTrailers(this.out, trailers, this.settings.headerCase)
    else if (this.bodyAllowed) writeBody(this.out, none, this.chunkedOut, true)
    this.responseComplete()
  }

  resetStream(stream: Http1ServerStream): void {
    if (stream !== this.active) return
    this.active = undefined
    this.body.abandon()
    this.finish(true)
  }

  pauseStream(stream: Http1ServerStream, pause: boolean): void {
    if (stream !== this.active) return
    this.pausedByStream = pause
    this.updateReading()
  }

  private responseComplete(): void {
    this.active = undefined
    this.pausedByStream = false
    if (this.closeAfter || this.upgraded || !this.requestDone) {
      this.body.abandon()
      // Who has not finished sending would be reset by a close at once, and never see the answer.
      const delayed = (!this.requestDone || this.dispatching) && !this.upgraded
      if (!delayed && !this.upgraded && (this.parser.closes || this.version === 10)) this.handler.onClosing?.()
      this.finish(delayed)
      return
    }
    if (this.held !== undefined && !this.processing) atTurnEnd(this)
    if (this.paused && this.held === undefined) this.updateReading()
  }

  private updateReading(): void {
    const pause = this.pausedByStream || this.held !== undefined
    if (pause === this.paused) return
    this.paused = pause
    if (pause) this.transport.pause()
    else this.transport.resume()
  }

  /**
   * Closes once everything written has left. `delayed`: without a FIN, so that the peer can read the answer
   * and close first; it has `delayedCloseMs` for that.
   */
  private finish(delayed: boolean): void {
    if (this.closed) return
    this.closing = true
    this.held = undefined
    this.pausedByStream = false
    this.updateReading()
    this.out.flush()
    if (delayed && this.settings.delayedCloseMs > 0) {
      this.lastCall ??= this.settings.runtime.after(this.settings.delayedCloseMs, () => {
        this.handler.onCloseTimeout?.()
        this.transport.destroy()
      })
    } else {
      this.lastCall?.cancel()
      this.transport.close()
    }
  }
}
