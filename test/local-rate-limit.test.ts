import { describe, expect, test } from 'vitest'
import { TokenBucket } from '../src/proxy/filters/local-rate-limit/token-bucket.ts'
import { TestRuntime } from '../src/runtime-test.ts'
import { exchange, get, httpFilter, httpHarness, oneHost, routerFilter } from './support/http.ts'

const { proxy } = httpHarness()
const TYPE = 'envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit'
const always = { default_value: { numerator: 100 } }
const bucket = (max: number) => ({ max_tokens: max, tokens_per_fill: max, fill_interval: '300s' })
const ok = { direct_response: { status: 200, body: { inline_string: 'ok' } } }

const limited = (config: object, routes: object[] = []) =>
  proxy({
    route_config: oneHost([...routes, { match: { prefix: '/' }, ...ok }]),
    http_filters: [httpFilter('limit', TYPE, { stat_prefix: 'mine', ...config }), routerFilter()],
  })

const statuses = async (port: number, count: number, path = '/') => {
  const out: number[] = []
  for (let i = 0; i < count; i++) out.push((await get(port, path)).status)
  return out
}

describe('local rate limit', () => {
  test('refuses what the bucket does not have, with the headers asked for', async () => {
    const p = await limited({
      token_bucket: bucket(2),
      filter_enabled: always,
      filter_enforced: always,
      enable_x_ratelimit_headers: 'DRAFT_VERSION_03',
      response_headers_to_add: [{ header: { key: 'x-limited', value: 'yes' } }],
    })
    const first = await get(p.http, '/')
    expect(first.headers.get('x-ratelimit-limit')).toBe('2')
    expect(first.headers.get('x-ratelimit-remaining')).toBe('1')
    expect(first.headers.get('x-ratelimit-reset')).toBe('0')
    await get(p.http, '/')
    const refused = await get(p.http, '/')
    expect([refused.status, refused.body, refused.headers.get('x-limited')]).toEqual([429, 'local_rate_limited', 'yes'])
    expect(refused.headers.get('x-ratelimit-reset')).toBe('150')
    const counters = ['enabled', 'ok', 'rate_limited', 'enforced']
    expect(counters.map((name) => p.counter(`mine.http_local_rate_limit.${name}`))).toEqual([3, 2, 1, 1])
  })

  test.each([
    ['off unless it is switched on', {}, [0, 0]],
    ['counts alone unless it is enforced', { filter_enabled: always }, [3, 2]],
  ])('%s', async (_what, config, [enabled, refused]) => {
    const p = await limited({ token_bucket: bucket(1), ...config })
    expect(await statuses(p.http, 3)).toEqual([200, 200, 200])
    expect(p.counter('mine.http_local_rate_limit.enabled')).toBe(enabled)
    expect(p.counter('mine.http_local_rate_limit.rate_limited')).toBe(refused)
  })

  test('a route has a bucket of its own, and must have one', async () => {
    const own = (config: object) => ({
      match: { prefix: '/own' },
      ...ok,
      typed_per_filter_config: { limit: { '@type': `type.googleapis.com/${TYPE}`, stat_prefix: 'own', ...config } },
    })
    const on = { filter_enabled: always, filter_enforced: always }
    const p = await limited({ token_bucket: bucket(1), ...on }, [
      own({ token_bucket: bucket(2), status: { code: 503 }, ...on }),
    ])
    expect(await statuses(p.http, 3, '/own')).toEqual([200, 200, 503])
    expect(await statuses(p.http, 2)).toEqual([200, 429])
    expect(p.counter('own.http_local_rate_limit.enforced')).toBe(1)
    await expect(limited({}, [own(on)])).rejects.toThrow('local rate limit token bucket must be set')
  })

  test('each connection has a bucket where that is asked for', async () => {
    const p = await limited({
      token_bucket: bucket(1),
      filter_enabled: always,
      filter_enforced: always,
      local_rate_limit_per_downstream_connection: true,
    })
    const twice = 'GET / HTTP/1.1\r\nhost: a\r\n\r\n'.repeat(2)
    for (let i = 0; i < 2; i++) {
      const answers = await exchange(p.http, twice, 2)
      expect(answers.map((answer) => answer.status)).toEqual([200, 429])
    }
  })

  test('a fill interval below 50 ms is refused', async () => {
    await expect(limited({ token_bucket: { max_tokens: 1, fill_interval: '0.01s' } })).rejects.toThrow(
      'local rate limit token bucket fill timer must be >= 50ms',
    )
  })

  test('the bucket is full when it is full: a quiet hour saves nothing up', () => {
    const runtime = new TestRuntime(1)
    const tokens = new TokenBucket(5, 3 / 1000, runtime)
    runtime.advance(3_600_000)
    expect(tokens.remaining).toBe(5)
    const taken = Array.from({ length: 7 }, () => tokens.take())
    expect(taken).toEqual([true, true, true, true, true, false, false])
  })

  test('the bucket never gives more than its size and what has flowed in', () => {
    const runtime = new TestRuntime(1)
    const tokens = new TokenBucket(5, 3 / 1000, runtime)
    let taken = 0
    for (let ms = 0; ms <= 60_000; ms += 7) {
      while (tokens.take()) taken++
      expect(taken).toBeLessThanOrEqual(5 + (3 * ms) / 1000)
      runtime.advance(7)
    }
    expect(taken).toBe(Math.floor(5 + 3 * 59.997))
  })
})
