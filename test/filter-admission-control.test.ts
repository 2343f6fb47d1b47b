import { describe, expect, test } from 'vitest'
import { AdmissionConfig } from '../src/proxy/filters/admission-control/config.ts'
import { SuccessWindow } from '../src/proxy/filters/admission-control/controller.ts'
import { TestRuntime } from '../src/runtime-test.ts'
import { make } from '../src/xds/messages.ts'
import { get, httpFilter, httpHarness, routerFilter, toA } from './support/http.ts'
import { client, pod, service, startMesh } from './support/mesh.ts'

const { proxy, upstream } = httpHarness()
const TYPE = 'envoy.extensions.filters.http.admission_control.v3.AdmissionControl'
const percent = (value: number) => ({ default_value: { value }, runtime_key: 'p' })
const certain = {
  sr_threshold: percent(100),
  max_rejection_probability: percent(100),
  aggression: { default_value: 100_000, runtime_key: 'a' },
}
const admission = (config: object = {}) => ({
  ...toA(),
  http_filters: [httpFilter('ac', TYPE, { success_criteria: {}, ...config }), routerFilter()],
})
const statuses = async (port: number, count: number) => {
  const out: number[] = []
  for (let i = 0; i < count; i++) out.push((await get(port, '/')).status)
  return out
}

describe('the admission control filter', () => {
  test('refuses once requests fail, and counts', async () => {
    const a = await upstream('a', { status: 500 })
    const p = await proxy(admission(certain), [a])
    expect(await statuses(p.http, 4)).toEqual([500, 503, 503, 503])
    expect((await get(p.http, '/')).body).toBe('')
    const stat = (name: string) => p.counter(`http.h.admission_control.rq_${name}`)
    expect([stat('failure'), stat('rejected'), stat('success')]).toEqual([1, 4, 0])
    expect(a.received.length).toBe(1)
  })

  test.each([
    ['it is off', { enabled: { default_value: false, runtime_key: 'e' } }],
    ['there are too few requests a second', { rps_threshold: { default_value: 100, runtime_key: 'r' } }],
    ['rejections may not happen', { max_rejection_probability: percent(0) }],
    [
      '500 counts as a success',
      { success_criteria: { http_criteria: { http_success_status: [{ start: 500, end: 501 }] } } },
    ],
  ])('lets all pass where %s', async (_what, config) => {
    const a = await upstream('a', { status: 500 })
    const p = await proxy(admission({ ...certain, ...config }), [a])
    expect(await statuses(p.http, 3)).toEqual([500, 500, 500])
  })

  test('gRPC answers count by their own status', async () => {
    const grpc = (status: string) => ({
      headers: { 'content-type': 'application/grpc', 'grpc-status': status },
      body: 'x',
    })
    const a = await upstream('a', grpc('5'), grpc('14'))
    const p = await proxy(admission({ ...certain, max_rejection_probability: percent(0) }), [a])
    await statuses(p.http, 2)
    const stat = (name: string) => p.counter(`http.h.admission_control.rq_${name}`)
    expect([stat('success'), stat('failure')]).toEqual([1, 1])
  })

  test('what is older than the window is forgotten', () => {
    const runtime = new TestRuntime()
    const window = new SuccessWindow(runtime, 5)
    for (let second = 0; second < 8; second++) {
      for (let i = 0; i < 10; i++) window.record(i % 2 === 0)
      runtime.advance(1000)
    }
    expect(window.counts()).toEqual({ requests: 40, successes: 20 })
    expect(window.averageRps()).toBe(8)
    runtime.advance(5000)
    expect(window.counts()).toEqual({ requests: 0, successes: 0 })
  })

  test('a sample counts to the last ms of the window, and the average is taken over a window at least', () => {
    const runtime = new TestRuntime()
    const window = new SuccessWindow(runtime, 5)
    for (let i = 0; i < 14; i++) window.record(true)
    expect(window.averageRps()).toBe(2)
    runtime.advance(4999)
    expect(window.counts()).toEqual({ requests: 14, successes: 14 })
    runtime.advance(1)
    expect(window.counts()).toEqual({ requests: 0, successes: 0 })
    expect(window.averageRps()).toBe(0)
  })

  test('samples are of one second each', () => {
    const runtime = new TestRuntime()
    const window = new SuccessWindow(runtime, 5)
    window.record(true)
    runtime.advance(999)
    window.record(false) // of the same sample, and goes with it
    runtime.advance(1)
    window.record(false)
    runtime.advance(4000)
    expect(window.counts()).toEqual({ requests: 1, successes: 0 })
  })

  test('what counts as a success ends before the end of its range; without ranges it ends before 500', () => {
    const config = (success_criteria: object) =>
      new AdmissionConfig(
        make(TYPE, { evaluationCriteria: { case: 'successCriteria', value: success_criteria } }),
        undefined,
      )
    const plain = config({})
    expect([499, 500].map((status) => plain.isHttpSuccess(status))).toEqual([true, false])
    const ranged = config({ httpCriteria: { httpSuccessStatus: [{ start: 200, end: 300 }] } })
    expect([199, 200, 299, 300].map((status) => ranged.isHttpSuccess(status))).toEqual([false, true, true, false])
    expect([7, 8, 16].map((code) => plain.isGrpcSuccess(code))).toEqual([true, false, true])
  })

  test('one request a second is enough for a threshold of one, and one percent is a threshold', async () => {
    const a = await upstream('a', { status: 500 })
    const config = { ...certain, rps_threshold: { default_value: 1, runtime_key: 'r' }, sampling_window: '1s' }
    expect(await statuses((await proxy(admission(config), [a])).http, 3)).toEqual([500, 503, 503])
    await expect(proxy(admission({ sr_threshold: percent(1) }), [a])).resolves.toBeDefined()
  })

  test.each([
    [{ sr_threshold: percent(0.5) }, 'Success rate threshold cannot be less than 1.0%.'],
    [{ success_criteria: { grpc_criteria: { grpc_success_status: [17] } } }, 'invalid gRPC code 17'],
    [
      { success_criteria: { http_criteria: { http_success_status: [{ start: 300, end: 200 }] } } },
      'invalid HTTP range',
    ],
  ])('refuses %j', async (config, words) => {
    const a = await upstream('a')
    await expect(proxy(admission(config), [a])).rejects.toThrow(words)
  })

  test('an EnvoyFilter puts it before an app', async () => {
    const mesh = await startMesh(`${service('reviews')}${pod('reviews', 'v1')}${client()}
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: admission}
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
        name: envoy.filters.http.admission_control
        typed_config:
          "@type": type.googleapis.com/${TYPE}
          success_criteria: {http_criteria: {http_success_status: [{start: 599, end: 600}]}}
          sr_threshold: {default_value: {value: 100}, runtime_key: s}
          max_rejection_probability: {default_value: {value: 100}, runtime_key: m}
          aggression: {default_value: 100000, runtime_key: a}
`)
    try {
      const seen = []
      for (let i = 0; i < 3; i++) seen.push((await mesh.get('client', 'http://reviews:9080/')).status)
      expect(seen[0]).toBe(200)
      expect(seen.slice(1)).toEqual([503, 503])
    } finally {
      await mesh.stop()
    }
  })
})
