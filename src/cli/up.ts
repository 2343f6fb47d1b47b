import type { Command } from 'commander'
import pc from 'picocolors'
import type { Problem } from '../api/problems.ts'
import type { WorkloadView } from '../mesh/control/api.ts'
import type { Mesh, MeshEvent } from '../mesh/mesh.ts'
import type { OutlierReport } from '../mesh/outlier-report.ts'
import { type CaOptions, givenCa, withCaOptions } from './ca-options.ts'
import { DOORS, type DoorFlags, doorLines, doorPlaces, withDoorOptions } from './door-options.ts'
import { inlineFurther } from './engine.ts'
import { CliError } from './errors.ts'
import { linksBrief } from './links.ts'
import { reportProblems } from './problems.ts'
import { rejectionLines } from './rejection.ts'
import { table } from './table.ts'

interface Options extends CaOptions, DoorFlags {
  json: boolean
  logDir?: string
  dataDir?: string
  strict: boolean
  watch: boolean
  seed?: number
  gateways: boolean
  demo: boolean
}

/** `dinghy up FILES…`: control plane, sidecars and apps in one process, until Ctrl-C. */
export function upCommand(program: Command): void {
  const command = program
    .command('up')
    .summary('run a mesh from files: control plane, sidecars and apps in one process')
    .argument('<files...>', 'YAML or JSON files, folders, or - for standard input')
    .option('--json', 'print one line of JSON when everything is ready', false)
    .option('--log-dir <dir>', 'write what sidecars log to /dev/stdout to DIR/<namespace>/<pod>.log')
    .option('--data-dir <dir>', 'keep the root certificate there, so that a restart has the same')
    .option(
      '--strict',
      'refuse what the real API server or Envoy would refuse, instead of taking its obvious meaning',
      false,
    )
    .option('--no-watch', 'do not follow changes to the files')
    .option('--seed <n>', 'make random choices repeatable', seed)
    .option('--no-gateways', 'do not stand in for gateways that the files speak of without bringing them')
    .option('--demo', 'send a little traffic through the mesh and show where it goes', false)
  withDoorOptions(withCaOptions(command)).action(async (files: string[], options: Options) => run(files, options))
}

function seed(text: string): number {
  const n = Number(text)
  if (!Number.isSafeInteger(n) || n < 0) throw new CliError('--seed must be a whole number', 2)
  return n
}

async function run(files: string[], options: Options): Promise<void> {
  const started = performance.now()
  const ca = givenCa(options)
  inlineFurther()
  const { Mesh } = await import('../mesh/mesh.ts')
  let running = false
  const mesh = await Mesh.start({
    sources: files,
    logDir: options.logDir,
    ca,
    dataDir: options.dataDir,
    strict: options.strict,
    watch: options.watch,
    seed: options.seed,
    ...doorPlaces(options),
    gateways: options.gateways,
    onEvent: (event) => {
      if (!options.json || event.type !== 'log') printEvent(event, running)
    },
  })
  running = true
  stopOnSignals(mesh)
  if (options.json)
    process.stdout.write(`${JSON.stringify({ ready: true, workloads: mesh.workloads(), ...doorsJson(mesh) })}\n`)
  else printMesh(mesh, performance.now() - started)
  if (options.demo && !options.json) {
    const { showDemo } = await import('./demo.ts')
    await showDemo(mesh)
  }
}

function doorsJson(mesh: Mesh): { doors?: Record<string, string> } {
  const open = DOORS.flatMap((door) => {
    const at = mesh.doorAddress(door)
    return at === undefined ? [] : [[door, at] as const]
  })
  return open.length > 0 ? { doors: Object.fromEntries(open) } : {}
}

/** One SIGINT or SIGTERM stops everything in order; a second one ends the process at once. */
function stopOnSignals(mesh: Mesh): void {
  let stopping = false
  const stop = () => {
    if (stopping) process.exit(130)
    stopping = true
    mesh.stop().then(
      () => process.exit(0),
      (e: Error) => {
        process.stderr.write(`dinghy: while stopping: ${e.message}\n`)
        process.exit(1)
      },
    )
  }
  process.on('SIGINT', stop)
  process.on('SIGTERM', stop)
}

