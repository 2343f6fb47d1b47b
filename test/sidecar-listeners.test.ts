import fs from 'node:fs'
import http from 'node:http'
import https from 'node:https'
import os from 'node:os'
import path from 'node:path'
import { afterEach, describe, expect, test } from 'vitest'
import { makeAuthority, makeIdentity } from './support/certificates.ts'
import { client, pod, service, startMesh, type TestMesh } from './support/mesh.ts'

const cleanup: (() => unknown)[] = []
let mesh: TestMesh | undefined
afterEach(async () => {
  await mesh?.stop()
  mesh = undefined
  for (const fn of cleanup.splice(0)) await fn()
})

function socketPath(name: string): string {
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'dinghy-'))
  cleanup.push(() => fs.rmSync(dir, { recursive: true, force: true }))
  return path.join(dir, name)
}

/** A Sidecar for one app. */
const sidecar = (app: string, spec: string) => `
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: ${app}}
spec:
  workloadSelector: {labels: {app: ${app}}}
${spec}
---`

describe("a Sidecar's ingress", () => {
  test('may lead to another port of the app', async () => {
    const yaml = sidecar(
      'a',
      `  ingress:
  - port: {number: 9080, protocol: HTTP, name: http}
    defaultEndpoint: 127.0.0.1:7070`,
    )
    mesh = await startMesh(yaml + service('a') + pod('a', 'v1') + client())
    const got = await mesh.get('client', 'http://a:9080/')
    expect(got.status).toBe(200)
    const view = mesh.mesh.workloads().find(({ name }) => name === 'a-v1')!
    expect(Object.keys(view.inbound)).toContain('7070')
  })

  test('may lead to a unix socket', async () => {
    const at = socketPath('app.sock')
    const server = http.createServer((_request, response) => response.end('over a socket'))
    await new Promise<void>((resolve) => server.listen(at, resolve))
    cleanup.push(() => server.close())
    const yaml = sidecar(
      'a',
      `  ingress:
  - port: {number: 9080, protocol: HTTP, name: http}
    defaultEndpoint: unix://${at}`,
    )
    mesh = await startMesh(yaml + service('a') + pod('a', 'v1') + client())
    expect((await mesh.get('client', 'http://a:9080/')).text).toBe('over a socket')
  })

  test('has its own limits', async () => {
    const yaml = sidecar(
      'a',
      `  ingress:
  - port: {number: 9080, protocol: HTTP, name: http}
    connectionPool: {http: {http1MaxPendingRequests: 7}}
  inboundConnectionPool: {http: {http1MaxPendingRequests: 8}}`,
    )
    mesh = await startMesh(yaml + service('a') + pod('a', 'v1') + client())
    const view = mesh.mesh.workloads().find(({ name }) => name === 'a-v1')!
    const clusters = await (await fetch(`http://${view.admin}/clusters`)).text()
    expect(clusters).toContain('inbound|9080||::default_priority::max_pending_requests::7')
  })

  test('may end TLS of its own, where mutual TLS is off and istiod is told to allow it', async () => {
    const authority = await makeAuthority('CN=tests')
    const identity = await makeIdentity(authority, 'CN=a', [{ type: 'dns', value: 'a.example' }])
    const cert = socketPath('a.pem')
    const key = socketPath('a.key')
    fs.writeFileSync(cert, identity.cert)
    fs.writeFileSync(key, identity.key)
    const yaml =
      sidecar(
        'a',
        `  ingress:
  - port: {number: 9080, protocol: HTTPS, name: https}
    defaultEndpoint: 127.0.0.1:9080
    tls: {mode: SIMPLE, serverCertificate: ${cert}, privateKey: ${key}}`,
      ) +
      `
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default}
spec: {mtls: {mode: DISABLE}}
---`
    mesh = await startMesh(yaml + service('a') + pod('a', 'v1'), { env: { ENABLE_TLS_ON_SIDECAR_INGRESS: 'true' } })
    const [host = '', port] = mesh.mesh.workloads()[0]!.inbound['9080']!.split(':')
    const body = await new Promise<string>((resolve, reject) => {
      const options = { host, port: Number(port), path: '/', servername: 'a.example', ca: authority.cert }
      https
        .get(options, (response) => {
          let text = ''
          response.on('data', (chunk) => {
            text += chunk
          })
          response.on('end', () => resolve(text))
        })
        .on('error', reject)
    })
    expect(JSON.parse(body).workload).toBe('a-v1')
  })

  test('that says nothing of a port leaves it to passthrough', async () => {
    const yaml = sidecar('a', '  ingress: [{port: {number: 7000, protocol: HTTP, name: http}}]')
    mesh = await startMesh(yaml + service('a') + pod('a', 'v1') + client())
    const got = await mesh.get('client', 'http://a:9080/')
    expect(got.status).toBe(200)
    expect(got.echo!.request.headers['x-forwarded-client-cert']).toContain('sa/client')
  })
})

describe("a Sidecar's egress", () => {
  test('may listen on a unix socket, with the routes of all ports', async () => {
    const at = socketPath('out.sock')
    const yaml = sidecar(
      'client',
      `  egress:
  - port: {number: 0, protocol: HTTP, name: http}
    bind: unix://${at}
    hosts: ["./*"]
  - hosts: ["*/*"]`,
    )
    mesh = await startMesh(yaml + service('a') + pod('a', 'v1') + client())
    const text = await new Promise<string>((resolve, reject) => {
      http
        .get({ socketPath: at, path: '/', headers: { host: 'a:9080' } }, (response) => {
          let body = ''
          response.on('data', (chunk) => {
            body += chunk
          })
          response.on('end', () => resolve(body))
        })
        .on('error', reject)
    })
    expect(JSON.parse(text).workload).toBe('a-v1')
    expect(JSON.parse(text).request.headers['x-forwarded-client-cert']).toContain('sa/client')
  })

  test('imports only what it names; the rest is blocked where the registry alone counts', async () => {
    const yaml = sidecar(
      'client',
      `  outboundTrafficPolicy: {mode: REGISTRY_ONLY}
  egress: [{hosts: ["./a.default.svc.cluster.local"]}]`,
    )
    mesh = await startMesh(yaml + service('a') + pod('a', 'v1') + service('b') + pod('b', 'v1') + client())
    expect((await mesh.get('client', 'http://a:9080/')).status).toBe(200)
    expect((await mesh.get('client', 'http://b:9080/')).status).toBe(502)
  })

  test('sends what it does not know to an egress proxy', async () => {
    const yaml = sidecar(
      'client',
      `  outboundTrafficPolicy:
    mode: ALLOW_ANY
    egressProxy: {host: b.default.svc.cluster.local, port: {number: 9080}}`,
    )
    mesh = await startMesh(yaml + service('a') + pod('a', 'v1') + service('b') + pod('b', 'v1') + client())
    const got = await mesh.get('client', 'http://a:9080/', { headers: { host: 'unknown.example' } })
    expect(got.status).toBe(200)
    expect(got.echo!.workload).toBe('b-v1')
  })
})
