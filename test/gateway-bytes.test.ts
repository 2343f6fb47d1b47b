import { once } from 'node:events'
import https from 'node:https'
import net from 'node:net'
import tls from 'node:tls'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { type Identity, makeAuthority, makeIdentity } from './support/certificates.ts'
import { addressOf, ask, gatewayYaml, secretYaml } from './support/gateway.ts'
import { client, pod, service, startMesh, type TestMesh } from './support/mesh.ts'

const gateway = (servers: string, name = 'g') => `
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: ${name}}
spec: {selector: {istio: ingressgateway}, servers: [${servers}]}
---`
const virtualService = (hosts: string, rules: string, name = 'v') => `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: ${name}}
spec: {hosts: [${hosts}], gateways: [g], ${rules}}
---`
const bytes = { name: 'tcp', port: 7000 }

describe('bytes through a gateway', () => {
  let mesh: TestMesh | undefined
  let authority: Identity
  let identity: Identity
  let secure: https.Server
  beforeAll(async () => {
    authority = await makeAuthority('CN=ca')
    identity = await makeIdentity(authority, 'CN=a', [{ type: 'dns', value: 'a.com' }])
    secure = https.createServer({ key: identity.key, cert: identity.cert }, (_, response) => response.end('secure'))
    secure.listen(0, '127.0.0.1')
    await once(secure, 'listening')
  })
  afterEach(async () => {
    await mesh?.stop()
    mesh = undefined
  })
  afterAll(() => {
    secure.close()
  })

  const exchange = async (socket: net.Socket, text: string): Promise<string> => {
    socket.write(text)
    const failed = once(socket, 'close').then(() => ['closed'])
    const [data] = await Promise.race([once(socket, 'data'), failed])
    socket.destroy()
    return String(data)
  }

  it('a TCP server forwards to the route of its port', async () => {
    mesh = await startMesh(
      gatewayYaml() +
        service('echo', 'default', bytes) +
        pod('echo', 'v1', { port: 7000 }) +
        gateway('{port: {number: 31400, name: tcp, protocol: TCP}, hosts: ["*"]}') +
        virtualService('"*"', 'tcp: [{match: [{port: 31400}], route: [{destination: {host: echo}}]}]'),
    )
    const to = addressOf(mesh, 'istio-ingressgateway', 31400)
    expect(await exchange(net.connect(to), 'hello')).toBe('hello')
  })

  it('without a route there is no listener', async () => {
    mesh = await startMesh(gatewayYaml() + gateway('{port: {number: 31400, name: tcp, protocol: TCP}, hosts: ["*"]}'))
    const to = addressOf(mesh, 'istio-ingressgateway', 31400)
    const [error] = await once(net.connect(to), 'error')
    expect(error.code).toBe('ECONNREFUSED')
  })

  it('TLS of a TCP server ends at the gateway', async () => {
    mesh = await startMesh(
      gatewayYaml() +
        secretYaml('cert', { 'tls.crt': identity.cert, 'tls.key': identity.key }) +
        service('echo', 'default', bytes) +
        pod('echo', 'v1', { port: 7000 }) +
        gateway(
          '{port: {number: 15443, name: tls, protocol: TLS}, hosts: [a.com], tls: {mode: SIMPLE, credentialName: cert}}',
        ) +
        virtualService('a.com', 'tcp: [{match: [{port: 15443}], route: [{destination: {host: echo}}]}]'),
    )
    const to = addressOf(mesh, 'istio-ingressgateway', 15443)
    const socket = tls.connect({ ...to, servername: 'a.com', ca: authority.cert })
    await once(socket, 'secureConnect')
    expect(await exchange(socket, 'hello')).toBe('hello')
  })

  it('PASSTHROUGH routes by the name that the client asks for, and leaves TLS to the app', async () => {
    const { port } = secure.address() as net.AddressInfo
    mesh = await startMesh(
      gatewayYaml() +
        service('web', 'default', { name: 'https', port: 443 }) +
        pod('web', 'v1', { port: 443, annotations: `dinghy.dev/app: "443=127.0.0.1:${port}"` }) +
        gateway('{port: {number: 443, name: tls, protocol: TLS}, hosts: ["*.com"], tls: {mode: PASSTHROUGH}}') +
        virtualService(
          'a.com',
          'tls: [{match: [{port: 443, sniHosts: [a.com]}], route: [{destination: {host: web}}]}]',
        ),
    )
    const answer = await ask(mesh, 'a.com', { tls: { ca: authority.cert, rejectUnauthorized: true } })
    expect([answer.status, answer.text, answer.certificate?.subject.CN]).toEqual([200, 'secure', 'a'])
    await expect(ask(mesh, 'b.com', { tls: {} })).rejects.toThrow()
  })

  it('AUTO_PASSTHROUGH takes mutual TLS of the mesh to the service that it is for, and nothing else', async () => {
    const sni = 'outbound_.9080_._.reviews.default.svc.cluster.local'
    mesh = await startMesh(
      service('reviews') +
        pod('reviews', 'v1') +
        client() +
        gateway(
          '{port: {number: 15443, name: tls, protocol: TLS}, hosts: ["*.local"], tls: {mode: AUTO_PASSTHROUGH}}',
        ) +
        // A client that is sent to the gateway instead of the service, as one of another network would be.
        `
apiVersion: v1
kind: Pod
metadata:
  name: gateway
  namespace: istio-system
  labels: {istio: ingressgateway}
  annotations: {inject.istio.io/templates: gateway}
spec: {containers: [{name: istio-proxy, image: auto}]}
status: {podIP: 10.244.99.5}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: far}
spec:
  hosts: [far.example.com]
  addresses: [240.0.0.9]
  ports: [{number: 80, name: http, protocol: HTTP}]
  resolution: STATIC
  location: MESH_INTERNAL
  endpoints: [{address: 10.244.99.5, ports: {http: 15443}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: far}
spec:
  host: far.example.com
  trafficPolicy:
    tls: {mode: ISTIO_MUTUAL, sni: ${sni}, subjectAltNames: ["spiffe://cluster.local/ns/default/sa/reviews"]}
---`,
    )
    const got = await mesh.get('client', 'http://far.example.com/')
    expect([got.status, got.echo?.workload]).toEqual([200, 'reviews-v1'])
    // The app's sidecar saw the client's certificate, not the gateway's.
    expect(got.echo?.request.headers['x-forwarded-client-cert']).toContain('sa/client')
    const stranger = tls.connect({
      ...addressOf(mesh, 'gateway', 15443),
      servername: sni,
      rejectUnauthorized: false,
    })
    const [error] = await once(stranger, 'error')
    expect(String(error)).toMatch(/disconnected|ECONNRESET/)
  })

  it('ISTIO_MUTUAL takes clients of the mesh alone', async () => {
    mesh = await startMesh(
      gatewayYaml() +
        service('reviews') +
        pod('reviews', 'v1') +
        client() +
        gateway('{port: {number: 443, name: https, protocol: HTTPS}, hosts: ["*"], tls: {mode: ISTIO_MUTUAL}}') +
        virtualService('"*"', 'http: [{route: [{destination: {host: reviews}}]}]') +
        `
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: edge}
spec:
  host: istio-ingressgateway.istio-system.svc.cluster.local
  trafficPolicy: {portLevelSettings: [{port: {number: 443}, tls: {mode: ISTIO_MUTUAL, sni: x.com}}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: there}
spec:
  hosts: [reviews]
  http: [{match: [{uri: {prefix: /far}}], route: [{destination: {host: istio-ingressgateway.istio-system.svc.cluster.local, port: {number: 443}}}]}, {route: [{destination: {host: reviews}}]}]
---`,
    )
    const got = await mesh.get('client', 'http://reviews:9080/far')
    expect([got.status, got.echo?.workload]).toEqual([200, 'reviews-v1'])
    expect(got.echo?.request.headers['x-forwarded-client-cert']).toContain(
      'URI=spiffe://cluster.local/ns/default/sa/client',
    )
    await expect(ask(mesh, 'x.com', { tls: {} })).rejects.toThrow()
  })
})
