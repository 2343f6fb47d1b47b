import { expect, it } from 'vitest'
import { EdfScheduler } from '../src/proxy/upstream/balancers/edf.ts'
import { LeastRequest } from '../src/proxy/upstream/balancers/least-request.ts'
import { Random } from '../src/proxy/upstream/balancers/random.ts'
import { RoundRobin } from '../src/proxy/upstream/balancers/round-robin.ts'
import { HostHealth } from '../src/proxy/upstream/host.ts'
import { localityKey } from '../src/proxy/upstream/priority-set.ts'
import { UpstreamHost } from '../src/proxy/upstream/upstream-host.ts'
import { TestRuntime } from '../src/runtime-test.ts'
import {
  balancerStats,
  DEFAULT_COMMON,
  host,
  hostConfig,
  lbContext,
  NO_PANIC,
  prioritySet,
  tally,
} from './support/upstream-hosts.ts'

it('EDF serves entries in proportion to their weights, spread evenly', () => {
  const scheduler = new EdfScheduler<string>()
  const weights: Record<string, number> = { a: 1, b: 2, c: 3 }
  for (const [name, weight] of Object.entries(weights)) scheduler.add(weight, name)
  const picks = Array.from({ length: 12 }, () => scheduler.pickAndAdd((e) => weights[e]!))
  // At time 1 all three are due; a has waited longest. At time 2 c is due a rounding error earlier.
  expect(picks.join('')).toBe('cbcabccbccab')
})

it('EDF breaks ties by the order of insertion', () => {
  const scheduler = new EdfScheduler<string>()
  for (const name of 'abc') scheduler.add(1, name)
  expect(Array.from({ length: 7 }, () => scheduler.pickAndAdd(() => 1)).join('')).toBe('abcabca')
})

it('an EDF started after n picks goes on as one that made them', () => {
  const weights: Record<string, number> = { a: 25, b: 75, c: 10 }
  const entries = Object.keys(weights)
  const weigh = (e: string) => weights[e]!
  for (const picks of [0, 1, 7, 23, 110, 1000]) {
    const made = new EdfScheduler<string>()
    for (const e of entries) made.add(weigh(e), e)
    for (let i = 0; i < picks; i++) made.pickAndAdd(weigh)
    const started = EdfScheduler.withPicks(entries, weigh, picks)
    const next = (s: EdfScheduler<string>) =>
      Array.from({ length: 110 }, () => s.pickAndAdd(weigh))
        .sort()
        .join('')
    expect(next(started)).toBe(next(made))
  }
})

it('round robin goes through equal hosts in turn, from a random start', () => {
  const hosts = [1, 2, 3].map((n) => host(n))
  const starts = new Set<string>()
  for (let seed = 0; seed < 20; seed++) {
    const lb = new RoundRobin(new TestRuntime(seed), balancerStats(), DEFAULT_COMMON, undefined)
    lb.update(prioritySet(hosts))
    const picks = Array.from({ length: 6 }, () => lb.chooseHost(lbContext())!.key)
    starts.add(picks[0]!)
    expect(new Set(picks.slice(0, 3)).size).toBe(3)
    expect(picks.slice(3)).toEqual(picks.slice(0, 3))
  }
  expect(starts.size).toBe(3)
})

it('round robin honours weights exactly', () => {
  const hosts = [host(1, { weight: 80 }), host(2, { weight: 20 })]
  const lb = new RoundRobin(new TestRuntime(3), balancerStats(), DEFAULT_COMMON, undefined)
  lb.update(prioritySet(hosts))
  expect(tally(100, () => lb.chooseHost(lbContext()))).toEqual({ '10.0.0.1:80': 80, '10.0.0.2:80': 20 })
})

