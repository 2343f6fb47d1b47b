import net from 'node:net'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { client, pod, service, startMesh, type TestMesh } from './support/mesh.ts'

const config = [
  client(),
  client('visitor', 'shop'),
  service('reviews'),
  pod('reviews', 'v1'),
  service('cart', 'shop'),
  pod('cart', 'v1', { namespace: 'shop' }),
  service('empty'),
  service('gone'),
  pod('gone', 'v1', { annotations: 'dinghy.dev/app: "9080=127.0.0.1:1"' }),
  service('sick'),
  pod('sick', 'v1', { status: 'status: {phase: Running, conditions: [{type: Ready, status: "False"}]}' }),
  service('plain'),
  pod('plain', 'v1', { annotations: 'sidecar.istio.io/inject: "false"' }),
  service('echo', 'default', { name: 'tcp', port: 7000 }),
  pod('echo', 'v1', { port: 7000 }),
  `
apiVersion: v1
kind: Service
metadata: {name: alias}
spec: {type: ExternalName, externalName: reviews.default.svc.cluster.local, ports: [{name: http, port: 9080}]}
---
apiVersion: v1
kind: Service
metadata: {name: secret, namespace: shop, annotations: {networking.istio.io/exportTo: "."}}
spec: {selector: {app: cart}, ports: [{name: http, port: 9080}]}
---
apiVersion: v1
kind: Service
metadata: {name: mapped}
spec: {selector: {app: reviews}, ports: [{name: http-web, port: 80, targetPort: 9080}]}
---
apiVersion: v1
kind: Service
metadata: {name: headless}
spec: {clusterIP: None, selector: {app: reviews}, ports: [{name: http, port: 9080}]}
---`,
].join('')

describe('service discovery', () => {
  let mesh: TestMesh
  beforeAll(async () => {
    mesh = await startMesh(config)
  })
  afterAll(() => mesh?.stop())

  const names: [from: string, host: string, workload: string][] = [
    ['client', 'reviews:9080', 'reviews-v1'],
    ['client', 'reviews.default:9080', 'reviews-v1'],
    ['client', 'reviews.default.svc:9080', 'reviews-v1'],
    ['client', 'reviews.default.svc.cluster.local:9080', 'reviews-v1'],
    ['client', 'reviews.default.svc.cluster.local.:9080', 'reviews-v1'],
    ['client', 'cart.shop:9080', 'cart-v1'],
    ['visitor.shop', 'cart:9080', 'cart-v1'],
    ['visitor.shop', 'reviews.default:9080', 'reviews-v1'],
    ['visitor.shop', 'secret:9080', 'cart-v1'],
    ['client', 'alias:9080', 'reviews-v1'],
    ['client', 'mapped', 'reviews-v1'],
    ['client', 'headless:9080', 'reviews-v1'],
    ['client', 'plain:9080', 'plain-v1'],
  ]
  for (const [from, host, workload] of names)
    it(`${host} as called by ${from} is ${workload}`, async () => {
      const got = await mesh.get(from, `http://${host}/`)
      expect([got.status, got.echo?.workload]).toEqual([200, workload])
      expect(got.answer.cluster).toMatch(/^outbound\|\d+\|\|/)
    })

  it('a bare name of another namespace does not resolve', async () => {
    await expect(mesh.get('client', 'http://cart:9080/')).rejects.toThrow('could not resolve host: cart')
  })

  it('a service that is exported to its own namespace only is unknown to the sidecars of others', async () => {
    const got = await mesh.get('client', 'http://secret.shop:9080/')
    expect(got.answer.cluster).toBe('PassthroughCluster')
  })

  it('a service without pods gives 503 UH', async () => {
    const got = await mesh.get('client', 'http://empty:9080/')
    expect([got.status, got.text, got.answer.flags]).toEqual([503, 'no healthy upstream', 'UH'])
  })

  it('a pod that is not ready gets no requests', async () => {
    const got = await mesh.get('client', 'http://sick:9080/')
    expect([got.status, got.text, got.answer.flags]).toEqual([503, 'no healthy upstream', 'UH'])
  })

  it('an app that refuses connections gives 503 from its own sidecar, and says so at start', async () => {
    const got = await mesh.get('client', 'http://gone:9080/')
    expect([got.status, got.text]).toEqual([
      503,
      'upstream connect error or disconnect/reset before headers. retried and the latest reset reason: remote connection failure',
    ])
    expect(mesh.events).toContainEqual(
      expect.objectContaining({
        type: 'workload',
        workload: 'gone-v1',
        message: expect.stringContaining('does not answer at 127.0.0.1:1'),
      }),
    )
  })

  it('a TCP service carries bytes both ways, and half-closes', async () => {
    const ip = mesh.mesh.registry.byHostname('echo.default.svc.cluster.local')!.get('default')!.address
    const at = await mesh.mesh.captureOf('client', ip, 7000)
    const socket = net.connect(at)
    const chunks: Buffer[] = []
    socket.on('data', (chunk) => chunks.push(chunk))
    socket.end('hello over tcp')
    await new Promise((resolve, reject) => socket.on('end', resolve).on('error', reject))
    expect(Buffer.concat(chunks).toString()).toBe('hello over tcp')
  })

  it('connections to the other sidecar are kept and used again', async () => {
    await mesh.split('client', 'http://reviews:9080/', 20)
    const name = 'cluster.outbound|9080||reviews.default.svc.cluster.local;.upstream_cx_total'
    const admin = mesh.mesh.workloads().find((w) => w.name === 'client')!.admin
    const stats = await (await fetch(`http://${admin}/stats?filter=reviews.default.svc.cluster.local`)).text()
    const count = Number(
      stats
        .split('\n')
        .find((line) => line.startsWith(`${name}:`))
        ?.split(': ')[1],
    )
    expect(count).toBeGreaterThan(0)
    expect(count).toBeLessThanOrEqual(2)
  })
})

describe('unknown hosts', () => {
  const meshConfig = (mode: string) => `
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data: {mesh: "outboundTrafficPolicy: {mode: ${mode}}"}
---`

  it('are passed through by default', async () => {
    const mesh = await startMesh([client(), service('reviews'), pod('reviews', 'v1')].join(''))
    try {
      const got = await mesh.get('client', 'http://reviews:9080/', { headers: { host: 'unknown.example.com' } })
      expect([got.status, got.echo?.workload, got.answer.cluster, got.answer.route]).toEqual([
        200,
        'reviews-v1',
        'PassthroughCluster',
        'allow_any',
      ])
    } finally {
      await mesh.stop()
    }
  })

  it('get 502 where only the registry counts', async () => {
    const mesh = await startMesh(
      [client(), service('reviews'), pod('reviews', 'v1'), meshConfig('REGISTRY_ONLY')].join(''),
    )
    try {
      const got = await mesh.get('client', 'http://reviews:9080/', { headers: { host: 'unknown.example.com' } })
      expect([got.status, got.text, got.answer.route]).toEqual([502, '', 'block_all'])
    } finally {
      await mesh.stop()
    }
  })
})
