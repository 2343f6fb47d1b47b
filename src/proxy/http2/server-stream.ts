import type { EventEmitter } from 'node:events'
import type { OutgoingHttpHeaders, ServerHttp2Stream } from 'node:http2'
import type { ResetReason, ServerStream, ServerStreamHandler, StreamEnd } from '../http/codec.ts'
import type { HeaderMap, ResponseHead } from '../http/headers.ts'
import { H } from '../http/names.ts'
import { type TimerOwner, timerWheel, WheelTimer } from '../http/timer-wheel.ts'
import type { StreamFrames } from './frame-ledger.ts'
import { ErrorCode } from './frame-watch.ts'
import { noLines, readTrailers, writeLines } from './heads.ts'
import type { Http2ServerConnection } from './server-connection.ts'

const OWNER = Symbol('owner')
type Owned = ServerHttp2Stream & { [OWNER]: Http2ServerStream }

const unset: ServerStreamHandler = { onData() {}, onTrailers() {}, onReset() {}, onWritable() {} }
const NOTHING = Buffer.alloc(0)
const WITH_BODY = { waitForTrailers: true, sendDate: false }
const BARE = { endStream: true, sendDate: false }

/** One exchange on an HTTP/2 connection (ServerStreamImpl in source/common/http/http2/codec_impl.cc). */
export class Http2ServerStream implements ServerStream, TimerOwner {
  readonly connection: Http2ServerConnection
  readonly frames: StreamFrames
  handler: ServerStreamHandler = unset
  readonly upgraded = false
  private readonly stream: Owned
  private readonly isHead: boolean
  private readonly isConnect: boolean
  private trailersToSend: OutgoingHttpHeaders | undefined
  private trailers: HeaderMap | undefined
  private requestDone: boolean
  private responseDone = false
  /** The body of the answer goes nowhere. */
  private bodyless = false
  /** The handler expects no more. */
  private over = false
  /** The client has reset the stream. */
  private dropped = false
  /** What a request is cut short with after its answer. */
  private stopCode: number = ErrorCode.NO_ERROR
  /** Bytes counted in pending_send_bytes. */
  private pending = 0
  private readonly flushTimer = new WheelTimer(this, 0)

  constructor(
    connection: Http2ServerConnection,
    stream: ServerHttp2Stream,
    frames: StreamFrames,
    method: string,
    endStream: boolean,
  ) {
    this.connection = connection
    this.frames = frames
    this.isHead = method === 'HEAD'
    this.isConnect = method === 'CONNECT'
    this.requestDone = endStream
    this.stream = Object.assign(stream, { [OWNER]: this })
    listen(stream)
  }

  /** The handler knows of the request: what comes after its head is delivered from here on. */
  begin(): void {
    if (this.requestDone) this.stream.resume()
    else this.stream.on('data', onData)
  }

  sendInterim(head: ResponseHead): void {
    const { stream } = this
    if (this.over || stream.destroyed || stream.headersSent || head.status === 101) return
    const lines = writeLines(head, noLines())
    lines[':status'] = head.status
    stream.additionalHeaders(lines)
  }

  sendHeaders(head: ResponseHead, endStream: boolean): void {
    const { stream } = this
    if (this.over || stream.destroyed || stream.closed || stream.headersSent) return
    let { status } = head
    // What an upgrade's answer says in HTTP/1, an extended CONNECT's says by its status.
    if (status === 101 || (head.has(H.upgrade) && head.hasToken(H.connection, 'upgrade'))) {
      if (status === 101) status = 200
      if (head.get(H.contentLength) === '0') head.remove(H.contentLength)
    }
    const lines = noLines()
    lines[':status'] = status
    writeLines(head, lines)
    this.bodyless = this.isHead || status === 204 || status === 205 || status === 304
    try {
      stream.respond(lines, endStream || this.bodyless ? BARE : WITH_BODY)
    } catch {
      // A status that the library does not send (600 and more).
      stream.close(ErrorCode.INTERNAL_ERROR)
    }
    if (endStream) this.answered()
  }

  sendData(chunk: Uint8Array, endStream: boolean): boolean {
    const { stream } = this
    if (this.over || stream.destroyed || this.bodyless || stream.writableEnded) {
      if (endStream) this.answered()
      return true
    }
    // The stream writes later, the caller may reuse its bytes at once.
    const room = chunk.length === 0 || stream.write(Buffer.from(chunk))
    if (endStream) {
      stream.end()
      this.answered()
    } else if (!room) this.countPending(stream.writableLength)
    return room
  }

  sendTrailers(trailers: HeaderMap): void {
    const { stream } = this
    if (!this.over && !stream.destroyed && !stream.writableEnded && !this.bodyless) {
      this.trailersToSend = writeLines(trailers, noLines())
      stream.end()
    }
    this.answered()
  }

  reset(reason: ResetReason): void {
    if (this.over) return
    this.finish()
    this.close(resetCode(reason, this.isConnect))
  }

  pauseReading(): void {
    if (!this.requestDone) this.stream.pause()
  }

  resumeReading(): void {
    this.stream.resume()
  }

  connectFailed(): void {
    this.stopCode = ErrorCode.CONNECT_ERROR
  }

