import net from 'node:net'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { httpFilter, type RunningProxy, socketAddress, startProxy, staticCluster } from './support/proxy.ts'

let proxy: RunningProxy
beforeEach(async () => {
  proxy = await startProxy({
    static_resources: {
      clusters: [staticCluster('c', 9999)],
      listeners: [{ name: 'l', address: socketAddress(0), filter_chains: [{ filters: [httpFilter('hi')] }] }],
      secrets: [{ name: 's', generic_secret: { secret: { inline_string: 'hidden' } } }],
    },
  })
})
afterEach(() => proxy.stop())

const json = async (path: string) => JSON.parse((await proxy.admin(path)).body)

describe('commands', () => {
  test('readiness follows the health check that is failed and repaired', async () => {
    expect(await proxy.admin('/ready')).toEqual({ status: 200, body: 'LIVE\n' })
    expect(await proxy.admin('/healthcheck/fail', 'POST')).toEqual({ status: 200, body: 'OK\n' })
    expect(await proxy.admin('/ready')).toEqual({ status: 503, body: 'DRAINING\n' })
    await proxy.admin('/healthcheck/ok', 'POST')
    expect((await proxy.admin('/ready')).status).toBe(200)
  })

  test('that change something need POST', async () => {
    expect(await proxy.admin('/quitquitquit')).toEqual({ status: 405, body: 'Method GET not allowed, POST required.' })
  })

  test('that do not exist list those that do', async () => {
    const { status, body } = await proxy.admin('/nothing')
    expect(status).toBe(404)
    expect(body).toMatch(/^invalid path\. admin commands are:\n {2}\/: Admin home page\n/)
    expect(body).toContain('  /quitquitquit (POST): exit the server\n')
    expect(body).toContain('      format: File format to use; One of (text, json)\n')
    expect((await proxy.admin('/help')).body).toBe(body.replace('invalid path. ', ''))
  })

  test('reset counters', async () => {
    await fetch(`http://127.0.0.1:${proxy.port('l')}/`)
    expect(proxy.counter('http.h.downstream_rq_total')).toBe(1)
    await proxy.admin('/reset_counters', 'POST')
    expect(proxy.counter('http.h.downstream_rq_total')).toBe(0)
  })

  test('drain listeners: the port closes, the proxy stays LIVE', async () => {
    const port = proxy.port('l')
    expect((await proxy.admin('/drain_listeners?skip_exit', 'POST')).status).toBe(400)
    expect((await proxy.admin('/drain_listeners', 'POST')).body).toBe('OK\n')
    const refused = await new Promise((resolve) => net.connect(port, '127.0.0.1').once('error', resolve))
    expect(refused).toMatchObject({ code: 'ECONNREFUSED' })
    expect((await proxy.admin('/ready')).body).toBe('LIVE\n')
  })

  test('quit', async () => {
    let quit = false
    const other = await startProxy({}, { onQuit: () => (quit = true) })
    expect((await other.admin('/quitquitquit', 'POST')).body).toBe('OK\n')
    await new Promise((resolve) => setTimeout(resolve, 10))
    expect(quit).toBe(true)
    await other.stop()
  })

  test('show and change log levels', async () => {
    expect((await proxy.admin('/logging?level=debug', 'POST')).body).toContain('  http: debug\n')
    expect((await proxy.admin('/logging?level=loud', 'POST')).status).toBe(400)
  })

  test('give the capture socket of a destination, if somebody captures', async () => {
    expect((await proxy.admin('/capture?destination=10.0.0.1:80')).status).toBe(503)
    const other = await startProxy({}, { capture: async ({ ip, port }) => ({ ip: `127.${ip.slice(3)}`, port }) })
    expect(JSON.parse((await other.admin('/capture?destination=10.0.0.1:80')).body)).toEqual({
      address: '127.0.0.1:80',
    })
    expect((await other.admin('/capture?destination=reviews')).status).toBe(400)
    await other.stop()
  })
})

