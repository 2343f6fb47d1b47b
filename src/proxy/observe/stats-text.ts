import { type Histogram, type StatsStore, shownValue } from './stats.ts'
import {
  countersOf,
  cumulative,
  gaugesOf,
  general,
  histogramsOf,
  QUANTILES,
  quantiles,
  type StatsQuery,
} from './stats-query.ts'

const byName = (a: { readonly name: string }, b: { readonly name: string }): number =>
  a.name < b.name ? -1 : a.name > b.name ? 1 : 0

function summary(histogram: Histogram): string {
  const total = quantiles(histogram.buckets, histogram.bounds)
  const interval = histogram.interval && quantiles(histogram.interval, histogram.bounds)
  return QUANTILES.map(
    (q, i) => `P${general(100 * q)}(${general(interval?.[i] ?? Number.NaN)},${general(total[i]!)})`,
  ).join(' ')
}

function bucketText(histogram: Histogram, disjoint: boolean): string {
  const shape = (buckets: Float64Array): number[] =>
    disjoint ? Array.from(buckets.subarray(0, -1)) : cumulative(buckets)
  const total = shape(histogram.buckets)
  const interval = histogram.interval && shape(histogram.interval)
  return histogram.bounds.map((bound, i) => `B${general(bound)}(${interval?.[i] ?? 0},${total[i]})`).join(' ')
}

function histogramText(histogram: Histogram, query: StatsQuery): string {
  if (histogram.count === 0) return 'No recorded values'
  if (query.buckets === 'cumulative' || query.buckets === 'disjoint') {
    return bucketText(histogram, query.buckets === 'disjoint')
  }
  return summary(histogram)
}

/** `/stats`: counters and gauges sorted together, then histograms (source/server/admin/stats_render.cc StatsTextRender). */
export function renderStatsText(store: StatsStore, query: StatsQuery = {}): string {
  let out = ''
  for (const metric of [...countersOf(store, query), ...gaugesOf(store, query)].sort(byName)) {
    out += `${metric.name}: ${shownValue(metric)}\n`
  }
  for (const histogram of histogramsOf(store, query).sort(byName)) {
    out += `${histogram.name}: ${histogramText(histogram, query)}\n`
  }
  return out
}

const orNull = (n: number | undefined): number | null =>
  n === undefined || Number.isNaN(n) ? null : Number(general(n))

/** `/stats?format=json` (source/server/admin/stats_render.cc StatsJsonRender). */
export function renderStatsJson(store: StatsStore, query: StatsQuery = {}): string {
  const stats: unknown[] = [...countersOf(store, query), ...gaugesOf(store, query)]
    .sort(byName)
    .map((metric) => ({ name: metric.name, value: Number(shownValue(metric)) }))
  const histograms = histogramsOf(store, query).sort(byName)
  if (histograms.length > 0) {
    const computed = histograms.map((h) => {
      const total = quantiles(h.buckets, h.bounds)
      const interval = h.interval && quantiles(h.interval, h.bounds)
      const values = QUANTILES.map((_q, i) => ({ cumulative: orNull(total[i]), interval: orNull(interval?.[i]) }))
      return { name: h.name, values }
    })
    const supported = QUANTILES.map((q) => Number(general(100 * q)))
    stats.push({ histograms: { supported_quantiles: supported, computed_quantiles: computed } })
  }
  return JSON.stringify({ stats })
}
