import { describe, expect, test } from 'vitest'
import { type AskingSetup, askingHarness, headers, limitOn, per, runtime, status } from './support/asking.ts'
import { get, httpFilter } from './support/http.ts'
import { eventually } from './support/proxy.ts'
import { type LimitAnswer, OK, OVER, rateLimitFilter, rateLimitRoute } from './support/scripted-rls.ts'

const { asking } = askingHarness()

describe('a request within its limits', () => {
  test('passes, with what the service wants it to have', async () => {
    const answer = {
      overallCode: 'OK',
      requestHeadersToAdd: headers(['X-Tier', 'gold'], ['x-tier', 'again'], ['user-agent', 'rls']),
      responseHeadersToAdd: headers(['X-Left', '5']),
    }
    const { a, p } = await asking([{ rls: answer }])
    const response = await get(p.http, '/cart', { 'user-agent': 'me' })
    expect([response.status, response.headers.get('x-left')]).toEqual([200, '5'])
    expect(a.last.headers.get('user-agent')).toBe('me,rls')
    expect(a.last.rawHeaders.filter((_, i) => a.last.rawHeaders[i - 1]?.toLowerCase() === 'x-tier')).toEqual([
      'gold',
      'again',
    ])
    expect(p.counter('cluster.a.ratelimit.ok')).toBe(1)
  })

  test('is asked about with the filter’s domain, or its route’s', async () => {
    const { rls, p } = await asking([OK])
    await get(p.http, '/')
    const other = await asking([OK], {}, { route: rateLimitRoute({ domain: 'checkout' }) })
    await get(other.p.http, '/')
    expect([rls.asked[0]!.domain, other.rls.asked[0]!.domain]).toEqual(['shop', 'checkout'])
  })

  test('gets nothing of what is for those over their limits', async () => {
    const more = {
      response_headers_to_add: [{ header: { key: 'x-why', value: 'limited' } }],
      enable_retry_after_header: true,
    }
    const statuses = [status('OVER_LIMIT', per(4, 'HOUR'), 0, '30s')]
    const added = ['x-why', 'retry-after', 'x-envoy-ratelimited']
    const told = async (answer: LimitAnswer, config: object = {}) => {
      const { p } = await asking([answer], { ...more, ...config })
      const { headers } = await get(p.http, '/')
      return added.filter((name) => headers.has(name))
    }
    expect(await told({ rls: { overallCode: 'OVER_LIMIT', statuses } })).toEqual(added)
    expect(await told({ rls: { overallCode: 'OK', statuses } })).toEqual([])
    expect(await told({ fails: 14 }, { failure_mode_deny: true })).toEqual([])
    const lenient = { filter_enforced: { default_value: { numerator: 0 } } }
    expect(await told({ rls: { overallCode: 'OVER_LIMIT', statuses } }, lenient)).toEqual(['x-envoy-ratelimited'])
  })
})

