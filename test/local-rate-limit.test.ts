import net from 'node:net'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { TestRuntime } from '../src/runtime-test.ts'
import { exchange, get, httpFilter, httpHarness, httpListener, oneHost, routerFilter } from './support/http.ts'
import { startProxy } from './support/proxy.ts'

const { proxy, upstream } = httpHarness()
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

  test('what is over its limit and passes is marked for the upstream', async () => {
    const a = await upstream('a')
    const header = { key: 'x-over', value: 'yes' }
    const limit = {
      stat_prefix: 'mine',
      token_bucket: bucket(1),
      filter_enabled: always,
      request_headers_to_add_when_not_enforced: [{ header }],
    }
    const route = { match: { prefix: '/' }, route: { cluster: 'a' } }
    const p = await proxy(
      { route_config: oneHost([route]), http_filters: [httpFilter('l', TYPE, limit), routerFilter()] },
      [a],
    )
    const marks: unknown[] = []
    for (let i = 0; i < 2; i++) {
      await get(p.http, '/')
      marks.push(a.last.headers.get('x-over'))
    }
    expect(marks).toEqual([undefined, 'yes'])
  })

  test('a fill interval below 50 ms is refused', async () => {
    await expect(limited({ token_bucket: { max_tokens: 1, fill_interval: '0.01s' } })).rejects.toThrow(
      'local rate limit token bucket fill timer must be >= 50ms',
    )
  })
})

describe('the bucket is exact on real traffic', () => {
  test('at any rate, over a minute of moved clock, as many pass as it held and what has flowed in', async () => {
    const shape = fc.record({
      max: fc.integer({ min: 2, max: 40 }),
      tokens: fc.integer({ min: 1, max: 60 }),
      interval: fc.integer({ min: 50, max: 9000 }),
      steps: fc.array(fc.integer({ min: 1, max: 7000 * 1024 }), { minLength: 5, maxLength: 12 }),
    })
    await fc.assert(
      fc.asyncProperty(shape, async ({ max, tokens, interval, steps }) => {
        const runtime = new TestRuntime(1)
        const hcm = {
          route_config: oneHost([{ match: { prefix: '/' }, ...ok }]),
          http_filters: [
            httpFilter('limit', TYPE, {
              stat_prefix: 'mine',
              filter_enabled: always,
              filter_enforced: always,
              token_bucket: { max_tokens: max, tokens_per_fill: tokens, fill_interval: `${interval / 1000}s` },
            }),
            routerFilter(),
          ],
        }
        const p = await startProxy({ static_resources: { listeners: [httpListener(hcm)] } }, { runtime })
        const socket = net.connect(p.port('l'), '127.0.0.1').setEncoding('latin1')
        let passed = 0
        /** Asks for more than there can be, all at once. */
        const burst = async (count: number) => {
          let text = ''
          const done = new Promise<void>((resolve) => {
            const onData = (chunk: string) => {
              text += chunk
              if (text.split('HTTP/1.1 ').length <= count) return
              socket.off('data', onData)
              resolve()
            }
            socket.on('data', onData)
          })
          socket.write('GET / HTTP/1.1\r\nhost: a\r\n\r\n'.repeat(count))
          await done
          passed += text.split('HTTP/1.1 200').length - 1
        }
        try {
          await burst(max + 2)
          // Never long enough for the bucket to be full again.
          const patience = ((max - 1) * interval) / tokens
          for (let i = 0, left = 200; runtime.now() < 60_000 && left > 0; i++, left--) {
            const ms = Math.min(steps[i % steps.length]! / 1024, patience)
            runtime.advance(Math.floor(ms * 1024) / 1024)
            await burst(max + 1)
            expect(passed).toBe(Math.floor(max + (tokens * runtime.now()) / interval))
          }
        } finally {
          socket.destroy()
          await p.stop()
        }
      }),
      { numRuns: 8 },
    )
  }, 30_000)
})
