import { createClient, ErrorReply } from '@redis/client'
import type { Runtime } from '../runtime.ts'
import { type Backend, BackendError, type Hits } from './backend.ts'
import type { RedisPlace } from './redis-place.ts'
import type { Stats } from './stats.ts'

/** How to count in a Redis. */
export interface RedisOptions {
  readonly place: RedisPlace
  readonly runtime: Runtime
  readonly stats: Stats
  /** The name of the connection in statistics: `redis_pool`. */
  readonly pool: string
  /** How long a connection, or an answer, may take, ms. */
  readonly timeoutMs: number
  /** Is told when the Redis can be used, and when it cannot any more, with the reason. */
  readonly onState: (ready: boolean, reason: string) => void
}

type Client = ReturnType<typeof openClient>

/** The longest pause between two attempts to reach a Redis, ms. */
const MAX_PAUSE_MS = 1000

/**
 * Counts in a Redis. The commands of a request go out together and come back together: one round trip, over one
 * connection. While the Redis is gone requests fail at once, and the connection is tried again and again.
 */
export class RedisBackend implements Backend {
  readonly #options: RedisOptions
  readonly #connections
  readonly #closes
  #client: Client
  #ready = false
  /** Why there is no connection. */
  #reason = 'not connected yet'
  #closed = false

