import { once } from 'node:events'
import http2 from 'node:http2'
import net from 'node:net'
import { afterEach, expect, it } from 'vitest'
import { makeAuthority, makeIdentity } from './support/certificates.ts'
import { frame } from './support/http2-frames.ts'
import { eventually, httpFilter, type RunningProxy, socketAddress, startProxy, staticCluster } from './support/proxy.ts'

const OPTIONS = 'envoy.extensions.upstreams.http.v3.HttpProtocolOptions'
const TLS = 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext'

const closing: (() => unknown)[] = []
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close()
})

type Stream = http2.ServerHttp2Stream

interface App {
  readonly port: number
  readonly sessions: http2.ServerHttp2Session[]
  readonly seen: http2.IncomingHttpHeaders[]
}

/** An HTTP/2 server; `answer` gets the number of the request, from 1. */
async function app(
  answer: (stream: Stream, count: number, headers: http2.IncomingHttpHeaders) => void,
  options: http2.ServerOptions = {},
  tls?: { cert: string; key: string },
): Promise<App> {
  const server = tls ? http2.createSecureServer({ ...options, ...tls, allowHTTP1: true }) : http2.createServer(options)
  const sessions: http2.ServerHttp2Session[] = []
  const seen: http2.IncomingHttpHeaders[] = []
  server.on('session', (session) => {
    sessions.push(session)
    session.on('error', () => {})
  })
  server.on('sessionError', () => {})
  server.on('stream', (stream: Stream, headers: http2.IncomingHttpHeaders) => {
    stream.on('error', () => {})
    seen.push(headers)
    answer(stream, seen.length, headers)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  closing.push(() => {
    for (const session of sessions) session.destroy()
    server.close()
  })
  return { port: (server.address() as net.AddressInfo).port, sessions, seen }
}

const ok = (stream: Stream) => {
  stream.respond({ ':status': 200 })
  stream.end('hello')
}

/** A proxy whose one route goes to that port with these HTTP options. */
async function proxyTo(
  port: number,
  options: object,
  more: { route?: object; cluster?: object } = {},
): Promise<RunningProxy> {
  const filter = httpFilter('', {
    upgrade_configs: [{ upgrade_type: 'websocket' }],
    route_config: {
      virtual_hosts: [
        {
          name: 'all',
          domains: ['*'],
          routes: [{ match: { prefix: '/' }, route: { cluster: 'app', timeout: '2s', ...more.route } }],
        },
      ],
    },
  })
  const cluster = staticCluster('app', port, {
    typed_extension_protocol_options: { [OPTIONS]: { '@type': `type.googleapis.com/${OPTIONS}`, ...options } },
    ...more.cluster,
  })
  const proxy = await startProxy({
    static_resources: {
      listeners: [{ name: 'l', address: socketAddress(0), filter_chains: [{ filters: [filter] }] }],
      clusters: [cluster],
    },
  })
  closing.push(() => proxy.stop())
  return proxy
}

const explicit = (http2Options: object = {}, common: object = {}) => ({
  explicit_http_config: { http2_protocol_options: http2Options },
  common_http_protocol_options: common,
})

async function get(proxy: RunningProxy, path = '/', init: RequestInit = {}): Promise<string> {
  const response = await fetch(`http://127.0.0.1:${proxy.port('l')}${path}`, init)
  return `${response.status} ${await response.text()}`
}

const stat = (proxy: RunningProxy, name: string) => proxy.counter(`cluster.app.${name}`)

it('a stream that the upstream refuses is retried where the policy says so', async () => {
  const upstream = await app((stream, count) => {
    if (count === 1) stream.close(http2.constants.NGHTTP2_REFUSED_STREAM)
    else ok(stream)
  })
  const retry_policy = { retry_on: 'refused-stream', num_retries: 1 }
  const proxy = await proxyTo(upstream.port, explicit(), { route: { retry_policy } })
  expect(await get(proxy)).toBe('200 hello')
  expect([stat(proxy, 'upstream_rq_retry'), stat(proxy, 'upstream_cx_total')]).toEqual([1, 1])
})

it('after a GOAWAY the connection serves out, and the next request opens another', async () => {
  const upstream = await app((stream) => {
    stream.session!.goaway()
    setTimeout(() => ok(stream), 50)
  })
  const proxy = await proxyTo(upstream.port, explicit())
  expect(await get(proxy)).toBe('200 hello')
  expect(await get(proxy)).toBe('200 hello')
  expect([stat(proxy, 'upstream_cx_http2_total'), stat(proxy, 'upstream_cx_close_notify')]).toEqual([2, 2])
})

it('a GOAWAY with an error lets the streams finish that it names', async () => {
  const upstream = await app((stream) => {
    stream.session!.goaway(http2.constants.NGHTTP2_ENHANCE_YOUR_CALM, stream.id)
    setTimeout(() => ok(stream), 50)
  })
  const proxy = await proxyTo(upstream.port, explicit())
  expect(await get(proxy)).toBe('200 hello')
})

it('more streams than a connection carries go by another one', async () => {
  const waiting: Stream[] = []
  const upstream = await app((stream) => {
    waiting.push(stream)
    if (waiting.length === 5) waiting.map(ok)
  })
  const proxy = await proxyTo(upstream.port, explicit({ max_concurrent_streams: 2 }))
  expect(await Promise.all([1, 2, 3, 4, 5].map(() => get(proxy)))).toEqual(Array(5).fill('200 hello'))
  expect(stat(proxy, 'upstream_cx_http2_total')).toBe(3)
})

it("the server's own limit counts, too", async () => {
  const waiting: Stream[] = []
  const upstream = await app(
    (stream, count) => {
      if (count === 1) ok(stream)
      else if (waiting.push(stream) === 2) waiting.map(ok)
    },
    { settings: { maxConcurrentStreams: 1 } },
  )
  const proxy = await proxyTo(upstream.port, explicit())
  expect(await get(proxy)).toBe('200 hello')
  expect(await Promise.all([get(proxy), get(proxy)])).toEqual(['200 hello', '200 hello'])
  expect(stat(proxy, 'upstream_cx_http2_total')).toBe(2)
})

it('max_requests_per_connection holds', async () => {
  const upstream = await app(ok)
  const proxy = await proxyTo(upstream.port, explicit({}, { max_requests_per_connection: 2 }))
  for (let i = 0; i < 3; i++) expect(await get(proxy)).toBe('200 hello')
  expect([stat(proxy, 'upstream_cx_http2_total'), stat(proxy, 'upstream_cx_max_requests')]).toEqual([2, 1])
})

it('use_downstream_protocol_config speaks what the client speaks', async () => {
  const upstream = await app(ok)
  const proxy = await proxyTo(upstream.port, {
    use_downstream_protocol_config: { http_protocol_options: {}, http2_protocol_options: {} },
  })
  const client = http2.connect(`http://127.0.0.1:${proxy.port('l')}`)
  closing.push(() => client.destroy())
  const stream = client.request({ ':path': '/' })
  const [head] = (await once(stream, 'response')) as [http2.IncomingHttpHeaders]
  expect(head[':status']).toBe(200)
  // The server speaks HTTP/2 only: HTTP/1.1 gets nowhere.
  expect(await get(proxy)).toMatch(/^50[23] /)
  expect([stat(proxy, 'upstream_cx_http2_total'), stat(proxy, 'upstream_cx_http1_total')]).toEqual([1, 1])
})

it('auto_config speaks what TLS agrees on', async () => {
  const identity = await makeIdentity(await makeAuthority('CN=test'), 'CN=app', [{ type: 'dns', value: 'app' }])
  const transport_socket = { name: 'tls', typed_config: { '@type': TLS, common_tls_context: {} } }
  const both = await app(ok, {}, identity)
  const two = await proxyTo(
    both.port,
    { auto_config: { http2_protocol_options: {} } },
    { cluster: { transport_socket } },
  )
  expect(await get(two)).toBe('200 hello')
  expect([stat(two, 'upstream_cx_http2_total'), stat(two, 'upstream_cx_http1_total')]).toEqual([1, 0])

  const https = await import('node:https')
  const server = https.createServer({ ...identity, ALPNProtocols: ['http/1.1'] }, (_request, response) =>
    response.end('one'),
  )
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  closing.push(() => {
    server.closeAllConnections()
    server.close()
  })
  const port = (server.address() as net.AddressInfo).port
  const one = await proxyTo(port, { auto_config: { http2_protocol_options: {} } }, { cluster: { transport_socket } })
  expect(await Promise.all([get(one), get(one), get(one)])).toEqual(Array(3).fill('200 one'))
  expect(stat(one, 'upstream_cx_http2_total')).toBe(0)
  expect(stat(one, 'upstream_cx_http1_total')).toBeGreaterThan(0)
})

it('a server that answers no PING is given up', async () => {
  const sockets: net.Socket[] = []
  const server = net.createServer((socket) => {
    sockets.push(socket)
    socket.on('error', () => {})
    socket.write(Buffer.concat([frame(4, 0, 0), frame(4, 1, 0)]))
    socket.resume()
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  closing.push(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  const keepalive = { interval: '0.05s', timeout: '0.05s', interval_jitter: { value: 0 } }
  const proxy = await proxyTo((server.address() as net.AddressInfo).port, explicit({ connection_keepalive: keepalive }))
  expect(await get(proxy)).toContain(
    '503 upstream connect error or disconnect/reset before headers. reset reason: connection termination',
  )
  expect(stat(proxy, 'http2.keepalive_timeout')).toBe(1)
})

it('PINGs keep a connection that answers them', async () => {
  const upstream = await app(ok)
  const keepalive = { interval: '0.02s', timeout: '0.5s', interval_jitter: { value: 0 } }
  const proxy = await proxyTo(upstream.port, explicit({ connection_keepalive: keepalive }))
  expect(await get(proxy)).toBe('200 hello')
  let pings = 0
  upstream.sessions[0]!.on('ping', () => pings++)
  await eventually(() => pings >= 3)
  expect(await get(proxy)).toBe('200 hello')
  expect(stat(proxy, 'upstream_cx_total')).toBe(1)
})

it.each<[string, (socket: net.Socket) => void]>([
  ['no :status', (socket) => socket.write(frame(1, 5, 1, Buffer.from([0, 1, 0x61, 1, 0x62])))],
  ['no HTTP/2 at all', (socket) => socket.write(`HTTP/1.1 400 Bad Request\r\n\r\n${'x'.repeat(60)}`)],
])('an answer with %s is 502 UPE', async (_name, answer) => {
  const sockets: net.Socket[] = []
  const server = net.createServer((socket) => {
    sockets.push(socket)
    socket.on('error', () => {})
    socket.write(Buffer.concat([frame(4, 0, 0), frame(4, 1, 0)]))
    socket.once('data', () => setTimeout(() => answer(socket), 30))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  closing.push(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  const proxy = await proxyTo((server.address() as net.AddressInfo).port, explicit())
  expect(await get(proxy)).toContain(
    '502 upstream connect error or disconnect/reset before headers. reset reason: protocol error',
  )
  expect(stat(proxy, 'upstream_cx_protocol_error')).toBe(1)
})

it('a request that the upstream does not want to read to its end leaves nothing behind', async () => {
  const upstream = await app(ok)
  const proxy = await proxyTo(upstream.port, explicit())
  expect(await get(proxy, '/', { method: 'POST', body: Buffer.alloc(500_000) })).toBe('200 hello')
  await eventually(() => stat(proxy, 'http2.pending_send_bytes') === 0 && stat(proxy, 'http2.streams_active') === 0)
})

it('a WebSocket of HTTP/1.1 becomes an extended CONNECT upstream', async () => {
  const upstream = await app(
    (stream) => {
      stream.respond({ ':status': 200 })
      stream.on('data', (chunk) => stream.write(`echo ${chunk}`))
    },
    { settings: { enableConnectProtocol: true } },
  )
  const proxy = await proxyTo(upstream.port, explicit({ allow_connect: true }))
  const socket = net.connect(proxy.port('l'), '127.0.0.1')
  closing.push(() => socket.destroy())
  let text = ''
  socket.on('data', (data) => {
    text += data
  })
  socket.write('GET /ws HTTP/1.1\r\nhost: a\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n')
  await eventually(() => text.includes('\r\n\r\n'))
  expect(text).toMatch(/^HTTP\/1.1 101 [\s\S]*upgrade: websocket\r\n/)
  socket.write('ping')
  await eventually(() => text.endsWith('echo ping'))
  expect(upstream.seen[0]).toMatchObject({ ':method': 'CONNECT', ':protocol': 'websocket', ':path': '/ws' })
})

it('the body of a response waits for a client that does not read', async () => {
  let written = 0
  const upstream = await app((stream) => {
    stream.respond({ ':status': 200 })
    const piece = Buffer.alloc(64 * 1024)
    const more = () => {
      while (written < 64 * 1024 * 1024) {
        written += piece.length
        if (!stream.write(piece)) return
      }
      stream.end()
    }
    stream.on('drain', more)
    more()
  })
  const proxy = await proxyTo(upstream.port, explicit({ initial_stream_window_size: 65_535 }), {
    route: { timeout: '0s' },
  })
  const socket = net.connect(proxy.port('l'), '127.0.0.1')
  closing.push(() => socket.destroy())
  socket.pause()
  socket.write('GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n')
  await eventually(() => written > 1024 * 1024)
  let before = -1
  while (before !== written) {
    before = written
    await new Promise((resolve) => setTimeout(resolve, 100))
  }
  expect(written).toBeLessThan(32 * 1024 * 1024)
  let got = 0
  socket.on('data', (data) => {
    got += data.length
  })
  socket.resume()
  await once(socket, 'end')
  expect(got).toBeGreaterThan(64 * 1024 * 1024)
})
