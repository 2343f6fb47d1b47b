import type { EventEmitter } from 'node:events'
import http2 from 'node:http2'
import type { ClientStream, ClientStreamHandler, ResetReason } from '../http/codec.ts'
import { type HeaderMap, type RequestHead, ResponseHead } from '../http/headers.ts'
import { H } from '../http/names.ts'
import { type TimerOwner, timerWheel, WheelTimer } from '../http/timer-wheel.ts'
import type { Http2ClientConnection } from './client.ts'
import type { StreamFrames } from './frame-ledger.ts'
import { ErrorCode } from './frame-watch.ts'
import { noLines, readResponseLines, readTrailers, writeLines } from './heads.ts'

type IncomingHead = http2.IncomingHttpHeaders & http2.IncomingHttpStatusHeader

const OWNER = Symbol('owner')
type Owned = http2.ClientHttp2Stream & { [OWNER]: Http2ClientStream }

const NOTHING = Buffer.alloc(0)
const END_STREAM = http2.constants.NGHTTP2_FLAG_END_STREAM
const WITH_BODY = { endStream: false, waitForTrailers: true }
const BARE = { endStream: true, waitForTrailers: false }
/** How long the last bytes of a body wait for the end of their stream, ms. */
const END_MS = 20

/** One exchange on an upstream HTTP/2 connection (ClientStreamImpl in source/common/http/http2/codec_impl.cc). */
export class Http2ClientStream implements ClientStream, TimerOwner {
  readonly connection: Http2ClientConnection
  private readonly handler: ClientStreamHandler
  private stream: Owned | undefined
  private trailersToSend: http2.OutgoingHttpHeaders | undefined
  private trailers: HeaderMap | undefined
  /** What an upgrade asks for, while it is an extended CONNECT on the wire. */
  private upgradeType = ''
  private responded = false
  private done = false
  /** The server has reset the stream. */
  private dropped = false
  private pending = 0
  /** Bytes of the body that are to come, as its head says; -1: it does not say. */
  private remaining = -1
  /**
   * The last bytes of a body whose length was told. Many servers (Node's for one) end the stream in a frame of its own, a
   * moment later. A client of HTTP/1 that has all its bytes may hang up before, and what went well would be logged as a
   * disconnect.
   */
  private last: Buffer | undefined
  private endTimer: WheelTimer | undefined

  constructor(connection: Http2ClientConnection, handler: ClientStreamHandler) {
    this.connection = connection
    this.handler = handler
  }

  sendHeaders(head: RequestHead, endStream: boolean): void {
    const { session } = this.connection
    if (session.closed || session.destroyed) {
      this.fail('connection termination')
      return
    }
    const stream = session.request(this.lines(head), endStream ? BARE : WITH_BODY)
    this.stream = Object.assign(stream, { [OWNER]: this })
    listen(stream)
    // The first streams of a connection get their numbers later.
    if (stream.id !== undefined) this.onReady()
  }

  private lines(head: RequestHead): http2.OutgoingHttpHeaders {
    const lines = noLines()
    const upgrade = head.has(H.upgrade) && head.hasToken(H.connection, 'upgrade')
    lines[':method'] = upgrade ? 'CONNECT' : head.method
    lines[':authority'] = head.authority
    if (upgrade || head.method !== 'CONNECT') {
      lines[':scheme'] = head.scheme === '' ? 'http' : head.scheme
      lines[':path'] = head.path
    }
    if (upgrade) {
      this.upgradeType = head.get(H.upgrade)!
      lines[':protocol'] = this.upgradeType
    }
    writeLines(head, lines)
    if (upgrade && lines['content-length'] === '0') delete lines['content-length']
    return lines
  }

  sendData(chunk: Uint8Array, endStream: boolean): boolean {
    const { stream } = this
    if (stream === undefined || stream.destroyed || stream.writableEnded) return true
    // The stream writes later, the caller may reuse its bytes at once.
    const room = chunk.length === 0 || stream.write(Buffer.from(chunk))
    if (endStream) stream.end()
    else if (!room) this.countPending(stream.writableLength)
    return room
  }

  sendTrailers(trailers: HeaderMap): void {
    const { stream } = this
    if (stream === undefined || stream.destroyed || stream.writableEnded) return
    this.trailersToSend = writeLines(trailers, noLines())
    stream.end()
  }

  reset(): void {
    const { stream } = this
    const frames = this.frames()
    if (!this.done) this.finish()
    else if (frames === undefined || frames.localEnded) return
    this.connection.streamReset('local reset')
    if (frames !== undefined) frames.abandoned = true
    if (stream !== undefined && !stream.destroyed && !stream.closed) stream.close(ErrorCode.INTERNAL_ERROR)
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
    this.connection.streamReset(reason)
    this.finish()
    this.handler.onReset(reason, undefined)
  }

  private frames(): StreamFrames | undefined {
    return this.connection.ledger.streams.get(this.stream?.id ?? 0)
  }

  private finish(): void {
    this.done = true
    this.last = undefined
    this.endTimer?.stop()
    if (this.dropped) this.stream!.destroy()
    this.connection.over(this)
  }

