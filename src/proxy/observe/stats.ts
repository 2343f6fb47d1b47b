/**
 * Counters, gauges and histograms as plain numbers in slots, resolved by name at config time; the hot
 * path only increments. Names are Envoy's, dots and all.
 */
export class Counter {
  readonly name: string
  value = 0
  constructor(name: string) {
    this.name = name
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
  value = 0
  constructor(name: string) {
    this.name = name
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

/** Envoy's default upper bounds (source/common/stats/histogram_impl.cc). */
export const DEFAULT_BUCKETS: readonly number[] = [
  0.5, 1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000, 30000, 60000, 300000, 600000, 1800000, 3600000,
]

/** A distribution: counts per bucket (the last one is +Inf), sum and count. */
export class Histogram {
  readonly name: string
  readonly buckets: Float64Array
  readonly bounds: readonly number[]
  count = 0
  sum = 0
  constructor(name: string, bounds: readonly number[] = DEFAULT_BUCKETS) {
    this.name = name
    this.bounds = bounds
    this.buckets = new Float64Array(bounds.length + 1)
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

  counter(name: string): Counter {
    let c = this.counters.get(name)
    if (!c) {
      c = new Counter(name)
      this.counters.set(name, c)
    }
    return c
  }
  gauge(name: string): Gauge {
    let g = this.gauges.get(name)
    if (!g) {
      g = new Gauge(name)
      this.gauges.set(name, g)
    }
    return g
  }
  histogram(name: string): Histogram {
    let h = this.histograms.get(name)
    if (!h) {
      h = new Histogram(name)
      this.histograms.set(name, h)
    }
    return h
  }
}
