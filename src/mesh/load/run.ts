import { sendLoad } from './client.ts'
import type { LoadFailure, LoadOptions, LoadReport, Recording, RecordingStarted } from './types.ts'

/** Where a load is recorded. */
export interface LoadTarget {
  start(from: string, url: string): Promise<RecordingStarted>
  /** Ends the recording, and gives what it holds. */
  finish(id: string): Promise<Recording>
}

/** A moment for the sidecar to take down what ended last, ms. */
const SETTLE_MS = 50

/** Sends a load, and reports what came of it. Rejects when the workload or the host do not exist. */
export async function runLoad(options: LoadOptions, target: LoadTarget): Promise<LoadReport> {
  const started = await target.start(options.from, options.url)
  let recording: Recording | undefined
  try {
    const tally = await sendLoad(options, started)
    await new Promise((resolve) => setTimeout(resolve, SETTLE_MS))
    recording = await target.finish(started.id)
    return reportOf(options, tally, recording)
  } finally {
    if (!recording) await target.finish(started.id).catch(() => {})
  }
}

function reportOf(options: LoadOptions, tally: Awaited<ReturnType<typeof sendLoad>>, recording: Recording): LoadReport {
  const broken = [...tally.broken.values()].reduce((sum, n) => sum + n, 0)
  const requests = tally.latencies.length + broken
  const failures = [...recording.failures, ...unseen(tally.broken, recording)].sort((a, b) => b.requests - a.requests)
  const failed = failures.reduce((sum, failure) => sum + failure.requests, 0)
  return {
    from: options.from,
    url: options.url,
    connections: options.connections,
    seconds: round(tally.seconds, 100),
    requests,
    requestsPerSecond: round(requests / tally.seconds, 10),
    bytesPerSecond: Math.round(tally.bytes / tally.seconds),
    latency: latencyOf(tally.latencies),
    groups: recording.groups,
    attempts: recording.attempts,
    failed,
    errorRate: requests === 0 ? 0 : failed / requests,
    failures,
  }
}

/** Requests without a whole answer that the sidecar does not know as such: it was not reached, or died, or was too slow. */
function unseen(broken: ReadonlyMap<string, number>, { failures }: Recording): LoadFailure[] {
  let known = failures.reduce((sum, { examples, requests }) => sum + (isBreak(examples[0]?.details) ? requests : 0), 0)
  const out: LoadFailure[] = []
  // A client's time-out is never the sidecar's doing; of the rest, the ones it knows account for as many.
  for (const [words, n] of [...broken].sort(([a]) => (a === 'no answer in time' ? -1 : 1))) {
    const explained = words === 'no answer in time' || words.includes('ECONNREFUSED') ? 0 : Math.min(known, n)
    known -= explained
    if (n === explained) continue
    const why = `between the load and the sidecar: ${words}`
    out.push({ why, savable: false, requests: n - explained, examples: [] })
  }
  return out
}

function isBreak(details: string | undefined): boolean {
  return details?.startsWith('upstream_reset_after_response_started') ?? false
}

function latencyOf(latencies: readonly number[]): LoadReport['latency'] {
  const sorted = Float64Array.from(latencies).sort()
  const at = (p: number) => round(sorted[Math.min(sorted.length - 1, Math.floor(p * sorted.length))] ?? 0, 10)
  const mean = sorted.length === 0 ? 0 : sorted.reduce((sum, ms) => sum + ms, 0) / sorted.length
  return {
    mean: round(mean, 10),
    p50: at(0.5),
    p75: at(0.75),
    p90: at(0.9),
    p99: at(0.99),
    p999: at(0.999),
    max: at(1),
  }
}

function round(value: number, by: number): number {
  return Math.round(value * by) / by
}
