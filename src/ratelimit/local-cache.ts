import type { Runtime } from '../runtime.ts'

/** What an entry costs besides its key, bytes (the header of an entry in coocood/freecache). */
const ENTRY_OVERHEAD = 24
/** The least that the reference's cache takes, bytes. */
const MIN_SIZE = 512 * 1024

/**
 * The counters that are over their limits, so that nobody has to be asked about them again within their windows. Bounded:
 * what came first goes first.
 */
export class LocalCache {
  readonly #runtime: Runtime
  readonly #size: number
  /** When each entry loses its worth, ms of the wall clock; the oldest entry first. */
  readonly #entries = new Map<string, number>()
  #used = 0
  lookups = 0
  hits = 0
  evictions = 0

  /** `size`: how many bytes it may have; never less than 512 KiB. */
  constructor(runtime: Runtime, size: number) {
    this.#runtime = runtime
    this.#size = Math.max(MIN_SIZE, size)
  }

  get entries(): number {
    return this.#entries.size
  }

  has(key: string): boolean {
    this.lookups++
    const until = this.#entries.get(key)
    if (until === undefined) return false
    if (this.#runtime.wallNow() >= until) {
      this.#drop(key)
      return false
    }
    this.hits++
    return true
  }

  /** Remembers a counter that is over its limit for some seconds. */
  add(key: string, seconds: number): void {
    this.#drop(key)
    this.#entries.set(key, this.#runtime.wallNow() + seconds * 1000)
    this.#used += costOf(key)
    for (const oldest of this.#entries.keys()) {
      if (this.#used <= this.#size) break
      this.evictions++
      this.#drop(oldest)
    }
  }

  #drop(key: string): void {
    if (this.#entries.delete(key)) this.#used -= costOf(key)
  }
}

function costOf(key: string): number {
  return ENTRY_OVERHEAD + Buffer.byteLength(key)
}
