import { afterEach, describe, expect, test } from 'vitest'
import { overHttp2 } from './support/ext-authz.ts'
import { get, httpFilter, httpHarness, oneHost, routerFilter, startHttpProxy, type Upstream } from './support/http.ts'
import { eventually } from './support/proxy.ts'
import { rateLimitFilter, rateLimitRoute, ScriptedRls } from './support/scripted-rls.ts'

const { upstream } = httpHarness()
const running: { stop(): unknown }[] = []
afterEach(async () => {
  for (const r of running.splice(0)) await r.stop()
})

interface Setup {
  readonly limits?: object[]
  readonly ofHost?: object[]
  readonly route?: object
  readonly host?: object
  readonly action?: object
  readonly filter?: object
  readonly before?: object[]
  readonly bootstrap?: object
  readonly cluster?: object
}

/** A proxy to `a` whose route has rate limits. */
async function limited(setup: Setup) {
  const { limits = [], ofHost = [], route, host, action, filter, before = [], bootstrap, cluster } = setup
  const rls = await ScriptedRls.start()
  running.push(rls)
  const a = await upstream('a')
  const p = await startHttpProxy(
    {
      route_config: oneHost(
        [{ match: { prefix: '/' }, route: { cluster: 'a', rate_limits: limits, ...action }, ...route }],
        { rate_limits: ofHost, ...host },
      ),
      http_filters: [...before, rateLimitFilter(filter), routerFilter()],
    },
    [a, { name: 'rls', port: rls.port } as Upstream],
    { rls: overHttp2, a: cluster ?? {} },
    { node: { id: 'n', cluster: 'frontend' }, ...bootstrap },
  )
  running.push(p)
  return { rls, p }
}

const HEADERS = { 'x-user': 'ann', 'x-empty': '', 'x-forwarded-for': '10.1.2.3' }

/** What the service is asked about a request, for one list of actions. */
async function descriptorFor(actions: object[], setup: Setup = {}): Promise<string[] | undefined> {
  const { rls, p } = await limited({ ...setup, limits: [{ actions }] })
  expect((await get(p.http, '/cart?id=7&name=%41nn&flag&id=8', HEADERS)).status).toBe(200)
  return rls.descriptors[0]
}

const key = (value: string, more: object = {}) => ({ generic_key: { descriptor_value: value, ...more } })
const onHeader = (more: object, exact = 'ann') => ({
  header_value_match: { descriptor_value: 'v', headers: [{ name: 'x-user', string_match: { exact } }], ...more },
})
const onQuery = (name: string, exact: string, more: object = {}) => ({
  query_parameter_value_match: {
    descriptor_value: 'v',
    query_parameters: [{ name, string_match: { exact } }],
    ...more,
  },
})
const onAddress = (prefix: string, more: object = {}, invert = false) => ({
  remote_address_match: {
    descriptor_value: 'v',
    address_matcher: { ranges: [{ address_prefix: prefix, prefix_len: 8 }], invert_match: invert },
    ...more,
  },
})
const metadata = (more: object = {}, name = 'tier') => ({
  metadata: { descriptor_key: 'k', metadata_key: { key: 'shop', path: [{ key: name }] }, ...more },
})
const extension = (type: string, config: object, name = 'ext') => ({
  extension: { name, typed_config: { '@type': `type.googleapis.com/${type}`, ...config } },
})
const expr = (text: string, more: object = {}) =>
  extension('envoy.extensions.rate_limit_descriptors.expr.v3.Descriptor', { descriptor_key: 'k', text, ...more })
const input = (name: string, config: object = {}) => extension(`envoy.type.matcher.v3.${name}`, config, 'my-key')
const ofRoute = { route: { metadata: { filter_metadata: { shop: { tier: 'gold', n: 5, empty: '' } } } } }
const FROM_ROUTE = { source: 'ROUTE_ENTRY' }

