import type http from 'node:http'
import net from 'node:net'
import type { Workload } from '../../registry/model.ts'
import type { SocketAddress } from '../address-book.ts'
import { appSettings } from '../app-annotations.ts'
import { startCommand } from './command.ts'
import { echo } from './echo.ts'
import { httpbin } from './httpbin.ts'
import type { AppIdentity, Reach } from './identity.ts'
import { type StandIn, startStandIn } from './stand-in.ts'

/** How long to wait for a given app to accept a connection before saying that it is not there, ms. */
const PROBE_TIMEOUT_MS = 1000

/** The image of Envoy's reference rate-limit service, for which an echo is no stand-in: filters that fail open would never limit. */
const RATE_LIMIT_SERVICE = /(^|\/)envoyproxy\/ratelimit(:|@|$)/
const NO_LIMITS =
  'the image envoyproxy/ratelimit has no stand-in, and nobody is limited: run `dinghy ratelimit FILE…` as its app, by the annotation dinghy.dev/command or dinghy.dev/app'

/** The app of one workload instance, running or given. */
export interface Apps {
  /** Container port to where it listens. */
  readonly addresses: ReadonlyMap<number, SocketAddress>
  /** How it came to be, for people: `stand-in`, `httpbin stand-in`, `given`, `command`, `handler`; `none` without ports. */
  readonly how: string
  close(): Promise<void>
  /** Ends it as a crash would; one that was only given cannot be, and goes on unreached. */
  kill(): Promise<void>
}

/** What starting an app needs from the mesh. */
export interface AppHost {
  reach: Reach
  /** Answers for the app, in the place of annotations and stand-ins. */
  readonly handler: http.RequestListener | undefined
  /** The URL of the instance's HTTP proxy port; undefined without a sidecar. */
  readonly proxyUrl: string | undefined
  /** A line the app's command wrote. */
  onLine(line: string): void
  /** Something the user should know: a missing app, a command that ended, an annotation nobody understands. */
  onProblem(message: string): void
}

/** Starts, or finds, what serves the given ports of a workload. */
export async function startApps(workload: Workload, ports: readonly number[], host: AppHost): Promise<Apps> {
  const settings = appSettings(workload)
  const identity = identityOf(workload)
  for (const problem of settings.problems) host.onProblem(problem)
  const addresses = new Map<number, SocketAddress>()
  const running: { close(): Promise<void>; kill(): Promise<void> }[] = []
  let how = 'none'
  for (const [port, at] of host.handler ? [] : settings.addresses) {
    addresses.set(port, at)
    how = 'given'
    probe(at).catch((e: Error) =>
      host.onProblem(
        `its app for port ${port} does not answer at ${at.host}:${at.port} (${e.message}); requests to it get 503 until it does`,
      ),
    )
  }
  const missing = ports.filter((port) => !addresses.has(port))
  if (host.handler === undefined && settings.command !== undefined) {
    const command = await startCommand(settings.command, identity, missing, host.proxyUrl, host.onLine, (why) =>
      host.onProblem(`its command ${JSON.stringify(settings.command)} ${why}`),
    )
    for (const [port, at] of command.ports) addresses.set(port, at)
    running.push(command)
    how = 'command'
  } else if (missing.length > 0) {
    const isHttpbin = workload.containers.some((c) => /(^|\/)(go-)?httpbin(:|@|$)/.test(c.image))
    how = host.handler ? 'handler' : isHttpbin ? 'httpbin stand-in' : 'stand-in'
    if (!host.handler && workload.containers.some((c) => RATE_LIMIT_SERVICE.test(c.image))) host.onProblem(NO_LIMITS)
    const handler = host.handler ?? (isHttpbin ? httpbin(identity) : echo(identity, settings.calls, host.reach))
    const standIn: StandIn = await startStandIn(handler)
    for (const port of missing) addresses.set(port, standIn)
    running.push(standIn)
  }
  return {
    addresses,
    how,
    async close() {
      await Promise.all(running.map((app) => app.close()))
    },
    async kill() {
      await Promise.all(running.map((app) => app.kill()))
    },
  }
}

/** What a workload's app tells of itself. */
export function identityOf(workload: Workload): AppIdentity {
  return {
    namespace: workload.namespace,
    instance: workload.name,
    workload: workload.workloadName,
    version: workload.labels.version ?? '',
    labels: workload.labels,
    serviceAccount: workload.serviceAccount,
    podIp: workload.ip,
  }
}

function probe(at: SocketAddress): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = net.connect({ host: at.host, port: at.port, timeout: PROBE_TIMEOUT_MS })
    socket.unref()
    socket.once('connect', () => {
      socket.destroy()
      resolve()
    })
    socket.once('timeout', () => {
      socket.destroy()
      reject(new Error('no answer'))
    })
    socket.once('error', (e: NodeJS.ErrnoException) => reject(new Error(e.code ?? e.message)))
  })
}
