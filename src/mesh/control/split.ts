import type { CallAnswer } from './api.ts'

/** Answers that are alike: the same instance, status and flags. */
export interface SplitRow {
  /** The pod that answered, `(the sidecar)`, `(the gateway)`, `(no response)`, or `(unknown)` when no proxy saw HTTP. */
  readonly by: string
  /** The status, or why there was none. */
  readonly status: string
  readonly flags: string
  readonly requests: number
  /** Of all answers, 0 to 1. */
  readonly share: number
  /** Milliseconds. */
  readonly p50: number
  readonly p99: number
}

/** Whether a proxy gave an account of the request: not when it passed it as bytes, or when there was none. */
export function isSeen({ flags }: CallAnswer): boolean {
  return flags !== undefined
}

/** Who answered how many of the requests; the most first. */
export function splitOf(answers: readonly CallAnswer[], itself = 'the sidecar'): SplitRow[] {
  const groups = new Map<string, CallAnswer[]>()
  for (const answer of answers) {
    const key = [answer.by ?? '', answer.status, answer.error ?? '', answer.flags ?? ''].join('|')
    const group = groups.get(key)
    if (group) group.push(answer)
    else groups.set(key, [answer])
  }
  return [...groups.values()]
    .sort((a, b) => b.length - a.length)
    .map((group) => {
      const first = group[0]!
      const times = group.map((a) => a.ms).sort((a, b) => a - b)
      return {
        by: first.by ?? (first.status === 0 ? '(no response)' : isSeen(first) ? `(${itself})` : '(unknown)'),
        status: first.status === 0 ? (first.error ?? '-') : String(first.status),
        flags: first.flags ?? '-',
        requests: group.length,
        share: group.length / answers.length,
        p50: percentile(times, 0.5),
        p99: percentile(times, 0.99),
      }
    })
}

function percentile(sorted: readonly number[], p: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(p * sorted.length))] ?? 0
}
