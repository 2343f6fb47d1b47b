import { randomBytes, randomUUID } from 'node:crypto'
import type http from 'node:http'
import type { AppIdentity } from './identity.ts'

/** The most that /bytes and /stream-bytes give, and the longest that /delay waits (httpbin's own limits). */
const MAX_BYTES = 100 * 1024
const MAX_DELAY_S = 10

interface Exchange {
  readonly request: http.IncomingMessage
  readonly response: http.ServerResponse
  readonly url: URL
  readonly body: Buffer
  readonly rest: string
}

/**
 * The stand-in for httpbin's image: the endpoints that Istio's tasks and samples use, with httpbin's JSON.
 * Each answer also tells the instance in `x-instance`, which httpbin itself does not.
 */
export function httpbin(identity: AppIdentity): http.RequestListener {
  return async (request, response) => {
    const chunks: Buffer[] = []
    try {
      for await (const chunk of request) chunks.push(chunk as Buffer)
    } catch {
      return // the caller is gone
    }
    response.setHeader('x-instance', identity.instance)
    response.setHeader('access-control-allow-origin', '*')
    response.setHeader('access-control-allow-credentials', 'true')
    const url = new URL(request.url ?? '/', 'http://httpbin')
    const [, first = '', ...rest] = url.pathname.split('/')
    const handler = ENDPOINTS[first] ?? notFound
    handler({ request, response, url, body: Buffer.concat(chunks), rest: rest.join('/') })
  }
}

const ENDPOINTS: Record<string, (x: Exchange) => void> = {
  '': (x) => send(x, 200, 'text/html; charset=utf-8', '<!DOCTYPE html><title>httpbin</title><h1>httpbin</h1>\n'),
  get: (x) => (x.request.method === 'GET' || x.request.method === 'HEAD' ? json(x, about(x)) : notAllowed(x, 'GET')),
  post: (x) => (x.request.method === 'POST' ? json(x, withBody(x)) : notAllowed(x, 'POST')),
  put: (x) => (x.request.method === 'PUT' ? json(x, withBody(x)) : notAllowed(x, 'PUT')),
  patch: (x) => (x.request.method === 'PATCH' ? json(x, withBody(x)) : notAllowed(x, 'PATCH')),
  delete: (x) => (x.request.method === 'DELETE' ? json(x, withBody(x)) : notAllowed(x, 'DELETE')),
  anything: (x) => json(x, { ...withBody(x), method: x.request.method }),
  headers: (x) => json(x, { headers: headersOf(x.request) }),
  ip: (x) => json(x, { origin: originOf(x.request) }),
  'user-agent': (x) => json(x, { 'user-agent': x.request.headers['user-agent'] ?? null }),
  uuid: (x) => json(x, { uuid: randomUUID() }),
  json: (x) => json(x, { slideshow: { title: 'Sample Slide Show', author: 'Yours Truly', slides: [] } }),
  html: (x) => send(x, 200, 'text/html; charset=utf-8', '<!DOCTYPE html><h1>Herman Melville - Moby-Dick</h1>\n'),
  status: (x) => {
    const codes = x.rest.split(',').map(Number)
    const code = codes[Math.floor(codes.length * fraction())] ?? Number.NaN
    if (!Number.isInteger(code) || code < 200 || code > 599) return send(x, 400, 'text/plain', 'Invalid status code')
    if (code >= 301 && code <= 308 && code !== 304 && code !== 306) x.response.setHeader('location', '/redirect/1')
    send(x, code, 'text/html; charset=utf-8', '')
  },
  delay: (x) => {
    const seconds = Math.min(Math.max(Number(x.rest) || 0, 0), MAX_DELAY_S)
    const timer = setTimeout(() => json(x, withBody(x)), seconds * 1000)
    x.response.on('close', () => clearTimeout(timer))
  },
  bytes: (x) => {
    const n = Math.min(Math.max(Number.parseInt(x.rest, 10) || 0, 0), MAX_BYTES)
    send(x, 200, 'application/octet-stream', randomBytes(n))
  },
  stream: (x) => {
    const lines = Math.min(Math.max(Number.parseInt(x.rest, 10) || 1, 1), 100)
    x.response.writeHead(200, { 'content-type': 'application/json' })
    for (let id = 0; id < lines; id++) x.response.write(`${JSON.stringify({ id, ...about(x) })}\n`)
    x.response.end()
  },
  'response-headers': (x) => {
    const given = Object.fromEntries(x.url.searchParams)
    for (const [name, value] of x.url.searchParams) x.response.setHeader(name, value)
    json(x, given)
  },
  redirect: (x) => {
    const left = Number.parseInt(x.rest, 10) || 1
    x.response.setHeader('location', left > 1 ? `/redirect/${left - 1}` : '/get')
    send(x, 302, 'text/html; charset=utf-8', '')
  },
  cookies: (x) => {
    const pairs = (x.request.headers.cookie ?? '').split(';').map((p) => p.trim().split('='))
    json(x, { cookies: Object.fromEntries(pairs.filter((p) => p[0]).map(([k, ...v]) => [k, v.join('=')])) })
  },
  'basic-auth': (x) => {
    const wanted = `Basic ${Buffer.from(x.rest.replace('/', ':')).toString('base64')}`
    if (x.request.headers.authorization === wanted) return json(x, { authenticated: true, user: x.rest.split('/')[0] })
    x.response.setHeader('www-authenticate', 'Basic realm="Fake Realm"')
    send(x, 401, 'text/plain', '')
  },
  bearer: (x) => {
    const m = /^Bearer (.+)$/.exec(x.request.headers.authorization ?? '')
    if (m) return json(x, { authenticated: true, token: m[1] })
    x.response.setHeader('www-authenticate', 'Bearer')
    send(x, 401, 'text/plain', '')
  },
}

