import { describe, expect, test } from 'vitest'
import { get, httpHarness, toA } from './support/http.ts'
import { eventually } from './support/proxy.ts'

const { proxy, upstream } = httpHarness()

const hedging = (retry: object = {}, route: object = {}) =>
  toA({
    hedge_policy: { hedge_on_per_try_timeout: true },
    retry_policy: {
      retry_on: '5xx',
      num_retries: 1,
      per_try_timeout: '0.1s',
      retry_back_off: { base_interval: '0.001s', max_interval: '0.002s' },
      ...retry,
    },
    ...route,
  })

describe('a try that takes too long', () => {
  test('goes on beside the next one, and the next one may win', async () => {
    const a = await upstream('a', { fail: 'hang' }, { body: 'second' })
    const p = await proxy(hedging(), [a])
    expect((await get(p.http, '/')).body).toBe('second')
    expect(p.counter('cluster.a.upstream_rq_retry')).toBe(1)
    expect(p.counter('cluster.a.upstream_rq_per_try_timeout')).toBe(0)
    // The loser's stream is given up.
    await eventually(() => p.counter('cluster.a.upstream_cx_destroy_local_with_active_rq') === 1)
    expect(a.last.headers.get('x-envoy-expected-rq-timeout-ms')).toMatch(/^1[45]\d{3}$/)
  })

  test('may still win itself', async () => {
    const a = await upstream('a', { delay: 200, body: 'first' }, { fail: 'hang' })
    const p = await proxy(hedging(), [a])
    expect((await get(p.http, '/')).body).toBe('first')
    expect(a.received.length).toBe(2)
  })

  test('a bad answer waits for the other try', async () => {
    const a = await upstream('a', { delay: 200, status: 503 }, { delay: 250, body: 'good' })
    const p = await proxy(hedging(), [a])
    const response = await get(p.http, '/')
    expect([response.status, response.body]).toEqual([200, 'good'])
  })

  test('so does a broken connection', async () => {
    const a = await upstream('a', { delay: 200, fail: 'close' }, { delay: 250, body: 'good' })
    const p = await proxy(hedging(), [a])
    expect((await get(p.http, '/')).body).toBe('good')
  })

  test('when all tries hang, the whole time counts', async () => {
    const a = await upstream('a', { fail: 'hang' })
    const p = await proxy(hedging({}, { timeout: '0.4s' }), [a])
    expect((await get(p.http, '/')).status).toBe(504)
    expect(a.received.length).toBe(2)
    expect(p.counter('cluster.a.upstream_rq_timeout')).toBe(2)
  })

  test('the request turns it off for itself', async () => {
    const a = await upstream('a', { fail: 'hang' }, {})
    const p = await proxy(
      {
        ...hedging(),
        internal_address_config: { cidr_ranges: [{ address_prefix: '10.0.0.0', prefix_len: 8 }] },
      },
      [a],
    )
    const headers = { 'x-forwarded-for': '10.0.0.1', 'x-envoy-hedge-on-per-try-timeout': 'false' }
    expect((await get(p.http, '/', headers)).status).toBe(200)
    expect(p.counter('cluster.a.upstream_rq_per_try_timeout')).toBe(1)
  })
})
