/** Frame types (RFC 9113 §6). */
export const Frame = {
  DATA: 0,
  HEADERS: 1,
  PRIORITY: 2,
  RST_STREAM: 3,
  SETTINGS: 4,
  PING: 6,
  GOAWAY: 7,
  WINDOW_UPDATE: 8,
  CONTINUATION: 9,
} as const

/** Flags of frames: END_STREAM and ACK share a bit. */
export const Flag = { END_STREAM: 1, ACK: 1, PADDED: 8 } as const

/** Error codes (RFC 9113 §7) that the proxy sends or tells apart. */
export const ErrorCode = {
  NO_ERROR: 0,
  PROTOCOL_ERROR: 1,
  INTERNAL_ERROR: 2,
  REFUSED_STREAM: 7,
  CANCEL: 8,
  CONNECT_ERROR: 10,
  ENHANCE_YOUR_CALM: 11,
} as const

/** Who is told of frames. */
export interface FrameObserver {
  /**
   * A frame passes; its payload may not have yet. `code`: the error code of RST_STREAM and GOAWAY, the padding of
   * DATA, else 0. `last`: the last stream id of GOAWAY, else 0.
   */
  onFrame(type: number, flags: number, stream: number, length: number, code: number, last: number): void
}

/**
 * May change a PING, or a GOAWAY with the first 8 bytes of its payload, that lies in one piece at `at`, after the
 * observer has seen it.
 */
export type Retouch = (chunk: Uint8Array, at: number, type: number) => void

const HEADER = 9
/** Bytes of payload that are looked at. */
const PEEK = 8

/**
 * Follows the frames of one direction as their bytes pass by. `node:http2` keeps to itself why a stream ended, which
 * frames came, and what it answered by itself; counters, limits and logs need to know.
 */
export class FrameWatch {
  private readonly observer: FrameObserver
  private readonly retouch: Retouch | undefined
  /** Bytes to pass over: the connection preface, the rest of a payload. */
  private skip: number
  private readonly head = Buffer.alloc(HEADER + PEEK)
  private have = 0
  private want = HEADER

  /** `preface`: bytes before the first frame. */
  constructor(observer: FrameObserver, preface: number, retouch?: Retouch) {
    this.observer = observer
    this.retouch = retouch
    this.skip = preface
  }

  /** The bytes so far end where a frame does. */
  get betweenFrames(): boolean {
    return this.skip === 0 && this.have === 0
  }

  /** Bytes that pass. The observer is called in here. */
  feed(chunk: Uint8Array): void {
    const end = chunk.length
    let at = 0
    while (at < end) {
      if (this.skip > 0) {
        const n = Math.min(this.skip, end - at)
        this.skip -= n
        at += n
        continue
      }
      const { head } = this
      const stop = Math.min(end, at + this.want - this.have)
      while (at < stop) head[this.have++] = chunk[at++]!
      if (this.have < this.want) continue
      this.advance()
      if (this.retouch !== undefined && this.have === 0) this.mend(chunk, at)
    }
  }

  /** The frame that was just looked at, up to `end`, is about to reach the library. */
  private mend(chunk: Uint8Array, end: number): void {
    const type = this.head[3]!
    if (type !== Frame.GOAWAY && type !== Frame.PING) return
    const start = end - HEADER - (type === Frame.GOAWAY ? PEEK : 0)
    if (start >= 0) this.retouch!(chunk, start, type)
  }

  private advance(): void {
    const { head } = this
    const length = (head[0]! << 16) | (head[1]! << 8) | head[2]!
    const type = head[3]!
    const flags = head[4]!
    if (this.want === HEADER) {
      const peek = Math.min(length, peeked(type, flags))
      if (peek > 0) {
        this.want = HEADER + peek
        return
      }
    }
    const peek = this.want - HEADER
    this.skip = length - peek
    this.have = 0
    this.want = HEADER
    let code = 0
    let last = 0
    if (type === Frame.RST_STREAM && peek === 4) code = head.readUInt32BE(HEADER)
    else if (type === Frame.GOAWAY && peek === 8) {
      last = head.readUInt32BE(HEADER) & 0x7fffffff
      code = head.readUInt32BE(HEADER + 4)
    } else if (type === Frame.DATA && peek === 1) code = head[HEADER]! + 1
    this.observer.onFrame(type, flags, head.readUInt32BE(5) & 0x7fffffff, length, code, last)
  }
}

/** How much of a payload is looked at. */
function peeked(type: number, flags: number): number {
  if (type === Frame.RST_STREAM) return 4
  if (type === Frame.GOAWAY) return 8
  return type === Frame.DATA && (flags & Flag.PADDED) !== 0 ? 1 : 0
}
