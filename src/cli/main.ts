import fs from 'node:fs'
import { CliError, fail } from './errors.ts'
import { plainProxyOptions } from './proxy-options.ts'

/** The verbs; each file is loaded only when its verb is used, so that `dinghy proxy` starts at once. */
const VERBS = {
  up: async () => (await import('./up.ts')).upCommand,
  call: async () => (await import('./call.ts')).callCommand,
  links: async () => (await import('./links.ts')).linksCommand,
  fault: async () => (await import('./fault.ts')).faultCommand,
  get: async () => (await import('./get.ts')).getCommand,
  load: async () => (await import('./load.ts')).loadCommand,
  exec: async () => (await import('./exec.ts')).execCommand,
  analyze: async () => (await import('./analyze.ts')).analyzeCommand,
  validate: async () => (await import('./validate.ts')).validateCommand,
  pilot: async () => (await import('./pilot.ts')).pilotCommand,
  create: async () => (await import('./create.ts')).createCommand,
  ratelimit: async () => (await import('./ratelimit.ts')).ratelimitCommand,
  sds: async () => (await import('./sds.ts')).sdsCommand,
  proxy: async () => (await import('./proxy.ts')).proxyCommand,
}

/** Runs the command line; sets the exit status: 0 clean, 1 failures and findings, 2 misuse. */
export async function run(args: readonly string[]): Promise<void> {
  for (const stream of [process.stdout, process.stderr])
    stream.off('error', unlessNobodyReads).on('error', unlessNobodyReads)
  if (args[0] === 'proxy') {
    const options = plainProxyOptions(args.slice(1))
    if (options) {
      const { runProxy } = await import('./run-proxy.ts')
      return runProxy(options).catch(fail)
    }
  }
  const { Command, CommanderError } = await import('commander')
  const program = new Command('dinghy')
    .description('An Istio service mesh on one machine, without Kubernetes.')
    .version(version())
    .enablePositionalOptions()
    .showHelpAfterError('(--help tells more)')
    .exitOverride()
  const verb = (args[0] === 'edges' ? 'links' : args[0]) as keyof typeof VERBS | undefined
  const names = verb !== undefined && verb in VERBS ? [verb] : (Object.keys(VERBS) as (keyof typeof VERBS)[])
  for (const name of names) (await VERBS[name]())(program)
  for (const command of program.commands) command.exitOverride()
  try {
    await program.parseAsync([...args], { from: 'user' })
  } catch (e) {
    if (e instanceof CommanderError) process.exitCode = e.exitCode === 0 ? 0 : 2
    else fail(e instanceof Error ? e : new CliError(String(e)))
  }
}

/** Who reads from us may have had enough, as `head` does: what is written then is lost, and the work goes on. */
function unlessNobodyReads(error: NodeJS.ErrnoException): void {
  if (error.code !== 'EPIPE') throw error
}

function version(): string {
  const file = new URL('../../package.json', import.meta.url)
  return (JSON.parse(fs.readFileSync(file, 'utf8')) as { version: string }).version
}
