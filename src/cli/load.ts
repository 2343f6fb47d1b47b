import type { Command } from 'commander'
import { askMesh } from '../mesh/control/client.ts'
import { findMesh, type RunningMesh } from '../mesh/control/running.ts'
import { type LoadTarget, runLoad } from '../mesh/load/run.ts'
import type { LoadOptions, LoadReport, Recording, RecordingStarted } from '../mesh/load/types.ts'
import { CliError } from './errors.ts'
import { loadTable } from './load-table.ts'
import { bodyOf, duration, errorRate, headerLine, meshOption, positive } from './options.ts'

interface Options {
  request?: string
  header: [string, string][]
  data?: string
  connections: number
  duration?: number
  number?: number
  rate?: number
  timeout: number
  maxErrorRate?: number
  maxP99?: number
  output: 'text' | 'json'
  mesh?: number
}

/** How long a load takes when nothing says how much, ms. */
const DURATION_MS = 10_000

/** `dinghy load FROM URL`: many requests, and a report of what became of them. */
export function loadCommand(program: Command): void {
  program
    .command('load')
    .summary('send a load from a workload through its sidecar, and report latencies, answers, and why requests failed')
    .description(
      'Sends requests over many connections, as the workload’s program would. The report tells who answered, how often the sidecar had to try, and for every failed request why, and whether a policy could have saved it. Exit status 1 when a limit is exceeded.',
    )
    .argument('<from>', 'the workload that calls: NAME or NAME.NAMESPACE')
    .argument('<url>', 'what it calls, such as http://reviews:9080/')
    .option('-X, --request <method>', 'the method (GET, or POST with --data)')
    .option('-H, --header <line>', 'a header, "name: value"; may be given again', collect, [])
    .option('-d, --data <text>', 'the body; @FILE reads it from a file, @- from standard input')
    .option('-c, --connections <n>', 'how many connections, each with one request at a time', positive, 10)
    .option('--duration <time>', 'how long, such as 30s (10s, unless -n says how many)', duration)
    .option('-n, --number <n>', 'how many requests, instead of a time', positive)
    .option('-r, --rate <n>', 'requests per second over all connections (as many as possible)', positive)
    .option('-t, --timeout <time>', 'how long to wait for each answer', duration, 10_000)
    .option('--max-error-rate <share>', 'fail when more requests fail: 0.5% or 0.005', errorRate)
    .option('--max-p99 <time>', 'fail when the 99th percentile of latency is higher', duration)
    .option('-o, --output <format>', 'text or json', 'text')
    .addOption(meshOption())
    .action(run)
}

async function run(from: string, url: string, options: Options): Promise<void> {
  if (options.output !== 'text' && options.output !== 'json')
    throw new CliError(`-o ${options.output}: there are text and json`, 2)
  if (options.duration !== undefined && options.number !== undefined)
    throw new CliError('--duration and --number exclude each other', 2)
  const load = toLoad(from, url, options)
  const report = await runLoad(load, targetIn(findMesh(options.mesh)))
  if (options.output === 'json') process.stdout.write(`${JSON.stringify(report, null, 2)}\n`)
  else process.stdout.write(`${loadTable(report)}\n`)
  const excess = excessOf(report, options)
  for (const line of excess) process.stderr.write(`dinghy: ${line}\n`)
  if (excess.length > 0) process.exitCode = 1
}

/** What is over its limit, in words. Without any answer there is nothing to be within limits. */
function excessOf({ errorRate: rate, latency, requests }: LoadReport, { maxErrorRate, maxP99 }: Options): string[] {
  const percent = (share: number) => `${Math.round(share * 1e5) / 1e3}%`
  return [
    ...(requests === 0 ? ['no request came to an end'] : []),
    ...(maxErrorRate !== undefined && rate > maxErrorRate
      ? [`${percent(rate)} of the requests failed, more than ${percent(maxErrorRate)}`]
      : []),
    ...(maxP99 !== undefined && latency.p99 > maxP99 ? [`p99 is ${latency.p99} ms, more than ${maxP99} ms`] : []),
  ]
}

function toLoad(from: string, text: string, options: Options): LoadOptions {
  const body = options.data === undefined ? undefined : bodyOf(options.data)
  return {
    from,
    url: urlOf(text),
    method: (options.request ?? (body === undefined ? 'GET' : 'POST')).toUpperCase(),
    headers: options.header,
    body,
    connections: options.connections,
    duration: options.duration ?? (options.number === undefined ? DURATION_MS : undefined),
    amount: options.number,
    rate: options.rate,
    timeout: options.timeout,
  }
}

function urlOf(text: string): string {
  const full = /^[a-z][a-z0-9+.-]*:\/\//i.test(text) ? text : `http://${text}`
  if (!URL.canParse(full)) throw new CliError(`"${text}" is no URL`, 2)
  const { protocol } = new URL(full)
  if (protocol !== 'http:')
    throw new CliError(`${protocol}// cannot be called: programs in a mesh speak plain http, the sidecar adds TLS`, 2)
  return full
}

function targetIn(mesh: RunningMesh): LoadTarget {
  return {
    start: (from, url) => askMesh<RecordingStarted>(mesh, 'POST', '/v1/recordings', { from, url }),
    finish: (id) => askMesh<Recording>(mesh, 'DELETE', `/v1/recordings?id=${encodeURIComponent(id)}`),
  }
}

function collect(line: string, previous: [string, string][]): [string, string][] {
  return [...previous, headerLine(line)]
}
