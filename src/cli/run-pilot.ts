import { hasErrors } from '../api/problems.ts'
import { type ControlPlane, createControlPlane } from '../mesh/control-plane.ts'
import { Doors } from '../mesh/doors/doors.ts'
import { envoyFilterProblems } from '../pilot/envoyfilter/problems.ts'
import { SystemRuntime } from '../runtime-system.ts'
import { openFiles } from '../store/files.ts'
import { createStore } from '../store/store.ts'
import { type CaOptions, givenCa } from './ca-options.ts'
import { type DoorFlags, doorLines, doorPlaces } from './door-options.ts'
import { CliError } from './errors.ts'
import { reportProblems } from './problems.ts'
import { rejectionLines } from './rejection.ts'

/** What the command line of `dinghy pilot` says. */
export interface PilotOptions extends CaOptions, DoorFlags {
  config: string[]
  dataDir?: string
  strict: boolean
  watch: boolean
}

/** Serves until SIGINT or SIGTERM. Throws a CliError when the files have errors. */
export async function runPilot(options: PilotOptions): Promise<void> {
  const ca = givenCa(options)
  const runtime = new SystemRuntime()
  const store = createStore(runtime)
  const files = await openFiles({
    store,
    runtime,
    paths: options.config,
    strict: options.strict,
    watch: options.watch,
    admit: envoyFilterProblems,
    onReport: ({ problems }) => reportProblems(problems),
  })
  reportProblems(files.report.problems)
  if (hasErrors(files.report.problems)) {
    await files.close()
    throw new CliError('nothing was started, because of the errors above')
  }
  let plane: ControlPlane
  try {
    plane = createControlPlane({
      store,
      runtime,
      ca,
      dataDir: options.dataDir,
      env: process.env,
      onRejected: (proxy, typeUrl, message, patches) => {
        for (const line of rejectionLines(proxy, typeUrl, message, patches)) process.stderr.write(`${line}\n`)
      },
      log: (line) => process.stderr.write(`${line}\n`),
    })
  } catch (e) {
    await files.close()
    throw e
  }
  const stopped = async () => {
    plane.close()
    await files.close()
  }
  const log = (line: string) => process.stderr.write(`${line}\n`)
  const doors = await Doors.open(plane, doorPlaces(options), { runtime, env: process.env, log }).catch(
    async (e: Error) => {
      await stopped()
      throw e
    },
  )
  for (const line of doorLines((door) => doors.address(door))) process.stdout.write(`${line}\n`)
  const stop = () => {
    doors
      .close()
      .then(stopped)
      .then(() => process.exit(0))
  }
  process.once('SIGINT', stop)
  process.once('SIGTERM', stop)
}
