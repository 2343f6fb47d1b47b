import http from 'node:http'
import net from 'node:net'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { startMesh, type TestMesh } from './support/mesh.ts'

const app = (name: string, port = 9080, appPort = 'http') => `
apiVersion: v1
kind: Service
metadata: {name: ${name}}
spec: {selector: {app: ${name}}, ports: [{name: ${appPort}, port: ${port}}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: ${name}}
spec:
  selector: {matchLabels: {app: ${name}}}
  template:
    metadata: {labels: {app: ${name}}}
    spec: {containers: [{name: app, image: echo, ports: [{containerPort: ${port}}]}]}
---`

const CLIENT = `
apiVersion: v1
kind: Pod
metadata: {name: client, labels: {app: client}}
spec: {containers: [{name: app, image: client}]}
---`

const EDGE = `
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  gatewayClassName: istio
  listeners:
  - {name: http, port: 8080, protocol: HTTP}
  - {name: tcp, port: 8090, protocol: TCP}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: shop}
spec:
  parentRefs: [{name: edge, sectionName: http}]
  hostnames: [shop.test]
  rules:
  - matches: [{path: {value: /api}}]
    filters:
    - {type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /v1}}}
    - {type: ResponseHeaderModifier, responseHeaderModifier: {set: [{name: x-shop, value: "1"}]}}
    backendRefs: [{name: reviews, port: 9080}]
  - matches: [{path: {value: /old}}]
    filters: [{type: RequestRedirect, requestRedirect: {hostname: new.test}}]
  - matches: [{path: {value: /gone}}]
    backendRefs: [{name: nowhere, port: 80}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: TCPRoute
metadata: {name: raw}
spec:
  parentRefs: [{name: edge, sectionName: tcp}]
  rules: [{backendRefs: [{name: raw, port: 7000}]}]
`

/** The socket of a port of the gateway's pod, as reached from outside. */
function doorOf({ mesh }: TestMesh, workload: string, port: number): { host: string; port: number } {
  const at = mesh.workloads().find((known) => known.workload === workload)?.inbound[String(port)] ?? ''
  const colon = at.lastIndexOf(':')
  return { host: at.slice(0, colon), port: Number(at.slice(colon + 1)) }
}

function fetchAt(
  door: { host: string; port: number },
  path: string,
  host: string,
): Promise<http.IncomingMessage & { text: string }> {
  return new Promise((resolve, reject) => {
    const request = http.get({ ...door, path, headers: { host }, agent: false }, (response) => {
      let text = ''
      response.setEncoding('utf8').on('data', (chunk: string) => {
        text += chunk
      })
      response.on('end', () => resolve(Object.assign(response, { text })))
    })
    request.on('error', reject)
  })
}

describe('a Gateway of class istio', () => {
  let mesh: TestMesh

  beforeAll(async () => {
    mesh = await startMesh(
      { 'apps.yaml': app('reviews') + app('raw', 7000, 'tcp') + CLIENT, 'edge.yaml': EDGE },
      { watch: true },
    )
  })
  afterAll(() => mesh.stop())

  it('is served by a gateway of its own, by the rules of its HTTPRoutes', async () => {
    const door = doorOf(mesh, 'edge-istio', 8080)
    const api = await fetchAt(door, '/api/x', 'shop.test')
    expect(api.statusCode).toBe(200)
    expect(api.headers['x-shop']).toBe('1')
    expect(JSON.parse(api.text)).toMatchObject({ workload: 'reviews', request: { path: '/v1/x' } })
    const old = await fetchAt(door, '/old/y', 'shop.test')
    expect([old.statusCode, old.headers.location]).toEqual([302, 'http://new.test:8080/old/y'])
    expect((await fetchAt(door, '/gone', 'shop.test')).statusCode).toBe(500)
    expect((await fetchAt(door, '/api', 'other.test')).statusCode).toBe(404)
    expect((await fetchAt(door, '/apix', 'shop.test')).statusCode).toBe(404)
  })

  it('passes connections on by its TCPRoutes', async () => {
    const socket = net.connect(doorOf(mesh, 'edge-istio', 8090))
    const answer = await new Promise<string>((resolve, reject) => {
      socket.once('error', reject)
      socket.once('data', (chunk) => resolve(chunk.toString()))
      socket.write('hello\n')
    })
    socket.destroy()
    expect(answer).toContain('hello')
  })

  it('is reached inside the mesh under the name of its service', async () => {
    const got = await mesh.get('client', 'http://edge-istio:8080/api', { headers: { host: 'shop.test' } })
    expect(got.echo?.workload).toBe('reviews')
  })

  it('tells what is wrong with a route, once, with its place', () => {
    const problems = mesh.events.flatMap((event) => (event.type === 'problems' ? event.problems : []))
    expect(problems.filter(({ file }) => file.endsWith('edge.yaml'))).toMatchObject([
      {
        severity: 'warning',
        line: 26,
        message:
          'HTTPRoute default/shop: ResolvedRefs: BackendNotFound: backend(nowhere.default.svc.cluster.local) not found',
      },
    ])
  })

  it('follows changes of routes, and their status with them', async () => {
    const path = {
      from: '/gone}}]\n    backendRefs: [{name: nowhere, port: 80}]',
      to: '/back}}]\n    backendRefs: [{name: reviews, port: 9080}]',
    }
    await mesh.write('edge.yaml', EDGE.replace(path.from, path.to))
    expect((await fetchAt(doorOf(mesh, 'edge-istio', 8080), '/back', 'shop.test')).statusCode).toBe(200)
  })
})

describe('a route of the mesh', () => {
  it('steers the requests of sidecars to its Service, on the port that it names', async () => {
    const mesh = await startMesh(
      `${app('reviews')}${app('other')}${CLIENT}
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: east-west}
spec:
  parentRefs: [{group: "", kind: Service, name: reviews, port: 9080}]
  rules:
  - matches: [{headers: [{name: x-user, value: ann}]}]
    backendRefs: [{name: other, port: 9080}]
  - backendRefs: [{name: reviews, port: 9080}]
`,
    )
    try {
      const url = 'http://reviews:9080/'
      expect((await mesh.get('client', url, { headers: { 'x-user': 'ann' } })).echo?.workload).toBe('other')
      expect((await mesh.get('client', url)).echo?.workload).toBe('reviews')
    } finally {
      await mesh.stop()
    }
  })
})
