import type { Runtime, Timer } from '../../runtime.ts'
import { EMPTY } from '../http/body-buffer.ts'
import type { FilterSlot } from '../http/filter-slot.ts'
import type { HeaderMap } from '../http/headers.ts'
import { Backlog } from './backlog.ts'
import type { BodySide } from './body-side.ts'

/** ms between two slices where the config names no other time. */
export const DEFAULT_FILL_INTERVAL = 50

/**
 * Bytes that may pass, refilled all the time up to what one second gives (source/common/common/token_bucket_impl.cc). One
 * may serve many streams: whoever asks first gets what there is.
 */
export class ByteBucket {
  /** Bytes a second, and the most that it holds. */
  private readonly rate: number
  private readonly runtime: Runtime
  private tokens: number
  private filled: number
  private started = false

  /** `kib` a second. */
  constructor(runtime: Runtime, kib: number) {
    this.runtime = runtime
    this.rate = kib * 1024
    this.tokens = this.rate
    this.filled = runtime.now()
  }

  /** Its first stream finds what one interval gives, instead of a full bucket. */
  start(fillInterval: number): void {
    if (this.started) return
    this.started = true
    this.tokens = Math.floor((this.rate * fillInterval) / 1000)
    this.filled = this.runtime.now()
  }

  /** Takes up to `bytes`; returns how many there were. */
  take(bytes: number): number {
    if (this.tokens < this.rate) {
      const now = this.runtime.now()
      this.tokens = Math.min(this.rate, this.tokens + ((now - this.filled) / 1000) * this.rate)
      this.filled = now
    }
    const taken = Math.min(bytes, Math.floor(this.tokens))
    this.tokens -= taken
    return taken
  }
}

/** Told of what a limiter does. */
export interface RateObserver {
  /** So many bytes go on now; `limited`: others have to wait for the next slice. */
  onSlice(bytes: number, limited: boolean): void
  /** The last byte goes on now. */
  onEnd(): void
}

/**
 * Lets a body pass as fast as a bucket of bytes allows, a slice at each interval
 * (source/extensions/filters/http/common/stream_rate_limiter.cc).
 */
export class StreamRateLimiter {
  private readonly slot: FilterSlot
  private readonly side: BodySide
  private readonly bucket: ByteBucket
  private readonly interval: number
  private readonly observer: RateObserver | undefined
  private readonly backlog: Backlog
  private readonly chunks: Buffer[] = []
  private waiting = 0
  private ends = false
  private trailersWait = false
  private made: HeaderMap | undefined
  private timer: Timer | undefined
  private soon = false
  private stopped = false

  /** `interval`: ms between slices. */
  constructor(slot: FilterSlot, side: BodySide, bucket: ByteBucket, interval: number, observer?: RateObserver) {
    this.slot = slot
    this.side = side
    this.bucket = bucket
    this.interval = interval
    this.observer = observer
    this.backlog = new Backlog(slot, side)
    bucket.start(interval)
  }

  /** Takes a chunk; it goes out later. `trailers`: made by the filter, to go out behind the last chunk. */
  write(chunk: Uint8Array, end: boolean, trailers?: HeaderMap): void {
    if (chunk.length > 0) this.chunks.push(Buffer.from(chunk))
    this.waiting += chunk.length
    this.ends = end
    this.made = trailers
    this.backlog.update(this.waiting)
    if (this.timer !== undefined || this.soon) return
    // The first slice goes as soon as whoever brought the bytes is done.
    this.soon = true
    queueMicrotask(() => this.tick())
  }

  /** False: the trailers have to wait for the body; the slot continues when it is out. */
  trailersMayGo(): boolean {
    this.ends = true
    this.trailersWait = this.waiting > 0
    return !this.trailersWait
  }

  stop(): void {
    this.stopped = true
    this.timer?.cancel()
    this.timer = undefined
  }

  private tick(): void {
    this.timer = undefined
    this.soon = false
    if (this.stopped) return
    const bytes = this.slice(this.bucket.take(this.waiting))
    const limited = this.waiting > 0
    this.observer?.onSlice(bytes.length, limited)
    this.backlog.update(this.waiting)
    if (limited) this.timer = this.slot.runtime.after(this.interval, () => this.tick())
    if (limited || !this.ends) {
      if (bytes.length > 0) this.side.inject(this.slot, bytes, false)
    } else this.finish(bytes)
  }

  private finish(bytes: Buffer): void {
    const { slot, side, made, trailersWait } = this
    if (!trailersWait && made === undefined) {
      this.observer?.onEnd()
      side.inject(slot, bytes, true)
      return
    }
    if (bytes.length > 0) side.inject(slot, bytes, false)
    if (this.stopped) return
    this.observer?.onEnd()
    if (trailersWait) side.resume(slot)
    else if (made !== undefined && made.lines > 0) side.addTrailers(slot, made)
    else side.inject(slot, EMPTY, true)
  }

  /** The next `length` bytes. */
  private slice(length: number): Buffer {
    const out: Buffer[] = []
    let room = length
    while (room > 0) {
      const first = this.chunks[0]!
      if (first.length <= room) {
        out.push(first)
        this.chunks.shift()
      } else {
        out.push(first.subarray(0, room))
        this.chunks[0] = first.subarray(room)
      }
      room -= Math.min(room, first.length)
    }
    this.waiting -= length
    return out.length === 1 ? out[0]! : Buffer.concat(out)
  }
}
