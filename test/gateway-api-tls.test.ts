import https from 'node:https'
import tls from 'node:tls'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { makeAuthority, makeIdentity } from './support/certificates.ts'
import { ask, secretYaml } from './support/gateway.ts'
import { startMesh, type TestMesh } from './support/mesh.ts'

const APP = `
apiVersion: v1
kind: Service
metadata: {name: reviews}
spec: {selector: {app: reviews}, ports: [{name: http, port: 9080}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: reviews}
spec:
  selector: {matchLabels: {app: reviews}}
  template:
    metadata: {labels: {app: reviews}}
    spec: {containers: [{name: app, image: echo, ports: [{containerPort: 9080}]}]}
---`

const config = (name: string, data: Record<string, string>) => `
apiVersion: v1
kind: ConfigMap
metadata: {name: ${name}}
data: ${JSON.stringify(data)}
---`

const listener = (name: string, port: number, refs: string) =>
  `  - {name: ${name}, port: ${port}, protocol: HTTPS, hostname: "${name}.test", tls: {certificateRefs: [${refs}]}}`

const GATEWAY = `
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  gatewayClassName: istio
  tls:
    frontend:
      default: {}
      perPort:
      - port: 9443
        tls: {validation: {caCertificateRefs: [{group: "", kind: ConfigMap, name: clients}]}}
  listeners:
${listener('own', 8443, '{name: own}')}
${listener('far', 8443, '{name: far, namespace: certs}')}
${listener('denied', 8443, '{name: denied, namespace: certs}')}
${listener('mutual', 9443, '{name: own}')}
  - {name: pass, port: 7443, protocol: TLS, tls: {mode: Passthrough}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: ReferenceGrant
metadata: {name: far, namespace: certs}
spec:
  from: [{group: gateway.networking.k8s.io, kind: Gateway, namespace: default}]
  to: [{group: "", kind: Secret, name: far}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: all}
spec:
  parentRefs: [{name: edge}]
  rules: [{backendRefs: [{name: reviews, port: 9080}]}]
---
apiVersion: v1
kind: Service
metadata: {name: secure}
spec: {ports: [{name: tls, port: 443}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: TLSRoute
metadata: {name: pass}
spec:
  parentRefs: [{name: edge, sectionName: pass}]
  hostnames: [secure.test]
  rules: [{backendRefs: [{name: secure, port: 443}]}]
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {ports: [{name: http, port: 80}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: web}
spec:
  parentRefs: [{name: edge, sectionName: own}]
  rules:
  - matches: [{path: {value: /web}}]
    backendRefs: [{name: web, port: 80}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: BackendTLSPolicy
metadata: {name: web}
spec:
  targetRefs: [{group: "", kind: Service, name: web}]
  validation:
    caCertificateRefs: [{group: "", kind: ConfigMap, name: clients}]
    hostname: far.test
---`

const endpoints = (name: string, portName: string, port: number) => `
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: ${name}, labels: {kubernetes.io/service-name: ${name}}}
addressType: IPv4
ports: [{name: ${portName}, port: ${port}}]
endpoints: [{addresses: [127.0.0.1]}]
---`

describe('listeners with TLS', () => {
  let mesh: TestMesh
  let server: tls.Server
  let web: https.Server
  let client: { key: string; cert: string }

  beforeAll(async () => {
    const authority = await makeAuthority('CN=clients')
    client = await makeIdentity(authority, 'CN=ann', [])
    const own = await makeIdentity(authority, 'CN=own.test', [{ type: 'dns', value: 'own.test' }])
    const far = await makeIdentity(authority, 'CN=far.test', [{ type: 'dns', value: 'far.test' }])
    const secret = (name: string, { cert, key }: { cert: string; key: string }, namespace: string) =>
      secretYaml(name, { 'tls.crt': cert, 'tls.key': key }, namespace)
    server = tls.createServer({ cert: far.cert, key: far.key }, (socket) => socket.end(`hello ${socket.servername}`))
    server.on('tlsClientError', () => {})
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const { port } = server.address() as { port: number }
    web = https.createServer({ cert: far.cert, key: far.key }, (request, response) => {
      response.end(`web for ${(request.socket as tls.TLSSocket & { servername: string }).servername}`)
    })
    await new Promise<void>((resolve) => web.listen(0, '127.0.0.1', resolve))
    const webPort = (web.address() as { port: number }).port
    mesh = await startMesh(
      [
        APP,
        secret('own', own, 'default'),
        secret('far', far, 'certs'),
        secret('denied', far, 'certs'),
        config('clients', { 'ca.crt': authority.cert }),
        endpoints('secure', 'tls', port),
        endpoints('web', 'http', webPort),
        GATEWAY,
      ].join('\n'),
    )
  })
  afterAll(async () => {
    server.close()
    web.close()
    await mesh.stop()
  })

  const at = { workload: 'edge-istio', port: 8443 }

  it('show the certificate of their secret, chosen by the name that is asked for', async () => {
    const own = await ask(mesh, 'own.test', { ...at, tls: {} })
    expect([own.status, own.certificate?.subject.CN, own.echo.workload]).toEqual([200, 'own.test', 'reviews'])
  })

  it('use a secret of another namespace where a ReferenceGrant allows it, and only there', async () => {
    const far = await ask(mesh, 'far.test', { ...at, tls: {} })
    expect([far.status, far.certificate?.subject.CN]).toEqual([200, 'far.test'])
    await expect(ask(mesh, 'denied.test', { ...at, tls: {} })).rejects.toThrow()
    const told = mesh.events.flatMap((event) => (event.type === 'problems' ? event.problems : []))
    expect(told.map(({ message }) => message)).toContain(
      'Gateway default/edge: listener denied: Accepted: NoValidCACertificate: certificateRef denied/certs not accessible to a Gateway in namespace "default" (missing a ReferenceGrant?)',
    )
  })

  it('ask clients for certificates where the Gateway validates its frontend', async () => {
    const mutual = { workload: 'edge-istio', port: 9443 }
    expect((await ask(mesh, 'mutual.test', { ...mutual, tls: client })).status).toBe(200)
    await expect(ask(mesh, 'mutual.test', { ...mutual, tls: {} })).rejects.toThrow()
  })

  it('lead to backends over TLS where a BackendTLSPolicy says so', async () => {
    const answer = await ask(mesh, 'own.test', { ...at, path: '/web', tls: {} })
    expect([answer.status, answer.text]).toEqual([200, 'web for far.test'])
  })

  it('pass TLS on by its TLSRoutes', async () => {
    const view = mesh.mesh.workloads().find(({ workload }) => workload === 'edge-istio')
    const [host = '', port = ''] = (view?.inbound['7443'] ?? '').split(':')
    const text = await new Promise<string>((resolve, reject) => {
      const socket = tls.connect({ host, port: Number(port), servername: 'secure.test', rejectUnauthorized: false })
      let all = ''
      socket.setEncoding('utf8').on('data', (chunk: string) => {
        all += chunk
      })
      socket.on('end', () => resolve(all))
      socket.on('error', reject)
    })
    expect(text).toBe('hello secure.test')
  })
})