describe('a request over its limits', () => {
  test('is refused, and counted where it was going', async () => {
    const { a, p } = await asking([OVER])
    const response = await get(p.http, '/')
    expect([response.status, response.body, response.headers.get('x-envoy-ratelimited')]).toEqual([429, '', 'true'])
    expect(a.received).toHaveLength(0)
    expect(p.counter('cluster.a.ratelimit.over_limit')).toBe(1)
    expect(p.counter('cluster.a.upstream_rq_429')).toBe(1)
  })

  test('gets the service’s body and headers, and the filter’s', async () => {
    const answer = {
      overallCode: 'OVER_LIMIT',
      rawBody: Buffer.from('<p>slow down').toString('base64'),
      responseHeadersToAdd: headers(['content-type', 'text/html'], ['x-envoy-ratelimited', 'no']),
    }
    const add = [{ header: { key: 'x-why', value: '%RESP(x-envoy-ratelimited)% %RESPONSE_FLAGS%' } }]
    const { p } = await asking([{ rls: answer }], {
      rate_limited_status: { code: 503 },
      response_headers_to_add: add,
      stat_prefix: 'waf',
    })
    const response = await get(p.http, '/')
    expect([response.status, response.body]).toEqual([503, '<p>slow down'])
    expect(response.headers.get('content-type')).toBe('text/html')
    expect(response.headers.get('x-envoy-ratelimited')).toBe('true')
    expect(response.headers.get('x-why')).toBe('true RL')
    expect(p.counter('cluster.a.ratelimit.waf.over_limit')).toBe(1)
    expect(p.counter('cluster.a.upstream_rq_503')).toBe(1)
  })

  test('of gRPC gets UNAVAILABLE, or RESOURCE_EXHAUSTED', async () => {
    const call = { 'content-type': 'application/grpc' }
    const { p } = await asking([OVER])
    expect((await get(p.http, '/s/M', call, 'POST')).headers.get('grpc-status')).toBe('14')
    const exhausted = await asking([OVER], { rate_limited_as_resource_exhausted: true })
    expect((await get(exhausted.p.http, '/s/M', call, 'POST')).headers.get('grpc-status')).toBe('8')
  })

  test.each([
    [200, 429],
    [308, 429],
    [400, 400],
    [511, 511],
  ])('with a status of %i is refused with %i', async (code, refused) => {
    const { p } = await asking([OVER], { rate_limited_status: { code } })
    expect((await get(p.http, '/')).status).toBe(refused)
    expect(p.counter(`cluster.a.upstream_rq_${refused}`)).toBe(1)
  })

  test('passes where the filter does not enforce, and its response says so', async () => {
    const { a, p } = await asking([OVER], { filter_enforced: { default_value: { numerator: 0 } } })
    const response = await get(p.http, '/')
    expect([response.status, response.headers.get('x-envoy-ratelimited')]).toEqual([200, 'true'])
    expect(a.received).toHaveLength(1)
    expect(p.counter('cluster.a.ratelimit.over_limit')).toBe(1)
    const bootstrap = runtime({ ratelimit: { http_filter_enforcing: 0 } })
    const switchedOff = await asking([OVER], {}, { bootstrap })
    expect((await get(switchedOff.p.http, '/')).status).toBe(200)
    const silent = await asking([OVER], { disable_x_envoy_ratelimited_header: true })
    expect((await get(silent.p.http, '/')).headers.has('x-envoy-ratelimited')).toBe(false)
  })

  test('is told when to come back', async () => {
    const over = (seconds: string) => status('OVER_LIMIT', per(4, 'HOUR'), 0, seconds)
    const retryAfter = async (statuses: object[], more: object = {}) => {
      const answer = { rls: { overallCode: 'OVER_LIMIT', statuses, ...more } }
      const { p } = await asking([answer], { enable_retry_after_header: true })
      return (await get(p.http, '/')).headers.get('retry-after')
    }
    expect(await retryAfter([over('1800.9s'), over('2800s'), status('OK', per(1, 'DAY'), 1, '9999s')])).toBe('2800')
    expect(await retryAfter([over('0.5s')])).toBe('1')
    expect(await retryAfter([status('OK', per(1, 'DAY'), 0, '20s')])).toBeUndefined()
    expect(await retryAfter([over('5s')], { responseHeadersToAdd: headers(['retry-after', '77']) })).toBe('77')
  })
})