function fraction(): number {
  return randomBytes(4).readUInt32BE() / 2 ** 32
}

function notFound(x: Exchange): void {
  send(x, 404, 'text/html; charset=utf-8', '<!DOCTYPE html><title>404 Not Found</title><h1>Not Found</h1>\n')
}

function notAllowed(x: Exchange, allow: string): void {
  x.response.setHeader('allow', allow)
  send(x, 405, 'text/html; charset=utf-8', '<!DOCTYPE html><title>405 Method Not Allowed</title>\n')
}

function headersOf(request: http.IncomingMessage): Record<string, string> {
  const canonical = (name: string) => name.replace(/(^|-)[a-z]/g, (c) => c.toUpperCase())
  return Object.fromEntries(Object.entries(request.headers).map(([k, v]) => [canonical(k), String(v)]))
}

function originOf(request: http.IncomingMessage): string {
  return String(request.headers['x-forwarded-for'] ?? request.socket.remoteAddress ?? '')
}

function about(x: Exchange): Record<string, unknown> {
  const url = `http://${x.request.headers.host ?? 'httpbin'}${x.request.url}`
  const args = Object.fromEntries(x.url.searchParams)
  return { args, headers: headersOf(x.request), origin: originOf(x.request), url }
}

function withBody(x: Exchange): Record<string, unknown> {
  const data = x.body.toString()
  const type = x.request.headers['content-type'] ?? ''
  let parsed: unknown = null
  if (/json/.test(type))
    try {
      parsed = JSON.parse(data)
    } catch {
      // httpbin answers null for what is no JSON
    }
  const isForm = type.startsWith('application/x-www-form-urlencoded')
  const form = isForm ? Object.fromEntries(new URLSearchParams(data)) : {}
  return { ...about(x), data: isForm ? '' : data, files: {}, form, json: parsed }
}

function json(x: Exchange, value: unknown): void {
  send(x, 200, 'application/json', `${JSON.stringify(value, null, 2)}\n`)
}

function send(x: Exchange, status: number, type: string, body: string | Buffer): void {
  if (x.response.destroyed) return
  const bodyless = status === 204 || status === 304
  x.response.writeHead(status, bodyless ? {} : { 'content-type': type, 'content-length': Buffer.byteLength(body) })
  x.response.end(bodyless || x.request.method === 'HEAD' ? undefined : body)
}
