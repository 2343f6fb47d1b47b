import http from 'node:http'
import https from 'node:https'
import type { SocketAddress } from '../address-book.ts'
import type { CallAnswer, CallRequest } from './api.ts'

/** The most of a response body that an answer carries, bytes. */
const MAX_BODY = 16 * 1024 * 1024

/**
 * One HTTP/1.1 request to a capture socket, on a connection of its own or of the agent. `onPort` learns the local port
 * of that connection before the request is sent. Never rejects.
 */
export function send(
  to: SocketAddress,
  localAddress: string | undefined,
  call: CallRequest,
  url: URL,
  requestId: string,
  agent: http.Agent,
  onPort?: (port: number) => void,
): Promise<CallAnswer> {
  const start = performance.now()
  const body = Buffer.from(call.body, 'base64')
  const ms = () => Math.round((performance.now() - start) * 10) / 10
  return new Promise((resolve) => {
    const failed = (why: string) => resolve({ status: 0, statusText: '', headers: [], error: why, ms: ms() })
    const request = (url.protocol === 'https:' ? https : http).request(
      {
        ...to,
        localAddress,
        agent,
        method: call.method,
        path: url.pathname + url.search,
        headers: headersOf(call, url, requestId, body.length),
        timeout: call.timeout,
        setHost: false,
      },
      (response) => {
        const chunks: Buffer[] = []
        let size = 0
        response.on('data', (chunk: Buffer) => {
          size += chunk.length
          if (size <= MAX_BODY) chunks.push(chunk)
        })
        response.on('error', (e) => failed(`the response broke off: ${e.message}`))
        response.on('end', () =>
          resolve({
            status: response.statusCode ?? 0,
            statusText: response.statusMessage ?? '',
            headers: pairs(response.rawHeaders),
            ...(response.rawTrailers.length > 0 ? { trailers: pairs(response.rawTrailers) } : {}),
            ...(call.count === 1 ? { body: Buffer.concat(chunks).toString('base64') } : {}),
            ms: ms(),
          }),
        )
      },
    )
    if (onPort)
      request.on('socket', (socket) => {
        const tell = () => onPort(socket.localPort ?? 0)
        if (socket.connecting) socket.once('connect', tell)
        else tell()
      })
    request.on('timeout', () => request.destroy(new Error(`no answer within ${call.timeout} ms`)))
    request.on('error', (e: NodeJS.ErrnoException) =>
      failed(e.code === 'ECONNRESET' ? 'the connection was closed without an answer' : e.message),
    )
    request.end(body.length ? body : undefined)
  })
}

function headersOf(call: CallRequest, url: URL, requestId: string, length: number): string[] {
  const given = new Set(call.headers.map(([name]) => name.toLowerCase()))
  const headers: string[] = []
  const unlessGiven = (name: string, value: string) => given.has(name) || headers.push(name, value)
  unlessGiven('host', url.host)
  unlessGiven('user-agent', 'dinghy-call')
  unlessGiven('accept', '*/*')
  unlessGiven('x-request-id', requestId)
  for (const [name, value] of call.headers) headers.push(name, value)
  if (length > 0 && !given.has('content-length') && !given.has('transfer-encoding'))
    headers.push('content-length', String(length))
  return headers
}

function pairs(raw: readonly string[]): [string, string][] {
  const out: [string, string][] = []
  for (let i = 0; i + 1 < raw.length; i += 2) out.push([raw[i]!, raw[i + 1]!])
  return out
}
