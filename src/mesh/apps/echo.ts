import type http from 'node:http'
import { type Call, makeCalls } from './calls.ts'
import type { AppIdentity, Reach } from './identity.ts'

/**
 * The stand-in for a workload whose app nobody gave: answers with who it is and what it received, and,
 * when told to by `dinghy.dev/calls`, calls on through its own sidecar and shows what it got there.
 */
export function echo(identity: AppIdentity, calls: readonly Call[], reach: Reach): http.RequestListener {
  return async (request, response) => {
    const chunks: Buffer[] = []
    try {
      for await (const chunk of request) chunks.push(chunk as Buffer)
    } catch {
      return // the caller is gone
    }
    const results = calls.length ? await makeCalls(calls, request.headers, reach) : undefined
    const body = JSON.stringify({
      workload: identity.workload,
      instance: identity.instance,
      namespace: identity.namespace,
      ...(identity.version ? { version: identity.version } : {}),
      request: {
        method: request.method,
        path: request.url,
        headers: request.headers,
        ...(chunks.length ? { body: Buffer.concat(chunks).toString() } : {}),
      },
      ...(results ? { calls: results } : {}),
    })
    response.writeHead(200, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) })
    response.end(request.method === 'HEAD' ? undefined : body)
  }
}
