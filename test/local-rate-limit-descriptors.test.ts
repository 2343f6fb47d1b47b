import { describe, expect, test } from 'vitest'
import { exchange, get, httpFilter, httpHarness, httpListener, oneHost, routerFilter } from './support/http.ts'

const { proxy, upstream } = httpHarness()
const TYPE = 'envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit'
const always = { default_value: { numerator: 100 } }
const bucket = (max: number, perFill = max || 1) => ({
  max_tokens: max,
  tokens_per_fill: perFill,
  fill_interval: '300s',
})
const ok = { direct_response: { status: 200, body: { inline_string: 'ok' } } }
const base = {
  stat_prefix: 'mine',
  filter_enabled: always,
  filter_enforced: always,
  enable_x_ratelimit_headers: 'DRAFT_VERSION_03',
  token_bucket: bucket(100),
}
const limit = (config: object) => httpFilter('limit', TYPE, { ...base, ...config })
const everything = { match: { prefix: '/' }, ...ok }

/** A proxy whose filter brings its own rate limits. */
const limited = (config: object, bootstrap: object = {}) =>
  proxy({ route_config: oneHost([everything]), http_filters: [limit(config), routerFilter()] }, [], {}, bootstrap)

const generic = (value: string, more: object = {}) => ({
  actions: [{ generic_key: { descriptor_value: value } }],
  ...more,
})
const header = (name: string) => ({ request_headers: { header_name: name, descriptor_key: name } })
const rule = (value: string, max: number, more: object = {}, perFill = max || 1) => ({
  entries: [{ key: 'generic_key', value }],
  token_bucket: bucket(max, perFill),
  ...more,
})

/** `status limit/remaining/reset` of each request; of what is not told, nothing. */
async function told(port: number, count: number, headers: Record<string, string> = {}, path = '/') {
  const out: string[] = []
  for (let i = 0; i < count; i++) {
    const answer = await get(port, path, headers)
    const [max, left, reset] = ['limit', 'remaining', 'reset'].map((n) => answer.headers.get(`x-ratelimit-${n}`))
    out.push(max === undefined ? `${answer.status}` : `${answer.status} ${max}/${left}/${reset}`)
  }
  return out
}

const counters = (p: { counter(name: string): number }) =>
  ['enabled', 'ok', 'rate_limited', 'enforced', 'shadow_mode'].map((n) => p.counter(`mine.http_local_rate_limit.${n}`))