it('round robin keeps its place when a host leaves', () => {
  const hosts = [1, 2, 3, 4].map((n) => host(n))
  const lb = new RoundRobin(new TestRuntime(3), balancerStats(), DEFAULT_COMMON, undefined)
  lb.update(prioritySet(hosts))
  for (let i = 0; i < 5; i++) lb.chooseHost(lbContext())
  lb.update(prioritySet(hosts.slice(0, 2)))
  expect(tally(10, () => lb.chooseHost(lbContext()))).toEqual({ '10.0.0.1:80': 5, '10.0.0.2:80': 5 })
})

it('least request prefers the host with fewer requests, and never an idle one over chance', () => {
  const [busy, idle] = [host(1), host(2)]
  busy!.stats.rqActive.set(10)
  const lb = new LeastRequest(new TestRuntime(5), balancerStats(), DEFAULT_COMMON, LEAST)
  lb.update(prioritySet([busy!, idle!]))
  const counts = tally(4000, () => lb.chooseHost(lbContext()))
  // Two draws with replacement: the busy one only when both draws hit it.
  expect(counts['10.0.0.1:80']! / 4000).toBeGreaterThan(0.22)
  expect(counts['10.0.0.1:80']! / 4000).toBeLessThan(0.28)
})

it('least request with weights gives each host its share when all are idle', () => {
  const hosts = [host(1, { weight: 4 }), host(2, { weight: 1 })]
  const lb = new LeastRequest(new TestRuntime(5), balancerStats(), DEFAULT_COMMON, LEAST)
  lb.update(prioritySet(hosts))
  expect(tally(100, () => lb.chooseHost(lbContext()))).toEqual({ '10.0.0.1:80': 80, '10.0.0.2:80': 20 })
})

it('least request with weights turns from a host that is busy', () => {
  const hosts = [host(1, { weight: 2 }), host(2, { weight: 1 })]
  hosts[0]!.stats.rqActive.set(7)
  const lb = new LeastRequest(new TestRuntime(5), balancerStats(), DEFAULT_COMMON, LEAST)
  lb.update(prioritySet(hosts))
  const counts = tally(500, () => lb.chooseHost(lbContext()))
  // Effective weights 2/8 and 1: one in five.
  expect(counts['10.0.0.1:80']).toBe(100)
})

it('a full scan always finds the least busy host', () => {
  const hosts = [1, 2, 3, 4].map((n) => host(n))
  hosts.forEach((h, i) => void h.stats.rqActive.set(i === 2 ? 0 : 5))
  const lb = new LeastRequest(new TestRuntime(5), balancerStats(), DEFAULT_COMMON, { ...LEAST, fullScan: true })
  lb.update(prioritySet(hosts))
  expect(tally(50, () => lb.chooseHost(lbContext()))).toEqual({ '10.0.0.3:80': 50 })
})

it('random is uniform', () => {
  const hosts = [1, 2, 3, 4].map((n) => host(n))
  const lb = new Random(new TestRuntime(9), balancerStats(), DEFAULT_COMMON)
  lb.update(prioritySet(hosts))
  for (const count of Object.values(tally(8000, () => lb.chooseHost(lbContext())))) {
    expect(count).toBeGreaterThan(1800)
    expect(count).toBeLessThan(2200)
  }
})

it('failed hosts are skipped, until so many are out that all are used', () => {
  const hosts = [1, 2, 3, 4].map((n) => host(n))
  const stats = balancerStats()
  const lb = new RoundRobin(new TestRuntime(1), stats, DEFAULT_COMMON, undefined)
  hosts[0]!.health = HostHealth.FAILED_OUTLIER_CHECK
  lb.update(prioritySet(hosts))
  expect(Object.keys(tally(30, () => lb.chooseHost(lbContext())))).toHaveLength(3)
  hosts[1]!.health = hosts[2]!.health = HostHealth.FAILED_OUTLIER_CHECK
  lb.update(prioritySet(hosts))
  expect(Object.keys(tally(30, () => lb.chooseHost(lbContext())))).toHaveLength(4)
  expect(stats.panics).toBe(30)
})

