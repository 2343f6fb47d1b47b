import type { Histogram } from '../observe/stats.ts'

/** The metrics that a query asks for. */
export interface ChosenStats {
  readonly counters: readonly { readonly name: string; readonly value: number }[]
  readonly gauges: readonly { readonly name: string; readonly value: number }[]
  readonly histograms: readonly Histogram[]
}
