import type { CallAnswer } from '../mesh/control/api.ts'
import { splitOf } from '../mesh/control/split.ts'
import { table } from './table.ts'

/** Who answered how many of the requests, as a table; `itself` is the proxy that may have answered. */
export function splitTable(answers: readonly CallAnswer[], itself?: string): string {
  const rows = splitOf(answers, itself).map((row) => [
    row.by,
    row.status,
    row.flags,
    String(row.requests),
    `${(100 * row.share).toFixed(1)} %`,
    `${row.p50} ms`,
    `${row.p99} ms`,
  ])
  return table(['ANSWERED BY', 'STATUS', 'FLAGS', 'REQUESTS', 'SHARE', 'P50', 'P99'], rows)
}