describe('an action makes an entry', () => {
  const cases: [name: string, actions: object[], descriptor: string | undefined, setup?: Setup][] = [
    ['of the proxy’s own cluster', [{ source_cluster: {} }], 'source_cluster=frontend'],
    ['of the cluster that the route names', [{ destination_cluster: {} }], 'destination_cluster=a'],
    ['of a header', [{ request_headers: { header_name: 'X-User', descriptor_key: 'k' } }], 'k=ann'],
    ['of a pseudo header', [{ request_headers: { header_name: ':method', descriptor_key: 'k' } }], 'k=GET'],
    ['of an empty header', [{ request_headers: { header_name: 'x-empty', descriptor_key: 'k' } }], 'k='],
    ['of no header: no descriptor', [{ request_headers: { header_name: 'x-no', descriptor_key: 'k' } }], undefined],
    [
      'of no header, which may be skipped',
      [{ request_headers: { header_name: 'x-no', descriptor_key: 'k', skip_if_absent: true } }, key('z')],
      'generic_key=z',
    ],
    [
      'of a query parameter, decoded',
      [{ query_parameters: { query_parameter_name: 'name', descriptor_key: 'k' } }],
      'k=Ann',
    ],
    ['of its first value', [{ query_parameters: { query_parameter_name: 'id', descriptor_key: 'k' } }], 'k=7'],
    ['of the client', [{ remote_address: {} }], 'remote_address=10.1.2.3'],
    ['of its network', [{ masked_remote_address: { v4_prefix_mask_len: 16 } }], 'masked_remote_address=10.1.0.0/16'],
    [
      'of the client alone, unless masked further',
      [{ masked_remote_address: {} }],
      'masked_remote_address=10.1.2.3/32',
    ],
    ['of no part of it', [{ masked_remote_address: { v4_prefix_mask_len: 0 } }], 'masked_remote_address=0.0.0.0/0'],
    ['of a constant', [key('v'), key('w', { descriptor_key: 'kk' })], 'generic_key=v,kk=w'],
    ['of what looks like a format, as it stands', [key('%REQ(x-user)%')], 'generic_key=%REQ(x-user)%'],
    ['where headers match', [onHeader({})], 'header_match=v'],
    ['where headers do not match, as wished', [onHeader({ expect_match: false, descriptor_key: 'k' }, 'bob')], 'k=v'],
    ['where headers should match: no descriptor', [onHeader({}, 'bob')], undefined],
    ['where a query parameter matches, decoded', [onQuery('name', 'Ann')], 'query_match=v'],
    ['where its first value does not: no descriptor', [onQuery('id', '8')], undefined],
    ['where its first value does not, as wished', [onQuery('id', '8', { expect_match: false })], 'query_match=v'],
    ['where the client’s address matches', [onAddress('10.0.0.0')], 'remote_address_match=v'],
    ['where it does not, as wished', [onAddress('11.0.0.0', { descriptor_key: 'k' }, true)], 'k=v'],
    ['where it does not: no descriptor', [onAddress('11.0.0.0')], undefined],
    [
      'of a format, for addresses',
      [onAddress('10.0.0.0', { descriptor_value: '%REQ(x-user)%' })],
      'remote_address_match=ann',
    ],
    ['of the route’s metadata', [metadata(FROM_ROUTE)], 'k=gold', ofRoute],
    ['of metadata that is no text: no descriptor', [metadata(FROM_ROUTE, 'n')], undefined, ofRoute],
    ['of a default for it', [metadata({ ...FROM_ROUTE, default_value: 'd' }, 'n')], 'k=d', ofRoute],
    ['of no metadata, which may be skipped', [metadata({ skip_if_absent: true }), key('z')], 'generic_key=z'],
    [
      'of the cluster’s metadata',
      [metadata({ source: 'CLUSTER_ENTRY' })],
      'k=blue',
      { cluster: { metadata: { filter_metadata: { shop: { tier: 'blue' } } } } },
    ],

    ['of an expression’s text', [expr('request.headers["x-user"]')], 'k=ann'],
    ['of an expression’s number', [expr('1.0 / 3.0')], 'k=0.333333'],
    [
      'of an expression without a value, which may be skipped',
      [expr('request.headers["no"]', { skip_if_error: true }), key('z')],
      'generic_key=z',
    ],
    ['of an input of matchers', [input('HttpRequestHeaderMatchInput', { header_name: 'x-user' })], 'my-key=ann'],
    ['of an input of the query', [input('HttpRequestQueryParamMatchInput', { query_param: 'name' })], 'my-key=Ann'],
    [
      'of an empty input: none',
      [input('HttpRequestHeaderMatchInput', { header_name: 'x-empty' }), key('z')],
      'generic_key=z',
    ],
    [
      'of an input that knows answers: no descriptor',
      [input('HttpResponseHeaderMatchInput', { header_name: 'x' })],
      undefined,
    ],
  ]
  test.each(cases)('%s', async (_name, actions, descriptor, setup) => {
    expect(await descriptorFor(actions, setup)).toEqual(descriptor === undefined ? undefined : [descriptor])
  })

  test('of a format, once a runtime layer switches that on', async () => {
    const guard = { 'envoy.reloadable_features.enable_formatter_for_ratelimit_action_descriptor_value': true }
    const bootstrap = { layered_runtime: { layers: [{ name: 's', static_layer: guard }] } }
    const of = (value: string, more: object = {}) => descriptorFor([key(value, more)], { bootstrap })
    expect(await of('u-%REQ(x-user)%')).toEqual(['generic_key=u-ann'])
    expect(await of('%REQ(x-no)%')).toBeUndefined()
    expect(await of('%REQ(x-no)%', { default_value: 'd' })).toEqual(['generic_key=d'])
    await expect(of('100%')).rejects.toThrow("Couldn't find valid command")
  })

  test('of an IPv6 client in its shortest form', async () => {
    const { rls, p } = await limited({
      limits: [
        { actions: [{ remote_address: {} }, { masked_remote_address: { v6_prefix_mask_len: 64 } }] },
        { actions: [{ masked_remote_address: {} }] },
      ],
    })
    for (const ip of ['2001:ABCD:ef01:2345:6789:abcd:ef01:0234', '::ffff:1.2.3.4'])
      await get(p.http, '/', { 'x-forwarded-for': ip })
    expect(rls.descriptors.flat()).toEqual([
      'remote_address=2001:abcd:ef01:2345:6789:abcd:ef01:234,masked_remote_address=2001:abcd:ef01:2345::/64',
      'masked_remote_address=2001:abcd:ef01:2345:6789:abcd:ef01:234/128',
      'remote_address=::ffff:1.2.3.4,masked_remote_address=::/64',
      'masked_remote_address=::ffff:1.2.3.4/128',
    ])
  })

  test('of no kind: refused', async () => {
    const refused = (action: object) => expect(limited({ limits: [{ actions: [action] }] })).rejects
    await refused(extension('envoy.extensions.filters.http.router.v3.Router', {}, 'x')).toThrow(/'x' with type URL/)
    await refused(expr('request.(')).toThrow(/Not able to parse expression/)
    await refused({
      dynamic_metadata: { descriptor_key: 'k', metadata_key: { key: 'a', path: [{ key: 'b' }] } },
    }).toThrow(/deprecated option/)
    await refused({}).toThrow(/action_specifier/)
  })
})

