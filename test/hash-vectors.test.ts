import { afterEach, expect, it } from 'vitest'
import { MersenneTwister } from '../src/proxy/upstream/balancers/bounded-load.ts'
import { Gate, type Group, type SpreadProxy, startSpread } from './support/spread-proxy.ts'

const running: SpreadProxy[] = []
afterEach(async () => {
  for (const proxy of running.splice(0)) await proxy.stop()
})

const LETTERS = ['a', 'b', 'c', 'd', 'e']
const FIVE: Group[] = [{ hosts: Object.fromEntries(LETTERS.map((name) => [name, {}])) }]
const WEIGHTED: Group[] = [{ hosts: { a: { weight: 1 }, b: { weight: 3 }, c: { weight: 7 }, d: { weight: 2 } } }]
const down = { status: 'UNHEALTHY' }
const LOCALITIES: Group[] = [
  { zone: 'z1', weight: 1, hosts: { a: {}, b: {} } },
  { zone: 'z2', weight: 3, hosts: { c: {}, d: down } },
  { zone: 'z3', weight: 2, hosts: { e: down } },
]
const NO_PANIC = { healthy_panic_threshold: { value: 0 } }
const LOCALITY_WEIGHTED = { ...NO_PANIC, locality_weighted_lb_config: {} }
const ONE_OF_THREE: Group[] = [{ hosts: { a: down, b: down, c: {} } }]
const PRIORITIES: Group[] = [{ hosts: { a: {}, b: down } }, { priority: 1, hosts: { c: {}, d: {} } }]
const extension = (name: string, type: string, config: object) => ({
  load_balancing_policy: {
    policies: [
      {
        typed_extension_config: {
          name,
          typed_config: { '@type': `type.googleapis.com/envoy.extensions.load_balancing_policies.${type}`, ...config },
        },
      },
    ],
  },
})

/** The hosts that a real Envoy 1.40 sent requests with x-h: k0, k7, k14, … to. */
it.each([
  ['ring hash', FIVE, { lb_policy: 'RING_HASH' }, 'debbcabecdeada'],
  ['with weights', WEIGHTED, { lb_policy: 'RING_HASH' }, 'dcbbcccccdccbc'],
  ['a small ring', FIVE, { lb_policy: 'RING_HASH', ring_hash_lb_config: { minimum_ring_size: 3 } }, 'aaabbeeebebebe'],
  [
    'MurmurHash2',
    FIVE,
    { lb_policy: 'RING_HASH', ring_hash_lb_config: { hash_function: 'MURMUR_HASH_2' } },
    'acaabacabaeebd',
  ],
  ['maglev', FIVE, { lb_policy: 'MAGLEV' }, 'cdbaedbdadebec'],
  ['maglev with weights', WEIGHTED, { lb_policy: 'MAGLEV' }, 'cdbabdbdadcbcc'],
  ['a small table', FIVE, { lb_policy: 'MAGLEV', maglev_lb_config: { table_size: 11 } }, 'cddcbdbdeeebcb'],
  [
    'weights of localities',
    LOCALITIES,
    { lb_policy: 'RING_HASH', common_lb_config: LOCALITY_WEIGHTED },
    'acbccccccaccbc',
  ],
  [
    'weights of localities, maglev',
    LOCALITIES,
    { lb_policy: 'MAGLEV', common_lb_config: LOCALITY_WEIGHTED },
    'ccbaabccabcbcc',
  ],
  ['in panic', ONE_OF_THREE, { lb_policy: 'RING_HASH' }, 'babbcaaccaaaba'],
  ['maglev in panic', ONE_OF_THREE, { lb_policy: 'MAGLEV' }, 'cabaabbbababcc'],
  ['priorities', PRIORITIES, { lb_policy: 'RING_HASH', common_lb_config: NO_PANIC }, 'aaaacddaadaaaa'],
  ['priorities, maglev', PRIORITIES, { lb_policy: 'MAGLEV', common_lb_config: NO_PANIC }, 'aaaacdcaadaaaa'],
  [
    'the policy as an extension',
    FIVE,
    extension('r', 'ring_hash.v3.RingHash', { minimum_ring_size: 64, hash_function: 'MURMUR_HASH_2' }),
    'eeeacebbceacbd',
  ],
  ['maglev as an extension', FIVE, extension('m', 'maglev.v3.Maglev', { table_size: 101 }), 'eebccdaddedeab'],
])('%s: equal keys go where Envoy sends them', async (_name, groups, cluster, hosts) => {
  const route = { hash_policy: [{ header: { header_name: 'x-h' } }] }
  const proxy = await startSpread({ groups, cluster, route })
  running.push(proxy)
  let got = ''
  for (let i = 0; i < hosts.length; i++) got += (await proxy.call({ headers: { 'x-h': `k${7 * i}` } })).body
  expect(got).toBe(hosts)
})

/** Requests that stay, one after the other, and the hosts that a real Envoy 1.40 gave them to. */
it.each([
  ['RING_HASH', 100, 'ccdbdcedee'],
  ['RING_HASH', 120, 'ccdbcdedec'],
  ['RING_HASH', 200, 'cccbdceced'],
  ['MAGLEV', 100, 'bbdcdbcdee'],
  ['MAGLEV', 120, 'bbdcbdcddb'],
  ['MAGLEV', 200, 'bbbcdbcbdd'],
])('%s with a balance factor of %i: a busy host passes requests on', async (lb_policy, factor, hosts) => {
  const gate = new Gate()
  const proxy = await startSpread({
    groups: FIVE,
    upstreams: Object.fromEntries(LETTERS.map((name) => [name, gate.upstream(name)])),
    cluster: { lb_policy, common_lb_config: { consistent_hashing_lb_config: { hash_balance_factor: factor } } },
    route: { hash_policy: [{ header: { header_name: 'x-h' } }] },
  })
  running.push(proxy)
  const keys = ['k1', 'k1', 'k1', 'k2', 'k1', 'k1', 'k3', 'k1', 'k7', 'k1']
  const answers = []
  for (const [i, key] of keys.entries()) {
    answers.push(proxy.call({ headers: { 'x-h': key } }))
    await gate.reached(i + 1)
  }
  gate.open()
  expect((await Promise.all(answers)).map((a) => a.body).join('')).toBe(hosts)
})

it('the Mersenne twister is the one of the standard library', () => {
  const random = new MersenneTwister(5489)
  expect(random.next()).toBe(3499211612)
  for (let i = 2; i < 10_000; i++) random.next()
  expect(random.next()).toBe(4123659995)
})