describe('descriptors of a local rate limit', () => {
  test('have buckets of their own, and take from the default one as well', async () => {
    const p = await limited({ token_bucket: bucket(3), descriptors: [rule('a', 2)], rate_limits: [generic('a')] })
    expect(await told(p.http, 3)).toEqual(['200 2/1/0', '200 2/0/150', '429 2/0/150'])
    expect(counters(p)).toEqual([3, 2, 1, 1, 0])
  })

  test('a refused descriptor leaves the default bucket as it is', async () => {
    const own = [generic('a'), { actions: [header('x-none')] }]
    const p = await limited({ token_bucket: bucket(3), descriptors: [rule('a', 1)], rate_limits: own })
    expect(await told(p.http, 3)).toEqual(['200 1/0/300', '429 1/0/300', '429 1/0/300'])
    const q = await limited({ token_bucket: bucket(1), descriptors: [rule('a', 2)], rate_limits: own })
    expect(await told(q.http, 2)).toEqual(['200 2/1/0', '429 1/0/300'])
  })

  test('spare the default bucket where that is asked for', async () => {
    const p = await limited({
      token_bucket: bucket(1),
      always_consume_default_token_bucket: false,
      descriptors: [{ entries: [{ key: 'x-user', value: 'ann' }], token_bucket: bucket(3) }],
      rate_limits: [{ actions: [header('x-user')] }],
    })
    expect(await told(p.http, 4, { 'x-user': 'ann' })).toEqual(['200 3/2/0', '200 3/1/0', '200 3/0/100', '429 3/0/100'])
    expect(await told(p.http, 2, { 'x-user': 'bob' })).toEqual(['200 1/0/300', '429 1/0/300'])
  })

  test('the slowest bucket is asked first, and what was taken before a refusal is gone', async () => {
    const p = await limited({
      descriptors: [rule('a', 5), rule('b', 1, {}, 6)],
      rate_limits: [generic('b'), generic('a')],
    })
    expect(await told(p.http, 3)).toEqual(['200 5/4/0', '429 1/0/50', '429 1/0/50'])
    const q = await limited({ descriptors: [rule('a', 5), rule('b', 1)], rate_limits: [generic('a'), generic('b')] })
    expect(await told(q.http, 2)).toEqual(['200 1/0/300', '429 1/0/300'])
  })

  test('match with all their entries, in their order', async () => {
    const entries = [
      { key: 'x-user', value: 'ann' },
      { key: 'x-tier', value: 'gold' },
    ]
    const as = { 'x-user': 'ann', 'x-tier': 'gold' }
    const both = await limited({
      descriptors: [{ entries, token_bucket: bucket(1) }],
      rate_limits: [{ actions: [header('x-user'), header('x-tier')] }],
    })
    expect(await told(both.http, 2, as)).toEqual(['200 1/0/300', '429 1/0/300'])
    expect(await told(both.http, 2, { 'x-user': 'ann' })).toEqual(['200 100/98/0', '200 100/97/0'])
    const reversed = await limited({
      descriptors: [{ entries, token_bucket: bucket(1) }],
      rate_limits: [{ actions: [header('x-tier'), header('x-user')] }],
    })
    expect(await told(reversed.http, 2, as)).toEqual(['200 100/99/0', '200 100/98/0'])
  })

  test('an entry without a value gives each value a bucket, unless that value has its own', async () => {
    const p = await limited({
      descriptors: [
        { entries: [{ key: 'x-user' }], token_bucket: bucket(1) },
        { entries: [{ key: 'x-user', value: 'ann' }], token_bucket: bucket(2) },
      ],
      rate_limits: [{ actions: [header('x-user')] }],
    })
    expect(await told(p.http, 3, { 'x-user': 'ann' })).toEqual(['200 2/1/0', '200 2/0/150', '429 2/0/150'])
    expect(await told(p.http, 2, { 'x-user': 'bob' })).toEqual(['200 1/0/300', '429 1/0/300'])
    expect(await told(p.http, 1, { 'x-user': 'eve' })).toEqual(['200 1/0/300'])
  })

  test('of the buckets made for values the one not used for longest makes room', async () => {
    const p = await limited({
      max_dynamic_descriptors: 2,
      descriptors: [{ entries: [{ key: 'x-user' }], token_bucket: bucket(2) }],
      rate_limits: [{ actions: [header('x-user')] }],
    })
    const seen: string[] = []
    for (const user of 'aabcbaac') {
      const [answer] = await told(p.http, 1, { 'x-user': user })
      seen.push(`${user} ${answer!.split('/')[1]}`)
    }
    expect(seen).toEqual(['a 1', 'a 0', 'b 1', 'c 1', 'b 0', 'a 1', 'a 0', 'c 1'])
  })

  test('a rule keeps the buckets of 20 values where it says nothing else', async () => {
    const p = await limited({
      descriptors: [{ entries: [{ key: 'x-user' }], token_bucket: bucket(1) }],
      rate_limits: [{ actions: [header('x-user')] }],
    })
    for (let user = 0; user < 20; user++) await told(p.http, 1, { 'x-user': `${user}` })
    expect(await told(p.http, 1, { 'x-user': '0' })).toEqual(['429 1/0/300']) // makes 1 the one used longest ago
    await told(p.http, 1, { 'x-user': '20' })
    expect(await told(p.http, 1, { 'x-user': '1' })).toEqual(['200 1/0/300'])
  })

  test('those of a route that are for the end of streams count at the start all the same', async () => {
    const atEnd = {
      match: { prefix: '/' },
      route: { cluster: 'a', rate_limits: [generic('a', { apply_on_stream_done: true })] },
    }
    const a = await upstream('a')
    const p = await proxy(
      { route_config: oneHost([atEnd]), http_filters: [limit({ descriptors: [rule('a', 1)] }), routerFilter()] },
      [a],
    )
    expect(await told(p.http, 2)).toEqual(['200 1/0/300', '429 1/0/300'])
  })

  test('a shadow rule counts and lets through', async () => {
    const p = await limited({
      token_bucket: bucket(3),
      descriptors: [rule('a', 1, { shadow_mode: true })],
      rate_limits: [generic('a')],
    })
    expect(await told(p.http, 4)).toEqual(['200 1/0/300', '200 1/0/300', '200 1/0/300', '429 3/0/100'])
    expect(counters(p)).toEqual([4, 1, 3, 1, 2])
  })

  test('a request can stand for several hits, for none, which is refused, or give some back', async () => {
    const hits = (more: object) =>
      limited({ descriptors: [rule('a', 5)], rate_limits: [generic('a', { hits_addend: more })] })
    expect(await told((await hits({ number: 2 })).http, 3)).toEqual(['200 5/3/0', '200 5/1/0', '429 5/1/0'])
    expect(await told((await hits({ number: 0 })).http, 1)).toEqual(['429 5/5/0'])
    const p = await hits({ format: '%REQ(x-hits)%' })
    expect(await told(p.http, 1, { 'x-hits': '4' })).toEqual(['200 5/1/0'])
    expect(await told(p.http, 1, { 'x-hits': 'many' })).toEqual(['200 100/98/0'])
    expect(await told(p.http, 1, { 'x-hits': '0x1' })).toEqual(['200 5/0/60']) // numbers as C writes them
    expect(await told(p.http, 1, { 'x-hits': 'nan' })).toEqual(['429 5/0/60'])
    for (const none of ['-1', '1000000001', 'inf'])
      expect((await told(p.http, 1, { 'x-hits': none }))[0]).toMatch('200 100/')
    const q = await limited({
      descriptors: [rule('a', 5)],
      rate_limits: [
        generic('a', { hits_addend: { number: 4 } }),
        generic('a', { hits_addend: { number: 3, is_negative_hits: true } }),
      ],
    })
    expect(await told(q.http, 2)).toEqual(['200 5/4/0', '200 5/3/0'])
  })

  test('of several shadow rules that are exceeded the slowest is told', async () => {
    const shadow = { shadow_mode: true }
    const p = await limited({
      descriptors: [rule('fast', 2, shadow, 2), rule('slow', 1, shadow, 1)],
      rate_limits: [generic('fast'), generic('slow')],
    })
    expect(await told(p.http, 3)).toEqual(['200 1/0/300', '200 1/0/300', '200 1/0/300'])
  })

  test('a rule with a wildcard is for requests with its keys, and no others', async () => {
    const wild = { entries: [{ key: 'x-user' }], token_bucket: bucket(1) }
    const both = { actions: [header('x-user'), header('x-tier')] }
    const longer = await limited({ descriptors: [wild], rate_limits: [both] })
    expect(await told(longer.http, 2, { 'x-user': 'a', 'x-tier': 'b' })).toEqual(['200 100/99/0', '200 100/98/0'])
    const other = await limited({ descriptors: [wild], rate_limits: [{ actions: [header('x-tier')] }] })
    expect(await told(other.http, 2, { 'x-tier': 'b' })).toEqual(['200 100/99/0', '200 100/98/0'])
  })

  test('what one request keeps quiet about is told of the next', async () => {
    const p = await limited({
      descriptors: [{ entries: [{ key: 'x-user' }], token_bucket: bucket(9) }],
      rate_limits: [{ actions: [header('x-user')], x_ratelimit_option: 'OFF' }],
    })
    expect(await told(p.http, 1, { 'x-user': 'a' })).toEqual(['200'])
    expect(await told(p.http, 1)).toEqual(['200 100/98/0'])
  })

  test('buckets may fill every 50 ms, and those of size none as they like', async () => {
    const fast = { max_tokens: 1, fill_interval: '0.050s' }
    const p = await limited({
      token_bucket: fast,
      descriptors: [
        { ...rule('b', 1), token_bucket: fast },
        { ...rule('a', 0), token_bucket: { fill_interval: '0.0005s' } },
      ],
      rate_limits: [generic('a')],
    })
    expect(await told(p.http, 1)).toEqual(['429 0/0/0'])
  })

  test('say themselves whether their limit is told', async () => {
    const off = { x_ratelimit_option: 'OFF' }
    const p = await limited({ descriptors: [rule('a', 1)], rate_limits: [generic('a', off)] })
    expect(await told(p.http, 2)).toEqual(['200', '429'])
    const q = await limited({
      enable_x_ratelimit_headers: 'OFF',
      descriptors: [rule('a', 2)],
      rate_limits: [generic('a', { x_ratelimit_option: 'DRAFT_VERSION_03' })],
    })
    expect(await told(q.http, 1)).toEqual(['200 2/1/0'])
  })

  test('limit without a default bucket, and a bucket of size none refuses everything', async () => {
    const p = await limited({ token_bucket: undefined, descriptors: [rule('a', 1)], rate_limits: [generic('a')] })
    expect(await told(p.http, 2)).toEqual(['200 1/0/300', '429 1/0/300'])
    const none = await limited({ token_bucket: bucket(0) })
    expect(await told(none.http, 2)).toEqual(['429', '429'])
    const rest = await limited({ descriptors: [rule('a', 0)], rate_limits: [generic('a')] })
    expect(await told(rest.http, 1)).toEqual(['429 0/0/300'])
  })

  test.each([
    [{ descriptors: [rule('a', 1), rule('a', 2)] }, 'duplicate descriptor in the local rate descriptor: generic_key=a'],
    [
      { descriptors: [{ ...rule('a', 1), token_bucket: { max_tokens: 1, fill_interval: '0.0499s' } }] },
      'local rate limit descriptor token bucket fill timer must be >= 50ms',
    ],
    [{ rate_limits: [generic('a', { stage: 1 })] }, "'stage' field and 'disable_key' field are not supported"],
    [{ local_cluster_rate_limit: {} }, 'local_cluster_rate_limit is set but no local cluster name is present'],
  ])('%j is refused', async (config, message) => {
    await expect(limited(config)).rejects.toThrow(message)
  })

  test('every bucket of a connection is that of its first request, whichever filter or route asks', async () => {
    const perConnection = { local_rate_limit_per_downstream_connection: true }
    const p = await proxy({
      route_config: oneHost([
        {
          match: { prefix: '/own' },
          ...ok,
          typed_per_filter_config: { limit: own({ token_bucket: bucket(9), ...perConnection }) },
        },
        everything,
      ]),
      http_filters: [limit({ token_bucket: bucket(2), ...perConnection }), routerFilter()],
    })
    const ask = (path: string) => `GET ${path} HTTP/1.1\r\nhost: a\r\n\r\n`
    const answers = await exchange(p.http, ask('/') + ask('/own') + ask('/own'), 3)
    expect(answers.map((a) => [a.status, a.headers.get('x-ratelimit-limit')])).toEqual([
      [200, '2'],
      [200, '2'],
      [429, '2'],
    ])
  })
})

