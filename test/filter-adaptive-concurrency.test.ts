import { describe, expect, test } from 'vitest'
import { GradientSettings } from '../src/proxy/filters/adaptive-concurrency/config.ts'
import { GradientController } from '../src/proxy/filters/adaptive-concurrency/controller.ts'
import { LatencySamples } from '../src/proxy/filters/adaptive-concurrency/samples.ts'
import { StatsStore } from '../src/proxy/observe/stats.ts'
import { TestRuntime } from '../src/runtime-test.ts'
import { make } from '../src/xds/messages.ts'
import { get, httpFilter, httpHarness, routerFilter, toA } from './support/http.ts'
import { client, pod, service, startMesh } from './support/mesh.ts'

const { proxy, upstream } = httpHarness()
const TYPE = 'envoy.extensions.filters.http.adaptive_concurrency.v3.AdaptiveConcurrency'
const adaptive = (gradient_controller_config: object, config: object = {}) => ({
  ...toA(),
  http_filters: [httpFilter('ac', TYPE, { gradient_controller_config, ...config }), routerFilter()],
})
const one = {
  concurrency_limit_params: { concurrency_update_interval: '100s' },
  min_rtt_calc_params: { fixed_value: '0.1s', min_concurrency: 1 },
}

/** A controller on a clock that is moved by hand. */
function controlled(minRtt: object, limits: object = {}) {
  const runtime = new TestRuntime()
  const stats = new StatsStore()
  const config = make('envoy.extensions.filters.http.adaptive_concurrency.v3.GradientControllerConfig', {
    concurrencyLimitParams: { concurrencyUpdateInterval: { seconds: 1n }, ...limits },
    minRttCalcParams: { interval: { seconds: 60n }, jitter: { value: 0 }, buffer: { value: 0 }, ...minRtt },
  })
  const controller = new GradientController(new GradientSettings(config, undefined), runtime, stats, '')
  return {
    runtime,
    gauge: (name: string) => stats.gauges.get(name)?.value,
    blocked: () => stats.counters.get('rq_blocked')?.value,
    controller,
    /** Requests one after the other, each so long. */
    requests(count: number, ms: number) {
      for (let i = 0; i < count; i++) {
        const started = runtime.now()
        controller.admit()
        runtime.advance(ms)
        controller.answered(started)
      }
    },
  }
}

