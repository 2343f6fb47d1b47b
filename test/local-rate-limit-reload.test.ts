import net, { type AddressInfo } from 'node:net'
import type { Any } from '@bufbuild/protobuf/wkt'
import { afterEach, describe, expect, test } from 'vitest'
import { RouteTable } from '../src/proxy/server/route-table.ts'
import { SystemRuntime } from '../src/runtime-system.ts'
import { readJson } from '../src/xds/json.ts'
import { memoryTransport } from '../src/xds/memory-transport.ts'
import { pack } from '../src/xds/messages.ts'
import { AdsServer } from '../src/xds/server.ts'
import { get, httpFilter, routerFilter } from './support/http.ts'
import { eventually, type RunningProxy, startProxy } from './support/proxy.ts'
import { snapshot } from './support/xds-resources.ts'

const cleanup: (() => unknown)[] = []
afterEach(async () => {
  for (const fn of cleanup.splice(0).reverse()) await fn()
})

const TYPE = 'envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit'
const HCM = 'envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager'
const always = { default_value: { numerator: 100 } }
const limit = (max: number) => ({
  stat_prefix: 's',
  filter_enabled: always,
  filter_enforced: always,
  enable_x_ratelimit_headers: 'DRAFT_VERSION_03',
  token_bucket: { max_tokens: max, fill_interval: '3000s' },
})
const answer = (text: string) => ({ direct_response: { status: 200, body: { inline_string: text } } })

/** A route without a limit of its own, and one with; by RDS. */
const routes = (text: string): Any =>
  pack(
    readJson('envoy.config.route.v3.RouteConfiguration', {
      name: 'rc',
      virtual_hosts: [
        {
          name: 'v',
          domains: ['*'],
          routes: [
            { match: { path: '/plain' }, ...answer(text) },
            {
              match: { prefix: '/' },
              ...answer('ok'),
              typed_per_filter_config: { limit: { '@type': `type.googleapis.com/${TYPE}`, ...limit(50) } },
            },
          ],
        },
      ],
    }),
  )

const chain = (statPrefix: string, name = '', match?: object) => ({
  name,
  filter_chain_match: match,
  filters: [
    {
      name: 'hcm',
      typed_config: {
        '@type': `type.googleapis.com/${HCM}`,
        stat_prefix: statPrefix,
        rds: { route_config_name: 'rc', config_source: { ads: {}, resource_api_version: 'V3' } },
        http_filters: [httpFilter('limit', TYPE, limit(100)), routerFilter()],
      },
    },
  ],
})

const listener = (name: string, port: number, chains: object[], more: object = {}): Any =>
  pack(
    readJson(
      'envoy.config.listener.v3.Listener',
      JSON.parse(
        JSON.stringify({
          name,
          address: { socket_address: { address: '127.0.0.1', port_value: port } },
          filter_chains: chains,
          ...more,
        }),
      ),
    ),
  )

async function freePort(): Promise<number> {
  const server = net.createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  await new Promise((resolve) => server.close(resolve))
  return port
}

describe('what a rate limit has counted, when the config changes', () => {
  const start = async () => {
    const server = new AdsServer({ runtime: new SystemRuntime(), source: { connected: () => {}, nacked: () => {} } })
    cleanup.push(() => server.close())
    const ads = { ads: {}, resource_api_version: 'V3' }
    const proxy: RunningProxy = await startProxy(
      { dynamic_resources: { ads_config: { api_type: 'DELTA_GRPC' }, lds_config: ads, cds_config: ads } },
      { adsTransport: memoryTransport(server) },
    )
    cleanup.push(() => proxy.stop())
    const [one, two] = [await freePort(), await freePort()]
    /** Waits until a number that tells of the change has changed. */
    const push = async (tells: () => unknown, ...resources: Any[]) => {
      const before = tells()
      const version = snapshot(...resources)
      await eventually(() => server.connections.length > 0)
      for (const connection of server.connections) connection.push(version)
      await eventually(() => tells() !== before)
    }
    const counter = (name: string) => () => proxy.counter(`listener_manager.${name}`)
    const routesHeld = () => proxy.server.routes.resources()[0]?.version
    const left = async (port: number, path = '/') =>
      Number((await get(port, path)).headers.get('x-ratelimit-remaining'))
    return { proxy, one, two, push, left, counter, routesHeld }
  }

  test('a route that several listeners share has one bucket, until its configuration changes', async () => {
    const { proxy, one, two, push, left, counter, routesHeld } = await start()
    const listeners = [listener('one', one, [chain('h')]), listener('two', two, [chain('h')])]
    await push(counter('listener_added'), ...listeners, routes('a'))
    await proxy.server.whenReady()
    expect([await left(one), await left(one), await left(two)]).toEqual([49, 48, 47])
    expect([await left(one, '/plain'), await left(two, '/plain')]).toEqual([99, 99])
    await push(routesHeld, ...listeners, routes('b'))
    expect([await left(one), await left(two)]).toEqual([49, 48])
    expect([await left(one, '/plain'), await left(two, '/plain')]).toEqual([98, 98])
  })

  test("a listener's bucket is there as long as its filter chain, a route's as long as its routes", async () => {
    const { proxy, one, push, left, counter } = await start()
    await push(counter('listener_added'), listener('one', one, [chain('h')]), routes('a'))
    await proxy.server.whenReady()
    expect([await left(one, '/plain'), await left(one)]).toEqual([99, 49])
    const more = [chain('h'), chain('h', 'other', { server_names: ['x.test'] })]
    await push(counter('listener_in_place_updated'), listener('one', one, more), routes('a'))
    expect([await left(one, '/plain'), await left(one)]).toEqual([98, 48])
    const changed = listener('one', one, more, { per_connection_buffer_limit_bytes: 77_777 })
    await push(counter('listener_modified'), changed, routes('a'))
    await eventually(() => proxy.counter('listener_manager.total_listeners_warming') === 0)
    expect([await left(one, '/plain'), await left(one)]).toEqual([99, 47])
  })

  test('routes that come again as they are change nothing', () => {
    const table = new RouteTable(() => 0)
    const seen: string[] = []
    table.subscribe('rc', (config) => seen.push(config.virtualHosts[0]!.routes[0]!.name))
    const named = (name: string) =>
      readJson('envoy.config.route.v3.RouteConfiguration', {
        name: 'rc',
        virtual_hosts: [{ name: 'v', domains: ['*'], routes: [{ name, match: { prefix: '/' }, ...answer('ok') }] }],
      })
    for (const name of ['a', 'a', 'b', 'a', 'a']) table.set(named(name), name)
    expect(seen).toEqual(['a', 'b', 'a'])
  })
})
