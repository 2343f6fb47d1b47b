import { Client, type Dispatcher } from 'undici'
import type { LoadOptions, RecordingStarted } from './types.ts'

/** How long a connection rests after it could not be made, ms. */
const REFUSED_PAUSE_MS = 20

/** How much of a rate is made up for later, when answers were too slow for it, ms. */
const MAX_LAG_MS = 1000

/** What the clients of a load saw. */
export interface ClientTally {
  /** ms of each whole answer. */
  readonly latencies: number[]
  /** Requests that ended without a whole answer, by the client's words; a part of them the sidecar has seen. */
  readonly broken: Map<string, number>
  bytes: number
  seconds: number
}

/**
 * Sends requests over so many connections, each with one request at a time, until the time or the number is used up;
 * requests under way then are given up (time) or waited for (number).
 */
export async function sendLoad(
  options: LoadOptions,
  { to, localAddress, userAgent }: RecordingStarted,
): Promise<ClientTally> {
  const url = new URL(options.url)
  const clients = Array.from({ length: options.connections }, () => connect(to, localAddress, options.timeout))
  const tally: ClientTally = { latencies: [], broken: new Map(), bytes: 0, seconds: 0 }
  const request: Dispatcher.DispatchOptions = {
    path: url.pathname + url.search,
    method: options.method as Dispatcher.HttpMethod,
    headers: headersOf(options, url, userAgent),
    body: options.body === undefined ? null : Buffer.from(options.body),
  }
  const began = performance.now()
  let sent = 0
  let next = began
  let over = false
  const turn = async (client: Client) => {
    while (!over && (options.amount === undefined || sent < options.amount)) {
      sent++
      if (options.rate !== undefined) {
        const at = Math.max(next, performance.now() - MAX_LAG_MS)
        next = at + 1000 / options.rate
        await until(at)
      }
      if (over) return
      const started = performance.now()
      const error = await exchange(client, request, tally)
      if (over && options.amount === undefined) return
      if (error === undefined) tally.latencies.push(performance.now() - started)
      else {
        tally.broken.set(error, (tally.broken.get(error) ?? 0) + 1)
        if (error.includes('ECONNREFUSED')) await until(performance.now() + REFUSED_PAUSE_MS)
      }
    }
  }
  const timer =
    options.duration === undefined
      ? undefined
      : setTimeout(() => {
          over = true
          for (const client of clients) client.destroy().catch(() => {})
        }, options.duration)
  await Promise.all(clients.map(turn))
  clearTimeout(timer)
  over = true
  tally.seconds = (performance.now() - began) / 1000
  await Promise.all(clients.map((client) => client.destroy().catch(() => {})))
  return tally
}

function connect(to: RecordingStarted['to'], localAddress: string | undefined, timeout: number): Client {
  const host = to.host.includes(':') ? `[${to.host}]` : to.host
  return new Client(`http://${host}:${to.port}`, {
    pipelining: 1,
    headersTimeout: timeout,
    bodyTimeout: timeout,
    connect: { ...(localAddress === undefined ? {} : { localAddress }), timeout },
  })
}

/** One request; resolves with why there was no whole answer, or undefined. */
function exchange(
  client: Client,
  request: Dispatcher.DispatchOptions,
  tally: ClientTally,
): Promise<string | undefined> {
  return new Promise((resolve) => {
    client.dispatch(request, {
      onRequestStart() {},
      onResponseStart() {},
      onResponseData(_, chunk) {
        tally.bytes += chunk.length
      },
      onResponseEnd: () => resolve(undefined),
      onResponseError: (_, error) => resolve(wordsOf(error)),
    })
  })
}

function wordsOf(error: Error & { code?: string }): string {
  if (error.code === 'UND_ERR_HEADERS_TIMEOUT' || error.code === 'UND_ERR_BODY_TIMEOUT') return 'no answer in time'
  return error.code && !error.code.startsWith('UND_') ? `${error.code}: ${error.message}` : error.message
}

function headersOf(options: LoadOptions, url: URL, userAgent: string): string[] {
  const given = new Set(options.headers.map(([name]) => name.toLowerCase()))
  const kept = options.headers.filter(([name]) => name.toLowerCase() !== 'user-agent')
  return [...(given.has('host') ? [] : ['host', url.host]), 'user-agent', userAgent, ...kept.flat()]
}

function until(time: number): Promise<void> {
  const ms = time - performance.now()
  return ms <= 0 ? Promise.resolve() : new Promise((resolve) => setTimeout(resolve, ms))
}
