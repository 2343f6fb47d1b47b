import net from 'node:net'
import { afterEach, describe, expect, test } from 'vitest'
import { CaptureRules } from '../src/mesh/capture-rules.ts'
import { client, pod, service, startMesh, type TestMesh } from './support/mesh.ts'

let mesh: TestMesh | undefined
afterEach(async () => {
  await mesh?.stop()
  mesh = undefined
})

const annotation = (name: string, value: string) => `traffic.sidecar.istio.io/${name}: "${value}"`

/** A pod without ports, with annotations. */
const caller = (annotations: string) => client().replace('labels:', `annotations: {${annotations}}, labels:`)

const MTLS = `
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: istio-system}
spec: {mtls: {mode: STRICT}}
---`

describe('which connections the rules of iptables redirect', () => {
  const rules = (annotations: Record<string, string>) =>
    new CaptureRules(
      'REDIRECT',
      Object.fromEntries(Object.entries(annotations).map(([k, v]) => [`traffic.sidecar.istio.io/${k}`, v])),
      '10.244.0.9',
    )
  const out = (r: CaptureRules, ip: string, port: number) => r.outbound({ ip, port })

  test('all, but for the pod itself', () => {
    const r = rules({})
    expect(r.inbound(80)).toBe(true)
    expect(out(r, '10.96.0.1', 80)).toBe(true)
    expect(out(r, '127.0.0.1', 80)).toBe(false)
    expect(out(r, '10.244.0.9', 80)).toBe(false)
  })

  test('inbound ports may be left out, or be the only ones', () => {
    const left = rules({ excludeInboundPorts: '80, 90' })
    expect([80, 90, 100].map((p) => left.inbound(p))).toEqual([false, false, true])
    const only = rules({ includeInboundPorts: '80', excludeInboundPorts: '80' })
    expect([80, 90].map((p) => only.inbound(p))).toEqual([true, false])
    expect(rules({ includeInboundPorts: '' }).inbound(80)).toBe(false)
  })

  test('ranges that are left out come before ports and ranges that are taken', () => {
    const r = rules({
      includeOutboundIPRanges: '10.0.0.0/8',
      excludeOutboundIPRanges: '10.1.0.0/16',
      includeOutboundPorts: '443',
      excludeOutboundPorts: '25',
    })
    expect(out(r, '10.2.0.1', 80)).toBe(true)
    expect(out(r, '10.1.0.1', 80)).toBe(false)
    expect(out(r, '10.1.0.1', 443)).toBe(false)
    expect(out(r, '192.168.0.1', 80)).toBe(false)
    expect(out(r, '192.168.0.1', 443)).toBe(true)
    expect(out(r, '10.2.0.1', 25)).toBe(false)
  })

  test('what is no block of addresses is told, and the others count', () => {
    const told: string[] = []
    const r = new CaptureRules(
      'REDIRECT',
      { 'traffic.sidecar.istio.io/excludeOutboundIPRanges': '10.1.0.0/x, there, fd00::/8,10.2.0.1' },
      '10.244.0.9',
      (message) => told.push(message),
    )
    expect(told).toEqual([expect.stringContaining('"10.1.0.0/x"'), expect.stringContaining('"there"')])
    expect(['10.1.0.1', '10.2.0.1', '10.2.0.2', 'fd00::1'].map((ip) => out(r, ip, 80))).toEqual([
      true,
      false,
      true,
      false,
    ])
  })
})

test('an inbound port that is left out is reached past the sidecar, in plaintext', async () => {
  const excluded = pod('b', 'v1', { annotations: annotation('excludeInboundPorts', '9080') })
  mesh = await startMesh(
    MTLS +
      service('a') +
      pod('a', 'v1') +
      service('b') +
      excluded +
      client('plain').replace('labels:', 'annotations: {sidecar.istio.io/inject: "false"}, labels:'),
  )
  expect((await mesh.get('plain', 'http://a:9080/')).status).toBe(0)
  const got = await mesh.get('plain', 'http://b:9080/')
  expect(got.status).toBe(200)
  expect(got.headers).not.toHaveProperty('server')
})

test('an outbound port that is left out goes straight to a pod of the service', async () => {
  mesh = await startMesh(service('a') + pod('a', 'v1') + caller(annotation('excludeOutboundPorts', '9080')))
  const got = await mesh.get('client', 'http://a:9080/')
  expect(got.status).toBe(200)
  // The server's sidecar saw it, the client's did not.
  expect(got.headers.server).toBe('istio-envoy')
  expect(got.echo!.request.headers).not.toHaveProperty('x-envoy-attempt-count')
})

test('a range that is left out is dialled past the sidecar', async () => {
  const ranges = annotation('excludeOutboundIPRanges', '10.96.0.0/16')
  const blocked = `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: a}
spec:
  hosts: [a]
  http: [{directResponse: {status: 418}}]
---`
  mesh = await startMesh(blocked + service('a') + pod('a', 'v1') + caller(ranges) + client('other'))
  expect((await mesh.get('other', 'http://a:9080/')).status).toBe(418)
  expect((await mesh.get('client', 'http://a:9080/')).status).toBe(200)
})

test('a pod that calls its own service may get itself, with mutual TLS', async () => {
  mesh = await startMesh(MTLS + service('a') + pod('a', 'v1'))
  const got = await mesh.get('a-v1', 'http://a:9080/')
  expect(got.status).toBe(200)
  expect(got.echo!.request.headers['x-forwarded-client-cert']).toContain('URI=spiffe://cluster.local/ns/default/sa/a')
})

