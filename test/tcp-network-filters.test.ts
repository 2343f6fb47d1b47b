import { afterEach, expect, test } from 'vitest'
import {
  Client,
  echoServer,
  eventually,
  type RunningProxy,
  socketAddress,
  startProxy,
  staticCluster,
  tcpProxyFilter,
} from './support/proxy.ts'

const cleanup: (() => unknown)[] = []
afterEach(async () => {
  for (const fn of cleanup.splice(0).reverse()) await fn()
})

const filter = (name: string, type: string, more: object = {}) => ({
  name: `envoy.filters.network.${name}`,
  typed_config: { '@type': `type.googleapis.com/envoy.extensions.filters.network.${name}.v3.${type}`, ...more },
})

async function listening(filters: object[], clusters: object[] = [], more: object = {}): Promise<RunningProxy> {
  const proxy = await startProxy({
    static_resources: {
      clusters,
      listeners: [{ name: 'l', address: socketAddress(0), filter_chains: [{ filters }], ...more }],
    },
  })
  cleanup.push(() => proxy.stop())
  return proxy
}

function client(proxy: RunningProxy): Client {
  const c = new Client(proxy.port('l'))
  cleanup.push(() => c.destroy())
  return c
}

async function upstream(greeting: string) {
  const server = await echoServer(greeting)
  cleanup.push(() => server.close())
  return server
}

test('connections beyond a limit are closed, and one that ends makes room', async () => {
  const server = await upstream('hi')
  const limit = filter('connection_limit', 'ConnectionLimit', { stat_prefix: 'cl', max_connections: 1 })
  const proxy = await listening([limit, tcpProxyFilter({ cluster: 'c' })], [staticCluster('c', server.port)])
  const first = client(proxy)
  await first.receives('hi')
  const second = client(proxy)
  await second.ended
  expect(second.text).toBe('')
  expect(proxy.counter('connection_limit.cl.limited_connections')).toBe(1)
  expect(proxy.counter('tcp.t.downstream_cx_total')).toBe(2)
  first.destroy()
  await eventually(() => proxy.counter('connection_limit.cl.active_connections') === 0)
  await client(proxy).receives('hi')
})

test('a limit may hold what it refuses for a while', async () => {
  const server = await upstream('')
  const limit = filter('connection_limit', 'ConnectionLimit', { stat_prefix: 'cl', max_connections: 1, delay: '0.05s' })
  const proxy = await listening([limit, tcpProxyFilter({ cluster: 'c' })], [staticCluster('c', server.port)])
  const first = client(proxy)
  first.write('one')
  await first.receives('one')
  const second = client(proxy)
  second.write('two')
  await second.ended
  expect(second.text).toBe('')
  expect(server.sockets.length).toBe(1)
})

test('direct_response says one thing and closes', async () => {
  const proxy = await listening([filter('direct_response', 'Config', { response: { inline_string: 'hi there' } })])
  const c = client(proxy)
  await c.ended
  expect(c.text).toBe('hi there')
})

test('echo says what it hears', async () => {
  const c = client(await listening([filter('echo', 'Echo')]))
  c.write('ping')
  await c.receives('ping')
})

test('the first bytes may decide that the upstream is connected', async () => {
  const server = await upstream('hi ')
  const proxy = await listening(
    [tcpProxyFilter({ cluster: 'c', upstream_connect_mode: 'ON_DOWNSTREAM_DATA', max_early_data_bytes: 10 })],
    [staticCluster('c', server.port)],
  )
  const c = client(proxy)
  await eventually(() => proxy.counter('tcp.t.downstream_cx_total') === 1)
  expect(server.sockets.length).toBe(0)
  c.write('ping')
  await c.receives('hi ping')
  expect(proxy.counter('tcp.t.early_data_received_count_total')).toBe(1)
})

test('a filter that only looks leaves the last one its bytes', async () => {
  const server = await upstream('')
  const proxy = await listening(
    [filter('sni_cluster', 'SniCluster'), tcpProxyFilter({ cluster: 'c' })],
    [staticCluster('c', server.port)],
  )
  const c = client(proxy)
  c.write('ping')
  await c.receives('ping')
  c.socket.end('more')
  await c.ended
  expect(c.text).toBe('pingmore')
})

test('without a response filter, one that only looks may not be the last', async () => {
  await expect(listening([filter('sni_cluster', 'SniCluster')])).rejects.toThrow('non-terminal filter')
})
