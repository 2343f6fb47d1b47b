import { afterEach, expect, it } from 'vitest'
import { startMesh, type TestMesh } from '../src/testing/index.ts'
import { client, pod, service } from './support/mesh.ts'

let mesh: TestMesh
afterEach(() => mesh?.close())

const said = () =>
  mesh.events.flatMap((event) =>
    event.type === 'problem' ? [`${event.line}: ${event.severity}: ${event.message}`] : [],
  )

it('a route to what nobody defines is told of, with its place, until it is defined', async () => {
  const base = [client(), service('reviews'), pod('reviews', 'v1')].join('')
  const routes = `apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews}
spec:
  hosts: [reviews]
  gateways: [mesh, edge]
  http:
  - match: [{uri: {prefix: /typo}}]
    route:
    - destination: {host: reviws}
  - route:
    - destination: {host: reviews, subset: v9}
    mirrors:
    - destination: {host: copies.example.com}
`
  mesh = await startMesh({ yaml: [base, routes] })
  const expected = [
    '6: warning: there is no Gateway default/edge: no client comes in by it',
    '10: warning: there is no service reviws.default.svc.cluster.local: nothing gets there',
    '12: warning: no DestinationRule for reviews.default.svc.cluster.local defines the subset "v9": nothing gets there',
    '14: warning: there is no service copies.example.com: nothing gets there',
  ]
  await expect.poll(said).toEqual(expected)
  expect((await mesh.call('client', 'http://reviews:9080/')).flags).toEqual(['NC'])

  await mesh.apply(`
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews}
spec: {host: reviews, subsets: [{name: v9, labels: {version: v1}}]}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: all}
spec: {hosts: ["*.example.com"], ports: [{number: 80, name: http, protocol: HTTP}], resolution: NONE}
`)
  expect((await mesh.call('client', 'http://reviews:9080/')).status).toBe(200)
  // Nothing is told twice; what breaks again is.
  expect(said()).toEqual(expected)
  await mesh.delete({ kind: 'DestinationRule', name: 'reviews' })
  await expect.poll(said).toEqual([...expected, expected[2]])
})
