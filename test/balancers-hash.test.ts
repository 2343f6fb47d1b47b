import { expect, it } from 'vitest'
import { HashingBalancer, type WeightedHost } from '../src/proxy/upstream/balancers/hashing.ts'
import { MaglevTable } from '../src/proxy/upstream/balancers/maglev.ts'
import { HashRing, type RingHashSettings } from '../src/proxy/upstream/balancers/ring-hash.ts'
import { murmurHash2, xxHash64 } from '../src/proxy/upstream/hash.ts'
import { TestRuntime } from '../src/runtime-test.ts'
import { balancerStats, DEFAULT_COMMON, host, lbContext, prioritySet } from './support/upstream-hosts.ts'

const LETTERS = ['a', 'b', 'c', 'd']

function hostsWithKeys(weights: readonly number[]) {
  return LETTERS.map((l, i) =>
    host(i, { weight: weights[i]!, metadata: new Map([['envoy.lb', { hash_key: `key-${l}` }]]) }),
  )
}

/** The letters of the hosts that requests with header values user-0, user-7, … go to, as Envoy 1.40 sent them. */
const ENVOY: {
  name: string
  weights: number[]
  build: (hosts: readonly WeightedHost[]) => HashRing | MaglevTable
  picks: string
}[] = [
  {
    name: 'ring hash',
    weights: [1, 1, 1, 1],
    build: ring({}),
    picks: 'dbbdbbcccbaaddcdaababcaadcdbbadaabadcdbcadbbcbabbcbbaddcbdaa',
  },
  {
    name: 'ring hash with a ring of 8',
    weights: [1, 1, 1, 1],
    build: ring({ minimumRingSize: 8, maximumRingSize: 8 }),
    picks: 'bacddbbbbdcbdacabccaccbdbbbbdabdbadabbdcbdcbbbcadbabcaaadadb',
  },
  {
    name: 'ring hash with weights',
    weights: [1, 2, 3, 10],
    build: ring({ minimumRingSize: 64 }),
    picks: 'dddddddbcdcbcdddddcdddddcdddddddddddbdcbddcbbbdbccbddddddddd',
  },
  {
    name: 'ring hash with MurmurHash2',
    weights: [1, 1, 1, 1],
    build: ring({ murmur: true }),
    picks: 'ccdccdadbdccaaabddadbaddabdadadacdbaddcbaabdbcbacacadaababaa',
  },
  {
    name: 'maglev with a table of 101',
    weights: [1, 1, 1, 1],
    build: (hosts) => new MaglevTable(hosts, { tableSize: 101, useHostname: false }),
    picks: 'cabcccbcdadaccdcdcaaadaccabbbadbaccabbaabacaacadccacccdbdcdd',
  },
  {
    name: 'maglev with weights',
    weights: [1, 2, 3, 10],
    build: (hosts) => new MaglevTable(hosts, { tableSize: 1009, useHostname: false }),
    picks: 'addbdddddddcddbbddccdddbdddddbaddddacaddddddddddddccbcdddddd',
  },
]

function ring(changes: Partial<RingHashSettings>) {
  const settings = { minimumRingSize: 1024, maximumRingSize: 8_388_608, murmur: false, useHostname: false, ...changes }
  return (hosts: readonly WeightedHost[]) => new HashRing(hosts, settings)
}

for (const { name, weights, build, picks } of ENVOY) {
  it(`${name} sends each user where Envoy sends them`, () => {
    const hosts = hostsWithKeys(weights)
    const balancer = new HashingBalancer(new TestRuntime(), balancerStats(), DEFAULT_COMMON, build)
    balancer.update(prioritySet(hosts))
    const found = Array.from(picks, (_, i) => {
      const chosen = balancer.chooseHost(lbContext({ hash: xxHash64(`user-${i * 7}`) }))
      return LETTERS[hosts.indexOf(chosen!)]
    })
    expect(found.join('')).toBe(picks)
  })
}

it('ring hash by source address sends each client where Envoy sends it', () => {
  const hosts = hostsWithKeys([1, 1, 1, 1])
  const balancer = new HashingBalancer(new TestRuntime(), balancerStats(), DEFAULT_COMMON, ring({}))
  balancer.update(prioritySet(hosts))
  const found = Array.from({ length: 12 }, (_, i) => {
    const chosen = balancer.chooseHost(lbContext({ hash: xxHash64(`127.0.0.${i + 2}`) }))
    return LETTERS[hosts.indexOf(chosen!)]
  })
  expect(found.join('')).toBe('abbcdabcbdca')
})

it('a retry that must not go to the same host gets the next one of the ring', () => {
  const hosts = hostsWithKeys([1, 1, 1, 1])
  for (const build of [
    ring({}),
    (w: readonly WeightedHost[]) => new MaglevTable(w, { tableSize: 101, useHostname: false }),
  ]) {
    const balancer = new HashingBalancer(new TestRuntime(), balancerStats(), DEFAULT_COMMON, build)
    balancer.update(prioritySet(hosts))
    const hash = xxHash64('user-0')
    const first = balancer.chooseHost(lbContext({ hash }))
    const second = balancer.chooseHost(
      lbContext({ hash, hostSelectionRetryCount: 20, shouldSelectAnotherHost: (h) => h === first }),
    )
    expect(second).toBeDefined()
    expect(second).not.toBe(first)
  }
})

it('removing one host moves few users of the others', () => {
  const hosts = hostsWithKeys([1, 1, 1, 1])
  const balancer = new HashingBalancer(new TestRuntime(), balancerStats(), DEFAULT_COMMON, ring({}))
  const where = () => Array.from({ length: 500 }, (_, i) => balancer.chooseHost(lbContext({ hash: xxHash64(`u${i}`) })))
  balancer.update(prioritySet(hosts))
  const before = where()
  balancer.update(prioritySet(hosts.slice(0, 3)))
  const moved = where().filter((h, i) => before[i] !== hosts[3] && h !== before[i])
  expect(moved.length).toBeLessThan(75)
})

it('a request without hash goes to any host', () => {
  const hosts = hostsWithKeys([1, 1, 1, 1])
  const balancer = new HashingBalancer(new TestRuntime(7), balancerStats(), DEFAULT_COMMON, ring({}))
  balancer.update(prioritySet(hosts))
  const seen = new Set(Array.from({ length: 200 }, () => balancer.chooseHost(lbContext())))
  expect(seen.size).toBe(4)
})

it('hashes as the reference implementations do', () => {
  expect(xxHash64('')).toBe(0xef46db3751d8e999n)
  expect(xxHash64('foo')).toBe(0x33bf00a859c4ba3fn)
  expect(murmurHash2('')).toBe(0x553e93901e462a6en)
})
