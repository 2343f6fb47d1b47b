import http from 'node:http'
import net from 'node:net'
import type { Any } from '@bufbuild/protobuf/wkt'
import { afterEach, describe, expect, test } from 'vitest'
import { SystemRuntime } from '../src/runtime-system.ts'
import { serveAds } from '../src/xds/grpc-server.ts'
import { readJson } from '../src/xds/json.ts'
import { memoryTransport } from '../src/xds/memory-transport.ts'
import { pack } from '../src/xds/messages.ts'
import { AdsServer } from '../src/xds/server.ts'
import type { Snapshot } from '../src/xds/snapshot.ts'
import type { AdsTransport } from '../src/xds/stream.ts'
import { eventually, httpFilter, type RunningProxy, socketAddress, startProxy } from './support/proxy.ts'
import { edsCluster, endpoints, rdsListener, routes, snapshot } from './support/xds-resources.ts'

const cleanup: (() => unknown)[] = []
afterEach(async () => {
  for (const fn of cleanup.splice(0).reverse()) await fn()
})

class ControlPlane {
  readonly nacks: string[] = []
  readonly server: AdsServer
  private current: Snapshot | undefined

  constructor(...resources: Any[]) {
    if (resources.length > 0) this.current = snapshot(...resources)
    this.server = new AdsServer({
      runtime: new SystemRuntime(),
      source: {
        connected: (connection) => {
          if (this.current) connection.push(this.current)
        },
        nacked: (_connection, _typeUrl, nack) => this.nacks.push(nack.message),
      },
    })
    cleanup.push(() => this.server.close())
  }

  push(...resources: Any[]): void {
    this.current = snapshot(...resources)
    for (const connection of this.server.connections) connection.push(this.current)
  }
}

const ads = { ads: {}, resource_api_version: 'V3' }
const dynamic = (apiType: string, more: object = {}) => ({
  dynamic_resources: {
    ads_config: { api_type: apiType, transport_api_version: 'V3', ...more },
    cds_config: ads,
    lds_config: ads,
  },
})

async function proxyOf(plane: ControlPlane, apiType = 'DELTA_GRPC', transport?: AdsTransport): Promise<RunningProxy> {
  const proxy = await startProxy(dynamic(apiType), { adsTransport: transport ?? memoryTransport(plane.server) })
  cleanup.push(() => proxy.stop())
  return proxy
}

async function backend(name: string): Promise<number> {
  const server = http.createServer((_request, response) => response.end(name))
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  cleanup.push(() => {
    server.close()
    server.closeAllConnections()
  })
  return (server.address() as net.AddressInfo).port
}

const get = async (proxy: RunningProxy, listener = 'l') =>
  (await fetch(`http://127.0.0.1:${proxy.port(listener)}/`, { headers: { connection: 'close' } })).text()

describe.each(['DELTA_GRPC', 'GRPC'])('a proxy under a control plane (%s)', (apiType) => {
  test('serves once clusters, endpoints, listeners and routes have come', async () => {
    const plane = new ControlPlane(
      edsCluster('a'),
      endpoints('a', await backend('a')),
      rdsListener('l', 0, 'r'),
      routes('r', { a: 1 }),
    )
    const proxy = await proxyOf(plane, apiType)
    await proxy.server.whenReady()
    expect(await get(proxy)).toBe('a')
    expect(plane.nacks).toEqual([])
    const dump = JSON.parse((await proxy.admin('/config_dump')).body)
    const section = (name: string) => dump.configs.find((c: { '@type': string }) => c['@type'].endsWith(name))
    expect(section('.ClustersConfigDump').dynamic_active_clusters[0].cluster.name).toBe('a')
    expect(section('.ListenersConfigDump').dynamic_listeners[0].active_state.version_info).not.toBe('')
    expect(section('.RoutesConfigDump').dynamic_route_configs[0].route_config.name).toBe('r')
  })

  test('follows routes, clusters and listeners that change, come and go', async () => {
    const [a, b] = [await backend('a'), await backend('b')]
    const plane = new ControlPlane(edsCluster('a'), endpoints('a', a), rdsListener('l', 0, 'r'), routes('r', { a: 1 }))
    const proxy = await proxyOf(plane, apiType)
    await proxy.server.whenReady()
    const port = proxy.port('l')
    plane.push(edsCluster('b'), endpoints('b', b), rdsListener('l', 0, 'r'), routes('r', { b: 1 }))
    await eventually(() => proxy.server.clusters.get('a') === undefined)
    expect(await get(proxy)).toBe('b')
    expect(proxy.port('l')).toBe(port)
    plane.push(edsCluster('b'), endpoints('b', b))
    await eventually(() => proxy.server.listeners.all().length === 0)
    const refused = await new Promise((resolve) => net.connect(port, '127.0.0.1').once('error', resolve))
    expect(refused).toMatchObject({ code: 'ECONNREFUSED' })
  })

  test('is not ready while its clusters wait for endpoints, nor its listeners for routes', async () => {
    const plane = new ControlPlane(edsCluster('a'), rdsListener('l', 0, 'r'))
    const proxy = await proxyOf(plane, apiType)
    await eventually(() => proxy.server.clusters.warmingNames().length === 1)
    expect((await proxy.admin('/ready')).body).toBe('PRE_INITIALIZING\n')
    const a = await backend('a')
    plane.push(edsCluster('a'), endpoints('a', a), rdsListener('l', 0, 'r'))
    await eventually(() => proxy.server.listeners.all().length === 1)
    expect((await proxy.admin('/ready')).body).toBe('INITIALIZING\n')
    plane.push(edsCluster('a'), endpoints('a', a), rdsListener('l', 0, 'r'), routes('r', { a: 1 }))
    await proxy.server.whenReady()
    expect(await get(proxy)).toBe('a')
  })
})

