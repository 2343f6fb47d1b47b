import http from 'node:http'
import type { AddressInfo } from 'node:net'
import net from 'node:net'
import { afterEach } from 'vitest'
import { type RunningProxy, socketAddress, startProxy, staticCluster } from './proxy.ts'

/** What an upstream got. */
export interface Received {
  readonly upstream: string
  readonly method: string
  readonly path: string
  readonly headers: ReadonlyMap<string, string>
  readonly rawHeaders: readonly string[]
  body: string
}

/** How an upstream answers one request. */
export interface Answer {
  readonly status?: number
  readonly headers?: Record<string, string>
  readonly body?: string
  /** ms before the answer. */
  readonly delay?: number
  /** Close the socket without an answer, or never answer. */
  readonly fail?: 'close' | 'reset' | 'hang'
}

/** A scripted HTTP server. */
export class Upstream {
  readonly name: string
  readonly received: Received[] = []
  /** Stays known after `stop`. */
  port = 0
  private readonly answers: readonly Answer[]
  private readonly server: http.Server

  private constructor(name: string, answers: readonly Answer[]) {
    this.name = name
    this.answers = answers
    this.server = http.createServer((req, res) => this.serve(req, res))
  }

  /** One answer per request in turn; the last one stays. Without any: 200 with the name. */
  static async start(name: string, ...answers: Answer[]): Promise<Upstream> {
    const upstream = new Upstream(name, answers)
    await new Promise<void>((resolve) => upstream.server.listen(0, '127.0.0.1', resolve))
    upstream.port = (upstream.server.address() as AddressInfo).port
    return upstream
  }

  get last(): Received {
    const last = this.received.at(-1)
    if (!last) throw new Error(`${this.name} got no request`)
    return last
  }

  stop(): void {
    this.server.closeAllConnections()
    this.server.close()
  }

  private serve(req: http.IncomingMessage, res: http.ServerResponse): void {
    const answer = this.answers[Math.min(this.received.length, this.answers.length - 1)] ?? {}
    const headers = new Map<string, string>()
    for (let i = 0; i < req.rawHeaders.length; i += 2) {
      const name = req.rawHeaders[i]!
      const before = headers.get(name)
      headers.set(name, before === undefined ? req.rawHeaders[i + 1]! : `${before} | ${req.rawHeaders[i + 1]!}`)
    }
    const entry: Received = {
      upstream: this.name,
      method: req.method ?? '',
      path: req.url ?? '',
      headers,
      rawHeaders: req.rawHeaders,
      body: '',
    }
    this.received.push(entry)
    req.setEncoding('latin1')
    req.on('data', (chunk: string) => {
      entry.body += chunk
    })
    req.on('error', () => {})
    req.on('end', () => setTimeout(() => this.answer(answer, req, res), answer.delay ?? 0))
  }

  private answer(answer: Answer, req: http.IncomingMessage, res: http.ServerResponse): void {
    if (answer.fail === 'hang') return
    if (answer.fail === 'close') req.socket.destroy()
    else if (answer.fail === 'reset') req.socket.resetAndDestroy()
    else {
      const body = answer.body ?? this.name
      res.sendDate = false
      res.writeHead(answer.status ?? 200, { 'content-length': Buffer.byteLength(body), ...answer.headers })
      res.end(body)
    }
  }
}

/** An answer as it was on the wire. */
export interface RawResponse {
  readonly status: number
  /** Lower-case names; repeated ones joined with ` | `. */
  readonly headers: ReadonlyMap<string, string>
  readonly names: readonly string[]
  readonly body: string
}

/** Sends bytes on a connection of its own and reads until the answers are complete or the connection closes. */
export function exchange(port: number, bytes: string, answers = 1): Promise<RawResponse[]> {
  return new Promise((resolve, reject) => {
    const socket = net.connect({ port, host: '127.0.0.1' })
    let text = ''
    const head = bytes.startsWith('HEAD ')
    const finish = () => {
      socket.destroy()
      resolve(parse(text, head))
    }
    socket.setEncoding('latin1')
    socket.on('error', reject)
    socket.on('connect', () => socket.write(Buffer.from(bytes, 'latin1')))
    socket.on('data', (chunk: string) => {
      text += chunk
      if (parse(text, head).length >= answers) finish()
    })
    socket.on('end', finish)
    socket.on('close', finish)
  })
}