describe('the adaptive concurrency filter', () => {
  test('refuses what is beyond the limit', async () => {
    const a = await upstream('a', { delay: 200 })
    const p = await proxy(adaptive(one, { concurrency_limit_exceeded_status: { code: 429 } }), [a])
    const answers = await Promise.all([1, 2, 3].map(() => get(p.http, '/')))
    expect(answers.map(({ status }) => status).sort()).toEqual([200, 429, 429])
    expect(answers.find(({ status }) => status === 429)?.body).toBe('reached concurrency limit')
    expect(p.counter('http.h.adaptive_concurrency.gradient_controller.rq_blocked')).toBe(2)
    expect((await get(p.http, '/')).status).toBe(200) // the place is free again
  })

  test('latencies of no time at all raise the limit, and block nobody', () => {
    const c = controlled({ requestCount: 1, minConcurrency: 3 })
    c.requests(1, 0)
    c.requests(1, 0)
    c.runtime.advance(1000)
    expect([c.gauge('gradient'), c.gauge('concurrency_limit')]).toEqual([2000, 8])
    expect(c.controller.admit()).toBe(true)
  })

  test('a status below 400 is 503 instead, and a filter that is off lets all pass', async () => {
    const a = await upstream('a', { delay: 100 })
    const odd = await proxy(adaptive(one, { concurrency_limit_exceeded_status: { code: 302 } }), [a])
    const two = await Promise.all([get(odd.http, '/'), get(odd.http, '/')])
    expect(two.map(({ status }) => status).sort()).toEqual([200, 503])
    const off = await proxy(adaptive(one, { enabled: { default_value: false, runtime_key: 'x' } }), [a])
    const all = await Promise.all([get(off.http, '/'), get(off.http, '/')])
    expect(all.map(({ status }) => status)).toEqual([200, 200])
  })

  test('measures the least latency with few requests at a time, then follows the gradient', () => {
    const c = controlled({ requestCount: 5, minConcurrency: 3 })
    expect([c.gauge('min_rtt_calculation_active'), c.gauge('concurrency_limit')]).toEqual([1, 3])
    c.requests(5, 10)
    expect([c.gauge('min_rtt_calculation_active'), c.gauge('min_rtt_msecs')]).toEqual([0, 10])
    c.requests(4, 5) // faster than ever: up
    c.runtime.advance(1000)
    expect([c.gauge('gradient'), c.gauge('sample_rtt_msecs')]).toEqual([2000, 5])
    expect([c.gauge('concurrency_limit'), c.gauge('burst_queue_size')]).toEqual([8, 2])
    c.requests(4, 200) // slow: down, by no more than half
    c.runtime.advance(1000)
    expect([c.gauge('gradient'), c.gauge('concurrency_limit')]).toEqual([500, 6])
    c.runtime.advance(60_000) // time to measure again
    expect([c.gauge('min_rtt_calculation_active'), c.gauge('concurrency_limit')]).toEqual([1, 3])
  })

  test('stays between its bounds, and measures again when it is stuck at the lower one', () => {
    const up = controlled({ fixedValue: { seconds: 1n } }, { maxConcurrencyLimit: 7 })
    for (let i = 0; i < 4; i++) {
      up.requests(1, 10)
      up.runtime.advance(1000)
    }
    expect(up.gauge('concurrency_limit')).toBe(7)
    const down = controlled({ requestCount: 1, minConcurrency: 1 })
    down.requests(1, 10)
    for (let i = 0; i < 6; i++) down.requests(1, 1000)
    down.runtime.advance(1)
    expect(down.gauge('min_rtt_calculation_active')).toBe(1)
  })

  test('the least latency is measured of requests that began since, and of so many as are asked for', () => {
    const c = controlled({ requestCount: 2, minConcurrency: 3, interval: { seconds: 1n } })
    c.requests(2, 10)
    const early = c.runtime.now()
    c.controller.admit()
    c.runtime.advance(1000)
    expect(c.gauge('min_rtt_calculation_active')).toBe(1)
    c.controller.answered(early - 1)
    c.requests(1, 20)
    expect([c.gauge('min_rtt_calculation_active'), c.gauge('min_rtt_msecs')]).toEqual([1, 10])
    c.requests(1, 20)
    expect([c.gauge('min_rtt_calculation_active'), c.gauge('min_rtt_msecs')]).toEqual([0, 20])
  })

  test('a controller that is closed has no timers left', () => {
    const c = controlled({ requestCount: 1, minConcurrency: 3 })
    c.requests(1, 10)
    c.controller.close()
    c.requests(1, 200)
    c.runtime.advance(120_000)
    expect([c.gauge('min_rtt_calculation_active'), c.gauge('sample_rtt_msecs')]).toEqual([0, 0])
  })

  test('counts what it blocks, and gives places of requests back that got no answer', () => {
    const c = controlled({ minConcurrency: 1 })
    expect([c.controller.admit(), c.controller.admit(), c.blocked()]).toEqual([true, false, 1])
    c.controller.cancelled()
    expect(c.controller.admit()).toBe(true)
  })

  test('quantiles are taken from bins of two digits', () => {
    const samples = new LatencySamples()
    for (const value of [1234, 1299, 5000, 77]) samples.add(value)
    expect([samples.quantile(0.25), samples.quantile(0.5), samples.quantile(1)]).toEqual([78, 1250, 5100])
  })

  test('refuses a config that could never learn', async () => {
    const a = await upstream('a')
    const empty = { concurrency_limit_params: { concurrency_update_interval: '1s' }, min_rtt_calc_params: {} }
    await expect(proxy(adaptive(empty), [a])).rejects.toThrow('fixed_value')
  })

  test('an EnvoyFilter puts it before an app', async () => {
    const mesh = await startMesh(`${service('reviews')}${pod('reviews', 'v1')}${client()}
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: adaptive}
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
        name: envoy.filters.http.adaptive_concurrency
        typed_config:
          "@type": type.googleapis.com/${TYPE}
          gradient_controller_config:
            sample_aggregate_percentile: {value: 90}
            concurrency_limit_params: {concurrency_update_interval: 0.1s}
            min_rtt_calc_params: {jitter: {value: 10}, interval: 60s, request_count: 2, min_concurrency: 1}
`)
    try {
      const answers = await mesh.mesh.call({
        from: 'client',
        url: 'http://reviews:9080/',
        method: 'GET',
        headers: [],
        body: '',
        count: 12,
        concurrency: 12,
        timeout: 10_000,
      })
      const statuses = new Set(answers.map(({ status }) => status))
      expect(statuses.has(200)).toBe(true)
      expect([...statuses].every((status) => status === 200 || status === 503)).toBe(true)
    } finally {
      await mesh.stop()
    }
  })
})
