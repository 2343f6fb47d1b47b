import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { client, pod, service, startMesh, type TestMesh } from './support/mesh.ts'

const base = [
  client(),
  client('visitor', 'shop'),
  service('reviews'),
  pod('reviews', 'v1'),
  pod('reviews', 'v2'),
  pod('reviews', 'v3'),
  `
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews}
spec:
  host: reviews
  subsets:
    - {name: v1, labels: {version: v1}}
    - {name: v2, labels: {version: v2}}
    - {name: v3, labels: {version: v3}}
---`,
].join('')

/** A VirtualService for reviews that sends everything to one version. */
const virtualService = (name: string, version: string, more = '', namespace = 'default') => `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: ${name}, namespace: ${namespace}}
spec:
  hosts: [reviews.default.svc.cluster.local]
  ${more}
  http:
    - route: [{destination: {host: reviews.default.svc.cluster.local, subset: ${version}}}]
---`

describe('which VirtualService counts', () => {
  let mesh: TestMesh
  beforeAll(async () => {
    mesh = await startMesh({ 'base.yaml': base, 'routes.yaml': '' }, { watch: true })
  })
  afterAll(() => mesh?.stop())
  const version = async (from: string) => (await mesh.get(from, 'http://reviews.default:9080/')).echo?.version

  it('the oldest of several for one host, for sidecars; of equally old ones the first by name', async () => {
    const aged = (yaml: string, time: string) =>
      yaml.replace('namespace: default}', `namespace: default, creationTimestamp: ${time}}`)
    await mesh.write(
      'routes.yaml',
      aged(virtualService('b', 'v2'), '2026-01-01T00:00:00Z') + aged(virtualService('a', 'v3'), '2026-01-02T00:00:00Z'),
    )
    expect(await version('client')).toBe('v2')
    await mesh.write('routes.yaml', virtualService('d', 'v2') + virtualService('c', 'v3'))
    expect(await version('client')).toBe('v3')
  })

  it("one that is private to the client's namespace before one that is public", async () => {
    await mesh.write(
      'routes.yaml',
      virtualService('public', 'v2') + virtualService('private', 'v3', 'exportTo: ["."]', 'shop'),
    )
    expect(await version('visitor.shop')).toBe('v3')
    expect(await version('client')).toBe('v2')
  })

  it('one that is exported to other namespaces only does not count here', async () => {
    await mesh.write('routes.yaml', virtualService('for-shop', 'v2', 'exportTo: [shop]'))
    expect(await version('visitor.shop')).toBe('v2')
    const split = await mesh.split('client', 'http://reviews:9080/', 30)
    expect(Object.keys(split).sort()).toEqual(['v1', 'v2', 'v3'])
  })

  it('a delegate takes over what the root leaves to it', async () => {
    await mesh.write(
      'routes.yaml',
      `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: root}
spec:
  hosts: [reviews]
  http:
    - match: [{uri: {prefix: /shop}}]
      delegate: {name: shop-routes, namespace: shop}
    - route: [{destination: {host: reviews, subset: v1}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: shop-routes, namespace: shop}
spec:
  http:
    - match: [{uri: {prefix: /shop/new}}]
      route: [{destination: {host: reviews.default.svc.cluster.local, subset: v3}}]
    - route: [{destination: {host: reviews.default.svc.cluster.local, subset: v2}}]
`,
    )
    const at = async (path: string) => (await mesh.get('client', `http://reviews:9080${path}`)).echo?.version
    expect([await at('/'), await at('/shop'), await at('/shop/new')]).toEqual(['v1', 'v2', 'v3'])
  })
})

describe('load balancers', () => {
  const balancing = (simple: string) => `
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews}
spec: {host: reviews, trafficPolicy: {loadBalancer: {simple: ${simple}}}}
---`

  it('ROUND_ROBIN takes the instances in turn', async () => {
    const mesh = await startMesh(base.replace(/apiVersion: networking[\s\S]*$/, balancing('ROUND_ROBIN')))
    try {
      expect(await mesh.split('client', 'http://reviews:9080/', 30)).toEqual({ v1: 10, v2: 10, v3: 10 })
    } finally {
      await mesh.stop()
    }
  })

  for (const simple of ['RANDOM', 'LEAST_REQUEST'])
    it(`${simple} reaches every instance, and the same seed gives the same choices`, async () => {
      const splits: Record<string, number>[] = []
      for (let i = 0; i < 2; i++) {
        const mesh = await startMesh(base.replace(/apiVersion: networking[\s\S]*$/, balancing(simple)), { seed: 7 })
        try {
          splits.push(await mesh.split('client', 'http://reviews:9080/', 60))
        } finally {
          await mesh.stop()
        }
      }
      expect(Object.keys(splits[0]!).sort()).toEqual(['v1', 'v2', 'v3'])
      expect(Math.min(...Object.values(splits[0]!))).toBeGreaterThan(6)
      expect(Object.values(splits[1]!).reduce((a, b) => a + b)).toBe(60)
    })
})