const listener = (name: string, ...filterNames: string[]) =>
  pack(
    readJson('envoy.config.listener.v3.Listener', {
      name,
      address: socketAddress(0),
      filter_chains: [{ filters: filterNames.map((body) => httpFilter(body)) }],
    }),
  )

describe('a resource that cannot be used', () => {
  test('is refused with the words of Envoy, while the good one beside it serves', async () => {
    const plane = new ControlPlane(listener('good', 'fine'), listener('bad', 'x', 'y'))
    const proxy = await proxyOf(plane)
    await proxy.server.whenReady()
    expect(await get(proxy, 'good')).toBe('fine')
    await eventually(() => plane.nacks.length > 0)
    expect(plane.nacks[0]).toMatch(
      /^Error adding\/updating listener\(s\) bad: Error: terminal filter named envoy\.filters\.network\.http_connection_manager .*\n$/,
    )
    const dump = JSON.parse((await proxy.admin('/config_dump?resource=dynamic_listeners&name_regex=bad')).body)
    expect(dump.configs[0].error_state.details).toContain('terminal filter')
  })

  test('leaves the last good one in use', async () => {
    const plane = new ControlPlane(listener('l', 'first'))
    const proxy = await proxyOf(plane)
    await proxy.server.whenReady()
    plane.push(listener('l', 'second', 'third'))
    await eventually(() => plane.nacks.length > 0)
    expect(await get(proxy)).toBe('first')
    plane.push(listener('l', 'fourth'))
    await eventually(() => proxy.counter('listener_manager.listener_modified') > 0)
    await eventually(() => proxy.server.listeners.all()[0]!.warming === undefined)
    expect(await get(proxy)).toBe('fourth')
  })

  test('is a listener whose port is taken', async () => {
    const blocker = net.createServer()
    await new Promise<void>((resolve) => blocker.listen(0, '127.0.0.1', resolve))
    cleanup.push(() => blocker.close())
    const { port } = blocker.address() as net.AddressInfo
    const taken = pack(
      readJson('envoy.config.listener.v3.Listener', {
        name: 'taken',
        address: socketAddress(port),
        filter_chains: [{ filters: [httpFilter('x')] }],
      }),
    )
    const plane = new ControlPlane(listener('l', 'fine'))
    const proxy = await proxyOf(plane)
    await proxy.server.whenReady()
    plane.push(listener('l', 'fine'), taken)
    await eventually(() => plane.nacks.length > 0)
    expect(plane.nacks[0]).toBe(
      `Error adding/updating listener(s) taken: cannot bind '127.0.0.1:${port}': Address already in use\n`,
    )
    expect(await get(proxy)).toBe('fine')
  })
})

test('the control plane that a bootstrap names is reached over gRPC', async () => {
  const plane = new ControlPlane(listener('l', 'over the wire'))
  const served = await serveAds(plane.server, '127.0.0.1:0')
  cleanup.push(() => served.close())
  const proxy = await startProxy({
    ...dynamic('DELTA_GRPC', { grpc_services: [{ envoy_grpc: { cluster_name: 'xds' } }] }),
    static_resources: {
      clusters: [
        {
          name: 'xds',
          type: 'STATIC',
          connect_timeout: '1s',
          load_assignment: {
            cluster_name: 'xds',
            endpoints: [{ lb_endpoints: [{ endpoint: { address: socketAddress(served.port) } }] }],
          },
        },
      ],
    },
  })
  cleanup.push(() => proxy.stop())
  await proxy.server.whenReady()
  expect(await get(proxy)).toBe('over the wire')
  expect(proxy.counter('control_plane.connected_state')).toBe(1)
})

test.each<[string, object, string]>([
  ['clusters without ADS', { dynamic_resources: { cds_config: { path: '/x' } } }, 'only ads is supported'],
  [
    'routes from a file',
    {
      static_resources: {
        listeners: [
          {
            name: 'l',
            address: socketAddress(0),
            filter_chains: [
              {
                filters: [
                  httpFilter('x', {
                    route_config: undefined,
                    rds: { route_config_name: 'r', config_source: { path_config_source: { path: '/x' } } },
                  }),
                ],
              },
            ],
          },
        ],
      },
    },
    'rds.config_source: only ads is supported',
  ],
])('%s are refused by name', async (_what, bootstrap, message) => {
  await expect(startProxy(bootstrap)).rejects.toThrow(message)
})

test('what has no effect is told once', async () => {
  const proxy = await startProxy({
    stats_config: { stats_matcher: { reject_all: true } },
    static_resources: {
      listeners: ['a', 'b'].map((name) => ({
        name,
        address: socketAddress(0),
        freebind: true,
        filter_chains: [{ filters: [httpFilter(name)] }],
      })),
    },
  })
  cleanup.push(() => proxy.stop())
  expect(proxy.warnings).toEqual([
    'not enforced yet: bootstrap.stats_config.stats_matcher',
    'not enforced yet: listener.freebind',
  ])
})
