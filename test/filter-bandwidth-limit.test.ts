import { describe, expect, test } from 'vitest'
import type { BodySide } from '../src/proxy/filters/body-side.ts'
import { ByteBucket, StreamRateLimiter } from '../src/proxy/filters/rate-limiter.ts'
import type { FilterSlot } from '../src/proxy/http/filter-slot.ts'
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

/** A limiter of 1 KiB a second on a clock that is moved by hand, and what it does. Senders wait beyond 1000 bytes. */
function limiter() {
  const runtime = new TestRuntime()
  const done: string[] = []
  const side: BodySide = {
    inject: (_slot, chunk, end) => done.push(`${chunk.length}${end ? ' end' : ''}`),
    resume: () => done.push('trailers'),
    addTrailers: () => done.push('own trailers'),
    setReading: (_slot, on) => done.push(on ? 'read' : 'pause'),
    endsApart: () => false,
  }
  const slot = { runtime, exchange: { bufferLimit: 1000 } } as unknown as FilterSlot
  const limited = new StreamRateLimiter(slot, side, new ByteBucket(runtime, 1), 500)
  return { runtime, done, limited }
}
const soon = () => new Promise<void>((resolve) => queueMicrotask(resolve))

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

  test('the bucket saves up what one second gives, and no more', () => {
    const runtime = new TestRuntime()
    const bucket = new ByteBucket(runtime, 1)
    expect([bucket.take(2000), bucket.take(1)]).toEqual([1024, 0])
    runtime.advance(60_000)
    expect([bucket.take(24), bucket.take(2000), bucket.take(1)]).toEqual([24, 1000, 0])
  })

  test('the sender waits while too much of a body is held, and the trailers until it is out', async () => {
    const { runtime, done, limited } = limiter()
    limited.write(new Uint8Array(1500), false)
    await soon()
    expect(limited.trailersMayGo()).toBe(false)
    expect(done).toEqual(['pause', '512'])
    runtime.advance(500)
    expect(done.slice(2)).toEqual(['read', '512'])
    runtime.advance(500)
    expect(done.slice(4)).toEqual(['476', 'trailers'])
  })

  test('a stream that ends early sends nothing more, and has no timer left', async () => {
    const early = limiter()
    early.limited.write(new Uint8Array(10), true)
    early.limited.stop()
    await soon()
    expect(early.done).toEqual([])
    const late = limiter()
    late.limited.write(new Uint8Array(900), true)
    await soon()
    late.limited.stop()
    late.runtime.advance(5000)
    expect(late.done).toEqual(['512'])
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