describe('rate limits', () => {
  test('each make a descriptor, in order; one that fails leaves the others', async () => {
    const { rls, p } = await limited({
      limits: [
        { actions: [key('1')] },
        { actions: [key('2'), { request_headers: { header_name: 'x-no', descriptor_key: 'k' } }] },
        { actions: [key('3')] },
      ],
    })
    await get(p.http, '/')
    expect(rls.descriptors).toEqual([['generic_key=1', 'generic_key=3']])
  })

  test('of another stage, or switched off by their runtime key, do not count', async () => {
    const { rls, p } = await limited({
      limits: [
        { stage: 1, actions: [key('other')] },
        { stage: 2, actions: [key('mine')] },
        { stage: 2, disable_key: 'noisy', actions: [key('off')] },
        { stage: 2, disable_key: 'calm', actions: [key('on')] },
      ],
      filter: { stage: 2 },
      bootstrap: {
        layered_runtime: {
          layers: [{ name: 's', static_layer: { ratelimit: { noisy: { http_filter_enabled: 0 } } } }],
        },
      },
    })
    await get(p.http, '/')
    expect(rls.descriptors).toEqual([['generic_key=mine', 'generic_key=on']])
  })

  test('bring a limit of their own along, fixed or from metadata', async () => {
    const metadataLua = httpFilter('lua', 'envoy.extensions.filters.http.lua.v3.Lua', {
      default_source_code: {
        inline_string: `function envoy_on_request(h)
          h:streamInfo():dynamicMetadata():set("shop", "limit", {requests_per_unit = 42.9, unit = "HOUR"})
          h:streamInfo():dynamicMetadata():set("shop", "odd", {requests_per_unit = "42", unit = "HOUR"})
        end`,
      },
    })
    const from = (name: string) => ({ dynamic_metadata: { metadata_key: { key: 'shop', path: [{ key: name }] } } })
    const { rls, p } = await limited({
      before: [metadataLua],
      limits: [from('limit'), from('odd'), { rate_limit: { requests_per_unit: 7, unit: 'MINUTE' } }].map((limit) => ({
        actions: [key('v')],
        limit,
      })),
    })
    await get(p.http, '/')
    const told = rls.asked[0]!.descriptors.map(({ limit }) => limit && [limit.requestsPerUnit, limit.unit])
    expect(told).toEqual([[42, 3], undefined, [7, 2]])
  })

  const V = (more: Setup): Setup => ({
    limits: [{ actions: [key('route')] }],
    ofHost: [{ actions: [key('host')] }],
    ...more,
  })
  const vh = (option: string) => rateLimitRoute({ vh_rate_limits: option })
  test.each<[string, Setup, string[] | undefined]>([
    ['count instead of the virtual host’s', V({}), ['route']],
    ['of the virtual host count where the route has none', V({ limits: [] }), ['host']],
    ['of both count when the route includes them', V({ action: { include_vh_rate_limits: true } }), ['route', 'host']],
    ['of both count when the route’s filter config includes them', V({ route: vh('INCLUDE') }), ['route', 'host']],
    ['of the virtual host are ignored', V({ limits: [], route: vh('IGNORE') }), undefined],
    [
      'of the virtual host are included all the same when the route says so',
      V({ action: { include_vh_rate_limits: true }, route: vh('IGNORE') }),
      ['route', 'host'],
    ],
    ['of the virtual host are overridden', V({ route: vh('OVERRIDE') }), ['route']],
    ['of the virtual host are not overridden by none', V({ limits: [], route: vh('OVERRIDE') }), ['host']],
    ['of the virtual host are included alone', V({ limits: [], route: vh('INCLUDE') }), ['host']],
    ['of the virtual host are ignored beside the route’s', V({ route: vh('IGNORE') }), ['route']],
    [
      'of another stage override those of the virtual host all the same',
      V({ limits: [{ stage: 1, actions: [key('route')] }], route: vh('OVERRIDE') }),
      undefined,
    ],
    [
      'of the filter go before those that are included',
      V({
        filter: { rate_limits: [{ actions: [key('filter')] }] },
        route: vh('INCLUDE'),
        action: { include_vh_rate_limits: true },
      }),
      ['filter'],
    ],
    [
      'of the filter go before both, whatever its stage',
      V({ filter: { stage: 3, rate_limits: [{ actions: [key('filter')] }] } }),
      ['filter'],
    ],
    [
      'of the filter go before both where the route’s filter config has none',
      V({
        filter: { rate_limits: [{ actions: [key('filter')] }] },
        route: rateLimitRoute({ domain: 'own' }),
      }),
      ['filter'],
    ],
    ['of the filter go before both', V({ filter: { rate_limits: [{ actions: [key('filter')] }] } }), ['filter']],
    [
      'of the route’s filter config go before all',
      V({
        filter: { rate_limits: [{ actions: [key('filter')] }] },
        route: rateLimitRoute({ rate_limits: [{ actions: [key('own')] }] }),
      }),
      ['own'],
    ],
  ])('%s', async (_name, setup, values) => {
    const { rls, p } = await limited(setup)
    await get(p.http, '/')
    expect(rls.descriptors[0]).toEqual(values?.map((value) => `generic_key=${value}`))
  })

  test('of a filter count hits, by number or by what a request says', async () => {
    const { rls, p } = await limited({
      filter: {
        rate_limits: [
          { actions: [key('n')], hits_addend: { number: 9, is_negative_hits: true } },
          { actions: [key('f')], hits_addend: { format: '%REQ(x-cost)%' } },
        ],
      },
    })
    const costs = ['3.9', '0', '1e9', 'nan', '-1', 'dear', '1000000001', '4294967296', '4294967297']
    for (const cost of costs) await get(p.http, '/', { 'x-cost': cost })
    const [fixed, told] = [0, 1].map((i) => rls.asked.map(({ descriptors }) => descriptors[i]))
    expect(fixed!.map((d) => [d?.hitsAddend, d?.isNegativeHits])).toEqual(costs.map(() => [9n, true]))
    expect(told!.map((d) => d?.hitsAddend)).toEqual([3n, 0n, 1_000_000_000n, 1n << 63n, ...Array(5).fill(undefined)])
    expect(told![0]!.isNegativeHits).toBe(false)
  })

  test('of a filter have no stages; hits are a number or one substitution', async () => {
    const refused = (limit: object) =>
      expect(limited({ filter: { rate_limits: [{ actions: [key('v')], ...limit }] } })).rejects
    await refused({ stage: 0 }).toThrow("'stage' field and 'disable_key' field are not supported")
    await refused({ disable_key: 'x' }).toThrow("'stage' field and 'disable_key' field are not supported")
    await refused({ hits_addend: {} }).toThrow('hits_addend must contain either a format or a number')
    await refused({ hits_addend: { format: '%PROTOCOL%%PROTOCOL%' } }).toThrow('exactly one substitution')
  })

  test('at the end of streams are counted then, with what is known then', async () => {
    const { rls, p } = await limited({
      filter: {
        rate_limits: [
          { actions: [key('now')] },
          { actions: [key('done')], apply_on_stream_done: true, hits_addend: { format: '%BYTES_SENT%' } },
        ],
      },
    })
    await get(p.http, '/')
    await eventually(() => rls.asked.length === 2)
    expect(rls.descriptors).toEqual([['generic_key=now'], ['generic_key=done']])
    expect(rls.asked[1]!.descriptors[0]!.hitsAddend).toBe(1n)
  })
})
