import type { Command } from 'commander'
import { FaultSyntaxError, parseFault } from '../api/server-fault.ts'
import type { FaultView } from '../mesh/control/api.ts'
import { askMesh } from '../mesh/control/client.ts'
import { findMesh } from '../mesh/control/running.ts'
import { CliError } from './errors.ts'
import { meshOption } from './options.ts'
import { table } from './table.ts'

interface Options {
  clear: boolean
  output: 'table' | 'json'
  mesh?: number
}

const GRAMMAR = `
FAULT is one rule, or several separated by ";". A rule is an action, and what it is limited to:

  delay 200ms | delay 200ms±50ms | delay p50=20ms p99=2s
  abort 503 [body="…"] [response-header="name: value"]
  grpc UNAVAILABLE [message="…"]
  reset [after=headers | after=10kb]    reset the connection: at once, or within the response
  refuse                                refuse new connections
  flap up=10s down=5s                   be there, be gone, and so on
  slow 10kb/s                           send response bodies slowly
  hang                                  never answer

  50%  path=/exact,/prefix*,~regex  method=GET,POST  header=name[:value]  port=9080  first=5  for=30s

Examples:
  dinghy fault reviews-v1 'abort 503 50%'
  dinghy fault reviews-v1 'delay 2s±500ms path=/api/*; reset first=3'
  dinghy fault reviews-v1                  what is set, and how often it has struck
  dinghy fault --clear                     take all faults away`

/** `dinghy fault [WORKLOAD [FAULT…]]`: makes apps fail behind their sidecars. */
export function faultCommand(program: Command): void {
  program
    .command('fault')
    .summary("make a workload's app fail: latency, errors, resets, flapping; show and clear such faults")
    .description(
      "Puts faults between a workload's sidecar and its app, for all of its instances, so that callers see an upstream that really fails, and their retries, circuit breakers and outlier detection act. (Faults of a VirtualService act at the caller instead.)",
    )
    .argument('[workload]', 'NAME or NAME.NAMESPACE: a pod, what owns it, or an app label')
    .argument('[fault...]', 'what to do; without it, the faults that are set are shown')
    .option('--clear', 'take the faults away: of the workload, or of all', false)
    .option('-o, --output <format>', 'table or json', 'table')
    .addOption(meshOption())
    .addHelpText('after', GRAMMAR)
    .action(async (workload: string | undefined, words: string[], options: Options) => {
      if (options.output !== 'table' && options.output !== 'json')
        throw new CliError(`-o ${options.output}: there are table and json`, 2)
      if (options.clear && words.length > 0) throw new CliError('--clear takes no fault', 2)
      const fault = words.join(' ')
      if (fault) check(fault)
      const query = workload === undefined ? '' : `?workload=${encodeURIComponent(workload)}`
      const mesh = findMesh(options.mesh)
      const method = options.clear ? 'DELETE' : fault ? 'PUT' : 'GET'
      const { faults } = await askMesh<{ faults: FaultView[] }>(
        mesh,
        method,
        `/v1/faults${query}`,
        fault ? { fault } : undefined,
      )
      if (options.output === 'json') process.stdout.write(`${JSON.stringify(faults, null, 2)}\n`)
      else if (options.clear) process.stderr.write('cleared\n')
      else process.stdout.write(`${show(faults)}\n`)
    })
}

/** A mistake in the fault is misuse, told without asking the mesh. */
function check(fault: string): void {
  try {
    parseFault(fault)
  } catch (e) {
    if (e instanceof FaultSyntaxError) throw new CliError(e.message, 2)
    throw e
  }
}

function show(faults: readonly FaultView[]): string {
  const rows = faults.flatMap((view) =>
    view.rules.length === 0
      ? [[view.namespace, view.name, 'none', '', '']]
      : view.rules.map(({ rule, matched, struck, over }) => [
          view.namespace,
          view.name,
          over ? `${rule} (over)` : rule,
          String(matched),
          String(struck),
        ]),
  )
  return rows.length === 0 ? 'no faults are set' : table(['NAMESPACE', 'INSTANCE', 'FAULT', 'MATCHED', 'STRUCK'], rows)
}
