/** A piece of output: filled by codecs, written as a whole, then used again. */
export class Chunk {
  readonly buf: Buffer
  /** Bytes filled. */
  end = 0
  private readonly views: Buffer[] = []

  constructor(size: number) {
    this.buf = Buffer.allocUnsafeSlow(size)
    for (let i = 0; i < 16; i++) this.views.push(this.buf.subarray(0, 0))
  }

  /** What is filled. Messages repeat their sizes, so the last views are kept. */
  filled(): Buffer {
    const n = this.end
    const k = n & 15
    const kept = this.views[k]!
    if (kept.length === n) return kept
    const view = this.buf.subarray(0, n)
    this.views[k] = view
    return view
  }
}

const smallSize = 8 * 1024
/** A full read and the framing around it. */
const largeSize = 66 * 1024
/** Chunks kept for use again, of either size: together at most 10 MiB. */
const keepSmall = 256
const keepLarge = 128

const small: Chunk[] = []
const large: Chunk[] = []

/** The most that pooled chunks hold. */
export const chunkCapacity = largeSize

/** An empty chunk with room for `n` bytes. */
export function takeChunk(n: number): Chunk {
  if (n <= smallSize) return small.pop() ?? new Chunk(smallSize)
  if (n <= largeSize) return large.pop() ?? new Chunk(largeSize)
  return new Chunk(n)
}

/** Gives a chunk back once nothing refers to its bytes. */
export function releaseChunk(chunk: Chunk): void {
  chunk.end = 0
  if (chunk.buf.length === smallSize) {
    if (small.length < keepSmall) small.push(chunk)
  } else if (chunk.buf.length === largeSize && large.length < keepLarge) {
    large.push(chunk)
  }
}
