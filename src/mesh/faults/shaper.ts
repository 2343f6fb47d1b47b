import { Transform, type TransformCallback } from 'node:stream'
import type { Runtime, Timer } from '../../runtime.ts'

/** How often a slowed body gives a piece, ms. */
const BEAT_MS = 100

/** How the bytes of a response are held up. */
export interface Shape {
  readonly runtime: Runtime
  readonly bytesPerSecond: number | undefined
  /** After so many bytes `onCut` is called, and nothing more comes. */
  readonly cutAfter: number | undefined
  onCut(): void
}

/** Passes bytes on at a pace, and cuts them off. */
export class Shaper extends Transform {
  readonly #shape: Shape
  #left: number
  #timer: Timer | undefined
  #cut = false

  constructor(shape: Shape) {
    super()
    this.#shape = shape
    this.#left = shape.cutAfter ?? Number.POSITIVE_INFINITY
  }

  override _transform(chunk: Buffer, _encoding: string, done: TransformCallback): void {
    const { bytesPerSecond, runtime } = this.#shape
    if (this.#cut) return
    if (bytesPerSecond === undefined) {
      this.#pass(chunk)
      if (!this.#cut) done()
      return
    }
    const piece = Math.max(1, Math.floor((bytesPerSecond * BEAT_MS) / 1000))
    let at = 0
    const next = () => {
      const bytes = chunk.subarray(at, at + piece)
      at += bytes.length
      this.#timer = runtime.after((bytes.length * 1000) / bytesPerSecond, () => {
        this.#pass(bytes)
        if (this.#cut) return
        if (at < chunk.length) next()
        else done()
      })
    }
    next()
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.#timer?.cancel()
    done(error)
  }

  #pass(bytes: Buffer): void {
    if (bytes.length < this.#left) {
      this.#left -= bytes.length
      this.push(bytes)
      return
    }
    this.push(bytes.subarray(0, this.#left))
    this.#cut = true
    this.#shape.onCut()
  }
}