  constructor(options: RedisOptions) {
    this.#options = options
    this.#connections = options.stats.counter(`ratelimit.${options.pool}.cx_total`)
    this.#closes = options.stats.counter(`ratelimit.${options.pool}.cx_local_close`)
    options.stats.gauge(`ratelimit.${options.pool}.cx_active`, () => (this.#ready ? 1 : 0))
    this.#client = this.#open()
  }

  async add(hits: readonly Hits[]): Promise<bigint[]> {
    const commands = hits.flatMap(({ key, hits, ttl }) => [
      ['INCRBY', key, String(hits)],
      ['EXPIRE', key, String(ttl)],
    ])
    const replies = await this.#send(commands)
    return hits.map((_, i) => BigInt(replies[2 * i] as string))
  }

  async read(counters: readonly { readonly key: string }[]): Promise<bigint[]> {
    const replies = await this.#send(counters.map(({ key }) => ['GET', key]))
    return replies.map((reply) => BigInt((reply as string | null) ?? 0))
  }

  async close(): Promise<void> {
    this.#closed = true
    this.#client.destroy()
  }

  #open(): Client {
    const { place, timeoutMs } = this.#options
    const client = openClient(place, timeoutMs)
    client.on('error', (error: Error) => this.#lost(client, reasonOf(error, place)))
    client.on('ready', () => this.#greet(client))
    // Its failures are told by events; it is given up only when it is closed.
    client.connect().catch(() => {})
    return client
  }

  /** A connection alone says little: the kernel makes it for a Redis that hangs, or that wants a password. */
  #greet(client: Client): void {
    if (client !== this.#client || this.#closed) return
    const { runtime, timeoutMs, onState } = this.#options
    const timer = runtime.after(timeoutMs, () => this.#renew(client, this.#silence))
    client.sendCommand(['PING']).then(
      () => {
        timer.cancel()
        if (client !== this.#client || this.#closed) return
        this.#ready = true
        this.#reason = ''
        this.#connections.inc()
        onState(true, '')
      },
      (error: Error) => {
        timer.cancel()
        if (!(error instanceof ErrorReply)) return
        this.#lost(client, error.message)
        runtime.after(MAX_PAUSE_MS, () => this.#renew(client, error.message))
      },
    )
  }

  #lost(client: Client, reason: string): void {
    if (client !== this.#client || this.#closed) return
    const news = this.#ready || reason !== this.#reason
    if (this.#ready) this.#closes.inc()
    this.#ready = false
    this.#reason = reason
    if (news) this.#options.onState(false, reason)
  }

  /** Leaves a connection and makes a new one. */
  #renew(client: Client, reason: string): void {
    if (client !== this.#client || this.#closed) return
    this.#lost(client, reason)
    this.#client = this.#open()
    client.destroy()
  }

  get #silence(): string {
    return `no answer from the Redis at ${this.#options.place.shown} within ${this.#options.timeoutMs} ms`
  }

  /** The replies of commands that go out together; the first error among them is that of all. */
  async #send(commands: readonly (readonly string[])[]): Promise<unknown[]> {
    const { runtime, timeoutMs } = this.#options
    const client = this.#client
    if (!this.#ready) throw new BackendError(this.#reason)
    return new Promise((resolve, reject) => {
      const timer = runtime.after(timeoutMs, () => {
        reject(new BackendError(this.#silence))
        // Whoever does not answer in time is left.
        this.#renew(client, this.#silence)
      })
      Promise.all(commands.map((command) => client.sendCommand(command).catch(failed(command)))).then(
        (replies) => {
          timer.cancel()
          resolve(replies)
        },
        (error: BackendError) => {
          timer.cancel()
          reject(error)
        },
      )
    })
  }
}

/** What the reference says of a connection that is closed over a question. */
const LOST = 'response returned from Conn: EOF'

/** Makes of a command's failure that of its request, as the reference tells it. */
function failed(command: readonly string[]): (error: Error) => never {
  return (error) => {
    const words = command.map((word) => JSON.stringify(word)).join(' ')
    const refused = `command [${words}] in pipeline returned error: ${error.message}`
    throw new BackendError(error instanceof ErrorReply ? refused : LOST)
  }
}

function openClient({ at, username, password, database, tls }: RedisPlace, timeoutMs: number) {
  const common = {
    connectTimeout: timeoutMs,
    reconnectStrategy: (retries: number) => Math.min(MAX_PAUSE_MS, 25 * 2 ** Math.min(retries, 10)),
  }
  const { ca, cert, key, anyName } = tls ?? {}
  const secure = tls && {
    tls: true as const,
    ...(ca === undefined ? {} : { ca }),
    ...(cert === undefined ? {} : { cert }),
    ...(key === undefined ? {} : { key }),
    ...(anyName ? { checkServerIdentity: () => undefined } : {}),
    ...('host' in at && /[a-z]/i.test(at.host) && !at.host.includes(':') ? { servername: at.host } : {}),
  }
  const socket = 'path' in at ? { ...common, path: at.path, tls: false as const } : { ...common, ...secure, ...at }
  const options = {
    socket,
    database,
    ...(username === undefined ? {} : { username }),
    ...(password === undefined ? {} : { password }),
    // What every Redis and every proxy before one understands: no HELLO, no CLIENT SETINFO.
    RESP: 2,
    disableClientInfo: true,
    maintNotifications: 'disabled' as const,
    disableOfflineQueue: true,
    // Counters have 64 bits.
    commandOptions: { typeMapping: { [RESP_INTEGER]: String } },
  }
  return createClient(options as object) // the library's type for its options wants every socket option at once
}

/** The byte that an integer reply begins with. */
const RESP_INTEGER = 58

/** Why a Redis cannot be reached, in the words of the reference's language. */
function reasonOf(error: Error, { at, shown }: RedisPlace): string {
  const { code, errors } = error as NodeJS.ErrnoException & { errors?: NodeJS.ErrnoException[] }
  const network = 'path' in at ? 'unix' : 'tcp'
  const words = DIAL_ERRORS[code ?? errors?.[0]?.code ?? '']
  if (words) return `dial ${network} ${shown}: connect: ${words}`
  if (error.name === 'ConnectionTimeoutError' || error.message === 'Connection timeout')
    return `dial ${network} ${shown}: i/o timeout`
  return error.message === 'Socket closed unexpectedly' ? LOST : `${shown}: ${error.message}`
}

const DIAL_ERRORS: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'connection refused',
  ENOENT: 'no such file or directory',
  EHOSTUNREACH: 'no route to host',
  ENETUNREACH: 'network is unreachable',
}
