import { afterEach, describe, expect, it } from 'vitest'
import { startMesh, type TestMesh } from '../src/testing/index.ts'
import { client, pod, service } from './support/mesh.ts'

const URL = 'http://reviews:9080/'

const routes = (http: string) => `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews}
spec: {hosts: [reviews], http: [{route: [{destination: {host: reviews}}], ${http}}]}
---`

describe('x-envoy-* headers', () => {
  let mesh: TestMesh
  afterEach(() => mesh?.close())
  const start = async (http: string, annotations = '') => {
    mesh = await startMesh([client(), service('reviews'), pod('reviews', 'v1', { annotations }), routes(http)].join(''))
  }
  const seenByTheApp = async (headers: Record<string, string> = {}) => {
    const answer = await mesh.call('client', URL, { headers })
    return answer.json<{ request: { headers: Record<string, string> } }>().request.headers
  }

  it('of a program are not believed, and go no further: sidecars take nobody for internal', async () => {
    await start('timeout: 60s, retries: {attempts: 1, retryOn: 5xx, perTryTimeout: 30s}')
    const claims = {
      'x-envoy-upstream-rq-timeout-ms': '1',
      'x-envoy-upstream-rq-per-try-timeout-ms': '1',
      'x-envoy-upstream-rq-timeout-alt-response': '1',
      'x-envoy-expected-rq-timeout-ms': '7',
      'x-envoy-retry-on': '5xx',
      'x-envoy-max-retries': '4',
      'x-envoy-internal': 'true',
    }
    await mesh.fault('reviews', 'abort 503')
    const failed = await mesh.call('client', URL, { headers: claims })
    expect([failed.status, failed.attempts]).toEqual([503, 2])
    await mesh.fault('reviews', 'delay 20ms')
    const seen = await seenByTheApp(claims)
    for (const name of Object.keys(claims)) expect(seen).not.toHaveProperty(name)
  })

  it('x-envoy-expected-rq-timeout-ms tells the upstream how long an attempt may take', async () => {
    // A sidecar before the app would take the header off again.
    await start('timeout: 5s', 'sidecar.istio.io/inject: "false"')
    expect((await seenByTheApp())['x-envoy-expected-rq-timeout-ms']).toBe('5000')
    await mesh.apply(routes('timeout: 5s, retries: {attempts: 2, perTryTimeout: 1s}'))
    expect((await seenByTheApp())['x-envoy-expected-rq-timeout-ms']).toBe('1000')
    await mesh.apply(routes('name: unlimited'))
    expect(await seenByTheApp()).not.toHaveProperty('x-envoy-expected-rq-timeout-ms')
  })

  it('x-envoy-attempt-count counts the attempts', async () => {
    await start('retries: {attempts: 3, retryOn: 5xx}')
    await mesh.fault('reviews', 'abort 503 first=2')
    expect((await seenByTheApp())['x-envoy-attempt-count']).toBe('3')
  })

  it('x-envoy-upstream-service-time tells how long the upstream took, retries included', async () => {
    await start('retries: {attempts: 1, retryOn: 5xx}')
    await mesh.fault('reviews', 'delay 30ms')
    const { headers } = await mesh.call('client', URL)
    expect(Number(headers['x-envoy-upstream-service-time'])).toBeGreaterThanOrEqual(29)
  })
})

it('a timeout is answered by the sidecar, whoever was asked', async () => {
  await using mesh = await startMesh(
    [client(), service('reviews'), pod('reviews', 'v1'), routes('timeout: 2s, retries: {attempts: 0}')].join(''),
  )
  await mesh.fault('reviews', 'hang')
  const asked = mesh.call('client', URL)
  await expect.poll(() => mesh.stats('reviews', 'http.inbound_0.0.0.0_9080.downstream_rq_active')).toBe(1)
  await mesh.clock.advance('2s')
  const { status, flags, instance, tried } = await asked
  expect([status, flags, instance, tried]).toEqual([504, ['UT'], undefined, ['reviews-v1']])
})
