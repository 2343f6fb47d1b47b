import type { CallAnswer, CallRequest } from '../mesh/control/api.ts'
import type { LoadOptions } from '../mesh/load/types.ts'
import { milliseconds } from './duration.ts'
import type { CallInit, CallResult, LoadInit } from './types.ts'

/** How long a call waits for its answer, ms. */
const TIMEOUT_MS = 10_000

/** A call as the mesh takes it. */
export function callRequest(from: string, url: string, init: CallInit): CallRequest {
  const { body, timeout = TIMEOUT_MS } = init
  const headers: [string, string][] = Array.isArray(init.headers)
    ? init.headers.map(([name, value]) => [name, value])
    : Object.entries(init.headers ?? {})
  const isJson = body !== undefined && typeof body !== 'string' && !(body instanceof Uint8Array)
  if (isJson && !headers.some(([name]) => name.toLowerCase() === 'content-type'))
    headers.push(['content-type', 'application/json'])
  return {
    from,
    url,
    method: init.method ?? (body === undefined ? 'GET' : 'POST'),
    headers,
    body: Buffer.from(isJson ? JSON.stringify(body) : ((body as string | Uint8Array | undefined) ?? '')).toString(
      'base64',
    ),
    count: 1,
    concurrency: 1,
    timeout,
  }
}

/** A load as the mesh takes it. */
export function loadOptions(from: string, url: string, init: LoadInit): LoadOptions {
  const { body, duration, connections = 10, timeout = TIMEOUT_MS } = init
  return {
    from,
    url,
    method: init.method ?? (body === undefined ? 'GET' : 'POST'),
    headers: Object.entries(init.headers ?? {}),
    body: typeof body === 'string' ? Buffer.from(body) : body,
    connections,
    duration: duration === undefined ? undefined : milliseconds(duration),
    amount: init.amount ?? (duration === undefined ? 1000 : undefined),
    rate: init.rate,
    timeout,
  }
}

/** An answer as a test looks at it. */
export function callResult(answer: CallAnswer): CallResult {
  const bytes = Buffer.from(answer.body ?? '', 'base64')
  const body = bytes.toString()
  return {
    status: answer.status,
    headers: joined(answer.headers),
    rawHeaders: answer.headers,
    trailers: joined(answer.trailers ?? []),
    body,
    bytes,
    json: <T>() => JSON.parse(body) as T,
    error: answer.error,
    instance: answer.by,
    workload: answer.byWorkload,
    attempts: answer.attempts ?? 0,
    tried: answer.tried ?? [],
    flags: answer.flags === undefined || answer.flags === '-' ? [] : answer.flags.split(','),
    details: answer.details,
    cluster: answer.cluster,
    route: answer.route || undefined,
    ms: answer.ms,
  }
}

function joined(pairs: readonly (readonly [string, string])[]): Record<string, string> {
  const out: Record<string, string> = {}
  for (const [name, value] of pairs) {
    const key = name.toLowerCase()
    out[key] = out[key] === undefined ? value : `${out[key]}, ${value}`
  }
  return out
}
