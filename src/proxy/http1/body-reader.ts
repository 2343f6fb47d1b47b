import { CR, hexDigit, LF, SP, TAB } from './chars.ts'

/** Whom the reader hands a body to. Any of these may end the reading by calling `BodyReader.abandon`. */
export interface BodySink {
  onBody(chunk: Buffer, end: boolean): void
  /** A chunked body is complete. `trailers`: the lines behind it, up to and with the blank line; undefined when there is only that. */
  onBodyEnd(trailers: Buffer | undefined): void
}

/** The framing was broken. */
export const BODY_ERROR = -2
/** The trailers are larger than a head may be. */
export const TRAILERS_TOO_LARGE = -3

const NONE = 0
const LENGTH = 1
const UNTIL_CLOSE = 2
const SIZE_FIRST = 3
const SIZE = 4
const EXTENSION = 5
const SIZE_LF = 6
const DATA = 7
const DATA_END = 8
const TRAILER_START = 10
const TRAILER_LINE = 11
const TRAILER_LF = 12

/**
 * Reads the body of one message after another: by length, chunked, or until the connection closes.
 *
 * Chunk extensions, blanks behind a size and junk up to the LF behind a chunk's data are skipped, as Envoy
 * does; nothing of that is ever passed on, since a body leaves with framing of our own. A size line must end
 * in CRLF.
 */
export class BodyReader {
  private state = NONE
  private remaining = 0
  private digits = 0
  private trailerLimit = 0
  private trailers: Buffer[] = []
  private trailerSize = 0

  startLength(n: number): void {
    this.state = LENGTH
    this.remaining = n
  }

  startUntilClose(): void {
    this.state = UNTIL_CLOSE
  }

  startChunked(trailerLimit: number): void {
    this.state = SIZE_FIRST
    this.trailerLimit = trailerLimit
    this.trailerSize = 0
    this.trailers.length = 0
  }

  /** Stops reading: the message is of no interest any more. */
  abandon(): void {
    this.state = NONE
  }

  /** The body ends when the connection does. */
  get untilClose(): boolean {
    return this.state === UNTIL_CLOSE
  }

  get active(): boolean {
    return this.state !== NONE
  }

  /** Reads on from `pos`; returns where it stopped (`end`, or behind the body), or an error above. */
  read(src: Buffer, pos: number, end: number, sink: BodySink): number {
    if (this.state === LENGTH) return this.readLength(src, pos, end, sink)
    if (this.state === UNTIL_CLOSE) {
      sink.onBody(view(src, pos, end), false)
      return end
    }
    return this.readChunks(src, pos, end, sink)
  }

  private readLength(src: Buffer, pos: number, end: number, sink: BodySink): number {
    const n = end - pos
    if (n < this.remaining) {
      this.remaining -= n
      sink.onBody(view(src, pos, end), false)
      return end
    }
    const stop = pos + this.remaining
    this.state = NONE
    sink.onBody(view(src, pos, stop), true)
    return stop
  }

  private readChunks(src: Buffer, pos: number, end: number, sink: BodySink): number {
    let p = pos
    while (p < end) {
      const c = src[p]!
      switch (this.state) {
        case SIZE_FIRST:
        case SIZE: {
          const digit = hexDigit[c]!
          if (digit !== 0) {
            if (this.state === SIZE_FIRST) this.remaining = this.digits = 0
            this.state = SIZE
            this.remaining = this.remaining * 16 + digit - 1
            // 64 bits are the most; leading zeros do not count.
            if (this.remaining > 0 && ++this.digits > 16) return BODY_ERROR
          } else if (this.state === SIZE_FIRST) {
            return BODY_ERROR
          } else if (c === CR) {
            this.state = SIZE_LF
          } else if (c === 59 || c === SP || c === TAB) {
            this.state = EXTENSION
          } else {
            return BODY_ERROR
          }
          p++
          break
        }
        case EXTENSION:
          if (c === LF) return BODY_ERROR
          if (c === CR) this.state = SIZE_LF
          p++
          break
        case SIZE_LF:
          if (c !== LF) return BODY_ERROR
          this.state = this.remaining === 0 ? TRAILER_START : DATA
          p++
          break
        case DATA: {
          const stop = end - p < this.remaining ? end : p + this.remaining
          this.remaining -= stop - p
          if (this.remaining === 0) this.state = DATA_END
          const chunk = view(src, p, stop)
          p = stop
          sink.onBody(chunk, false)
          break
        }
        case DATA_END:
          if (c === LF) this.state = SIZE_FIRST
          p++
          break
        default: {
          const stop = this.readTrailers(src, p, end)
          if (stop < 0) return stop
          if (this.state === NONE) {
            sink.onBodyEnd(this.trailerSize > 2 ? Buffer.concat(this.trailers) : undefined)
            return stop
          }
          return stop
        }
      }
      if (this.state === NONE) return p
    }
    return p
  }

  /**
   * Finds the blank line that ends the trailers. They are kept even when they will be dropped: what is no
   * header line is an error all the same.
   */
  private readTrailers(src: Buffer, pos: number, end: number): number {
    let p = pos
    if (this.trailerSize === 0 && end - p > 1 && src[p] === CR && src[p + 1] === LF) {
      this.state = NONE
      return p + 2
    }
    for (; p < end && this.state !== NONE; p++) {
      const c = src[p]!
      if (this.state === TRAILER_LINE) {
        if (c === LF) this.state = TRAILER_START
      } else if (c === LF) {
        this.state = NONE
      } else {
        this.state = c === CR && this.state === TRAILER_START ? TRAILER_LF : TRAILER_LINE
      }
    }
    this.trailerSize += p - pos
    if (this.trailerSize > this.trailerLimit) return TRAILERS_TOO_LARGE
    this.trailers.push(Buffer.from(src.subarray(pos, p)))
    return p
  }
}

function view(src: Buffer, pos: number, end: number): Buffer {
  return pos === 0 && end === src.length ? src : src.subarray(pos, end)
}
