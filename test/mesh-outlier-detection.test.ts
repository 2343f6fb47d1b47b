import { afterEach, describe, expect, it } from 'vitest'
import { startMesh, type TestMesh } from '../src/testing/index.ts'
import { client, pod, service } from './support/mesh.ts'

const URL = 'http://reviews:9080/'

const rules = (outlierDetection: string) => `
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews}
spec: {host: reviews, trafficPolicy: {loadBalancer: {simple: ROUND_ROBIN}, outlierDetection: {${outlierDetection}}}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews}
spec: {hosts: [reviews], http: [{route: [{destination: {host: reviews}}], retries: {attempts: 0}}]}
---`

describe('outlierDetection of a DestinationRule', () => {
  let mesh: TestMesh
  afterEach(() => mesh?.close())
  const start = async (count: number, outlierDetection: string) => {
    const pods = Array.from({ length: count }, (_, i) => pod('reviews', `v${i + 1}`))
    mesh = await startMesh([client(), service('reviews'), ...pods, rules(outlierDetection)].join(''))
  }
  const ejected = () => mesh.ejected().map(({ instance }) => instance).sort() // biome-ignore format: one line
  const ejections = (instance: string, number: number) =>
    mesh.waitFor('outlier', (e) => e.action === 'eject' && e.instance === instance && e.ejections === number)

  it('consecutiveLocalOriginFailures ejects who cannot be reached, and 5xx do not count', async () => {
    await start(
      2,
      'splitExternalLocalOriginErrors: true, consecutiveLocalOriginFailures: 3, consecutive5xxErrors: 0, maxEjectionPercent: 100',
    )
    await mesh.fault('reviews-v1', 'abort 503')
    expect(await mesh.split('client', URL, 20)).toEqual({ v1: 10, v2: 10 })
    expect(ejected()).toEqual([])
    await mesh.clearFault()
    await mesh.kill('reviews-v1')
    const { 503: failed } = await mesh.split('client', URL, 12)
    expect(failed).toBeLessThanOrEqual(4)
    const { reason } = await mesh.waitFor('outlier', ({ action }) => action === 'eject')
    expect([reason, ejected()]).toEqual(['consecutive_local_origin_failure', ['reviews-v1']])
  })

  it('maxEjectionPercent bounds how many are out at once', async () => {
    await start(4, 'consecutive5xxErrors: 1, maxEjectionPercent: 50')
    await mesh.fault('reviews', 'abort 500')
    await mesh.split('client', URL, 40)
    expect(ejected()).toHaveLength(2)
  })

  it('with minHealthPercent, all hosts are used again when too few are healthy', async () => {
    await start(2, 'consecutive5xxErrors: 1, maxEjectionPercent: 100, minHealthPercent: 60')
    await mesh.fault('reviews-v1', 'abort 500 first=1')
    await mesh.split('client', URL, 4)
    await mesh.waitFor('outlier', ({ action }) => action === 'eject')
    await mesh.clock.advance('2s')
    // One of two is less than 60 per cent: panic.
    expect(ejected()).toEqual(['reviews-v1'])
    const panic = 'cluster.outbound|9080||reviews.default.svc.cluster.local.lb_healthy_panic'
    const before = mesh.stats('client', panic)
    expect(await mesh.split('client', URL, 10)).toEqual({ v1: 5, v2: 5 })
    expect(mesh.stats('client', panic)).toBe(before + 10)
  })

  it('without it, nobody answers when all are out', async () => {
    await start(2, 'consecutive5xxErrors: 1, maxEjectionPercent: 100')
    await mesh.fault('reviews', 'abort 500 first=1')
    await mesh.split('client', URL, 4)
    await mesh.clock.advance('2s')
    const { status, flags, attempts } = await mesh.call('client', URL)
    expect([status, flags, attempts]).toEqual([503, ['UH'], 0])
  })

  it('each ejection lasts longer than the one before', async () => {
    await start(2, 'consecutive5xxErrors: 1, interval: 10s, baseEjectionTime: 30s, maxEjectionPercent: 100')
    await mesh.fault('reviews-v1', 'abort 500')
    await mesh.split('client', URL, 2)
    await ejections('reviews-v1', 1)
    await mesh.clock.advance('29s')
    expect(ejected()).toEqual(['reviews-v1'])
    await mesh.clock.advance('11s')
    expect(ejected()).toEqual([])
    await mesh.clock.advance('2s')
    await mesh.split('client', URL, 2)
    await ejections('reviews-v1', 2)
    await mesh.clock.advance('59s')
    expect(ejected()).toEqual(['reviews-v1'])
    await mesh.clock.advance('11s')
    expect(ejected()).toEqual([])
  })
})