describe('x-ratelimit headers', () => {
  const statuses = [
    status('OK', per(10, 'MINUTE', { name: 'first' }), 5, '30s'),
    status('OK', per(4, 'HOUR', { unitMultiplier: 2 }), 3, '1800.9s'),
    status('OK', undefined),
  ]
  async function told(config: object, limits = [limitOn('1'), limitOn('2'), limitOn('3')]) {
    const { p } = await asking([{ rls: { overallCode: 'OK', statuses } }], config, { limits })
    const response = await get(p.http, '/')
    return ['limit', 'remaining', 'reset'].map((name) => response.headers.get(`x-ratelimit-${name}`))
  }
  const NOTHING = [undefined, undefined, undefined]
  const D3 = { enable_x_ratelimit_headers: 'DRAFT_VERSION_03' }

  test('tell of the tightest limit, and of all', async () => {
    expect(await told(D3)).toEqual(['4, 10;w=60;name="first", 4;w=7200', '3', '1800'])
    expect(await told({})).toEqual(NOTHING)
  })

  test('tell of the first of those with equally little left', async () => {
    const of = async (...remaining: number[]) => {
      const statuses = remaining.map((left, i) => status('OK', per(10 + i, 'MINUTE'), left, `${i + 1}s`))
      const { p } = await asking([{ rls: { overallCode: 'OK', statuses } }], D3, { limits: [limitOn('v')] })
      const { headers } = await get(p.http, '/')
      return [headers.get('x-ratelimit-limit')?.split(',')[0], headers.get('x-ratelimit-reset')]
    }
    expect(await of(3, 3, 4)).toEqual(['10', '1'])
    expect(await of(5, 0, 0)).toEqual(['11', '2'])
    expect(await of(4, 3, 3, 2)).toEqual(['13', '4'])
  })

  test('follow what each descriptor says', async () => {
    const [on, off] = [{ x_ratelimit_option: 'DRAFT_VERSION_03' }, { x_ratelimit_option: 'OFF' }]
    expect(await told({}, [limitOn('1'), limitOn('2', on)])).toEqual(['4, 4;w=7200', '3', '1800'])
    expect(await told({}, [limitOn('1', on), limitOn('2')])).toEqual(NOTHING)
    expect(await told(D3, [limitOn('1', off), limitOn('2')])).toEqual(['4, 4;w=7200', '3', '1800'])
    expect(await told(D3, [limitOn('1'), limitOn('2', off)])).toEqual(NOTHING)
  })
})

describe('without an answer of the service', () => {
  const FAILS: LimitAnswer = { fails: 14 }
  test('a request passes', async () => {
    const { p } = await asking([FAILS])
    expect((await get(p.http, '/')).status).toBe(200)
    expect(p.counter('cluster.a.ratelimit.error')).toBe(1)
    expect(p.counter('cluster.a.ratelimit.failure_mode_allowed')).toBe(1)
  })

  test('it is refused when the filter says so, for all or a share of them', async () => {
    const code = async (config: object) => {
      const { p } = await asking([FAILS], config)
      return (await get(p.http, '/')).status
    }
    expect(await code({ failure_mode_deny: true })).toBe(500)
    expect(await code({ failure_mode_deny: true, status_on_error: { code: 503 } })).toBe(503)
    expect(await code({ failure_mode_deny_percent: { default_value: { numerator: 100 } } })).toBe(500)
    expect(await code({ failure_mode_deny: true, failure_mode_deny_percent: { default_value: {} } })).toBe(200)
  })

  test.each([
    [0, 100, 200],
    [100, 0, 500],
    [-5, 100, 500],
  ])('a runtime key has the last word on the share: %i for %i', async (percent, numerator, code) => {
    const share = { failure_mode_deny_percent: { runtime_key: 'rls.deny', default_value: { numerator } } }
    const { p } = await asking([FAILS], share, { bootstrap: runtime({ rls: { deny: percent } }) })
    expect((await get(p.http, '/')).status).toBe(code)
    expect(p.counter('cluster.a.ratelimit.failure_mode_allowed')).toBe(code === 200 ? 1 : 0)
  })
})

describe('the service is not asked', () => {
  test.each<[string, object, AskingSetup]>([
    ['about requests without descriptors', {}, { limits: [] }],
    ['about what another request type is for', { request_type: 'internal' }, {}],
    ['by a filter that is switched off', { filter_enabled: { default_value: { numerator: 0 } } }, {}],
    [
      'by a filter that a runtime layer switches off',
      {},
      { bootstrap: runtime({ ratelimit: { http_filter_enabled: 0 } }) },
    ],
    ['about routes that answer themselves', {}, { route: { route: undefined, direct_response: { status: 200 } } }],
  ])('%s', async (_name, config, setup) => {
    const { rls, p } = await asking([OVER], config, setup)
    expect((await get(p.http, '/', { 'x-forwarded-for': '8.8.8.8' })).status).toBe(200)
    expect(rls.asked).toHaveLength(0)
  })
})

