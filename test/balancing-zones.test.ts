import { afterEach, describe, expect, it } from 'vitest'
import { socketAddress } from './support/proxy.ts'
import { type SpreadProxy, startSpread } from './support/spread-proxy.ts'

const running: SpreadProxy[] = []
afterEach(async () => {
  for (const proxy of running.splice(0)) await proxy.stop()
})

/** A proxy in a zone; how many proxies like it there are in each zone; the upstreams of each zone. */
async function start(
  zone: string,
  proxies: Record<string, number>,
  upstreams: Record<string, string[]>,
  zoneAware: object = {},
) {
  const endpoints = Object.entries(proxies).map(([name, n]) => ({
    locality: { region: 'r', zone: name },
    lb_endpoints: Array.from({ length: n }, (_, i) => ({
      endpoint: { address: socketAddress(1000 + i, `127.9.${name.charCodeAt(1)}.1`) },
    })),
  }))
  const proxy = await startSpread({
    groups: Object.entries(upstreams).map(([name, hosts]) => ({
      zone: name,
      hosts: Object.fromEntries(hosts.map((host) => [host, {}])),
    })),
    cluster: { common_lb_config: { zone_aware_lb_config: { min_cluster_size: 1, ...zoneAware } } },
    moreClusters: [{ name: 'me', type: 'STATIC', load_assignment: { cluster_name: 'me', endpoints } }],
    bootstrap: {
      node: { id: 'n', cluster: 'c', locality: { region: 'r', zone } },
      cluster_manager: { local_cluster_name: 'me' },
    },
  })
  running.push(proxy)
  return proxy
}

async function split(proxy: SpreadProxy, n: number): Promise<Record<string, number>> {
  const counts: Record<string, number> = {}
  for (let i = 0; i < n; i++) {
    const { body } = await proxy.call()
    counts[body] = (counts[body] ?? 0) + 1
  }
  return counts
}

const count = (proxy: SpreadProxy, name: string) => proxy.counter(`cluster.a.lb_${name}`)

describe('zone-aware routing', () => {
  it('where the zone has its share of upstreams, requests stay in it', async () => {
    const proxy = await start('z1', { z1: 1, z2: 1 }, { z1: ['a', 'b'], z2: ['c', 'd'] })
    expect(await split(proxy, 20)).toEqual({ a: 10, b: 10 })
    expect(count(proxy, 'zone_routing_all_directly')).toBe(20)
  })

  it('where it has less, the rest goes to zones with room', async () => {
    const proxy = await start('z1', { z1: 3, z2: 1 }, { z1: ['a'], z2: ['b', 'c'] })
    const counts = await split(proxy, 120)
    // A third of the upstreams for three quarters of the proxies: 4 of 9 requests stay.
    expect(counts.a).toBeGreaterThan(30)
    expect(counts.a).toBeLessThan(80)
    expect(count(proxy, 'zone_routing_sampled') + count(proxy, 'zone_routing_cross_zone')).toBe(120)
    expect(count(proxy, 'zone_routing_sampled')).toBe(counts.a)
  })

  it.each([
    ['too few upstreams', 'z1', { min_cluster_size: 6 }, 'zone_cluster_too_small'],
    ['a zone that no proxy is said to be in', 'z9', {}, 'local_cluster_not_ok'],
  ])('%s: zones play no part', async (_name, zone, settings, counter) => {
    const proxy = await start(zone, { z1: 1, z2: 1 }, { z1: ['a'], z2: ['b'] }, settings)
    expect(await split(proxy, 10)).toEqual({ a: 5, b: 5 })
    expect(count(proxy, counter)).toBe(2)
  })

  it('routing_enabled: 0 switches it off', async () => {
    const proxy = await start('z1', { z1: 1, z2: 1 }, { z1: ['a'], z2: ['b'] }, { routing_enabled: { value: 0 } })
    expect(await split(proxy, 10)).toEqual({ a: 5, b: 5 })
  })

  it('a local cluster that is not there is refused', async () => {
    const started = startSpread({
      groups: [{ hosts: { a: {} } }],
      bootstrap: { cluster_manager: { local_cluster_name: 'nobody' } },
    })
    await expect(started).rejects.toThrow("local cluster 'nobody' must be defined")
  })
})

describe('subsets', () => {
  const hosts = {
    a: { labels: { v: '1', s: 'p' } },
    b: { labels: { v: '2', s: 'p' } },
    c: { labels: { v: '2', s: 'q' } },
  }
  const ask = async (config: object, match: object, groups = [{ hosts }], more: object = {}) => {
    const proxy = await startSpread({
      groups,
      cluster: { lb_subset_config: config, ...more },
      route: { metadata_match: { filter_metadata: { 'envoy.lb': match } } },
    })
    running.push(proxy)
    return Object.keys(await split(proxy, 8)).sort()
  }
  const NOBODY = ['no healthy upstream']

  it('the entries of a fallback_list are tried in turn', async () => {
    const config = { metadata_fallback_policy: 'FALLBACK_LIST', subset_selectors: [{ keys: ['v', 's'] }] }
    expect(await ask(config, { v: '2', fallback_list: [{ s: 'z' }, { s: 'q' }] })).toEqual(['c'])
  })

  it('single_host_per_subset: the first host has it alone', async () => {
    const config = { subset_selectors: [{ keys: ['v'], single_host_per_subset: true }] }
    expect(await ask(config, { v: '2' })).toEqual(['b'])
  })

  it('a subset whose hosts are all out does not fall back', async () => {
    const config = { fallback_policy: 'ANY_ENDPOINT', subset_selectors: [{ keys: ['v'] }] }
    const sick = [{ hosts: { ...hosts, a: { ...hosts.a, status: 'UNHEALTHY' } } }]
    const calm = { common_lb_config: { healthy_panic_threshold: { value: 0 } } }
    expect(await ask(config, { v: '1' }, sick, calm)).toEqual(NOBODY)
  })

  it('weights of localities count where the config says so', async () => {
    const one = { labels: { v: '1' } }
    const groups = [
      { zone: 'z1', weight: 1, hosts: { a: one } },
      { zone: 'z2', weight: 1000, hosts: { b: one } },
    ]
    const weighted = { common_lb_config: { locality_weighted_lb_config: {} } }
    const selectors = { subset_selectors: [{ keys: ['v'] }] }
    expect(await ask(selectors, { v: '1' }, groups as never, weighted)).toEqual(['a', 'b'])
    expect(await ask({ ...selectors, locality_weight_aware: true }, { v: '1' }, groups as never, weighted)).toEqual([
      'b',
    ])
  })

  it('a fallback to the very same keys is refused', async () => {
    const config = { subset_selectors: [{ keys: ['v'], fallback_policy: 'KEYS_SUBSET', fallback_keys_subset: ['v'] }] }
    await expect(ask(config, {})).rejects.toThrow('fallback_keys_subset cannot be equal to keys')
  })
})
