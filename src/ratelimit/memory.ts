import type { Runtime } from '../runtime.ts'
import { type Backend, BackendError, type Hits } from './backend.ts'

const MAX_INT64 = 2n ** 63n - 1n
const MIN_INT64 = -(2n ** 63n)

/**
 * Counts in this process. Counters of windows that are over are dropped, all of a window at once, so that what is kept is
 * what the running windows have.
 */
export class MemoryBackend implements Backend {
  readonly #runtime: Runtime
  /** The counters by the end of their windows, seconds since the epoch. */
  readonly #windows = new Map<number, Map<string, bigint>>()
  /** When the next window ends. */
  #nextEnd = Number.POSITIVE_INFINITY

  constructor(runtime: Runtime) {
    this.#runtime = runtime
  }

  /** How many counters there are. */
  get size(): number {
    let size = 0
    for (const window of this.#windows.values()) size += window.size
    return size
  }

  // Async functions, so that what goes wrong is a rejection here as elsewhere; nothing in them waits.
  async add(hits: readonly Hits[]): Promise<bigint[]> {
    this.#dropOver()
    return hits.map(({ key, hits: amount, windowEnd }) => {
      let window = this.#windows.get(windowEnd)
      if (!window) {
        window = new Map()
        this.#windows.set(windowEnd, window)
        this.#nextEnd = Math.min(this.#nextEnd, windowEnd)
      }
      const value = (window.get(key) ?? 0n) + amount
      // The words of Redis, which counts in 64 bits with a sign.
      if (amount > MAX_INT64) throw new BackendError('ERR value is not an integer or out of range')
      if (value > MAX_INT64 || value < MIN_INT64) throw new BackendError('ERR increment or decrement would overflow')
      window.set(key, value)
      return value
    })
  }

  async read(counters: readonly Pick<Hits, 'key' | 'windowEnd'>[]): Promise<bigint[]> {
    this.#dropOver()
    return counters.map(({ key, windowEnd }) => this.#windows.get(windowEnd)?.get(key) ?? 0n)
  }

  async close(): Promise<void> {
    this.#windows.clear()
  }

  #dropOver(): void {
    const now = this.#runtime.wallNow() / 1000
    if (now < this.#nextEnd) return
    this.#nextEnd = Number.POSITIVE_INFINITY
    for (const end of this.#windows.keys()) {
      if (end <= now) this.#windows.delete(end)
      else if (end < this.#nextEnd) this.#nextEnd = end
    }
  }
}