test('a request stands for as many hits as the filter state says', async () => {
  const hits = async (text: string, factory = '') => {
    const object = { object_key: 'envoy.ratelimit.hits_addend', factory_key: factory }
    const value = { ...object, format_string: { text_format_source: { inline_string: text } } }
    const type = 'envoy.extensions.filters.http.set_filter_state.v3.Config'
    const before = httpFilter('state', type, { on_request_headers: [value] })
    const { rls, p } = await asking([OK], {}, { filters: [before, rateLimitFilter()] })
    await get(p.http, '/')
    return rls.asked[0]!.hitsAddend
  }
  expect(await hits('7')).toBe(7)
  expect(await hits('4294967295')).toBe(4294967295)
  expect(await hits('4294967296')).toBe(0)
  expect(await hits('-1')).toBe(0)
  expect(await hits('7', 'envoy.upstream.dynamic_port')).toBe(7)
  expect(await hits('7', 'envoy.string')).toBe(0)
})

test('a script may say how many hits a request stands for', async () => {
  const hits = async (text: string) => {
    const name = "'envoy.ratelimit.hits_addend'"
    const script = `function envoy_on_request(h) h:streamInfo():filterState():set(${name}, ${name}, '${text}') end`
    const lua = httpFilter('lua', 'envoy.extensions.filters.http.lua.v3.Lua', {
      default_source_code: { inline_string: script },
    })
    const { rls, p } = await asking([OK], {}, { filters: [lua, rateLimitFilter()] })
    await get(p.http, '/')
    return rls.asked[0]!.hitsAddend
  }
  expect(await hits('7')).toBe(7)
  expect(await hits('4294967296')).toBe(0)
})

test('several filters ask by stage, each in its domain', async () => {
  const second = { ...rateLimitFilter({ stage: 1, domain: 'second' }), name: 'second' }
  const { rls, p } = await asking(
    [OK, OVER],
    {},
    {
      filters: [rateLimitFilter(), second],
      limits: [limitOn('0'), limitOn('1', { stage: 1 })],
    },
  )
  expect((await get(p.http, '/')).status).toBe(429)
  expect(rls.asked.map(({ domain }) => domain)).toEqual(['shop', 'second'])
  expect(rls.descriptors).toEqual([['generic_key=0'], ['generic_key=1']])
})

test('what the service tells of a request is metadata for later filters', async () => {
  const reader = httpFilter(
    'envoy.filters.http.header_mutation',
    'envoy.extensions.filters.http.header_mutation.v3.HeaderMutation',
    {
      mutations: {
        request_mutations: [{ append: { header: { key: 'x-plan', value: '%DYNAMIC_METADATA(quota:plan)%' } } }],
      },
    },
  )
  const answer = { rls: { overallCode: 'OK', dynamicMetadata: { plan: 'free' } } }
  const { a, p } = await asking([answer], {}, { filters: [rateLimitFilter({ metadata_namespace: 'quota' }), reader] })
  await get(p.http, '/')
  expect(a.last.headers.get('x-plan')).toBe('free')
})

test('limits for the end of streams are counted then, also after a refusal, and refuse nothing', async () => {
  const done = limitOn('done', { apply_on_stream_done: true })
  const { rls, p } = await asking(
    [OK, OVER, OVER, { fails: 14 }],
    { failure_mode_deny: true },
    { limits: [limitOn('now'), done] },
  )
  expect((await get(p.http, '/')).status).toBe(200)
  await eventually(() => rls.asked.length === 2)
  expect((await get(p.http, '/')).status).toBe(429)
  await eventually(() => rls.asked.length === 4)
  expect(rls.descriptors.flat()).toEqual(['generic_key=now', 'generic_key=done', 'generic_key=now', 'generic_key=done'])
  expect(p.counter('cluster.a.ratelimit.ok') + p.counter('cluster.a.ratelimit.over_limit')).toBe(2)
})

test('a service of Google’s gRPC client is refused by name', async () => {
  const service = { transport_api_version: 'V3', grpc_service: { google_grpc: { target_uri: 'x', stat_prefix: 'g' } } }
  await expect(asking([OK], { rate_limit_service: service })).rejects.toThrow(/google_grpc: not supported/)
})
