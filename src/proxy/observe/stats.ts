import type { TaggedName } from './tags.ts'

/**
 * Counters, gauges and histograms as plain numbers in slots, resolved by name at config time; the hot
 * path only increments. Names are Envoy's, dots and all.
 */
export class Counter {
  readonly name: string
  /** Name and labels for Prometheus where they are not taken out of the name. */
  readonly tagged: TaggedName | undefined
  value = 0
  constructor(name: string, tagged?: TaggedName) {
    this.name = name
    this.tagged = tagged
  }
  inc(): void {
    this.value++
  }
  add(n: number): void {
    this.value += n
  }
}

/** A value that goes up and down. */
export class Gauge {
  readonly name: string
  readonly tagged: TaggedName | undefined
  value = 0
  constructor(name: string, tagged?: TaggedName) {
    this.name = name
    this.tagged = tagged
  }
  inc(): void {
    this.value++
  }
  dec(): void {
    this.value--
  }
  set(n: number): void {
    this.value = n
  }
}

/** A number as Envoy shows it: its gauges are 64 bits without a sign, so that what is below 0 wraps around. */
export function shownValue({ value }: { readonly value: number }): number | bigint {
  return value < 0 ? BigInt.asUintN(64, BigInt(value)) : value
}

/** Envoy's default upper bounds (source/common/stats/histogram_impl.cc). */
export const DEFAULT_BUCKETS: readonly number[] = [
  0.5, 1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000, 30000, 60000, 300000, 600000, 1800000, 3600000,
]

/** A distribution: counts per bucket (the last one is +Inf), sum and count. */
export class Histogram {
  readonly name: string
  readonly tagged: TaggedName | undefined
  readonly buckets: Float64Array
  readonly bounds: readonly number[]
  count = 0
  sum = 0
  /** What `interval` counts from: the state at the flush before the last one, and at the last one. */
  #before: Float64Array | undefined
  #last: Float64Array | undefined
  constructor(name: string, bounds: readonly number[] = DEFAULT_BUCKETS, tagged?: TaggedName) {
    this.name = name
    this.bounds = bounds
    this.buckets = new Float64Array(bounds.length + 1)
    this.tagged = tagged
  }

  /** Counts per bucket between the last two flushes; undefined before the first. */
  get interval(): Float64Array | undefined {
    const before = this.#before
    return this.#last?.map((n, i) => n - (before?.[i] ?? 0))
  }

  /** Ends an interval. */
  flush(): void {
    this.#before = this.#last
    this.#last = this.buckets.slice()
  }
  record(value: number): void {
    let i = 0
    while (i < this.bounds.length && value > this.bounds[i]!) i++
    this.buckets[i]!++
    this.count++
    this.sum += value
  }
}

/** All metrics of one proxy. Asking twice for one name gives the same slot. */
export class StatsStore {
  readonly counters = new Map<string, Counter>()
  readonly gauges = new Map<string, Gauge>()
  readonly histograms = new Map<string, Histogram>()
  private readonly collectors = new Set<() => void>()

  /** Calls `collect` before metrics are shown, for what is not counted as it happens. Returns how to stop that. */
  onShow(collect: () => void): () => void {
    this.collectors.add(collect)
    return () => this.collectors.delete(collect)
  }

  /** Brings everything up to date: to be called before the metrics are shown. */
  collect(): void {
    for (const collect of this.collectors) collect()
  }

  /** `tagged`: labels of a metric whose name does not hold them; `name` must tell it from its siblings all the same. */
  counter(name: string, tagged?: TaggedName): Counter {
    let c = this.counters.get(name)
    if (!c) {
      c = new Counter(name, tagged)
      this.counters.set(name, c)
    }
    return c
  }
  gauge(name: string, tagged?: TaggedName): Gauge {
    let g = this.gauges.get(name)
    if (!g) {
      g = new Gauge(name, tagged)
      this.gauges.set(name, g)
    }
    return g
  }
  histogram(name: string, tagged?: TaggedName): Histogram {
    let h = this.histograms.get(name)
    if (!h) {
      h = new Histogram(name, DEFAULT_BUCKETS, tagged)
      this.histograms.set(name, h)
    }
    return h
  }

  /** Ends an interval of all histograms; called each stats_flush_interval (5 s). */
  flush(): void {
    for (const histogram of this.histograms.values()) histogram.flush()
  }
}
