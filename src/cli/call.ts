import type { Command } from 'commander'
import pc from 'picocolors'
import type { CallAnswer, CallRequest } from '../mesh/control/api.ts'
import { askMesh } from '../mesh/control/client.ts'
import { findMesh } from '../mesh/control/running.ts'
import { isSeen } from '../mesh/control/split.ts'
import { OUTSIDE } from '../mesh/outside.ts'
import { CliError } from './errors.ts'
import { bodyOf, headerLine, meshOption, positive } from './options.ts'
import { splitTable } from './split-table.ts'

interface Options {
  request?: string
  header: string[]
  data?: string
  number: number
  concurrency: number
  timeout: number
  output: 'text' | 'json'
  mesh?: number
}

/** `dinghy call FROM URL`: a request from inside the mesh, as that workload's program would send it. */
export function callCommand(program: Command): void {
  program
    .command('call')
    .summary('send requests from a workload through its own sidecar')
    .argument('<from>', 'the workload that calls: NAME or NAME.NAMESPACE; "outside" calls by way of a gateway')
    .argument('<url>', 'what it calls, such as http://reviews:9080/')
    .option('-X, --request <method>', 'the method (GET, or POST with --data)')
    .option('-H, --header <line>', 'a header, "name: value"; may be given again', collect, [])
    .option('-d, --data <text>', 'the body; @FILE reads it from a file, @- from standard input')
    .option('-n, --number <n>', 'how many requests; more than one prints who answered how many', positive, 1)
    .option('-c, --concurrency <n>', 'how many at the same time', positive, 1)
    .option('-t, --timeout <seconds>', 'how long to wait for each answer', positive, 60)
    .option('-o, --output <format>', 'text or json', 'text')
    .addOption(meshOption())
    .action(async (from: string, url: string, options: Options) => {
      if (options.output !== 'text' && options.output !== 'json')
        throw new CliError(`-o ${options.output}: there are text and json`, 2)
      const mesh = findMesh(options.mesh)
      const itself = from === OUTSIDE ? 'the gateway' : 'the sidecar'
      const request = toRequest(from, url, options)
      const { answers } = await askMesh<{ answers: CallAnswer[] }>(mesh, 'POST', '/v1/call', request)
      if (options.output === 'json')
        process.stdout.write(`${JSON.stringify(answers.length === 1 ? answers[0] : answers, null, 2)}\n`)
      else if (answers.length === 1) printOne(answers[0]!, itself)
      else process.stdout.write(`${splitTable(answers, itself)}\n`)
      if (answers.some((a) => a.status === 0)) process.exitCode = 1
    })
}

function toRequest(from: string, url: string, options: Options): CallRequest {
  const body = options.data === undefined ? Buffer.alloc(0) : bodyOf(options.data)
  return {
    from,
    url,
    method: options.request ?? (options.data === undefined ? 'GET' : 'POST'),
    headers: options.header.map(headerLine),
    body: body.toString('base64'),
    count: options.number,
    concurrency: options.concurrency,
    timeout: options.timeout * 1000,
  }
}

/** As `curl -i` prints it; who answered goes to standard error, so that the answer can be piped. */
function printOne(answer: CallAnswer, itself: string): void {
  if (answer.status === 0) {
    process.stderr.write(`dinghy: no response: ${answer.error}${whereabouts(answer)}\n`)
    return
  }
  const colour = answer.status < 400 ? pc.green : pc.red
  process.stdout.write(`HTTP/1.1 ${colour(`${answer.status} ${answer.statusText}`.trim())}\n`)
  for (const [name, value] of answer.headers) process.stdout.write(`${pc.dim(`${name}:`)} ${value}\n`)
  process.stdout.write('\n')
  const body = Buffer.from(answer.body ?? '', 'base64')
  process.stdout.write(body)
  const open = body.length > 0 && body.at(-1) !== 10
  if (open && process.stdout.isTTY) process.stdout.write('\n')
  else if (open) process.stderr.write('\n')
  const server = answer.refusal === undefined ? answer.by : `the sidecar of ${answer.by}`
  const by = server ?? (isSeen(answer) ? `${itself} itself${afterTrying(answer.tried ?? [])}` : UNSEEN)
  process.stderr.write(`${pc.dim(`— answered by ${by} in ${answer.ms} ms${whereabouts(answer)}`)}\n`)
}

/** Of an answer that came past the proxy, or through it as mere bytes. */
const UNSEEN = `somebody, not as HTTP by way of a sidecar,`

/** The instances that were asked before the proxy gave up, each once. */
function afterTrying(tried: readonly string[]): string {
  return tried.length ? `, after trying ${[...new Set(tried)].join(', ')},` : ''
}

function whereabouts(answer: CallAnswer): string {
  const parts = [
    answer.cluster && `cluster ${answer.cluster}`,
    answer.route && `route ${answer.route}`,
    answer.flags && answer.flags !== '-' && `flags ${answer.flags}`,
    answer.details && answer.details !== 'via_upstream' && answer.details,
    answer.refusal,
  ].filter(Boolean)
  return parts.length ? ` (${parts.join(', ')})` : ''
}

function collect(value: string, previous: string[]): string[] {
  return [...previous, value]
}
