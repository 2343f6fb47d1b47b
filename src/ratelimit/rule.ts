import type { RuleStats } from './stats.ts'

/** A limit in force for one descriptor of one request. */
export interface Rule {
  /** The rule's name in statistics and dumps: `domain.key_value.key2`. */
  readonly fullKey: string
  readonly stats: RuleStats
  readonly requestsPerUnit: number
  /** The number of its unit (see units.ts); 0 for an unlimited rule. */
  readonly unit: number
  /** How many units a window lasts; 1 unless a request's override says otherwise. */
  readonly unitMultiplier: number
  readonly unlimited: boolean
  readonly shadowMode: boolean
  readonly quotaMode: boolean
  readonly detailedMetric: boolean
  /** '' without one. */
  readonly name: string
  /** The names of the rules that do not count where this one does. */
  readonly replaces: readonly string[]
  /**
   * By the index of the descriptor's entry: the wildcard pattern that stands for the entry's value, so that all that
   * match it share one counter. Undefined, or '' for an entry, where the value itself counts.
   */
  readonly sharedPatterns: readonly string[] | undefined
  /** What to merge into the response's dynamic metadata when the descriptor passes. */
  readonly metadata: JsonObject | undefined
}

/** Any JSON object. */
export interface JsonObject {
  readonly [name: string]: unknown
}
