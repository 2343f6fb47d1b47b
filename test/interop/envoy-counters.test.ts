import http from 'node:http'
import net from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, expect, test } from 'vitest'
import { dinghyProxy, type RunningEnvoy, realEnvoy, startEnvoy } from './envoy.ts'

// The counters of a real Envoy and of ours after the same requests, name by name.

const TYPE = 'type.googleapis.com/envoy.extensions.filters'
/** What depends on the moment, or on how long an answer took: its length in digits is in a header. */
const VARIES = /downstream_cx_tx_bytes_total$/
const COMPARED = /^(cluster\.a\.|http\.h\.|http\.async-client\.|http1\.|listener\.l\.|vhost\.|tcp\.t\.)/

const cleanup: (() => unknown)[] = []
afterEach(async () => {
  for (const end of cleanup.splice(0).reverse()) await end()
})

/** A port that nothing listens on. */
async function freePort(): Promise<number> {
  const server = net.createServer().listen(0, '127.0.0.1')
  await new Promise((resolve) => server.once('listening', resolve))
  const { port } = server.address() as net.AddressInfo
  await new Promise((resolve) => server.close(resolve))
  return port
}

const socket = (port: number) => ({ address: { socket_address: { address: '127.0.0.1', port_value: port } } })

function bootstrap(port: number, upstream: number, filter: Record<string, unknown>): Record<string, unknown> {
  const endpoints = [{ lb_endpoints: [{ endpoint: socket(upstream) }] }]
  return {
    static_resources: {
      listeners: [{ name: 'l', stat_prefix: 'l', ...socket(port), filter_chains: [{ filters: [filter] }] }],
      clusters: [
        { name: 'a', type: 'STATIC', connect_timeout: '1s', load_assignment: { cluster_name: 'a', endpoints } },
      ],
    },
  }
}

const hcm = (routes: unknown[]) => ({
  name: 'envoy.filters.network.http_connection_manager',
  typed_config: {
    '@type': `${TYPE}.network.http_connection_manager.v3.HttpConnectionManager`,
    stat_prefix: 'h',
    route_config: {
      name: 'rc',
      virtual_hosts: [
        {
          name: 'vh',
          domains: ['*'],
          virtual_clusters: [{ name: 'vc', headers: [{ name: ':path', string_match: { prefix: '/v' } }] }],
          routes,
        },
      ],
    },
    http_filters: [{ name: 'router', typed_config: { '@type': `${TYPE}.http.router.v3.Router` } }],
  },
})

const tcp = {
  name: 'envoy.filters.network.tcp_proxy',
  typed_config: { '@type': `${TYPE}.network.tcp_proxy.v3.TcpProxy`, stat_prefix: 't', cluster: 'a' },
}

/** Sends bytes on a connection of its own; resolves when the other side is done, or has answered as often as wanted. */
function say(port: number, bytes: string, answers: number): Promise<string> {
  return new Promise((resolve) => {
    const client = net.connect(port, '127.0.0.1', () => client.write(bytes))
    let heard = ''
    client.on('data', (chunk) => {
      heard += chunk.toString('latin1')
      if (heard.split('HTTP/1.1 ').length <= answers) return
      client.end()
    })
    client.on('error', () => resolve(heard))
    client.on('close', () => resolve(heard))
  })
}

const get = (path: string, more = '') => `GET ${path} HTTP/1.1\r\nhost: svc.test\r\n${more}\r\n`

/** All compared counters and gauges of a proxy after some traffic. */
async function counters(proxy: RunningEnvoy): Promise<Record<string, string>> {
  await sleep(100) // connections that close are counted a moment later
  const lines = (await proxy.get('/stats?type=Counters')) + (await proxy.get('/stats?type=Gauges'))
  const all = lines.split('\n').filter((line) => COMPARED.test(line) && !VARIES.test(line.split(': ')[0]!))
  return Object.fromEntries(all.map((line) => line.split(': ') as [string, string]))
}

/** Runs the same bootstrap and the same traffic on both, and compares. */
async function compare(
  config: (port: number) => Record<string, unknown>,
  traffic: (port: number) => Promise<unknown>,
): Promise<Record<string, string>> {
  const seen: Record<string, string>[] = []
  for (const command of [realEnvoy, dinghyProxy]) {
    const port = await freePort()
    const proxy = await startEnvoy(config(port), command)
    try {
      await traffic(port)
      seen.push(await counters(proxy))
    } finally {
      await proxy.stop()
    }
  }
  expect(Object.keys(seen[0]!).length).toBeGreaterThan(100)
  expect(seen[1]).toEqual(seen[0])
  return seen[1]!
}

test('HTTP/1: answers, retries, time-outs, refusals and requests that are none', async () => {
  const tries = new Map<string, number>()
  const app = http.createServer((request, response) => {
    const nth = (tries.get(request.url!) ?? 0) + 1
    tries.set(request.url!, nth)
    request.resume()
    if (request.url === '/hang') return
    response.statusCode =
      request.url === '/flaky' && nth === 1 ? 503 : request.url === '/missing' ? 404 : request.url === '/ws' ? 400 : 200
    response.end('x')
  })
  app.listen(0, '127.0.0.1')
  cleanup.push(
    () => app.closeAllConnections(),
    () => app.close(),
  )
  const upstream = () => (app.address() as net.AddressInfo).port
  const retry = { retry_on: '5xx', num_retries: 1 }
  const counted = await compare(
    (port) =>
      bootstrap(
        port,
        upstream(),
        hcm([
          { match: { prefix: '/hang' }, route: { cluster: 'a', timeout: '0.1s' } },
          { match: { prefix: '/direct' }, direct_response: { status: 204 } },
          { match: { prefix: '/moved' }, redirect: { path_redirect: '/' } },
          { match: { prefix: '/ws' }, route: { cluster: 'a', upgrade_configs: [{ upgrade_type: 'websocket' }] } },
          { match: { prefix: '/' }, route: { cluster: 'a', retry_policy: retry } },
        ]),
      ),
    async (port) => {
      tries.clear()
      await say(port, get('/one') + get('/v/two'), 2)
      await say(port, get('/flaky'), 1)
      await say(port, get('/missing', 'x-envoy-internal: true\r\n'), 1)
      await say(port, get('/hang'), 1)
      await say(port, get('/direct', 'connection: close\r\n'), 1)
      await say(port, get('/moved'), 1)
      await say(port, 'POST /post HTTP/1.1\r\nhost: svc.test\r\ncontent-length: 3\r\n\r\nabc', 1)
      await say(port, get('/ws', 'connection: upgrade\r\nupgrade: websocket\r\n'), 1)
      await say(port, 'no request\r\n\r\n', 1)
    },
  )
  expect(counted['cluster.a.upstream_rq_retry_success']).toBe('1')
})

test('TCP: bytes both ways, and who closed', async () => {
  const app = net.createServer((peer) => {
    peer.on('error', () => {})
    peer.on('data', (chunk) => (chunk.toString().startsWith('bye') ? peer.end('HTTP/1.1 ') : peer.write('HTTP/1.1 ')))
  })
  app.listen(0, '127.0.0.1')
  cleanup.push(() => app.close())
  const counted = await compare(
    (port) => bootstrap(port, (app.address() as net.AddressInfo).port, tcp),
    async (port) => {
      await say(port, 'hello', 1)
      await say(port, 'bye', 2)
    },
  )
  expect(counted['cluster.a.upstream_cx_rx_bytes_total']).toBe('18')
})
