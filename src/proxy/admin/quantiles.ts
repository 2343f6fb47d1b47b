import type { Histogram } from '../observe/stats.ts'

/** The percentiles that Envoy prints (source/common/stats/histogram_impl.cc). */
export const QUANTILES: readonly number[] = [0, 25, 50, 75, 90, 95, 99, 99.5, 99.9, 100]

/** Estimates of the percentiles since the start, by linear interpolation inside a bucket. */
export function quantiles(histogram: Histogram): number[] {
  return QUANTILES.map((q) => quantile(histogram, q / 100))
}

function quantile(histogram: Histogram, q: number): number {
  const { buckets, bounds, count } = histogram
  const rank = q * count
  let below = 0
  for (let i = 0; i < buckets.length; i++) {
    const inside = buckets[i]!
    if (inside === 0 || below + inside < rank) {
      below += inside
      continue
    }
    const from = i === 0 ? 0 : bounds[i - 1]!
    const to = bounds[i] ?? from * 2
    return from + (to - from) * Math.max(0, (rank - below) / inside)
  }
  return bounds.at(-1) ?? 0
}

/** `P0(nan,1) P25(nan,2) …`: the last interval is never kept apart here. */
export function quantileSummary(histogram: Histogram): string {
  if (histogram.count === 0) return 'No recorded values'
  const values = quantiles(histogram)
  return QUANTILES.map((q, i) => `P${q}(nan,${Number(values[i]!.toPrecision(6))})`).join(' ')
}
