import { once } from 'node:events'
import https from 'node:https'
import type net from 'node:net'
import type { TLSSocket } from 'node:tls'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { type App, startApp } from './support/app.ts'
import { type Identity, makeAuthority, makeIdentity } from './support/certificates.ts'
import { gatewayYaml, secretYaml } from './support/gateway.ts'
import { client, startMesh, type TestMesh } from './support/mesh.ts'

/** As in Istio's task «Egress Gateways». */
const through = (destination: string) => `
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: egress}
spec:
  selector: {istio: egressgateway}
  servers:
  - port: {number: 443, name: https, protocol: HTTPS}
    hosts: [api.example.com]
    tls: {mode: ISTIO_MUTUAL}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: egress}
spec:
  host: istio-egressgateway.istio-system.svc.cluster.local
  subsets:
  - name: api
    trafficPolicy:
      portLevelSettings:
      - port: {number: 443}
        tls: {mode: ISTIO_MUTUAL, sni: api.example.com}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: egress}
spec:
  hosts: [api.example.com]
  gateways: [mesh, egress]
  http:
  - match: [{gateways: [mesh], port: 80}]
    route: [{destination: {host: istio-egressgateway.istio-system.svc.cluster.local, subset: api, port: {number: 443}}}]
  - match: [{gateways: [egress], port: 443}]
    route: [{destination: {host: api.example.com, port: {number: ${destination}}}}]
    headers: {request: {set: {x-by: gateway}}}
---`
const entry = (port: number, ports = '{number: 80, name: http, protocol: HTTP}', named = 'http') => `
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: api}
spec:
  hosts: [api.example.com]
  ports: [${ports}]
  resolution: STATIC
  endpoints: [{address: 127.0.0.1, ports: {${named}: ${port}}}]
---`

describe('an egress gateway', () => {
  let mesh: TestMesh | undefined
  let app: App
  let secure: https.Server
  let authority: Identity
  let caller: Identity
  beforeAll(async () => {
    authority = await makeAuthority('CN=ca')
    const server = await makeIdentity(authority, 'CN=api', [{ type: 'dns', value: 'api.example.com' }])
    caller = await makeIdentity(authority, 'CN=caller', [{ type: 'dns', value: 'caller.example.com' }])
    app = await startApp((request, response) => response.end(`${request.headers.host} ${request.headers['x-by']}`))
    secure = https.createServer(
      { key: server.key, cert: server.cert, ca: authority.cert, requestCert: true, rejectUnauthorized: true },
      (request, response) => response.end(`secure ${(request.socket as TLSSocket).getPeerCertificate().subject.CN}`),
    )
    secure.listen(0, '127.0.0.1')
    await once(secure, 'listening')
  })
  afterEach(async () => {
    await mesh?.stop()
    mesh = undefined
  })
  afterAll(async () => {
    await app.close()
    secure.close()
  })

  it('is where requests leave the mesh, and the way there is mutual TLS', async () => {
    mesh = await startMesh(gatewayYaml({ name: 'egressgateway' }) + client() + entry(app.port) + through('80'))
    const got = await mesh.get('client', 'http://api.example.com/')
    expect([got.status, got.text]).toEqual([200, 'api.example.com gateway'])
    expect(app.requests.at(-1)?.headers['x-forwarded-client-cert']).toContain(
      'URI=spiffe://cluster.local/ns/default/sa/client',
    )
  })

  it('stands in when no file brings it', async () => {
    mesh = await startMesh(client() + entry(app.port) + through('80'))
    expect((await mesh.get('client', 'http://api.example.com/')).text).toBe('api.example.com gateway')
  })

  it('may begin TLS itself, with the certificate of a secret', async () => {
    const { port } = secure.address() as net.AddressInfo
    const ports = '{number: 80, name: http, protocol: HTTP}, {number: 443, name: https-port, protocol: HTTP}'
    const rule = `
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: originate, namespace: istio-system}
spec:
  host: api.example.com
  trafficPolicy:
    portLevelSettings:
    - port: {number: 443}
      tls: {mode: MUTUAL, credentialName: caller, sni: api.example.com}
---`
    const secret = { 'tls.crt': caller.cert, 'tls.key': caller.key, 'ca.crt': authority.cert }
    mesh = await startMesh(
      gatewayYaml({ name: 'egressgateway' }) +
        client() +
        entry(port, ports, 'https-port') +
        through('443') +
        rule +
        secretYaml('caller', secret),
    )
    expect((await mesh.get('client', 'http://api.example.com/')).text).toBe('secure caller')
  })

  it('without its secret it answers 503', async () => {
    const { port } = secure.address() as net.AddressInfo
    const ports = '{number: 80, name: http, protocol: HTTP}, {number: 443, name: https-port, protocol: HTTP}'
    const rule = `
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: originate, namespace: istio-system}
spec: {host: api.example.com, trafficPolicy: {tls: {mode: SIMPLE, credentialName: missing, sni: api.example.com}}}
---`
    mesh = await startMesh(
      gatewayYaml({ name: 'egressgateway' }) + client() + entry(port, ports, 'https-port') + through('443') + rule,
    )
    expect((await mesh.get('client', 'http://api.example.com/')).status).toBe(503)
  })
})
