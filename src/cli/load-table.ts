import pc from 'picocolors'
import type { LoadFailure, LoadReport } from '../mesh/load/types.ts'
import { table } from './table.ts'

/** A load's report for people. */
export function loadTable(report: LoadReport): string {
  const { latency, requests, seconds, requestsPerSecond, connections, failed } = report
  const share = (n: number, of = requests) => `${of === 0 ? 0 : Math.round((n / of) * 1e5) / 1e3}%`
  // Sidecars also count requests whose answers the end of the load cut off.
  const counted = (numbers: readonly number[]) => numbers.reduce((sum, n) => sum + n, 0)
  const answered = counted(report.groups.map((group) => group.requests))
  const attempted = counted(Object.values(report.attempts))
  const out = [
    `${requests} requests over ${connections} connections in ${seconds} s: ${requestsPerSecond} per second, ${bytes(report.bytesPerSecond)}/s`,
    '',
    table(
      ['LATENCY', 'MEAN', 'P50', 'P75', 'P90', 'P99', 'P99.9', 'MAX'],
      [['ms', ...(['mean', 'p50', 'p75', 'p90', 'p99', 'p999', 'max'] as const).map((name) => String(latency[name]))]],
    ),
    '',
    table(
      ['ANSWERED BY', 'STATUS', 'FLAGS', 'REQUESTS', 'SHARE'],
      report.groups.map(({ instance, status, flags, requests: n }) => [
        instance ?? '(the sidecar)',
        status === 0 ? '(broken off)' : String(status),
        flags,
        String(n),
        share(n, answered),
      ]),
    ),
    '',
    table(
      ['ATTEMPTS', 'REQUESTS', 'SHARE'],
      Object.entries(report.attempts).map(([attempts, n]) => [attempts, String(n), share(n, attempted)]),
    ),
    '',
  ]
  if (failed === 0) out.push(pc.green('no request failed'))
  else out.push(`${pc.red(`${failed} failed`)} (${share(failed)})`, ...reasons(report.failures))
  return out.join('\n')
}

function reasons(failures: readonly LoadFailure[]): string[] {
  return [true, false].flatMap((savable) => {
    const of = failures.filter((failure) => failure.savable === savable)
    if (of.length === 0) return []
    const title = savable ? 'A policy could have saved:' : 'No policy could have saved:'
    return ['', pc.bold(title), ...of.flatMap(reason)]
  })
}

function reason({ why, requests, examples }: LoadFailure): string[] {
  const [first] = examples
  const example =
    first &&
    `at ${first.at} s: ${first.status} ${first.flags} ${first.details}, tried ${first.tried.join(', ') || 'nobody'}`
  return [`  ${String(requests).padStart(6)}  ${why}`, ...(example ? [pc.dim(`          such as ${example}`)] : [])]
}

function bytes(n: number): string {
  if (n < 10_000) return `${n} B`
  return n < 10_000_000 ? `${Math.round(n / 1000)} kB` : `${Math.round(n / 1e6)} MB`
}
