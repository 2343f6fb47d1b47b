import type { Command } from 'commander'
import { hasErrors } from '../api/problems.ts'
import { createControlPlane } from '../mesh/control-plane.ts'
import { openGrpcDoor } from '../mesh/grpc-door.ts'
import { SystemRuntime } from '../runtime-system.ts'
import { openFiles } from '../store/files.ts'
import { createStore } from '../store/store.ts'
import { CliError } from './errors.ts'
import { hostPort } from './options.ts'
import { reportProblems } from './problems.ts'

interface Options {
  config: string[]
  grpcAddr: { host: string; port: number }
  dataDir?: string
  strict: boolean
  watch: boolean
}

/** `dinghy pilot`: the control plane alone, serving xDS to any v3 client. */
export function pilotCommand(program: Command): void {
  program
    .command('pilot')
    .summary('run the control plane alone, serving xDS over gRPC')
    .requiredOption('--config <path>', 'a file or folder of objects; may be given again', collect)
    .option(
      '--grpc-addr <host:port>',
      'where to serve ADS; port 0 picks a free one',
      hostPort,
      hostPort('127.0.0.1:15010'),
    )
    .option('--data-dir <dir>', 'keep the root certificate there')
    .option(
      '--strict',
      'refuse what the real API server or Envoy would refuse, instead of taking its obvious meaning',
      false,
    )
    .option('--no-watch', 'do not follow changes to the files')
    .action(run)
}

function collect(value: string, previous: string[] | undefined): string[] {
  return [...(previous ?? []), value]
}

async function run(options: Options): Promise<void> {
  const runtime = new SystemRuntime()
  const store = createStore(runtime)
  const files = await openFiles({
    store,
    runtime,
    paths: options.config,
    strict: options.strict,
    watch: options.watch,
    onReport: ({ problems }) => reportProblems(problems),
  })
  reportProblems(files.report.problems)
  if (hasErrors(files.report.problems)) {
    await files.close()
    throw new CliError('nothing was started, because of the errors above')
  }
  const plane = createControlPlane({
    store,
    runtime,
    dataDir: options.dataDir,
    env: process.env,
    onRejected: (proxy, typeUrl, message) => process.stderr.write(`${proxy} refused ${typeUrl}: ${message}\n`),
    log: (line) => process.stderr.write(`${line}\n`),
  })
  const door = await openGrpcDoor(plane.ads, options.grpcAddr)
  process.stdout.write(`serving ADS at ${door.address}\n`)
  const stop = () => {
    Promise.all([door.close(), files.close()]).then(() => {
      plane.close()
      process.exit(0)
    })
  }
  process.once('SIGINT', stop)
  process.once('SIGTERM', stop)
}