  private countPending(bytes: number): void {
    const { pendingSendBytes } = this.connection.options.stats
    pendingSendBytes.value += bytes - this.pending
    this.pending = bytes
  }

  onReady(): void {
    this.connection.byId.set(this.stream!.id!, this)
  }

  /** The server has reset the stream. The library would go on waiting for what can no longer be written. */
  drop(): void {
    this.dropped = true
    if (this.done) this.stream!.destroy()
  }

  onInterim(got: IncomingHead, raw: readonly string[]): void {
    if (!this.done) this.handler.onInterim(responseHead(got, raw))
  }

  onResponse(got: IncomingHead, flags: number, raw: readonly string[]): void {
    const stream = this.stream!
    if (this.done) return
    const { connection } = this
    const head = responseHead(got, raw)
    if (head.count + 1 > connection.options.maxHeadersCount) {
      connection.options.stats.headerOverflow.inc()
      stream.close(ErrorCode.INTERNAL_ERROR)
      this.fail('remote reset')
      return
    }
    head.wireSize = this.frames()?.headBytes ?? 0
    if (this.upgradeType !== '' && head.status === 200) {
      head.status = 101
      head.set(H.upgrade, this.upgradeType)
      head.set(H.connection, 'upgrade')
    }
    const end = (flags & END_STREAM) !== 0
    this.responded = true
    if (end) {
      stream.resume()
      this.finish()
    } else {
      const length = head.get(H.contentLength)
      if (length !== undefined && this.upgradeType === '') this.remaining = Number(length)
      // Not before: data that is there already would overtake its head.
      stream.on('data', onData)
    }
    this.handler.onHeaders(head, end)
  }

  onData(chunk: Buffer): void {
    if (this.done) return
    if (this.remaining > 0) {
      this.remaining -= chunk.length
      if (this.remaining === 0 && this.frames()?.remoteEnded === false) {
        this.last = chunk
        this.endTimer ??= new WheelTimer(this, 0)
        timerWheel(this.connection.options.runtime).start(this.endTimer, END_MS)
        return
      }
    }
    this.handler.onData(chunk, false)
  }

  /** The end of the stream takes its time. */
  onTimer(): void {
    this.releaseLast()
  }

  private releaseLast(): void {
    const { last } = this
    if (last === undefined) return
    this.last = undefined
    this.endTimer?.stop()
    this.handler.onData(last, false)
  }

  onTrailers(raw: readonly string[]): void {
    this.trailers = readTrailers(raw)
  }

  onEnd(): void {
    if (this.done || !this.responded || this.frames()?.remoteEnded !== true) return
    if (this.trailers !== undefined) this.releaseLast()
    if (this.done) return
    const last = this.last ?? NOTHING
    this.finish()
    if (this.trailers !== undefined) this.handler.onTrailers(this.trailers)
    else this.handler.onData(last, true)
  }

  onDrain(): void {
    this.countPending(0)
    if (!this.done) this.handler.onWritable()
  }

  onWantTrailers(): void {
    const { stream } = this
    if (stream !== undefined && !stream.destroyed && !stream.closed)
      stream.sendTrailers(this.trailersToSend ?? noLines())
  }

  onClose(): void {
    this.countPending(0)
    const frames = this.frames()
    const code = this.stream!.rstCode
    const { id } = this.stream!
    if (id !== undefined) this.connection.byId.delete(id)
    if (frames !== undefined) this.connection.ledger.forget(frames.id)
    this.releaseLast()
    if (!this.done) this.fail(this.connection.broken ? 'protocol error' : resetReason(code, frames))
  }
}

/** What the end of a stream means (codec_impl.cc onStreamClose). */
function resetReason(code: number, frames: StreamFrames | undefined): ResetReason {
  if (frames?.verdict !== undefined) return 'protocol error'
  if (code === ErrorCode.REFUSED_STREAM) return 'remote refused stream reset'
  return code === ErrorCode.CONNECT_ERROR ? 'remote error with CONNECT request' : 'remote reset'
}

function responseHead(lines: IncomingHead, raw: readonly string[]): ResponseHead {
  return readResponseLines(raw, ResponseHead.create(lines[':status'] ?? 200))
}

function listen(stream: http2.ClientHttp2Stream): void {
  // The type declarations know nothing of the raw lines, which keep repeated names apart.
  const events: EventEmitter = stream
  events.on('ready', onReady)
  events.on('headers', onInterim)
  events.on('response', onResponse)
  events.on('trailers', onTrailers)
  events.on('end', onEnd)
  events.on('drain', onDrain)
  events.on('wantTrailers', onWantTrailers)
  events.on('close', onClose)
  // What goes wrong shows as the stream's end.
  events.on('error', ignore)
}

// One function for all streams: a closure for each event of each stream would cost more than the rest.

function onReady(this: Owned): void {
  this[OWNER].onReady()
}
function onInterim(this: Owned, lines: IncomingHead, _flags: number, raw: string[]): void {
  this[OWNER].onInterim(lines, raw)
}
function onResponse(this: Owned, lines: IncomingHead, flags: number, raw: string[]): void {
  this[OWNER].onResponse(lines, flags, raw)
}
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
function onClose(this: Owned): void {
  this[OWNER].onClose()
}
function ignore(): void {}