  /** The stream is gone before its time; nothing follows. */
  fail(why: StreamEnd): void {
    if (this.over) return
    this.finish()
    this.handler.onReset(why)
  }

  /** The answer is out, the request is not in: the client need not send the rest. */
  stopRequest(): void {
    if (this.frames.remoteEnded) return
    this.close(this.stopCode)
    // What has come and was not read would keep the stream.
    this.stream.resume()
  }

  /** The client has reset the stream. The library would go on waiting for what can no longer be written. */
  drop(): void {
    this.dropped = true
    if (this.over) this.stream.destroy()
  }

  private close(code: number): void {
    const { stream } = this
    if (!stream.destroyed && !stream.closed) stream.close(code)
  }

  /** The answer is complete here. It may have to wait for the client's window, but not for ever. */
  private answered(): void {
    this.responseDone = true
    const { flushTimeoutMs, runtime } = this.connection.options
    if (flushTimeoutMs > 0 && !this.frames.localEnded && !this.stream.destroyed) {
      timerWheel(runtime).start(this.flushTimer, flushTimeoutMs)
    }
    this.settle()
  }

  /** All of the answer has left. */
  flushed(): void {
    this.flushTimer.stop()
  }

  onTimer(): void {
    this.connection.stats.txFlushTimeout.inc()
    this.close(ErrorCode.INTERNAL_ERROR)
  }

  /** Both directions are complete: what becomes of the stream now concerns nobody. */
  private settle(): void {
    if (this.requestDone && this.responseDone) this.finish()
  }

  private finish(): void {
    if (this.over) return
    this.over = true
    if (this.dropped) this.stream.destroy()
    this.connection.streamOver()
  }

  private countPending(bytes: number): void {
    const { pendingSendBytes } = this.connection.stats
    pendingSendBytes.value += bytes - this.pending
    this.pending = bytes
  }

  onData(chunk: Buffer): void {
    if (!this.over && !this.requestDone) this.handler.onData(chunk, false)
  }

  onTrailers(raw: readonly string[]): void {
    this.trailers = readTrailers(raw)
  }

  onEnd(): void {
    if (this.requestDone || !this.frames.remoteEnded) return
    this.requestDone = true
    if (this.over) return
    if (this.trailers !== undefined) this.handler.onTrailers(this.trailers)
    else this.handler.onData(NOTHING, true)
    this.settle()
  }

  onDrain(): void {
    this.countPending(0)
    if (!this.over) this.handler.onWritable()
  }

  onWantTrailers(): void {
    const { stream } = this
    if (!stream.destroyed && !stream.closed) stream.sendTrailers(this.trailersToSend ?? noLines())
  }

  /** The stream was aborted, or is closed. */
  onGone(closed: boolean): void {
    this.countPending(0)
    this.flushTimer.stop()
    if (!this.over) {
      const words = this.connection.wordsFor(this.frames)
      if (words !== undefined) this.fail(words)
      // The library resets the stream, and has not said so to the peer yet.
      else setImmediate(() => this.fail(this.connection.wordsFor(this.frames) ?? { remote: true }))
    }
    if (closed) this.connection.streamClosed(this)
  }
}

const BROKEN: ReadonlySet<ResetReason> = new Set<ResetReason>([
  'connection termination',
  'local connection failure',
  'remote connection failure',
])

/** The code that stands for a reason (codec_impl.cc reasonToReset). */
function resetCode(reason: ResetReason, isConnect: boolean): number {
  // A CONNECT whose other end broke says so (RFC 9113 §8.5).
  if (isConnect && BROKEN.has(reason)) return ErrorCode.CONNECT_ERROR
  switch (reason) {
    case 'local refused stream reset':
      return ErrorCode.REFUSED_STREAM
    case 'remote error with CONNECT request':
      return ErrorCode.CONNECT_ERROR
    default:
      return ErrorCode.INTERNAL_ERROR
  }
}

function listen(stream: ServerHttp2Stream): void {
  // The type declarations know nothing of the raw lines, which keep repeated names apart.
  const events: EventEmitter = stream
  events.on('trailers', onTrailers)
  events.on('end', onEnd)
  events.on('drain', onDrain)
  events.on('wantTrailers', onWantTrailers)
  events.on('aborted', onAborted)
  events.on('close', onClose)
  // What goes wrong shows as the stream's end.
  events.on('error', ignore)
}

// One function for all streams: a closure for each event of each stream would cost more than the rest.

function onData(this: Owned, chunk: Buffer): void {
  this[OWNER].onData(chunk)
}
function onTrailers(this: Owned, _lines: unknown, _flags: number, raw: string[]): void {
  this[OWNER].onTrailers(raw)
}
function onEnd(this: Owned): void {
  this[OWNER].onEnd()
}
function onDrain(this: Owned): void {
  this[OWNER].onDrain()
}
function onWantTrailers(this: Owned): void {
  this[OWNER].onWantTrailers()
}
function onAborted(this: Owned): void {
  this[OWNER].onGone(false)
}
function onClose(this: Owned): void {
  this[OWNER].onGone(true)
}
function ignore(): void {}