/** `running`: the mesh is up, so that a bad edit leaves what was there. */
function printEvent(event: MeshEvent, running: boolean): void {
  switch (event.type) {
    case 'problems':
      reportProblems(event.problems)
      if (running) sayWhatStays(event.problems)
      break
    case 'changed':
      process.stderr.write(`${pc.dim(`${clock()} ${event.summary}`)}\n`)
      break
    case 'workload':
      process.stderr.write(`${pc.yellow('warning:')} ${event.workload}: ${event.message}\n`)
      break
    case 'warning':
      process.stderr.write(`${warningLine(event.message)}\n`)
      break
    case 'log':
      process.stdout.write(`${pc.dim(`${event.workload} |`)} ${event.line}\n`)
      break
    case 'output':
      process.stderr.write(`${pc.dim(`${event.workload} |`)} ${event.line}\n`)
      break
    case 'outlier':
      process.stderr.write(`${pc.yellow(`${clock()} ${outlierLine(event)}`)}\n`)
      break
    case 'rejected':
      for (const line of rejectionLines(event.workload, event.typeUrl, event.message, event.patches))
        process.stderr.write(`${line}\n`)
      break
  }
}

/** A message that begins with its place, `FILE:LINE:COLUMN: `, has the word after it, as problems have. */
function warningLine(message: string): string {
  const [, place = '', text] = /^(\S+:\d+:\d+: )?(.*)$/s.exec(message) ?? []
  return `${place}${pc.yellow('warning:')} ${text}`
}

/** `client ejected reviews-v1 (10.244.0.5:9080) from outbound|9080||reviews…: consecutive_5xx, ejection 2`. */
function outlierLine(event: OutlierReport): string {
  const host = event.instance ? `${event.instance} (${event.host})` : event.host
  if (event.action === 'uneject') return `${event.workload} took ${host} back into ${event.cluster}`
  return `${event.workload} ejected ${host} from ${event.cluster}: ${event.reason}, ejection ${event.ejections}`
}

function sayWhatStays(problems: readonly Problem[]): void {
  const files = new Set(problems.filter((p) => p.severity === 'error').map((p) => p.file))
  for (const file of files)
    process.stderr.write(`${pc.dim(`${clock()} ${file} was not applied; the mesh goes on with what it had`)}\n`)
}

function clock(): string {
  return new Date().toTimeString().slice(0, 8)
}

function printMesh(mesh: Mesh, ms: number): void {
  const workloads = mesh.workloads()
  const rows = workloads.map((w) => [
    w.namespace,
    w.name,
    w.ip,
    w.address,
    w.sidecar ? w.app : `${w.app}, no sidecar`,
    ports(w),
  ])
  const out: string[] = []
  out.push(table(['NAMESPACE', 'INSTANCE', 'POD IP', 'ADDRESS', 'APP', 'REACHED AT'], rows))
  out.push('')
  const sidecars = workloads.filter((w) => w.sidecar).length
  out.push(
    `${pc.green('ready')} in ${(ms / 1000).toFixed(2)} s: ${count(workloads.length, 'instance')}, ${count(sidecars, 'sidecar')}, control at ${mesh.controlUrl}`,
  )
  const links = mesh.links()
  if (links.links > 0) out.push('', ...linksBrief(links, MAX_LINKS))
  out.push(...doorLines((door) => mesh.doorAddress(door)))
  const outside = mesh.gatewayExamples()
  if (outside.length > 0) {
    out.push('')
    out.push(`Come in by a gateway, as a client outside the mesh does:`)
    for (const { command } of outside.slice(0, MAX_EXAMPLES)) out.push(`  ${command}`)
    if (outside.length > MAX_EXAMPLES) out.push(`  … and ${count(outside.length - MAX_EXAMPLES, 'host')} more`)
    out.push(`  dinghy call outside ${outside[0]?.url}`)
  }
  const example = exampleCall(mesh, workloads)
  if (example) {
    out.push('')
    out.push('Send a request as one of them, or run a program that does:')
    out.push(`  dinghy call ${example.from} ${example.url}`)
    out.push(`  dinghy exec ${example.from} -- curl -s ${example.url}`)
  }
  process.stdout.write(`${out.join('\n')}\n`)
}

/** How many links that are not mutual TLS are shown. */
const MAX_LINKS = 6
/** How many hosts of gateways are shown. */
const MAX_EXAMPLES = 5

function count(n: number, noun: string): string {
  return `${n} ${noun}${n === 1 ? '' : 's'}`
}

function ports(w: WorkloadView): string {
  // Of a gateway, people know the ports of its service.
  return (
    Object.entries(w.services ?? w.inbound)
      .map(([port, at]) => (at.endsWith(`:${port}`) ? at : `${port} → ${at}`))
      .join(', ') || '-'
  )
}

function exampleCall(mesh: Mesh, workloads: readonly WorkloadView[]): { from: string; url: string } | undefined {
  const clients = workloads.filter((w) => w.sidecar && w.services === undefined)
  const from = clients.find((w) => Object.keys(w.inbound).length === 0) ?? clients[0]
  const url = from && mesh.exampleUrl(from.ip)
  if (!url) return undefined
  return { from: from.namespace === 'default' ? from.workload : `${from.workload}.${from.namespace}`, url }
}
