import type { Runtime, Timer } from '../../runtime.ts'
import type { FilterSlot } from '../http/filter-slot.ts'

/** Slices per second, as Envoy's token bucket gives them out. */
const PER_SECOND = 16

/**
 * Slows a response body to so many KiB a second (source/extensions/filters/http/common/stream_rate_limiter.cc): a
 * sixteenth of a second's worth leaves at a time.
 */
export class ResponseRateLimiter {
  private readonly slot: FilterSlot
  private readonly runtime: Runtime
  private readonly slice: number
  private readonly chunks: Buffer[] = []
  private waiting = 0
  private ends = false
  private trailersWait = false
  private timer: Timer | undefined
  private readonly limit: number
  private paused = false

  /** `kib` per second; at least 1. */
  constructor(slot: FilterSlot, kib: number) {
    this.slot = slot
    this.runtime = slot.runtime
    this.slice = Math.max(1, Math.floor((kib * 1024) / PER_SECOND))
    this.limit = slot.exchange.bufferLimit
  }

  /** Takes a chunk; it goes out later. */
  write(chunk: Uint8Array, end: boolean): void {
    if (chunk.length > 0) this.chunks.push(Buffer.from(chunk))
    this.waiting += chunk.length
    if (end) this.ends = true
    if (!this.paused && this.limit > 0 && this.waiting > this.limit) {
      this.paused = true
      this.slot.exchange.flow.pauseResponse()
    }
    this.timer ??= this.runtime.after(1, () => this.tick())
  }

  /** False: the trailers have to wait for the body; the slot continues when it is out. */
  trailersMayGo(): boolean {
    if (this.waiting === 0) return true
    this.trailersWait = true
    return false
  }

  stop(): void {
    this.timer?.cancel()
    this.timer = undefined
  }

  private tick(): void {
    this.timer = undefined
    let room = this.slice
    const out: Buffer[] = []
    while (room > 0 && this.chunks.length > 0) {
      const first = this.chunks[0]!
      if (first.length <= room) {
        out.push(first)
        this.chunks.shift()
        room -= first.length
      } else {
        out.push(first.subarray(0, room))
        this.chunks[0] = first.subarray(room)
        room = 0
      }
    }
    const bytes = Buffer.concat(out)
    this.waiting -= bytes.length
    const done = this.ends && this.waiting === 0
    if (this.paused && this.waiting <= this.limit / 2) {
      this.paused = false
      this.slot.exchange.flow.resumeResponse()
    }
    if (!done && (this.waiting > 0 || this.ends)) this.timer = this.runtime.after(1000 / PER_SECOND, () => this.tick())
    this.slot.injectEncodedData(bytes, done)
    if (this.trailersWait && this.waiting === 0) this.slot.continueEncoding()
  }
}
