import { once } from 'node:events'
import net from 'node:net'
import { setTimeout as passing } from 'node:timers/promises'
import { afterEach, describe, expect, it } from 'vitest'
import { type App, startApp } from './support/app.ts'
import { client, pod, service, startMesh, type TestMesh } from './support/mesh.ts'

const url = 'http://reviews:9080/'
const cluster = 'outbound|9080||reviews.default.svc.cluster.local'

const rule = (policy: string) => `
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews}
spec:
  host: reviews
  trafficPolicy: {${policy}}
---`

const meshConfig = (text: string) => `
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data:
  mesh: "${text}"
---`

describe('what a DestinationRule limits', () => {
  let mesh: TestMesh | undefined
  const apps: App[] = []
  afterEach(async () => {
    await mesh?.stop()
    mesh = undefined
    for (const app of apps.splice(0)) await app.close()
  })
  const start = async (app: App, ...more: string[]) => {
    apps.push(app)
    mesh = await startMesh(
      [client(), service('reviews'), pod('reviews', 'v1', { annotations: app.annotation }), ...more].join(''),
    )
    return mesh
  }
  const stat = async (from: TestMesh, who: string, name: string) => {
    const admin = from.mesh.workloads().find((w) => w.name === who)!.admin
    const text = await (
      await fetch(`http://${admin}/stats?filter=${encodeURIComponent(name.replaceAll('|', '\\|'))}`)
    ).text()
    const line = text.split('\n').find((known) => known.startsWith(`${name}:`))
    return Number(line?.split(': ')[1])
  }
  /** The statuses of `count` requests at a time. */
  const atOnce = async (from: TestMesh, count: number) =>
    (await Promise.all(Array.from({ length: count }, () => from.get('client', url)))).map((got) => got.status).sort()
  const slow = () => startApp((_request, response) => setTimeout(() => response.end(), 100))

  it('maxConnections and http1MaxPendingRequests: what is too much gets 503 at once', async () => {
    const pool = 'connectionPool: {tcp: {maxConnections: 1}, http: {http1MaxPendingRequests: 1}}'
    const mesh = await start(await slow(), rule(pool))
    await mesh.get('client', url)
    expect(await atOnce(mesh, 3)).toEqual([200, 200, 503])
    expect(await stat(mesh, 'client', `cluster.${cluster};.upstream_rq_pending_overflow`)).toBe(1)
  })

  it('http2MaxRequests limits the active requests, of HTTP/1.1 too', async () => {
    const mesh = await start(await slow(), rule('connectionPool: {http: {http2MaxRequests: 2}}'))
    expect(await atOnce(mesh, 3)).toEqual([200, 200, 503])
  })

  it('limits of a subset, and of a port, replace those of the rule', async () => {
    const mesh = await start(
      await slow(),
      rule(
        'connectionPool: {http: {http2MaxRequests: 1}}, portLevelSettings: [{port: {number: 9080}, connectionPool: {http: {http2MaxRequests: 2}}}]',
      ),
    )
    expect(await atOnce(mesh, 3)).toEqual([200, 200, 503])
  })

  it("MeshConfig's defaultTrafficPolicy limits where no rule does", async () => {
    const text = 'defaultTrafficPolicy: {connectionPool: {http: {http2MaxRequests: 2}}}'
    expect(await atOnce(await start(await slow(), meshConfig(text)), 3)).toEqual([200, 200, 503])
  })

  it('maxRequestsPerConnection closes a connection after so many', async () => {
    const app = await startApp((_request, response) => response.end())
    const mesh = await start(app, rule('connectionPool: {http: {maxRequestsPerConnection: 2}}'))
    await mesh.split('client', url, 6)
    expect(await stat(mesh, 'client', `cluster.${cluster};.upstream_cx_total`)).toBe(3)
  })

  it('maxRetries limits how many retries are under way', async () => {
    const app = await startApp((_request, response) => setTimeout(() => response.writeHead(503).end(), 50))
    const mesh = await start(
      app,
      rule('connectionPool: {http: {maxRetries: 1}}'),
      `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews}
spec:
  hosts: [reviews]
  http: [{route: [{destination: {host: reviews}}], retries: {attempts: 1, retryOn: "503", backoff: 1ms}}]
---`,
    )
    await atOnce(mesh, 3)
    expect(await stat(mesh, 'client', `cluster.${cluster};.upstream_rq_retry_overflow`)).toBeGreaterThan(0)
    expect(app.requests.length).toBeLessThan(6)
  })

  it('retryBudget limits them by the active requests', async () => {
    const app = await startApp((_request, response) => setTimeout(() => response.writeHead(503).end(), 50))
    const mesh = await start(
      app,
      rule('retryBudget: {percent: 1, minRetryConcurrency: 1}'),
      `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews}
spec:
  hosts: [reviews]
  http: [{route: [{destination: {host: reviews}}], retries: {attempts: 1, retryOn: "503", backoff: 1ms}}]
---`,
    )
    await atOnce(mesh, 4)
    expect(await stat(mesh, 'client', `cluster.${cluster};.upstream_rq_retry_overflow`)).toBeGreaterThan(0)
  })

  it('idleTimeout closes connections that nobody uses', async () => {
    const app = await startApp((_request, response) => response.end())
    const mesh = await start(app, rule('connectionPool: {http: {idleTimeout: 0.05s}}'))
    await mesh.get('client', url)
    await passing(300)
    expect(await stat(mesh, 'client', `cluster.${cluster};.upstream_cx_idle_timeout`)).toBe(1)
  })

  it('maxConnectionDuration closes connections of that age', async () => {
    const app = await startApp((_request, response) => response.end())
    const mesh = await start(app, rule('connectionPool: {tcp: {maxConnectionDuration: 0.05s}}'))
    await mesh.get('client', url)
    await passing(300)
    expect(await stat(mesh, 'client', `cluster.${cluster};.upstream_cx_max_duration_reached`)).toBe(1)
  })

  it('useClientProtocol speaks HTTP/1.1 for those who do', async () => {
    const app = await startApp((_request, response) => response.end('seen'))
    const mesh = await start(app, rule('connectionPool: {http: {useClientProtocol: true}}'))
    expect((await mesh.get('client', url)).text).toBe('seen')
    expect(await stat(mesh, 'client', `cluster.${cluster};.upstream_cx_http1_total`)).toBe(1)
  })

  it.each([
    ['outlierDetection: {consecutive5xxErrors: 2, baseEjectionTime: 60s, maxEjectionPercent: 100}', '', 500],
    ['outlierDetection: {consecutiveGatewayErrors: 2, consecutive5xxErrors: 0, maxEjectionPercent: 100}', '', 503],
    [
      'loadBalancer: {}',
      'defaultTrafficPolicy: {outlierDetection: {consecutive5xxErrors: 2, maxEjectionPercent: 100}}',
      500,
    ],
  ])('%s %s takes out a pod that answers with errors', async (policy, text, status) => {
    const app = await startApp((_request, response) => response.writeHead(status).end())
    const mesh = await start(app, rule(policy), pod('reviews', 'v2'), ...(text ? [meshConfig(text)] : []))
    const { v2 = 0 } = await mesh.split('client', url, 40)
    expect(v2).toBeGreaterThanOrEqual(38)
    expect(app.requests.length).toBe(2)
  })

  it('an ejected pod comes back after baseEjectionTime', async () => {
    const app = await startApp((_request, response, count) => response.writeHead(count === 1 ? 500 : 200).end('back'))
    const outlier = 'consecutive5xxErrors: 1, interval: 50ms, baseEjectionTime: 100ms, maxEjectionPercent: 100'
    const mesh = await start(app, rule(`outlierDetection: {${outlier}}`))
    expect((await mesh.get('client', url)).status).toBe(500)
    expect((await mesh.get('client', url)).text).toBe('no healthy upstream')
    await passing(1300) // a pod that comes back so soon is told to balancers with the next merge of updates
    expect((await mesh.get('client', url)).text).toBe('back')
  })
})

