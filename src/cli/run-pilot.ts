import { hasErrors } from '../api/problems.ts'
import { createControlPlane } from '../mesh/control-plane.ts'
import { openGrpcDoor } from '../mesh/grpc-door.ts'
import { SystemRuntime } from '../runtime-system.ts'
import { openFiles } from '../store/files.ts'
import { createStore } from '../store/store.ts'
import { CliError } from './errors.ts'
import { reportProblems } from './problems.ts'

/** What the command line of `dinghy pilot` says. */
export interface PilotOptions {
  config: string[]
  grpcAddr: { host: string; port: number }
  dataDir?: string
  strict: boolean
  watch: boolean
}

/** Serves until SIGINT or SIGTERM. Throws a CliError when the files have errors. */
export async function runPilot(options: PilotOptions): Promise<void> {
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
  const stopped = async () => {
    plane.close()
    await files.close()
  }
  const door = await openGrpcDoor(plane.ads, options.grpcAddr).catch(async (e: Error) => {
    await stopped()
    throw e
  })
  process.stdout.write(`serving ADS at ${door.address}\n`)
  const stop = () => {
    door
      .close()
      .then(stopped)
      .then(() => process.exit(0))
  }
  process.once('SIGINT', stop)
  process.once('SIGTERM', stop)
}
