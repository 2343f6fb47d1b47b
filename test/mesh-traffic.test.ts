import net from 'node:net'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { client, pod, service, startMesh, type TestMesh } from './support/mesh.ts'

const httpbin = (version: string) =>
  pod('httpbin', version).replace('image: app', 'image: docker.io/kennethreitz/httpbin')
const base = [
  client(),
  service('httpbin'),
  httpbin('v1'),
  service('reviews'),
  pod('reviews', 'v1'),
  pod('reviews', 'v2', { status: 'status: {podIP: 10.244.9.9}' }),
].join('')

const virtualService = (host: string, http: string) => `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: ${host}}
spec:
  hosts: [${host}]
  http:
    - ${http.trim().replaceAll('\n', '\n      ')}
---`

const destinationRule = (host: string, policy: string) => `
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: ${host}}
spec:
  host: ${host}
  trafficPolicy: ${policy}
---`

describe('traffic management through two sidecars', () => {
  let mesh: TestMesh
  beforeAll(async () => {
    mesh = await startMesh({ 'base.yaml': base, 'rules.yaml': '' }, { watch: true })
  })
  afterAll(() => mesh?.stop())

  it('a timeout answers 504 UT', async () => {
    await mesh.write('rules.yaml', virtualService('httpbin', 'timeout: 200ms\nroute: [{destination: {host: httpbin}}]'))
    const got = await mesh.get('client', 'http://httpbin:9080/delay/2')
    expect([got.status, got.text, got.answer.flags]).toEqual([504, 'upstream request timeout', 'UT'])
    expect((await mesh.get('client', 'http://httpbin:9080/get')).status).toBe(200)
  })

  it('retries happen as often as asked, and the last answer counts', async () => {
    const retries = 'retries: {attempts: 3, retryOn: "503", backoff: 1ms}\nroute: [{destination: {host: httpbin}}]'
    await mesh.write('rules.yaml', virtualService('httpbin', retries))
    const admin = mesh.mesh.workloads().find((w) => w.name === 'client')!.admin
    const stat = async () =>
      Number(
        /upstream_rq_retry: (\d+)/.exec(
          await (await fetch(`http://${admin}/stats?filter=httpbin.*upstream_rq_retry$`)).text(),
        )?.[1],
      )
    const before = await stat()
    const got = await mesh.get('client', 'http://httpbin:9080/status/503')
    expect([got.status, got.answer.flags, (await stat()) - before]).toEqual([503, 'URX', 3])
  })

  it('a fault aborts at the client, and delays', async () => {
    const route = 'route: [{destination: {host: reviews}}]'
    await mesh.write(
      'rules.yaml',
      virtualService('reviews', `fault: {abort: {httpStatus: 418, percentage: {value: 100}}}\n${route}`),
    )
    const aborted = await mesh.get('client', 'http://reviews:9080/')
    expect([aborted.status, aborted.text, aborted.answer.flags]).toEqual([418, 'fault filter abort', 'FI'])
    await mesh.write(
      'rules.yaml',
      virtualService('reviews', `fault: {delay: {fixedDelay: 300ms, percentage: {value: 100}}}\n${route}`),
    )
    const delayed = await mesh.get('client', 'http://reviews:9080/')
    expect([delayed.status, delayed.answer.flags]).toEqual([200, 'DI'])
    expect(delayed.answer.ms).toBeGreaterThanOrEqual(300)
  })

  it('a mirror gets a copy, and its answer goes nowhere', async () => {
    await mesh.write(
      'rules.yaml',
      virtualService(
        'reviews',
        'route: [{destination: {host: reviews}}]\nmirror: {host: httpbin}\nmirrorPercentage: {value: 100}',
      ),
    )
    const admin = mesh.mesh.workloads().find((w) => w.name === 'httpbin-v1')!.admin
    const received = async () =>
      Number(
        /downstream_rq_completed: (\d+)/.exec(
          await (await fetch(`http://${admin}/stats?filter=inbound_0.0.0.0_9080.*rq_completed`)).text(),
        )?.[1],
      )
    const before = await received()
    expect((await mesh.get('client', 'http://reviews:9080/')).echo?.workload).toMatch(/^reviews/)
    await expect.poll(received).toBe(before + 1)
  })

  it('a circuit breaker turns away what is too much with 503 UO', async () => {
    await mesh.write(
      'rules.yaml',
      destinationRule('httpbin', '{connectionPool: {tcp: {maxConnections: 1}, http: {http1MaxPendingRequests: 1}}}'),
    )
    const answers = await mesh.mesh.call({
      from: 'client', url: 'http://httpbin:9080/delay/0.3', method: 'GET', headers: [], body: '', count: 6, concurrency: 6, timeout: 10_000,
    }) // biome-ignore format: one request
    const refused = answers.filter((a) => a.status === 503)
    expect(answers.filter((a) => a.status === 200).length).toBeGreaterThanOrEqual(1)
    expect(refused.length).toBeGreaterThanOrEqual(3)
    expect(new Set(refused.map((a) => a.flags))).toEqual(new Set(['UO']))
    expect(refused[0]!.headers).toContainEqual(['x-envoy-overloaded', 'true'])
  })

  it('an instance that fails is ejected', async () => {
    await mesh.write(
      'rules.yaml',
      destinationRule(
        'httpbin',
        '{outlierDetection: {consecutive5xxErrors: 2, interval: 100s, baseEjectionTime: 100s, maxEjectionPercent: 100}}',
      ),
    )
    const status = async (path: string) => (await mesh.get('client', `http://httpbin:9080${path}`)).status
    expect([await status('/status/500'), await status('/status/500')]).toEqual([500, 500])
    const ejected = await mesh.get('client', 'http://httpbin:9080/get')
    expect([ejected.status, ejected.text, ejected.answer.flags]).toEqual([503, 'no healthy upstream', 'UH'])
  })

  it('a hash of a header keeps to one instance', async () => {
    await mesh.write(
      'rules.yaml',
      destinationRule('reviews', '{loadBalancer: {consistentHash: {httpHeaderName: x-user}}}'),
    )
    const seen = new Set<string | undefined>()
    for (const user of ['ann', 'bob', 'cid', 'dan', 'eve', 'fay']) {
      const split = await mesh.split('client', 'http://reviews:9080/', 5, { headers: { 'x-user': user } })
      expect(Object.values(split)).toEqual([5])
      seen.add(Object.keys(split)[0])
    }
    expect(seen.size).toBe(2)
  })

  it('CORS preflights are answered by the sidecar', async () => {
    const cors = 'corsPolicy: {allowOrigins: [{exact: "http://a.example"}], allowMethods: [GET, PUT], maxAge: 60s}'
    await mesh.write('rules.yaml', virtualService('reviews', `${cors}\nroute: [{destination: {host: reviews}}]`))
    const got = await mesh.get('client', 'http://reviews:9080/', {
      method: 'OPTIONS',
      headers: { origin: 'http://a.example', 'access-control-request-method': 'PUT' },
    })
    expect([got.status, got.echo]).toEqual([200, undefined])
    expect(got.headers).toMatchObject({
      'access-control-allow-origin': 'http://a.example',
      'access-control-allow-methods': 'GET,PUT',
      'access-control-max-age': '60',
    })
  })

  it('STRICT mutual TLS closes plain text, and serves other sidecars', async () => {
    await mesh.write(
      'rules.yaml',
      'apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: default}\nspec: {mtls: {mode: STRICT}}\n',
    )
    expect((await mesh.get('client', 'http://reviews:9080/')).status).toBe(200)
    const [host, port] = mesh.mesh
      .workloads()
      .find((w) => w.name === 'reviews-v1')!
      .inbound['9080']!.split(':')
    const bytes = await new Promise<number>((resolve) => {
      const socket = net.connect({ host: host!, port: Number(port) })
      let received = 0
      socket.on('data', (chunk) => {
        received += chunk.length
      })
      socket.on('error', () => {})
      socket.on('close', () => resolve(received))
      socket.write('GET / HTTP/1.1\r\nhost: reviews\r\n\r\n')
    })
    expect(bytes).toBe(0)
  })

  it('a Sidecar hides what it does not import', async () => {
    await mesh.write(
      'rules.yaml',
      `apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: client}
spec:
  workloadSelector: {labels: {app: client}}
  egress: [{hosts: ["./httpbin.default.svc.cluster.local"]}]
`,
    )
    expect((await mesh.get('client', 'http://httpbin:9080/get')).answer.cluster).toBe(
      'outbound|9080||httpbin.default.svc.cluster.local',
    )
    expect((await mesh.get('client', 'http://reviews:9080/')).answer.cluster).toBe('PassthroughCluster')
  })

  it('a ServiceEntry gives a name to addresses', async () => {
    await mesh.write(
      'rules.yaml',
      `apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: legacy}
spec:
  hosts: [legacy.example.com]
  ports: [{number: 80, name: http, protocol: HTTP}]
  resolution: STATIC
  location: MESH_INTERNAL
  endpoints: [{address: 10.244.9.9, ports: {http: 9080}}]
`,
    )
    const got = await mesh.get('client', 'http://legacy.example.com/')
    expect([got.echo?.instance, got.answer.cluster]).toEqual(['reviews-v2', 'outbound|80||legacy.example.com'])
  })
})