const own = (config: object) => ({ '@type': `type.googleapis.com/${TYPE}`, ...base, ...config })

describe('rate limits of routes and virtual hosts', () => {
  const rules = { descriptors: [rule('route', 2), rule('host', 1)] }
  const routed = async (config: object, route: object, host: object = {}) => {
    const up = await upstream('a')
    const route_config = oneHost([{ match: { prefix: '/' }, route: { cluster: 'a', ...route } }], host)
    return proxy({ route_config, http_filters: [limit({ ...rules, ...config }), routerFilter()] }, [up])
  }
  const host = { rate_limits: [generic('host')] }
  const route = { rate_limits: [generic('route')] }
  const byRoute = ['200 2/1/0', '200 2/0/150', '429 2/0/150']
  const byHost = ['200 1/0/300', '429 1/0/300', '429 1/0/300']
  const byNone = ['200 100/99/0', '200 100/98/0', '200 100/97/0']

  test.each([
    ['those of the host count where the route has none', {}, {}, byHost],
    ['those of the host give way to those of the route', {}, route, byRoute],
    ['both count when the filter includes the host', { vh_rate_limits: 'INCLUDE' }, route, byHost],
    [
      'both count when the route includes the host',
      { vh_rate_limits: 'IGNORE' },
      { ...route, include_vh_rate_limits: true },
      byHost,
    ],
    ['those of the host can be ignored', { vh_rate_limits: 'IGNORE' }, {}, byNone],
    ['those of another stage do not count', {}, { rate_limits: [generic('route', { stage: 2 })] }, byNone],
    ['those of its stage do', { stage: 2 }, { rate_limits: [generic('route', { stage: 2 })] }, byRoute],
    ['one with a disable key does not', {}, { rate_limits: [generic('route', { disable_key: 'off' })] }, byNone],
    ['none count beside those of the filter', { rate_limits: [generic('x')] }, route, byNone],
  ])('%s', async (_what, config, ofRoute, expected) => {
    const p = await routed(config, ofRoute, host)
    expect(await told(p.http, 3)).toEqual(expected)
  })

  test('a route that answers itself has none', async () => {
    const p = await proxy({
      route_config: oneHost([everything], host),
      http_filters: [limit(rules), routerFilter()],
    })
    expect(await told(p.http, 3)).toEqual(byNone)
  })

  test('virtual host, route and weighted cluster each may have a limit; the closest one is in force', async () => {
    const a = await upstream('a')
    const per = (prefix: string, max: number) => ({ limit: own({ stat_prefix: prefix, token_bucket: bucket(max) }) })
    const p = await proxy(
      {
        route_config: oneHost(
          [
            { match: { prefix: '/route' }, route: { cluster: 'a' }, typed_per_filter_config: per('r', 2) },
            {
              match: { prefix: '/weighted' },
              route: {
                weighted_clusters: { clusters: [{ name: 'a', weight: 1, typed_per_filter_config: per('w', 4) }] },
              },
              typed_per_filter_config: per('r2', 3),
            },
            { match: { prefix: '/' }, route: { cluster: 'a' } },
          ],
          { typed_per_filter_config: per('v', 5) },
        ),
        http_filters: [limit({}), routerFilter()],
      },
      [a],
    )
    expect(await told(p.http, 1, {}, '/route')).toEqual(['200 2/1/0'])
    expect(await told(p.http, 1, {}, '/weighted')).toEqual(['200 4/3/0'])
    expect(await told(p.http, 1, {}, '/')).toEqual(['200 5/4/0'])
    const stats = (await p.admin('/stats?filter=r2.http_local_rate_limit')).body.trim().split('\n')
    expect(stats.length).toBe(5)
    expect(['r', 'w', 'v', 'mine'].map((n) => p.counter(`${n}.http_local_rate_limit.enabled`))).toEqual([1, 1, 1, 0])
  })
})