describe('state', () => {
  test('/server_info', async () => {
    expect(await json('/server_info')).toMatchObject({ state: 'LIVE', node: { id: 'test', cluster: 'test' } })
  })

  test('/listeners', async () => {
    const port = proxy.port('l')
    expect((await proxy.admin('/listeners')).body).toBe(`l::127.0.0.1:${port}\n`)
    expect(await json('/listeners?format=json')).toEqual({
      listener_statuses: [{ name: 'l', local_address: { socket_address: { address: '127.0.0.1', port_value: port } } }],
    })
  })

  test('/clusters', async () => {
    const { body } = await proxy.admin('/clusters')
    expect(body).toContain('c::default_priority::max_connections::1024\n')
    expect(body).toContain('c::added_via_api::false\n')
    expect(body).toContain('c::127.0.0.1:9999::cx_active::0\n')
    expect(body).toContain('c::127.0.0.1:9999::health_flags::healthy\n')
    const { cluster_statuses: statuses } = await json('/clusters?format=json')
    expect(statuses[0]).toMatchObject({
      name: 'c',
      host_statuses: [{ health_status: { eds_health_status: 'HEALTHY' }, weight: 1 }],
    })
  })

  test('/stats in its formats', async () => {
    await fetch(`http://127.0.0.1:${proxy.port('l')}/`)
    expect((await proxy.admin('/stats')).body).toContain('http.h.downstream_rq_total: 1\n')
    expect((await proxy.admin('/stats?filter=^server\\.live$')).body).toBe('server.live: 1\n')
    expect((await proxy.admin('/stats?usedonly&filter=cx_total')).body).not.toContain(': 0\n')
    const { stats } = await json('/stats?format=json&filter=^server.live$')
    expect(stats).toContainEqual({ name: 'server.live', value: 1 })
    expect((await proxy.admin('/stats/prometheus?filter=downstream_rq_total')).body).toContain(
      'envoy_http_downstream_rq_total{envoy_http_conn_manager_prefix="h"} 1\n',
    )
    expect((await proxy.admin('/stats?filter=(')).status).toBe(400)
  })
})

describe('/config_dump', () => {
  const types = async (query: string) =>
    (await json(`/config_dump${query}`)).configs.map((c: { '@type': string }) => c['@type'].split('.').at(-1))

  test("has Envoy's sections in Envoy's order", async () => {
    const sections = [
      'BootstrapConfigDump',
      'ClustersConfigDump',
      'ListenersConfigDump',
      'ScopedRoutesConfigDump',
      'RoutesConfigDump',
      'SecretsConfigDump',
    ]
    expect(await types('')).toEqual(sections)
    sections.splice(2, 0, 'EndpointsConfigDump')
    expect(await types('?include_eds')).toEqual(sections)
  })

  test('gives one kind of resource, by name', async () => {
    expect((await json('/config_dump?resource=static_clusters')).configs[0].cluster.name).toBe('c')
    expect((await json('/config_dump?resource=static_clusters&name_regex=x')).configs).toEqual([])
    expect((await json('/config_dump?resource=static_route_configs')).configs[0].route_config.name).toBe('r')
    expect(await proxy.admin('/config_dump?resource=nothing')).toEqual({
      status: 404,
      body: 'nothing not found in config dump',
    })
    expect((await proxy.admin('/config_dump?resource=bootstrap')).status).toBe(400)
  })

  test('keeps what a mask names', async () => {
    const { configs } = await json('/config_dump?resource=static_clusters&mask=cluster.name')
    expect(configs[0].cluster).toEqual({ '@type': 'type.googleapis.com/envoy.config.cluster.v3.Cluster', name: 'c' })
    expect(configs[0]).not.toHaveProperty('last_updated')
  })

  test('hides secrets', async () => {
    expect((await proxy.admin('/config_dump')).body).not.toContain('hidden')
  })
})