describe('what a DestinationRule limits of TCP connections', () => {
  let mesh: TestMesh | undefined
  const sockets: net.Socket[] = []
  afterEach(async () => {
    for (const socket of sockets.splice(0)) socket.destroy()
    await mesh?.stop()
    mesh = undefined
  })
  const tcp = { name: 'tcp', port: 9000 }
  /** Connections of the client to a TCP service whose rule has this pool. */
  const dialer = async (pool: string) => {
    mesh = await startMesh(
      [
        client(),
        service('reviews', 'default', tcp),
        pod('reviews', 'v1', { port: 9000 }),
        rule(`connectionPool: {tcp: {${pool}}}`),
      ].join(''),
    )
    const { outbound } = mesh.mesh.workloads().find((w) => w.name === 'client')!
    const [host, port] = Object.entries(outbound)
      .find(([name]) => name.endsWith(':9000'))![1]
      .split(':')
    return async () => {
      const socket = net.connect(Number(port), host)
      socket.on('error', () => {})
      sockets.push(socket)
      await once(socket, 'connect')
      return socket
    }
  }
  const closed = (socket: net.Socket) => new Promise<void>((resolve) => socket.resume().once('close', resolve))

  it('maxConnections closes those that are too many', async () => {
    const dial = await dialer('maxConnections: 1')
    const first = await dial()
    first.write('x')
    await once(first, 'data')
    await closed(await dial())
    expect(first.destroyed).toBe(false)
  })

  it('idleTimeout closes idle ones', async () => {
    const dial = await dialer('idleTimeout: 0.1s')
    await closed(await dial())
  })

  it('maxConnectionDuration closes old ones', async () => {
    const dial = await dialer('maxConnectionDuration: 0.1s')
    await closed(await dial())
  })
})
