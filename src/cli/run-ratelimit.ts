import { existsSync } from 'node:fs'
import { type RateLimitEvent, RateLimitServer } from '../ratelimit/server.ts'
import type { Settings } from '../ratelimit/settings.ts'
import { SystemRuntime } from '../runtime-system.ts'
import { CliError } from './errors.ts'
import { reportProblems } from './problems.ts'

/** Serves until SIGINT or SIGTERM. Throws a CliError when it cannot listen, or a file is not there. */
export async function runRatelimit(settings: Settings): Promise<void> {
  for (const path of settings.paths) if (!existsSync(path)) throw new CliError(`${path}: no such file or folder`)
  let server: RateLimitServer
  try {
    server = await RateLimitServer.start({ settings, runtime: new SystemRuntime(), onEvent: tell })
  } catch (error) {
    throw new CliError((error as Error).message)
  }
  const { grpc, http, debug, metrics } = server.addresses
  const lines = [`gRPC on ${grpc}`, `HTTP on ${http}`, `debug on ${debug}`]
  if (metrics) lines.push(`metrics on ${metrics}`)
  for (const line of lines) process.stdout.write(`${line}\n`)
  const stop = () => {
    server.stop().then(() => process.exit(0))
  }
  process.once('SIGINT', stop)
  process.once('SIGTERM', stop)
}

function tell(event: RateLimitEvent): void {
  const say = (line: string) => process.stderr.write(`dinghy: ${line}\n`)
  if (event.type === 'redis') {
    if (event.ready) say(`counting in the Redis at ${event.shown}`)
    else say(`no Redis: ${event.reason}; requests fail until it is back`)
    return
  }
  reportProblems(event.problems)
  if (event.inForce) {
    if (!event.first) say('the new limits are in force')
  } else if (event.first) say('no limits are in force until this is mended: requests fail')
  else say('the limits before go on')
}
