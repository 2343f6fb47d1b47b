import http from 'node:http'
import https from 'node:https'
import type { Runtime } from '../../runtime.ts'
import type { SocketAddress } from '../address-book.ts'
import { type Observed, peerKey } from '../observed.ts'
import { OUTSIDE } from '../outside.ts'
import type { CallAnswer, CallRequest } from './api.ts'
import { send } from './send.ts'

/** Limits of one call, so that a slip of the finger does not become a flood. */
const MAX_COUNT = 100_000
const MAX_CONCURRENCY = 256

/** The way of a call: the caller's pod, where its program connects, and from which address. */
export interface CallRoute {
  readonly podIp: string
  readonly to: SocketAddress
  readonly localAddress: string | undefined
}

/** What sending needs of the mesh. */
export interface Caller {
  /** Where a program of the calling workload connects for that URL, and from where. Rejects when there is no such name. */
  route(from: string, host: string, port: number): Promise<CallRoute>
  /** Watch what the pod's sidecar decides for the request, by its id or its `peerKey`. */
  want(podIp: string, key: string): boolean
  /** What it decided; with `wait` the request is watched on when that is not known yet. */
  take(key: string, wait: boolean): Observed | undefined
  /** The pod, and its owner, behind an `ip:port`. */
  instanceAt(hostPort: string): { name: string; workload: string } | undefined
  readonly runtime: Runtime
}

/** A call that makes no sense as given; the message says why. */
export class BadCallError extends Error {}

/** Sends `count` requests as the workload's program would, and tells of each what came back and who answered. */
export async function call(request: CallRequest, caller: Caller): Promise<CallAnswer[]> {
  const outside = request.from === OUTSIDE
  const url = parseUrl(request.url, outside)
  const { count, concurrency } = request
  if (!Number.isInteger(count) || count < 1 || count > MAX_COUNT)
    throw new BadCallError(`the number of requests must be 1 to ${MAX_COUNT}`)
  if (!Number.isInteger(concurrency) || concurrency < 1 || concurrency > MAX_CONCURRENCY)
    throw new BadCallError(`the number of requests at the same time must be 1 to ${MAX_CONCURRENCY}`)
  const { podIp, to, localAddress } = await caller.route(
    request.from,
    url.hostname.replace(/^\[|\]$/g, ''),
    Number(url.port || (url.protocol === 'https:' ? 443 : 80)),
  )
  const options = { keepAlive: count > 1, maxSockets: concurrency }
  // Certificates of tests are seldom of an authority that this machine knows.
  const agent =
    url.protocol === 'https:'
      ? new https.Agent({ ...options, servername: url.hostname, rejectUnauthorized: false })
      : new http.Agent(options)
  const answers: CallAnswer[] = new Array(count)
  let next = 0
  const worker = async () => {
    while (next < count) {
      const i = next++
      const requestId = givenRequestId(request) ?? caller.runtime.uuid()
      let key = requestId
      let watched = !outside && caller.want(podIp, key)
      const onPort = (port: number) => {
        key = peerKey(port)
        watched = caller.want(podIp, key)
      }
      const answer = await send(to, localAddress, request, url, requestId, agent, outside ? onPort : undefined)
      answers[i] = { ...answer, ...(watched ? facts(await settled(caller, key, answer), caller) : {}) }
    }
  }
  try {
    await Promise.all(Array.from({ length: Math.min(concurrency, count) }, worker))
  } finally {
    agent.destroy()
  }
  return answers
}

/** How often, and how many ms apart, is asked whether the sidecar has finished its account. */
const LOOKS = 10
const BETWEEN_LOOKS_MS = 5

/**
 * The sidecar finishes its own account of a request a moment after the last byte has left: at once as a rule, later where
 * its upstream has not taken the whole request yet.
 */
async function settled(caller: Caller, key: string, answer: CallAnswer): Promise<Observed | undefined> {
  if (answer.status === 0) return caller.take(key, false)
  await new Promise((resolve) => setImmediate(resolve))
  for (let look = 0; look < LOOKS; look++) {
    const seen = caller.take(key, true)
    if (seen) return seen
    await new Promise((resolve) => setTimeout(resolve, BETWEEN_LOOKS_MS))
  }
  return caller.take(key, false)
}

function facts(seen: Observed | undefined, caller: Caller): Partial<CallAnswer> {
  if (!seen) return {}
  const instance = seen.host === undefined ? undefined : caller.instanceAt(seen.host)
  return {
    by: instance?.name ?? seen.host,
    byWorkload: instance?.workload,
    cluster: seen.cluster,
    route: seen.route,
    flags: seen.flags,
    details: seen.details,
    refusal: seen.refusal,
    attempts: seen.attempts,
    tried: seen.tried.map((host) => caller.instanceAt(host)?.name ?? host),
  }
}

function parseUrl(text: string, outside: boolean): URL {
  let url: URL
  try {
    url = new URL(/^[a-z][a-z0-9+.-]*:\/\//i.test(text) ? text : `http://${text}`)
  } catch {
    throw new BadCallError(`"${text}" is no URL`)
  }
  if (url.protocol !== 'http:' && !(outside && url.protocol === 'https:'))
    throw new BadCallError(
      `${url.protocol}// cannot be called: programs in a mesh speak plain http, the sidecar adds TLS`,
    )
  return url
}

function givenRequestId(request: CallRequest): string | undefined {
  return request.headers.find(([name]) => name.toLowerCase() === 'x-request-id')?.[1]
}
