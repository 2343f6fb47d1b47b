import { afterEach, expect, it } from 'vitest'
import { startMesh, type TestMesh } from '../src/testing/index.ts'
import { client, pod, service } from './support/mesh.ts'

const POLICY = `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews}
spec:
  hosts: [reviews]
  http:
    - retries: {attempts: 5, retryOn: "connect-failure,refused-stream,reset,gateway-error", backoff: 5ms}
      route: [{destination: {host: reviews}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews}
spec:
  host: reviews
  trafficPolicy:
    connectionPool: {http: {maxRetries: 2000}}
    outlierDetection:
      consecutive5xxErrors: 5
      interval: 500ms
      baseEjectionTime: 500ms
      maxEjectionPercent: 50
---`

let mesh: TestMesh
afterEach(() => mesh?.close())

it('loses, of 1,000 connections over ten deaths of an instance, only responses that had begun', async () => {
  mesh = await startMesh({
    yaml: [client(), service('reviews'), ...['v1', 'v2', 'v3'].map((v) => pod('reviews', v))].join('') + POLICY,
    apps: {
      reviews: (_, response) => {
        // Half of the answer at once, the rest a little later: who dies in between has begun.
        response.writeHead(200, { 'content-length': 10 })
        response.write('hello')
        setTimeout(() => response.end('world'), 10)
      },
    },
  })
  // As fast as to keep all connections busy now and then; what cannot be had in time on a slow machine is no failure.
  const load = { connections: 1000, duration: '12s', rate: 250, timeout: 30_000 }
  const loading = mesh.load('client', 'http://reviews:9080/', load)
  for (let deaths = 0; deaths < 10; deaths++) {
    await wait(500)
    await mesh.kill('reviews-v2')
    await wait(300)
    await mesh.restore('reviews-v2')
  }
  const report = await loading
  const answered = Object.fromEntries(
    report.groups.filter((g) => g.status === 200).map((g) => [g.instance, g.requests]),
  )
  expect(Object.keys(answered).sort()).toEqual(['reviews-v1', 'reviews-v2', 'reviews-v3'])
  expect(report.attempts['2']).toBeGreaterThan(0)
  expect(mesh.events.some((event) => event.type === 'outlier' && event.instance === 'reviews-v2')).toBe(true)
  // Every failure is told, and none of them is one that retries could have saved.
  expect(report.failures.reduce((sum, { requests }) => sum + requests, 0)).toBe(report.failed)
  for (const { why, savable, examples } of report.failures) {
    expect([savable, why]).toEqual([false, expect.stringMatching(/^reset after the response had begun/)])
    expect(examples[0]?.tried.at(-1)).toBe('reviews-v2')
  }
}, 60_000)

it('says of each failed request why, and which policy would have saved it', async () => {
  mesh = await startMesh({
    yaml: [client(), service('reviews'), pod('reviews', 'v1'), pod('reviews', 'v2')].join(''),
    apps: { reviews: (_, response) => void response.end('ok') },
  })
  const why = async (yaml: string, fault: string) => {
    await mesh.apply(yaml)
    await mesh.fault('reviews', fault)
    const { failures } = await mesh.load('client', 'http://reviews:9080/', { connections: 2, amount: 8 })
    await mesh.clearFault()
    return failures.map((failure) => [failure.savable, failure.why, failure.requests])
  }
  const retries = (policy: string) =>
    POLICY.replace(/attempts: 5, .*5ms/, policy).replaceAll('5xxErrors: 5', '5xxErrors: 0')
  expect(await why(retries('attempts: 0'), 'abort 503')).toEqual([
    [true, 'GET was answered 503 by the app or its sidecar, and its route has no retries', 8],
  ])
  expect(await why(retries('attempts: 2, retryOn: reset'), 'abort 503')).toEqual([
    [true, 'GET was answered 503 by the app or its sidecar, which retryOn (reset) does not cover', 8],
  ])
  expect(await why(retries('attempts: 3, retryOn: 5xx, backoff: 1ms'), 'abort 503')).toEqual([
    [
      false,
      expect.stringMatching(/^all 4 attempts failed, on every host there was \(reviews-v[12], reviews-v[12]\)$/),
      expect.any(Number),
    ],
  ])
})

const wait = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))
