import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { Client, credentials, type ServiceError } from '@grpc/grpc-js'
import type { RateLimitResponse } from '#gen/envoy/service/ratelimit/v3/rls_pb.js'
import { formatProblems } from '../../src/api/problems.ts'
import { type RateLimitEvent, RateLimitServer } from '../../src/ratelimit/server.ts'
import { type Environment, readSettings } from '../../src/ratelimit/settings.ts'
import type { Runtime } from '../../src/runtime.ts'
import { SystemRuntime } from '../../src/runtime-system.ts'
import { grpcService } from '../../src/xds/grpc-service.ts'
import { type Init, make } from '../../src/xds/messages.ts'

/** A descriptor as `key=value,key2=value2`, or whole. */
export type Asked = string | Init<'envoy.extensions.common.ratelimit.v3.RateLimitDescriptor'>

/** Asks a rate-limit service over gRPC; with a root over TLS, where the service has to be called `ratelimit`. */
export class RateLimitClient {
  readonly #client: Client

  constructor(address: string, root?: Buffer) {
    this.#client = root
      ? new Client(address, credentials.createSsl(root), { 'grpc.ssl_target_name_override': 'ratelimit' })
      : new Client(address, credentials.createInsecure())
  }

  ask(domain: string, descriptors: readonly Asked[], hitsAddend = 0): Promise<RateLimitResponse> {
    const {
      path: method,
      requestSerialize,
      responseDeserialize,
    } = grpcService('envoy.service.ratelimit.v3.RateLimitService').shouldRateLimit!
    const request = make('envoy.service.ratelimit.v3.RateLimitRequest', {
      domain,
      descriptors: descriptors.map((asked) => (typeof asked === 'string' ? { entries: entriesOf(asked) } : asked)),
      hitsAddend,
    })
    return new Promise((resolve, reject) => {
      this.#client.makeUnaryRequest(method, requestSerialize, responseDeserialize, request, (error, response) => {
        if (error) reject(error)
        else resolve(response as RateLimitResponse)
      })
    })
  }

  /** How many of some requests, all under way at the same time, are let through. */
  async admitted(domain: string, descriptors: readonly Asked[], count: number): Promise<number> {
    const answers = await Promise.all(Array.from({ length: count }, () => this.ask(domain, descriptors)))
    return answers.filter(({ overallCode }) => overallCode === 1).length
  }

  /** The error of a request that has none for an answer: its code and message. */
  async failure(domain: string, descriptors: readonly Asked[]): Promise<{ code: number; message: string }> {
    const error = await this.ask(domain, descriptors).then(
      () => undefined,
      (error: ServiceError) => error,
    )
    if (!error) throw new Error('the request was answered')
    return { code: error.code, message: error.details }
  }

  /** The status of a service in gRPC's health checking. */
  health(service: string): Promise<number> {
    const { path: method, requestSerialize, responseDeserialize } = grpcService('grpc.health.v1.Health').check!
    const request = make('grpc.health.v1.HealthCheckRequest', { service })
    return new Promise((resolve, reject) => {
      this.#client.makeUnaryRequest(method, requestSerialize, responseDeserialize, request, (error, response) => {
        if (error) reject(error)
        else resolve((response as { status: number }).status)
      })
    })
  }

  close(): void {
    this.#client.close()
  }
}

/** The entries of `key=value,key2=value2`; a value may be left out. */
export function entriesOf(text: string): { key: string; value: string }[] {
  return text.split(',').map((entry) => {
    const [key, value = ''] = entry.split('=')
    return { key: key!, value }
  })
}

/** A rate-limit service of a test, on files of its own. */
export interface TestRateLimit extends RateLimitClient {
  readonly server: RateLimitServer
  readonly events: readonly RateLimitEvent[]
  /** Problems of the last reading, as they are printed, with the file's name without its folder. */
  problems(): string
  /** Resolves with the first event, past or to come, that is wanted. */
  event(wanted: (event: RateLimitEvent) => boolean, from?: number): Promise<RateLimitEvent>
  /** Replaces a file, and waits until it has been read. */
  write(name: string, text: string): Promise<void>
  /** GET of the HTTP or the debug port. */
  get(door: 'http' | 'debug', path: string): Promise<{ status: number; text: string }>
  /** A counter of `/stats`; undefined when there is none. */
  stat(name: string): Promise<number | undefined>
  stop(): Promise<void>
}

/** Starts a service in this process on files (one text, or several by name), on free ports, with the reference's variables. */
export async function startRateLimit(
  yaml: string | Record<string, string>,
  env: Environment = {},
  runtime: Runtime = new SystemRuntime(),
): Promise<TestRateLimit> {
  const root = fs.mkdtempSync(path.join(os.tmpdir(), 'dinghy-ratelimit-'))
  const files = typeof yaml === 'string' ? { 'limits.yaml': yaml } : yaml
  for (const [name, text] of Object.entries(files)) {
    fs.mkdirSync(path.dirname(path.join(root, name)), { recursive: true })
    fs.writeFileSync(path.join(root, name), text)
  }
  const events: RateLimitEvent[] = []
  const waiting = new Set<() => void>()
  const settings = readSettings({ PORT: '0', GRPC_PORT: '0', DEBUG_PORT: '0', ...env }, env.RUNTIME_ROOT ? [] : [root])
  let server: RateLimitServer
  try {
    server = await RateLimitServer.start({
      settings,
      runtime,
      onEvent(event) {
        events.push(event)
        for (const wake of waiting) wake()
      },
    })
  } catch (error) {
    fs.rmSync(root, { recursive: true, force: true })
    throw error
  }
  const client = new RateLimitClient(server.addresses.grpc)
  const event: TestRateLimit['event'] = (wanted, from = 0) =>
    new Promise((resolve) => {
      const look = () => {
        const found = events.slice(from).find(wanted)
        if (!found) return
        waiting.delete(look)
        resolve(found)
      }
      waiting.add(look)
      look()
    })
  const get: TestRateLimit['get'] = async (door, where) => {
    const response = await fetch(`http://${server.addresses[door]}${where}`)
    return { status: response.status, text: await response.text() }
  }
  return Object.assign(client, {
    server,
    events,
    event,
    get,
    problems() {
      const last = events.findLast((one) => one.type === 'limits')
      return formatProblems(last?.problems ?? []).replaceAll(`${root}/`, '')
    },
    async write(name: string, text: string) {
      const from = events.length
      fs.writeFileSync(path.join(root, name), text)
      await event((one) => one.type === 'limits', from)
    },
    async stat(name: string) {
      const line = (await get('debug', '/stats')).text.split('\n').find((one) => one.startsWith(`${name}: `))
      return line === undefined ? undefined : Number(line.slice(name.length + 2))
    },
    async stop() {
      client.close()
      await server.stop()
      fs.rmSync(root, { recursive: true, force: true })
    },
  })
}