it('without panic, no healthy host means none', () => {
  const hosts = [host(1, { health: HostHealth.FAILED_EDS_HEALTH })]
  const lb = new RoundRobin(new TestRuntime(1), balancerStats(), NO_PANIC, undefined)
  lb.update(prioritySet(hosts))
  expect(lb.chooseHost(lbContext())).toBeUndefined()
})

it('traffic spills to the next priority as the first loses hosts', () => {
  const hosts = [1, 2, 3, 4].map((n) => host(n)).concat([5, 6].map((n) => host(n, { priority: 1 })))
  const lb = new RoundRobin(new TestRuntime(2), balancerStats(), DEFAULT_COMMON, undefined)
  const second = () => {
    lb.update(prioritySet(hosts))
    const counts = tally(4000, () => lb.chooseHost(lbContext()))
    return ((counts['10.0.0.5:80'] ?? 0) + (counts['10.0.0.6:80'] ?? 0)) / 4000
  }
  expect(second()).toBe(0)
  hosts[0]!.health = HostHealth.FAILED_EDS_HEALTH
  // 3 of 4 hosts × 1.4 is still everything.
  expect(second()).toBe(0)
  hosts[1]!.health = HostHealth.FAILED_EDS_HEALTH
  // 2 of 4 × 1.4 = 70 %.
  expect(second()).toBeCloseTo(0.3, 1)
})

it('degraded hosts serve only what healthy ones cannot', () => {
  const hosts = [
    host(1),
    host(2, { health: HostHealth.DEGRADED_EDS_HEALTH }),
    host(3, { health: HostHealth.DEGRADED_EDS_HEALTH }),
  ]
  const lb = new RoundRobin(new TestRuntime(2), balancerStats(), DEFAULT_COMMON, undefined)
  lb.update(prioritySet(hosts))
  // 1 of 3 × 1.4 = 46 %; degraded 2 of 3 × 1.4 = 93 %, of which 54 % is left.
  expect(tally(4000, () => lb.chooseHost(lbContext()))['10.0.0.1:80']! / 4000).toBeCloseTo(0.46, 1)
})

it('locality weights divide traffic, and a locality that loses hosts loses weight', () => {
  const near = { region: 'r', zone: 'near', subZone: '' }
  const far = { region: 'r', zone: 'far', subZone: '' }
  const hosts = [host(1, { locality: near }), host(2, { locality: near }), host(3, { locality: far })]
  const localityWeights = new Map([
    [localityKey(0, near), 1],
    [localityKey(0, far), 3],
  ])
  const lb = new RoundRobin(new TestRuntime(2), balancerStats(), { ...NO_PANIC, localityWeighted: true }, undefined)
  lb.update(prioritySet(hosts, { localityWeights }))
  const counts = tally(400, () => lb.chooseHost(lbContext()))
  expect(counts['10.0.0.3:80']).toBe(300)
  hosts[2]!.health = HostHealth.FAILED_EDS_HEALTH
  lb.update(prioritySet(hosts, { localityWeights }))
  expect(tally(10, () => lb.chooseHost(lbContext()))).toEqual({ '10.0.0.1:80': 5, '10.0.0.2:80': 5 })
})

it('a new host gets a growing share during slow start', () => {
  const runtime = new TestRuntime(2)
  const hosts = [host(1), new UpstreamHost(hostConfig(2), 0)]
  const lb = new RoundRobin(runtime, balancerStats(), NO_PANIC, { window: 10_000, aggression: 1, minWeight: 0.1 })
  lb.update(prioritySet(hosts))
  const share = () => (tally(1100, () => lb.chooseHost(lbContext()))['10.0.0.2:80'] ?? 0) / 1100
  expect(share()).toBeCloseTo(1 / 11, 1)
  runtime.advance(5000)
  expect(share()).toBeCloseTo(1 / 3, 1)
  runtime.advance(5000)
  expect(share()).toBeCloseTo(0.5, 1)
})

const LEAST = { choices: 2, bias: 1, fullScan: false, slowStart: undefined }
