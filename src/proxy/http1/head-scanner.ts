import { CR, LF } from './chars.ts'

/**
 * Collects a message head that arrives in pieces until it is whole, looking at each byte once. Only then
 * is it parsed: a head that comes byte by byte costs no more than one that comes at once.
 */
export class HeadScanner {
  private buf: Buffer = Buffer.alloc(0)
  private size = 0
  /** 0: before the first line; 1: within a line; 2: behind LF; 3: behind LF CR. */
  private state = 0
  private readonly limit: number
  private readonly skipsLineEnds: boolean

  /** `limit`: raw bytes after which a head is too large. `skipsLineEnds`: some may stand before the head. */
  constructor(limit: number, skipsLineEnds: boolean) {
    this.limit = limit
    this.skipsLineEnds = skipsLineEnds
    this.state = skipsLineEnds ? 0 : 1
  }

  get isEmpty(): boolean {
    return this.size === 0
  }

  /** What has been collected. */
  get bytes(): Buffer {
    return this.buf.subarray(0, this.size)
  }

  /** The byte the head begins with; undefined if there are only line ends that are skipped. */
  get firstByte(): number | undefined {
    if (!this.skipsLineEnds) return this.buf[0]
    for (let i = 0; i < this.size; i++) {
      const c = this.buf[i]!
      if (c !== CR && c !== LF) return c
    }
    return undefined
  }

  get tooLarge(): boolean {
    return this.size > this.limit
  }

  /** Takes bytes of `src`. Returns the position behind the head when it is whole, else -1 (all were taken). */
  take(src: Buffer, pos: number, end: number): number {
    let state = this.state
    let p = pos
    for (; p < end; p++) {
      const c = src[p]!
      if (state === 1) {
        if (c === LF) state = 2
      } else if (state === 0) {
        if (c !== CR && c !== LF) state = 1
      } else if (c === LF) {
        this.keep(src, pos, p + 1)
        return p + 1
      } else {
        state = c === CR && state === 2 ? 3 : 1
      }
    }
    this.keep(src, pos, end)
    this.state = state
    return -1
  }

  clear(): void {
    this.size = 0
    this.state = this.skipsLineEnds ? 0 : 1
    if (this.buf.length > 4096) this.buf = Buffer.alloc(0)
  }

  private keep(src: Buffer, pos: number, end: number): void {
    const n = end - pos
    if (this.size + n > this.buf.length) {
      const grown = Buffer.allocUnsafeSlow(Math.max(1024, 2 * this.buf.length, this.size + n))
      grown.set(this.buf.subarray(0, this.size))
      this.buf = grown
    }
    src.copy(this.buf, this.size, pos, end)
    this.size += n
  }
}
