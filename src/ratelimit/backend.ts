/** Hits to add to one counter. */
export interface Hits {
  /** The counter: domain, descriptor and the start of its window. */
  readonly key: string
  /** Negative: hits that are given back. */
  readonly hits: bigint
  /** When nobody asks for it any more, in seconds since the epoch. */
  readonly windowEnd: number
  /** How long to keep it from now, in seconds: its window and some jitter. */
  readonly ttl: number
  /** Its window is of one second. */
  readonly perSecond: boolean
}

/** Where hits are counted. */
export interface Backend {
  /** Adds hits, each to its counter, in order; resolves with each counter's value after that. Rejects with a BackendError. */
  add(hits: readonly Hits[]): Promise<bigint[]>
  /** The values of counters now. Rejects with a BackendError. */
  read(counters: readonly Pick<Hits, 'key' | 'windowEnd' | 'perSecond'>[]): Promise<bigint[]>
  close(): Promise<void>
}

/** Hits could not be counted. */
export class BackendError extends Error {}

/** Counts windows of one second in one place, and all others in another (REDIS_PERSECOND of the reference). */
export class SplitBackend implements Backend {
  readonly #perSecond: Backend
  readonly #others: Backend

  constructor(perSecond: Backend, others: Backend) {
    this.#perSecond = perSecond
    this.#others = others
  }

  add(hits: readonly Hits[]): Promise<bigint[]> {
    return this.#each(hits, (backend, part) => backend.add(part))
  }

  read(counters: readonly Pick<Hits, 'key' | 'windowEnd' | 'perSecond'>[]): Promise<bigint[]> {
    return this.#each(counters, (backend, part) => backend.read(part))
  }

  async close(): Promise<void> {
    await Promise.all([this.#perSecond.close(), this.#others.close()])
  }

  async #each<T extends { readonly perSecond: boolean }>(
    counters: readonly T[],
    ask: (backend: Backend, part: readonly T[]) => Promise<bigint[]>,
  ): Promise<bigint[]> {
    const of = (perSecond: boolean) => counters.filter((counter) => counter.perSecond === perSecond)
    const [fast, slow] = [of(true), of(false)]
    const none: Promise<bigint[]> = Promise.resolve([])
    const [others, perSecond] = await Promise.all([
      slow.length > 0 ? ask(this.#others, slow) : none,
      fast.length > 0 ? ask(this.#perSecond, fast) : none,
    ])
    let [i, j] = [0, 0]
    return counters.map((counter) => (counter.perSecond ? perSecond[i++]! : others[j++]!))
  }
}