describe('without interception', () => {
  const none = 'sidecar.istio.io/interceptionMode: NONE'
  const sidecar = `
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: a}
spec:
  workloadSelector: {labels: {app: a}}
  ingress:
  - port: {number: 9080, protocol: HTTP, name: http}
    defaultEndpoint: 127.0.0.1:8080
  egress:
  - port: {number: 9999, protocol: HTTP, name: http}
    bind: 127.0.0.1
    hosts: ["*/*"]
  - hosts: ["*/*"]
---`

  test('the app is reached by itself', async () => {
    const dr = `
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: a}
spec: {host: a, trafficPolicy: {tls: {mode: DISABLE}}}
---`
    mesh = await startMesh(dr + service('a') + pod('a', 'v1', { annotations: none }) + client())
    const got = await mesh.get('client', 'http://a:9080/')
    expect(got.status).toBe(200)
    expect(got.headers).not.toHaveProperty('x-envoy-decorator-operation')
    expect(got.headers.server).toBe('envoy')
  })

  test('a Sidecar gives it listeners of its own, inbound and outbound', async () => {
    mesh = await startMesh(
      sidecar + service('a') + pod('a', 'v1', { annotations: none }) + service('b') + pod('b', 'v1') + client(),
    )
    const got = await mesh.get('client', 'http://a:9080/')
    expect(got.status).toBe(200)
    expect(got.echo!.request.headers['x-forwarded-client-cert']).toContain('sa/client')
    // Outbound: the listener on 127.0.0.1 routes by Host; the address of a service goes straight there.
    const out = await mesh.get('a-v1', 'http://127.0.0.1:9080/', { headers: { host: 'b:9080' } })
    expect(out.status).toBe(200)
    expect(out.echo!.workload).toBe('b-v1')
    expect(out.echo!.request.headers['x-forwarded-client-cert']).toContain('sa/a')
    const direct = await mesh.get('a-v1', 'http://b:9080/')
    expect(direct.status).toBe(200)
    expect(direct.echo!.request.headers).not.toHaveProperty('x-forwarded-client-cert')
  })
})

test('one listener of a Sidecar may bind its port though the rest is redirected', async () => {
  const sidecar = `
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: a}
spec:
  workloadSelector: {labels: {app: client}}
  egress:
  - port: {number: 9080, protocol: HTTP, name: http}
    bind: 127.0.0.1
    captureMode: NONE
    hosts: ["./a.default.svc.cluster.local"]
  - hosts: ["./*"]
---`
  const ingress = `
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: b}
spec:
  workloadSelector: {labels: {app: b}}
  ingress:
  - port: {number: 9080, protocol: HTTP, name: http}
    bind: 0.0.0.0
    captureMode: NONE
    defaultEndpoint: 127.0.0.1:7070
---`
  const pods = service('a') + pod('a', 'v1') + service('b') + pod('b', 'v1') + client()
  mesh = await startMesh(sidecar + ingress + pods)
  const out = await mesh.get('client', 'http://127.0.0.1:9080/', { headers: { host: 'a' } })
  expect(out.status).toBe(200)
  expect(out.echo!.workload).toBe('a-v1')
  const other = await mesh.get('client', 'http://b:9080/')
  expect(other.status).toBe(200)
  expect(other.echo!.workload).toBe('b-v1')
})

test('a proxy takes no more connections than its settings allow', async () => {
  const limit = 'proxy.istio.io/config: "connectionSettings: {globalDownstreamConnectionLimit: 1}"'
  mesh = await startMesh(service('a') + pod('a', 'v1') + caller(limit))
  const at = await mesh.mesh.captureOf('client', '10.96.9.9', 4000)
  const first = net.connect(at)
  await new Promise<void>((resolve) => first.once('connect', resolve))
  first.on('error', () => {})
  first.write('x')
  const second = net.connect(at)
  second.on('error', () => {})
  await new Promise<void>((resolve) => second.once('close', () => resolve()))
  first.destroy()
})

test('a ProxyConfig of the workload comes before the annotation, and that before the mesh', async () => {
  const files = `
apiVersion: networking.istio.io/v1beta1
kind: ProxyConfig
metadata: {name: a}
spec:
  selector: {matchLabels: {app: a}}
  environmentVariables: {ISTIO_META_HTTP10: "1"}
---`
  const headers = 'proxy.istio.io/config: "proxyHeaders: {server: {value: mine}}"'
  mesh = await startMesh(files + service('a') + pod('a', 'v1', { annotations: headers }) + client())
  const got = await mesh.get('client', 'http://a:9080/')
  // At the client's sidecar Envoy's own name goes over it; the server's said `mine`.
  expect(got.status).toBe(200)
  const { host, port } = await mesh.mesh.captureOf('a-v1', '10.96.0.99', 80)
  expect(port).toBeGreaterThan(0)
  expect(host).toMatch(/^127\./)
  const { metadata } = JSON.parse(
    await (await fetch(`http://${mesh.mesh.workloads().find((w) => w.name === 'a-v1')!.admin}/config_dump`)).text(),
  ).configs[0].bootstrap.node
  expect(metadata.HTTP10).toBe('1')
  expect(metadata.PROXY_CONFIG.proxyHeaders.server.value).toBe('mine')
})
