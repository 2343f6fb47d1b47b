import { afterEach, expect, it } from 'vitest'
import { type App, startApp } from './support/app.ts'
import { eventually, type RunningProxy, socketAddress, startProxy, staticCluster } from './support/proxy.ts'

const cleanup: (() => unknown)[] = []
afterEach(async () => {
  for (const fn of cleanup.splice(0).reverse()) await fn()
})

async function app(name: string, health: { ok: boolean }): Promise<App> {
  const started = await startApp((request, response) => {
    response.statusCode = request.url === '/hz' && !health.ok ? 500 : 200
    response.end(name)
  })
  cleanup.push(() => started.close())
  return started
}

const health_checks = [
  {
    timeout: '1s',
    interval: '0.05s',
    no_traffic_interval: '0.05s',
    unhealthy_threshold: 1,
    healthy_threshold: 1,
    http_health_check: { path: '/hz' },
  },
]

const aggregate = (clusters: string[], more: object = {}) => ({
  name: 'all',
  lb_policy: 'CLUSTER_PROVIDED',
  cluster_type: {
    name: 'envoy.clusters.aggregate',
    typed_config: { '@type': 'type.googleapis.com/envoy.extensions.clusters.aggregate.v3.ClusterConfig', clusters },
  },
  ...more,
})

async function start(clusters: object[], route: object = {}): Promise<RunningProxy> {
  const HCM = 'type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager'
  const router = { '@type': 'type.googleapis.com/envoy.extensions.filters.http.router.v3.Router' }
  const virtual_hosts = [
    { name: 'v', domains: ['*'], routes: [{ match: { prefix: '/' }, route: { cluster: 'all', ...route } }] },
  ]
  const hcm = {
    '@type': HCM,
    stat_prefix: 'h',
    route_config: { virtual_hosts },
    http_filters: [{ name: 'router', typed_config: router }],
  }
  const listener = {
    name: 'in',
    address: socketAddress(0),
    filter_chains: [{ filters: [{ name: 'hcm', typed_config: hcm }] }],
  }
  const proxy = await startProxy({ static_resources: { listeners: [listener], clusters } })
  cleanup.push(() => proxy.stop())
  return proxy
}

const get = async (proxy: RunningProxy) => (await fetch(`http://127.0.0.1:${proxy.port('in')}/`)).text()
const fast = { common_lb_config: { update_merge_window: '0s' } }

it('the first cluster serves while it is well, then the next one', async () => {
  const health = { ok: true }
  const [one, two] = [await app('one', health), await app('two', { ok: true })]
  const proxy = await start([
    aggregate(['a', 'b']),
    staticCluster('a', one.port, { health_checks, ...fast }),
    staticCluster('b', two.port),
  ])
  expect(await get(proxy)).toBe('one')
  health.ok = false
  await eventually(() => proxy.counter('cluster.a.membership_healthy') === 0)
  expect(await get(proxy)).toBe('two')
  health.ok = true
  await eventually(() => proxy.counter('cluster.a.membership_healthy') === 1)
  expect(await get(proxy)).toBe('one')
  // Connections are the clusters' own; requests are counted for the one that the route names, too.
  expect(proxy.counter('cluster.a.upstream_rq_total')).toBe(2)
  expect(proxy.counter('cluster.all.upstream_rq_total')).toBe(0)
  expect(proxy.counter('cluster.all.upstream_rq_200')).toBe(3)
})

it('a retry may go to the next cluster', async () => {
  const two = await app('two', { ok: true })
  const proxy = await start([aggregate(['a', 'b']), staticCluster('a', 1), staticCluster('b', two.port)], {
    retry_policy: {
      retry_on: 'connect-failure',
      num_retries: 1,
      retry_priority: {
        name: 'envoy.retry_priorities.previous_priorities',
        typed_config: {
          '@type':
            'type.googleapis.com/envoy.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig',
          update_frequency: 1,
        },
      },
    },
  })
  expect(await get(proxy)).toBe('two')
})

it('without any host there is no healthy upstream', async () => {
  const proxy = await start([aggregate(['nowhere'])])
  expect(await get(proxy)).toBe('no healthy upstream')
})

it('an aggregate cluster has no balancer of its own', async () => {
  await expect(
    startProxy({ static_resources: { clusters: [aggregate(['a'], { lb_policy: 'RANDOM' })] } }),
  ).rejects.toThrow('CLUSTER_PROVIDED')
})
