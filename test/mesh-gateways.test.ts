import { afterEach, describe, expect, it } from 'vitest'
import { addressOf, ask, gatewayYaml } from './support/gateway.ts'
import { client, pod, service, startMesh, type TestMesh } from './support/mesh.ts'

const shop = (selector = 'istio: ingressgateway', port = 80) => `
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: shop}
spec:
  selector: {${selector}}
  servers:
  - port: {number: ${port}, name: http, protocol: HTTP}
    hosts: [shop.example.com]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: shop}
spec:
  hosts: [shop.example.com]
  gateways: [shop]
  http:
  - route: [{destination: {host: reviews}}]
---`

describe('gateways of a mesh', () => {
  let mesh: TestMesh | undefined
  afterEach(async () => {
    await mesh?.stop()
    mesh = undefined
  })
  const problems = () =>
    (mesh?.events ?? []).flatMap((event) =>
      event.type === 'problems' ? event.problems.map(({ severity, message }) => `${severity}: ${message}`) : [],
    )

  it('a gateway pod listens where its service sends, and nowhere else', async () => {
    mesh = await startMesh(gatewayYaml() + service('reviews') + pod('reviews', 'v1') + shop())
    const answer = await ask(mesh, 'shop.example.com')
    expect([answer.status, answer.echo.workload]).toEqual([200, 'reviews-v1'])
    expect(answer.headers.server).toBe('istio-envoy')
    const view = mesh.mesh.workloads().find(({ workload }) => workload === 'istio-ingressgateway')
    expect(view?.app).toBe('gateway')
    expect(view?.services?.['80']).toBe(view?.inbound['8080'])
    await expect(ask(mesh, 'shop.example.com', { port: 8443 })).rejects.toThrow('ECONNREFUSED')
  })

  it('a pod of the mesh reaches the gateway by its service', async () => {
    mesh = await startMesh(gatewayYaml() + service('reviews') + pod('reviews', 'v1') + client() + shop())
    const got = await mesh.get('client', 'http://istio-ingressgateway.istio-system/', {
      headers: { host: 'shop.example.com' },
    })
    expect([got.status, got.echo?.workload]).toEqual([200, 'reviews-v1'])
    const from = await mesh.get('istio-ingressgateway.istio-system', 'http://reviews.default:9080/')
    expect(from.status).toBe(200)
  })

  it('a client outside the mesh calls by the host of a gateway', async () => {
    mesh = await startMesh(gatewayYaml() + service('reviews') + pod('reviews', 'v1') + shop())
    const got = await mesh.get('outside', 'http://shop.example.com/x')
    expect([got.status, got.echo?.workload, got.echo?.request.path]).toEqual([200, 'reviews-v1', '/x'])
    // What the gateway did is known, though it gives requests from outside ids of its own.
    expect(got.answer).toMatchObject({ by: 'reviews-v1', cluster: 'outbound|9080||reviews.default.svc.cluster.local' })
    const unknown = await mesh.get('outside', 'http://other.example.com/')
    expect([unknown.status, unknown.answer.by, unknown.answer.flags]).toEqual([404, undefined, 'NR'])
    await expect(mesh.get('outside', 'http://shop.example.com:81/')).rejects.toThrow(
      /no gateway listens on port 81; they listen on 80 of istio-ingressgateway/,
    )
  })

  it('a server on 8080 is reached at port 80 of the gateway’s service, as in Istio’s samples', async () => {
    mesh = await startMesh(service('reviews') + pod('reviews', 'v1') + shop().replace('number: 80,', 'number: 8080,'))
    expect((await mesh.get('outside', 'http://shop.example.com/')).echo?.workload).toBe('reviews-v1')
    expect((await mesh.get('outside', 'http://shop.example.com:8080/')).echo?.workload).toBe('reviews-v1')
    expect(mesh.mesh.gatewayExamples().map(({ url }) => url)).toEqual(['http://shop.example.com/'])
  })

  it('samples that count on an installed Istio get its gateway', async () => {
    mesh = await startMesh(service('reviews') + pod('reviews', 'v1') + shop())
    expect((await ask(mesh, 'shop.example.com')).echo.workload).toBe('reviews-v1')
    expect(problems().join()).toMatch(
      /info: no workload has the labels istio=ingressgateway: a gateway and its service istio-ingressgateway\.istio-system stand in/,
    )
    const workload = mesh.mesh.registry.workloads.find(({ gateway }) => gateway)
    expect(workload?.serviceAccount).toBe('istio-ingressgateway-service-account')
    const { host, port } = addressOf(mesh, 'istio-ingressgateway', 8080)
    expect(mesh.mesh.gatewayExamples()).toEqual([
      { command: `curl -H 'Host: shop.example.com' http://${host}:${port}/`, url: 'http://shop.example.com/' },
    ])
  })

  it('a service that waits for the gateway tells where the stand-in goes', async () => {
    const waiting = `
apiVersion: v1
kind: Service
metadata: {name: edge, namespace: edges}
spec: {selector: {istio: edge, tier: front}, ports: [{name: http, port: 80, targetPort: 9000}]}
---`
    mesh = await startMesh(waiting + service('reviews') + pod('reviews', 'v1') + shop('istio: edge'))
    expect((await ask(mesh, 'shop.example.com', { workload: 'edge', port: 9000 })).status).toBe(200)
  })

  it('nothing stands in when that is not wanted, or when a selector fits none of the gateways there are', async () => {
    mesh = await startMesh(service('reviews') + pod('reviews', 'v1') + shop(), { gateways: false })
    expect(mesh.mesh.workloads().map(({ name }) => name)).toEqual(['reviews-v1'])
    expect(problems().join()).toContain('warning: no gateway has the labels istio=ingressgateway, so nothing serves it')
    await mesh.stop()
    mesh = await startMesh(gatewayYaml() + service('reviews') + pod('reviews', 'v1') + shop('istio: nobody'))
    expect(mesh.mesh.workloads().filter(({ app }) => app === 'gateway')).toHaveLength(1)
    expect(problems().join()).toMatch(
      /warning: no gateway has the labels istio=nobody.*gateways here are istio-ingressgateway\S+ \(istio=ingressgateway/,
    )
    await expect(ask(mesh, 'shop.example.com')).rejects.toThrow('ECONNREFUSED')
  })

  it('ports open and close as Gateways come and go, without a restart', async () => {
    const base = gatewayYaml() + service('reviews') + pod('reviews', 'v1')
    mesh = await startMesh({ 'mesh.yaml': base, 'gateway.yaml': '' }, { watch: true })
    const pods = () => mesh?.mesh.workloads().map(({ name, address }) => `${name} ${address}`)
    const before = pods()
    await expect(ask(mesh, 'shop.example.com')).rejects.toThrow('ECONNREFUSED')
    await mesh.write('gateway.yaml', shop())
    expect((await ask(mesh, 'shop.example.com')).status).toBe(200)
    await mesh.write('gateway.yaml', shop('istio: ingressgateway', 31400))
    expect((await ask(mesh, 'shop.example.com', { port: 31400 })).status).toBe(200)
    await expect(ask(mesh, 'shop.example.com')).rejects.toThrow('ECONNREFUSED')
    expect(pods()).toEqual(before)
  })

  it('a server that conflicts with one before is told of', async () => {
    const tcp = `
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: zzz}
spec:
  selector: {istio: ingressgateway}
  servers:
  - port: {number: 80, name: tcp, protocol: TCP}
    hosts: ["*"]
---`
    mesh = await startMesh(gatewayYaml() + service('reviews') + pod('reviews', 'v1') + shop() + tcp)
    expect(problems().join()).toContain(
      'the server tcp of Gateway default/zzz is left out: port 8080 has a server of protocol HTTP',
    )
    expect((await ask(mesh, 'shop.example.com')).status).toBe(200)
  })
})
