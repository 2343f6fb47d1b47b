import { describe, expect, test } from 'vitest'
import { ByteBucket } from '../src/proxy/filters/rate-limiter.ts'
import { TestRuntime } from '../src/runtime-test.ts'
import { get, httpFilter, httpHarness, oneHost, routerFilter } from './support/http.ts'
import { client, pod, service, startMesh } from './support/mesh.ts'

const { proxy, upstream } = httpHarness()
const TYPE = 'envoy.extensions.filters.http.bandwidth_limit.v3.BandwidthLimit'
const to = (prefix: string, own?: object) => ({
  match: { prefix },
  route: { cluster: 'a' },
  ...(own && { typed_per_filter_config: { b: { '@type': `type.googleapis.com/${TYPE}`, ...own } } }),
})
const limited = (config: object, routes: object[] = []) => ({
  route_config: oneHost([...routes, to('/')]),
  http_filters: [httpFilter('b', TYPE, { stat_prefix: 'mine', ...config }), routerFilter()],
  http_protocol_options: { enable_trailers: true },
})
const took = async (run: () => Promise<unknown>) => {
  const start = performance.now()
  await run()
  return performance.now() - start
}

describe('the bandwidth limit filter', () => {
  test('holds responses to the rate, and counts what it does', async () => {
    const body = 'x'.repeat(4000)
    const a = await upstream('a', { body })
    const p = await proxy(limited({ enable_mode: 'RESPONSE', limit_kbps: 10 }), [a])
    const ms = await took(async () => expect((await get(p.http, '/')).body).toBe(body))
    expect(ms).toBeGreaterThan(250) // 512 bytes at once, 512 more each 50 ms
    const stat = (name: string) => p.counter(`mine.http_bandwidth_limit.response_${name}`)
    expect([stat('enabled'), stat('incoming_total_size'), stat('allowed_total_size')]).toEqual([1, 4000, 4000])
    expect(stat('enforced')).toBeGreaterThan(4)
    expect(p.counter('mine.http_bandwidth_limit.request_enabled')).toBe(0)
  })

  test('streams share one bucket', async () => {
    const a = await upstream('a', { body: 'x'.repeat(2500) })
    const p = await proxy(limited({ enable_mode: 'RESPONSE', limit_kbps: 10 }), [a])
    const ms = await took(() => Promise.all([get(p.http, '/'), get(p.http, '/')]))
    expect(ms).toBeGreaterThan(350) // 5000 bytes together
  })

  test('requests too, a route with a limit of its own, and trailers that tell the delays', async () => {
    const a = await upstream('a')
    const both = { enable_mode: 'REQUEST_AND_RESPONSE', enable_response_trailers: true, response_trailer_prefix: 'x' }
    const own = { stat_prefix: 'own', limit_kbps: 5, ...both }
    const p = await proxy(limited({}, [to('/own', own)]), [a])
    expect(await took(() => get(p.http, '/free', {}, 'POST', 'y'.repeat(2000)))).toBeLessThan(250)
    const ms = await took(async () => {
      await get(p.http, '/own', {}, 'POST', 'y'.repeat(2000))
    })
    expect(ms).toBeGreaterThan(250)
    expect(a.last.body).toBe('y'.repeat(2000))
    expect(p.counter('own.http_bandwidth_limit.request_incoming_total_size')).toBe(2000)
    expect(p.counter('mine.http_bandwidth_limit.request_enabled')).toBe(0)
    await expect(proxy(limited({}, [to('/own', { stat_prefix: 'own' })]), [a])).rejects.toThrow(
      'limit must be set for per route filter config',
    )
  })

  test('over a minute the bucket gives its rate, and never a byte more', () => {
    const runtime = new TestRuntime()
    const bucket = new ByteBucket(runtime, 3)
    bucket.start(50)
    bucket.start(1000) // only the first fills it
    let given = 0
    for (let ms = 0; ms <= 60_000; ms += 50) {
      given += bucket.take(1_000_000)
      runtime.advance(50)
    }
    expect(given).toBe(Math.floor(3072 * 0.05) + 60 * 3072)
  })

  test('an EnvoyFilter puts it before an app', async () => {
    const mesh = await startMesh(`${service('reviews')}${pod('reviews', 'v1')}${client()}
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: slow}
spec:
  workloadSelector: {labels: {app: reviews}}
  configPatches:
  - applyTo: HTTP_FILTER
    match:
      context: SIDECAR_INBOUND
      listener:
        filterChain: {filter: {name: envoy.filters.network.http_connection_manager, subFilter: {name: envoy.filters.http.router}}}
    patch:
      operation: INSERT_BEFORE
      value:
        name: envoy.filters.http.bandwidth_limit
        typed_config:
          "@type": type.googleapis.com/${TYPE}
          stat_prefix: slow
          enable_mode: REQUEST
          limit_kbps: 10
`)
    try {
      const body = 'z'.repeat(4000)
      const start = performance.now()
      const got = await mesh.get('client', 'http://reviews:9080/', { body })
      expect(got.echo?.request.body).toBe(body)
      expect(performance.now() - start).toBeGreaterThan(250)
    } finally {
      await mesh.stop()
    }
  })
})
