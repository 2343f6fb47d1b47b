import { expect, it } from 'vitest'
import { RoundRobin } from '../src/proxy/upstream/balancers/round-robin.ts'
import { SubsetBalancer } from '../src/proxy/upstream/balancers/subset.ts'
import type { SubsetSettings } from '../src/proxy/upstream/balancers/subset-config.ts'
import { HostHealth } from '../src/proxy/upstream/host.ts'
import { TestRuntime } from '../src/runtime-test.ts'
import { balancerStats, DEFAULT_COMMON, host, lbContext, prioritySet, tally } from './support/upstream-hosts.ts'

const HOSTS = [
  host(1, { metadata: new Map([['envoy.lb', { version: 'v1', stage: 'prod' }]]) }),
  host(2, { metadata: new Map([['envoy.lb', { version: 'v2', stage: 'prod' }]]) }),
  host(3, { metadata: new Map([['envoy.lb', { version: 'v2', stage: 'dev' }]]) }),
]

const SETTINGS: SubsetSettings = {
  fallback: 'none',
  defaultSubset: {},
  selectors: [
    { keys: ['version'], fallback: 'unset', fallbackKeys: [], singleHost: false },
    { keys: ['stage', 'version'], fallback: 'unset', fallbackKeys: [], singleHost: false },
  ],
  panicModeAny: false,
  listAsAny: false,
  allowRedundantKeys: false,
  fallbackList: false,
  localityWeightAware: false,
  scaleLocalityWeight: false,
}

function balancer(changes: Partial<SubsetSettings> = {}, hosts = HOSTS): SubsetBalancer {
  const stats = balancerStats()
  const inner = () => new RoundRobin(new TestRuntime(1), stats, DEFAULT_COMMON, undefined)
  const lb = new SubsetBalancer({ ...SETTINGS, ...changes }, inner, stats)
  lb.update(prioritySet(hosts))
  return lb
}

function picks(lb: SubsetBalancer, metadataMatch: Record<string, unknown> | undefined): string[] {
  return Object.keys(tally(12, () => lb.chooseHost(lbContext({ metadataMatch })))).sort()
}

it('a request goes to the hosts that have the labels it asks for', () => {
  expect(picks(balancer(), { version: 'v2' })).toEqual(['10.0.0.2:80', '10.0.0.3:80'])
  expect(picks(balancer(), { version: 'v2', stage: 'dev' })).toEqual(['10.0.0.3:80'])
})

it('labels that no selector names, or no host has, match nothing', () => {
  expect(picks(balancer(), { stage: 'prod' })).toEqual(['none'])
  expect(picks(balancer(), { version: 'v3' })).toEqual(['none'])
  expect(picks(balancer(), undefined)).toEqual(['none'])
})

it('falls back to any endpoint, or to the default subset', () => {
  expect(picks(balancer({ fallback: 'any' }), { version: 'v3' })).toHaveLength(3)
  expect(picks(balancer({ fallback: 'default', defaultSubset: { stage: 'dev' } }), { version: 'v3' })).toEqual([
    '10.0.0.3:80',
  ])
})

it('a selector may have a fallback of its own', () => {
  const selectors = [
    { keys: ['version'], fallback: 'any' as const, fallbackKeys: [], singleHost: false },
    { keys: ['stage', 'version'], fallback: 'keys' as const, fallbackKeys: ['version'], singleHost: false },
  ]
  expect(picks(balancer({ selectors }), { version: 'v3' })).toHaveLength(3)
  expect(picks(balancer({ selectors }), { version: 'v1', stage: 'dev' })).toEqual(['10.0.0.1:80'])
})

it('a subset follows the health of its hosts', () => {
  const hosts = HOSTS.map((h) => host(h.address.port, { address: h.address, metadata: h.metadata }))
  hosts[1]!.health = HostHealth.FAILED_EDS_HEALTH
  expect(picks(balancer({}, hosts), { version: 'v2' })).toEqual(['10.0.0.3:80'])
})

it('list_as_any: a host with a list of values is in the subset of each', () => {
  const hosts = [host(1, { metadata: new Map([['envoy.lb', { version: ['v1', 'v2'] }]]) })]
  expect(picks(balancer({ listAsAny: true }, hosts), { version: 'v2' })).toEqual(['10.0.0.1:80'])
  expect(picks(balancer({}, hosts), { version: 'v2' })).toEqual(['none'])
})