describe('a local rate limit besides', () => {
  test('tells when to come again, where that is asked for', async () => {
    const retry = { enable_retry_after_header: true, token_bucket: bucket(1) }
    const second = async (config: object) => {
      const p = await limited({ ...retry, ...config })
      await get(p.http, '/')
      const { status, headers } = await get(p.http, '/')
      return [status, headers.get('retry-after')]
    }
    expect(await second({})).toEqual([429, '300'])
    expect(await second({ status: { code: 503 } })).toEqual([503, undefined])
    expect(await second({ response_headers_to_add: [{ header: { key: 'retry-after', value: '7' } }] })).toEqual([
      429,
      '7',
    ])
    expect(await second({ token_bucket: { max_tokens: 1, fill_interval: '0.6s' } })).toEqual([429, '1'])
  })

  test('answers gRPC by its status, or as an exhausted resource', async () => {
    const grpc = async (config: object) => {
      const p = await limited({ token_bucket: bucket(1), ...config })
      await get(p.http, '/')
      const { headers } = await get(p.http, '/', { 'content-type': 'application/grpc' }, 'POST')
      return [headers.get('grpc-status'), headers.get('connection')]
    }
    expect(await grpc({})).toEqual(['14', undefined])
    expect(await grpc({ rate_limited_as_resource_exhausted: true })).toEqual(['8', undefined])
    expect(await grpc({ status: { code: 400 } })).toEqual(['13', 'close'])
  })

  test.each([
    [{ 'limits.on': 0 }, [0, 0]],
    [{ limits: { on: { numerator: 0, denominator: 'MILLION' } } }, [0, 0]],
    [{ limits: { enforced: '0' } }, [3, 0]],
    [{ limits: { on: 100, enforced: 100 } }, [3, 2]],
    [{ limits: { on: true, enforced: 'often' } }, [3, 2]],
  ])('the runtime layer %j switches it', async (static_layer, expected) => {
    const key = (runtime_key: string) => ({ runtime_key, ...always })
    const p = await limited(
      { token_bucket: bucket(1), filter_enabled: key('limits.on'), filter_enforced: key('limits.enforced') },
      { layered_runtime: { layers: [{ name: 'static', static_layer }] } },
    )
    await told(p.http, 3)
    const [enabled, , , enforced] = counters(p)
    expect([enabled, enforced]).toEqual(expected)
  })

  test('the members of the local cluster share a limit', async () => {
    const at = (port: number) => ({
      endpoint: { address: { socket_address: { address: '127.0.0.1', port_value: port } } },
    })
    const local = {
      name: 'local',
      type: 'STATIC',
      load_assignment: { cluster_name: 'local', endpoints: [{ lb_endpoints: [at(1), at(2), at(3)] }] },
    }
    const filter = limit({
      token_bucket: bucket(7),
      local_cluster_rate_limit: {},
      descriptors: [{ entries: [{ key: 'x-user' }], token_bucket: bucket(13) }],
      rate_limits: [{ actions: [header('x-user')], hits_addend: { number: 2 } }],
      always_consume_default_token_bucket: false,
    })
    const hcm = { route_config: oneHost([everything]), http_filters: [filter, routerFilter()] }
    const p = await proxy(
      {},
      [],
      {},
      {
        static_resources: { listeners: [httpListener(hcm)], clusters: [local] },
        cluster_manager: { local_cluster_name: 'local' },
      },
    )
    expect(await told(p.http, 3)).toEqual(['200 7/4/0', '200 7/1/0', '429 7/1/0'])
    expect(await told(p.http, 3, { 'x-user': 'a' })).toEqual(['200 13/7/0', '200 13/1/0', '429 13/1/0'])
  })
})
