import http from 'node:http'
import type { Reach } from './identity.ts'

/** One entry of the annotation `dinghy.dev/calls`, such as `details:9080` or `ratings:9080/ratings/1`. */
export interface Call {
  readonly host: string
  readonly port: number
  readonly path: string
}

/** What came back from one call, as it appears in the caller's answer. */
export interface CallResult {
  readonly url: string
  readonly status: number
  /** The callee's answer: parsed when it is JSON, else text. */
  readonly answer?: unknown
  /** Why there was no answer. */
  readonly error?: string
}

/** How long a stand-in waits for the services it calls, ms. */
const CALL_TIMEOUT_MS = 30_000

/**
 * Headers an application in a mesh passes on: what ties a request to its trace, and the user headers
 * that Bookinfo passes on so that routes can match on them.
 */
const PASSED_ON = [
  'x-request-id', 'x-b3-traceid', 'x-b3-spanid', 'x-b3-parentspanid', 'x-b3-sampled', 'x-b3-flags', 'b3',
  'traceparent', 'tracestate', 'x-ot-span-context', 'x-datadog-trace-id', 'x-datadog-parent-id',
  'x-datadog-sampling-priority', 'x-cloud-trace-context', 'grpc-trace-bin', 'authorization', 'cookie',
  'end-user', 'user-agent',
] // biome-ignore format: one list

/**
 * Reads `details:9080,reviews:9080/path`. The port defaults to 80, the path to `/`. Throws on a malformed entry,
 * naming it.
 */
export function parseCalls(annotation: string | undefined): Call[] {
  return (annotation ?? '')
    .split(',')
    .map((entry) => entry.trim())
    .filter(Boolean)
    .map((entry) => {
      const m = /^(?:http:\/\/)?([A-Za-z0-9._-]+)(?::(\d{1,5}))?(\/\S*)?$/.exec(entry)
      const port = Number(m?.[2] ?? 80)
      if (!m || port < 1 || port > 65535)
        throw new Error(`dinghy.dev/calls: "${entry}" is no host:port[/path], as in "details:9080,reviews:9080"`)
      return { host: m[1]!, port, path: m[3] ?? '/' }
    })
}

/** Calls all services at the same time, each through the caller's own sidecar. Never rejects. */
export function makeCalls(
  calls: readonly Call[],
  incoming: http.IncomingHttpHeaders,
  reach: Reach,
): Promise<CallResult[]> {
  return Promise.all(calls.map((call) => makeCall(call, incoming, reach)))
}

async function makeCall(call: Call, incoming: http.IncomingHttpHeaders, reach: Reach): Promise<CallResult> {
  const url = `http://${call.host}:${call.port}${call.path}`
  const headers: http.OutgoingHttpHeaders = { host: `${call.host}:${call.port}` }
  for (const name of PASSED_ON) if (incoming[name] !== undefined) headers[name] = incoming[name]
  try {
    const to = await reach(call.host, call.port)
    return await new Promise((resolve, reject) => {
      const request = http.get(
        { ...to, path: call.path, headers, timeout: CALL_TIMEOUT_MS, agent: false },
        (response) => {
          const chunks: Buffer[] = []
          response.on('data', (chunk: Buffer) => chunks.push(chunk))
          response.on('error', reject)
          response.on('end', () => {
            const text = Buffer.concat(chunks).toString()
            const json = /json/.test(response.headers['content-type'] ?? '')
            resolve({ url, status: response.statusCode ?? 0, answer: json ? parseJson(text) : text })
          })
        },
      )
      request.on('timeout', () => request.destroy(new Error(`no answer within ${CALL_TIMEOUT_MS} ms`)))
      request.on('error', reject)
    })
  } catch (e) {
    return { url, status: 0, error: e instanceof Error ? e.message : String(e) }
  }
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return text
  }
}
