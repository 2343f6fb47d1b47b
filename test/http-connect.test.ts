import { once } from 'node:events'
import http from 'node:http'
import http2 from 'node:http2'
import net from 'node:net'
import { afterEach, expect, it } from 'vitest'
import {
  echoServer,
  eventually,
  httpFilter,
  type RunningProxy,
  socketAddress,
  startProxy,
  staticCluster,
} from './support/proxy.ts'

const closing: (() => unknown)[] = []
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close()
})

/** A proxy that ends CONNECT at itself for `tcp`, hands it on for `http`, and takes POST for it for `post`. */
async function setup(): Promise<{ proxy: RunningProxy; targets: string[] }> {
  const tcp = await echoServer('')
  closing.push(() => tcp.close())
  const targets: string[] = []
  const next = http.createServer()
  next.on('connect', (request, socket) => {
    targets.push(request.url!)
    socket.write('HTTP/1.1 200 OK\r\n\r\n')
    socket.on('error', () => {})
    socket.on('data', (chunk: Buffer) => socket.write(`next ${chunk}`))
  })
  next.listen(0, '127.0.0.1')
  await once(next, 'listening')
  closing.push(() => {
    next.closeAllConnections()
    next.close()
  })
  const host = (name: string, cluster: string, config: object) => ({
    name,
    domains: [name, `${name}:80`],
    routes: [
      { match: { connect_matcher: {} }, route: { cluster, upgrade_configs: [{ upgrade_type: 'CONNECT', ...config }] } },
    ],
  })
  const post = {
    name: 'post',
    domains: ['post'],
    routes: [
      {
        match: { prefix: '/' },
        route: {
          cluster: 'tcp',
          upgrade_configs: [{ upgrade_type: 'CONNECT', connect_config: { allow_post: true } }],
        },
      },
    ],
  }
  const dead = host('dead', 'dead', { connect_config: {} })
  const filter = httpFilter('', {
    http2_protocol_options: { allow_connect: true },
    route_config: {
      virtual_hosts: [
        host('tcp', 'tcp', { connect_config: {} }),
        host('http', 'http', {}),
        host('off', 'tcp', { connect_config: {}, enabled: false }),
        dead,
        post,
      ],
    },
  })
  const proxy = await startProxy({
    static_resources: {
      listeners: [{ name: 'l', address: socketAddress(0), filter_chains: [{ filters: [filter] }] }],
      clusters: [
        staticCluster('tcp', tcp.port),
        staticCluster('http', (next.address() as net.AddressInfo).port),
        staticCluster('dead', 1),
      ],
    },
  })
  closing.push(() => proxy.stop())
  return { proxy, targets }
}

/** Sends CONNECT by HTTP/1.1, then a text; what came back. */
async function connect(port: number, host: string, text: string, until: string): Promise<string> {
  const socket = net.connect(port, '127.0.0.1')
  closing.push(() => socket.destroy())
  let got = ''
  let closed = false
  socket.on('data', (data) => {
    got += data
  })
  socket.on('close', () => {
    closed = true
  })
  socket.write(`CONNECT ${host}:80 HTTP/1.1\r\nhost: ${host}:80\r\n\r\n`)
  await eventually(() => got.includes('\r\n\r\n'))
  socket.write(text)
  await eventually(() => closed || got.endsWith(until))
  return got
}

async function connect2(
  port: number,
  host: string,
  text: string,
): Promise<{ status: number; body: string; code: number }> {
  const session = http2.connect(`http://127.0.0.1:${port}`)
  session.on('error', () => {})
  closing.push(() => session.destroy())
  const stream = session.request({ ':method': 'CONNECT', ':authority': `${host}:80` }, { endStream: false })
  stream.on('error', () => {})
  const closed = new Promise<void>((resolve) => stream.on('close', () => resolve()))
  let body = ''
  stream.on('data', (chunk) => {
    body += chunk
  })
  const [head] = (await once(stream, 'response')) as [http2.IncomingHttpHeaders]
  if (Number(head[':status']) === 200) stream.end(text)
  await closed
  return { status: Number(head[':status']), body, code: stream.rstCode }
}

it('connect_config carries the bytes of a CONNECT to the host', async () => {
  const { proxy } = await setup()
  const got = await connect(proxy.port('l'), 'tcp', 'hello', 'hello')
  expect(got).toMatch(/^HTTP\/1.1 200 OK\r\n/)
  expect(got).not.toMatch(/content-length|transfer-encoding/)
  expect(got.endsWith('\r\n\r\nhello')).toBe(true)
  expect(proxy.counter('cluster.tcp.upstream_cx_total')).toBe(1)
})

it('so it does by HTTP/2, and the end of one side reaches the other', async () => {
  const { proxy } = await setup()
  expect(await connect2(proxy.port('l'), 'tcp', 'hello')).toEqual({ status: 200, body: 'hello', code: 0 })
})

it('a host that cannot be reached is 503, and CONNECT_ERROR by HTTP/2', async () => {
  const { proxy } = await setup()
  const got = await connect2(proxy.port('l'), 'dead', '')
  expect([got.status, got.code]).toEqual([503, http2.constants.NGHTTP2_CONNECT_ERROR])
  expect(await connect(proxy.port('l'), 'dead', '', 'failure')).toMatch(/^HTTP\/1.1 503 /)
})

it('without connect_config the CONNECT goes to the next proxy', async () => {
  const { proxy, targets } = await setup()
  expect(await connect(proxy.port('l'), 'http', 'hello', 'next hello')).toMatch(/\r\n\r\nnext hello$/)
  expect(targets).toEqual(['http:80'])
})

it('where it is not enabled it is refused', async () => {
  const { proxy } = await setup()
  expect(await connect(proxy.port('l'), 'off', '', '\r\n\r\n')).toMatch(/^HTTP\/1.1 403 /)
  expect((await connect2(proxy.port('l'), 'off', '')).status).toBe(403)
})

it('allow_post takes a POST for a CONNECT', async () => {
  const { proxy } = await setup()
  const request = http.request({
    port: proxy.port('l'),
    host: '127.0.0.1',
    path: '/x',
    method: 'POST',
    headers: { host: 'post' },
  })
  request.end('hello')
  const [response] = (await once(request, 'response')) as [http.IncomingMessage]
  let body = ''
  for await (const chunk of response) body += chunk
  expect([response.statusCode, body]).toEqual([200, 'hello'])
})
