import type { Counter, Gauge, Histogram, StatsStore } from './stats.ts'

/** What an admin request for stats asks for (source/server/admin/stats_params.h). */
export interface StatsQuery {
  /** Only what was ever touched. */
  readonly usedOnly?: boolean
  /** Names that match somewhere; undefined: all. */
  readonly filter?: { test(name: string): boolean } | undefined
  readonly type?: 'All' | 'Counters' | 'Gauges' | 'Histograms' | 'TextReadouts'
  /** How histograms are shown; `undefined` is quantiles in text and cumulative buckets for Prometheus. */
  readonly buckets?: 'cumulative' | 'disjoint' | 'summary' | undefined
}

/** Whether a metric was ever used: a counter that counted, a gauge that is not 0, a histogram with a value. */
function used(metric: Counter | Gauge | Histogram): boolean {
  return 'count' in metric ? metric.count > 0 : metric.value !== 0
}

function select<T extends Counter | Gauge | Histogram>(metrics: Iterable<T>, query: StatsQuery): T[] {
  const out: T[] = []
  for (const metric of metrics) {
    if (query.usedOnly && !used(metric)) continue
    if (query.filter && !query.filter.test(metric.name)) continue
    out.push(metric)
  }
  return out
}

const wants = (query: StatsQuery, type: StatsQuery['type']): boolean =>
  query.type === undefined || query.type === 'All' || query.type === type

/** The counters that a query asks for, in no order. */
export function countersOf(store: StatsStore, query: StatsQuery): Counter[] {
  return wants(query, 'Counters') ? select(store.counters.values(), query) : []
}

/** The gauges that a query asks for, in no order. */
export function gaugesOf(store: StatsStore, query: StatsQuery): Gauge[] {
  return wants(query, 'Gauges') ? select(store.gauges.values(), query) : []
}

/** The histograms that a query asks for, in no order. */
export function histogramsOf(store: StatsStore, query: StatsQuery): Histogram[] {
  return wants(query, 'Histograms') ? select(store.histograms.values(), query) : []
}

/** Order of names token by token, as Envoy's symbol table compares them. */
export function byTokens(a: string, b: string): number {
  const left = a.split('.')
  const right = b.split('.')
  for (let i = 0; i < left.length && i < right.length; i++) {
    if (left[i]! !== right[i]!) return left[i]! < right[i]! ? -1 : 1
  }
  return left.length - right.length
}

/** Quantiles that Envoy computes (source/common/stats/histogram_impl.cc). */
export const QUANTILES: readonly number[] = [0, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.995, 0.999, 1]

/**
 * Quantiles from counts per bucket, interpolated inside a bucket (Envoy keeps finer bins of two digits); NaN
 * without samples.
 */
export function quantiles(buckets: Float64Array, bounds: readonly number[]): number[] {
  const total = buckets.reduce((sum, n) => sum + n, 0)
  return QUANTILES.map((q) => {
    if (total === 0) return Number.NaN
    const wanted = q * total
    let seen = 0
    for (let i = 0; i < buckets.length; i++) {
      const here = buckets[i]!
      if (here === 0 || seen + here < wanted) {
        seen += here
        continue
      }
      const low = i === 0 ? 0 : bounds[i - 1]!
      const high = bounds[i] ?? low * 2
      return low + ((high - low) * (wanted - seen)) / here
    }
    return bounds.at(-1)!
  })
}

/** Counts of values at or below each bound. */
export function cumulative(buckets: Float64Array): number[] {
  let sum = 0
  return Array.from(buckets.subarray(0, -1), (n) => {
    sum += n
    return sum
  })
}

/** A number as printf's `%g` writes it: six significant digits. */
export function general(n: number): string {
  if (Number.isNaN(n)) return 'nan'
  if (!Number.isFinite(n)) return n < 0 ? '-inf' : 'inf'
  const exponent = n === 0 ? 0 : Math.floor(Math.log10(Math.abs(n)))
  if (exponent < -4 || exponent >= 6) {
    const [digits, power] = n.toExponential(5).split('e') as [string, string]
    const trimmed = digits.includes('.') ? digits.replace(/\.?0+$/, '') : digits
    return `${trimmed}e${power[0]}${power.slice(1).padStart(2, '0')}`
  }
  return String(Number(n.toPrecision(6)))
}