/** `GET path` with headers, one answer. */
export async function get(
  port: number,
  path: string,
  headers: Record<string, string> = {},
  method = 'GET',
  body = '',
): Promise<RawResponse> {
  const lines = [`${method} ${path} HTTP/1.1`]
  if (!('host' in headers)) lines.push('host: svc.test')
  for (const [name, value] of Object.entries(headers)) lines.push(`${name}: ${value}`)
  if (body !== '') lines.push(`content-length: ${body.length}`)
  const [response] = await exchange(port, `${lines.join('\r\n')}\r\n\r\n${body}`)
  if (!response) throw new Error('no answer')
  return response
}

function parse(text: string, head: boolean): RawResponse[] {
  const out: RawResponse[] = []
  let rest = text
  for (;;) {
    const end = rest.indexOf('\r\n\r\n')
    const status = /^HTTP\/1\.[01] (\d{3})/.exec(rest)
    if (end < 0 || !status) return out
    const headers = new Map<string, string>()
    const names: string[] = []
    for (const line of rest.slice(0, end).split('\r\n').slice(1)) {
      const colon = line.indexOf(':')
      const name = line.slice(0, colon).toLowerCase()
      const before = headers.get(name)
      const value = line.slice(colon + 1).trim()
      names.push(name)
      headers.set(name, before === undefined ? value : `${before} | ${value}`)
    }
    rest = rest.slice(end + 4)
    const code = Number(status[1])
    let body = ''
    if (!head && code >= 200 && code !== 204 && code !== 304) {
      if (headers.get('transfer-encoding') === 'chunked') {
        for (;;) {
          const line = rest.indexOf('\r\n')
          if (line < 0) return out
          const size = Number.parseInt(rest.slice(0, line), 16)
          if (rest.length < line + 4 + size) return out
          body += rest.slice(line + 2, line + 2 + size)
          rest = rest.slice(line + 4 + size)
          if (size === 0) break
        }
      } else {
        const length = Number(headers.get('content-length') ?? 0)
        if (rest.length < length) return out
        body = rest.slice(0, length)
        rest = rest.slice(length)
      }
    }
    out.push({ status: code, headers, names, body })
  }
}

/** A listener `l` with one HTTP connection manager. */
export function httpListener(hcm: object): object {
  return {
    name: 'l',
    address: socketAddress(0),
    filter_chains: [
      {
        filters: [
          {
            name: 'envoy.filters.network.http_connection_manager',
            typed_config: {
              '@type':
                'type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager',
              stat_prefix: 'h',
              http_filters: [routerFilter()],
              ...hcm,
            },
          },
        ],
      },
    ],
  }
}

/** The router as an entry of http_filters. */
export function routerFilter(more: object = {}): object {
  return httpFilter('envoy.filters.http.router', 'envoy.extensions.filters.http.router.v3.Router', more)
}

/** An entry of http_filters. */
export function httpFilter(name: string, type: string, config: object = {}): object {
  return { name, typed_config: { '@type': `type.googleapis.com/${type}`, ...config } }
}

/** A route configuration with one virtual host for every domain. */
export function oneHost(routes: object[], host: object = {}, config: object = {}): object {
  return { name: 'rc', virtual_hosts: [{ name: 'vh', domains: ['*'], routes, ...host }], ...config }
}

/** Starts a proxy with one listener `l` and a cluster per upstream, named as the upstream is. */
export async function startHttpProxy(
  hcm: object,
  upstreams: readonly Upstream[],
  clusters: Record<string, object> = {},
  bootstrap: object = {},
): Promise<RunningProxy & { readonly http: number }> {
  const proxy = await startProxy({
    static_resources: {
      listeners: [httpListener(hcm)],
      clusters: upstreams.map((u) => staticCluster(u.name, u.port, clusters[u.name])),
    },
    ...bootstrap,
  })
  return Object.assign(proxy, { http: proxy.port('l') })
}

/** Upstreams and proxies of one test file, stopped after each test. */
export function httpHarness() {
  const running: { stop(): unknown }[] = []
  afterEach(async () => {
    for (const r of running.splice(0)) await r.stop()
  })
  return {
    async upstream(name: string, ...answers: Answer[]): Promise<Upstream> {
      const started = await Upstream.start(name, ...answers)
      running.push(started)
      return started
    },
    async proxy(
      hcm: object,
      upstreams: Upstream[] = [],
      clusters: Record<string, object> = {},
      bootstrap: object = {},
    ) {
      const started = await startHttpProxy(hcm, upstreams, clusters, bootstrap)
      running.push(started)
      return started
    },
  }
}

/** One route of everything to cluster `a`. */
export function toA(route: object = {}, host: object = {}): object {
  return { route_config: oneHost([{ match: { prefix: '/' }, route: { cluster: 'a', ...route } }], host) }
}
