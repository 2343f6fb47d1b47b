import { afterEach, describe, expect, it } from 'vitest'
import { type App, startApp } from './support/app.ts'
import { client, pod, service, startMesh, type TestMesh } from './support/mesh.ts'

const url = 'http://reviews:9080/'

const virtualService = (route: string, http = '{ROUTE}') => `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews}
spec:
  hosts: [reviews]
  http: [${http.replace('{ROUTE}', `{route: [{destination: {host: reviews}}], ${route}}`)}]
---`

describe('timeouts, retries and faults of a VirtualService', () => {
  let mesh: TestMesh | undefined
  const apps: App[] = []
  afterEach(async () => {
    await mesh?.stop()
    mesh = undefined
    for (const app of apps.splice(0)) await app.close()
  })

  /** A mesh with one service, whose only pod is `app`. */
  const start = async (app: App, ...more: string[]) => {
    apps.push(app)
    mesh = await startMesh(
      [client(), service('reviews'), pod('reviews', 'v1', { annotations: app.annotation }), ...more].join(''),
    )
    return mesh
  }

  it('timeout ends a request that takes longer with 504', async () => {
    const app = await startApp(() => {})
    const { status, text } = await (await start(app, virtualService('timeout: 50ms'))).get('client', url)
    expect([status, text]).toEqual([504, 'upstream request timeout'])
  })

  it('retries tries again on what retryOn names, as often as attempts says', async () => {
    const app = await startApp((_request, response, count) => response.writeHead(count < 3 ? 503 : 200).end())
    const retries = 'retries: {attempts: 2, retryOn: "503", backoff: 1ms}'
    expect((await (await start(app, virtualService(retries))).get('client', url)).status).toBe(200)
    expect(app.requests.map((r) => r.headers['x-envoy-attempt-count'])).toEqual(['1', '2', '3'])
  })

  it('retries: attempts 0 switches them off', async () => {
    const app = await startApp((request) => request.socket.resetAndDestroy())
    const mesh = await start(app, virtualService('retries: {attempts: 0}'))
    expect((await mesh.get('client', url)).status).toBe(503)
    expect(app.requests).toHaveLength(1)
  })

  it('perTryTimeout gives up one attempt and makes the next', async () => {
    const app = await startApp((_request, response, count) => count > 1 && response.end('second'))
    const mesh = await start(app, virtualService('retries: {attempts: 1, perTryTimeout: 50ms, retryOn: 5xx}'))
    expect((await mesh.get('client', url)).text).toBe('second')
  })

  it('retries go to another pod', async () => {
    const bad = await startApp((_request, response) => response.writeHead(500).end())
    const retries = virtualService('retries: {attempts: 1, retryOn: 5xx, backoff: 1ms}')
    // In turn: a balancer that draws lots may draw the pod that failed six times in a row, and then that one it is.
    const inTurn = `
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews}
spec: {host: reviews, trafficPolicy: {loadBalancer: {simple: ROUND_ROBIN}}}
---`
    const mesh = await start(bad, pod('reviews', 'v2'), retries, inTurn)
    expect(await mesh.split('client', url, 20)).toEqual({ v2: 20 })
  })

  it("MeshConfig's defaultHttpRetryPolicy holds where a route says nothing", async () => {
    const app = await startApp((_request, response, count) => response.writeHead(count < 4 ? 503 : 200).end())
    const mesh = await start(
      app,
      `
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data:
  mesh: |
    defaultHttpRetryPolicy: {attempts: 3, retryOn: "503", backoff: 1ms}
---`,
    )
    expect((await mesh.get('client', url)).status).toBe(200)
    expect(app.requests).toHaveLength(4)
  })

  it('a fault answers in place of the service, or delays it', async () => {
    const app = await startApp((_request, response) => response.end('real'))
    const always = 'percentage: {value: 100}'
    const mesh = await start(
      app,
      virtualService(
        `fault: {delay: {fixedDelay: 100ms, ${always}}}`,
        `{match: [{uri: {exact: /abort}}], route: [{destination: {host: reviews}}], fault: {abort: {httpStatus: 418, ${always}}}},
         {match: [{uri: {exact: /grpc}}], route: [{destination: {host: reviews}}], fault: {abort: {grpcStatus: UNAVAILABLE, ${always}}}},
         {ROUTE}`,
      ),
    )
    const abort = await mesh.get('client', `${url}abort`)
    expect([abort.status, abort.text]).toEqual([418, 'fault filter abort'])
    const grpc = await mesh.get('client', `${url}grpc`, { headers: { 'content-type': 'application/grpc' } })
    expect(grpc.headers['grpc-status']).toBe('14')
    expect(app.requests).toHaveLength(0)
    const before = performance.now()
    expect((await mesh.get('client', url)).text).toBe('real')
    expect(performance.now() - before).toBeGreaterThan(95)
  })

  it('a mirror gets a copy, and its answer is dropped', async () => {
    const app = await startApp((_request, response) => response.end('real'))
    let told = (_what: string) => {}
    const copied = new Promise<string>((resolve) => {
      told = resolve
    })
    const shadow = await startApp((request, response) => {
      response.writeHead(500).end('never seen')
      told(`${request.method} ${request.url}`)
    })
    apps.push(shadow)
    const mesh = await start(
      app,
      service('shadow'),
      pod('shadow', 'v1', { annotations: shadow.annotation }),
      virtualService('mirrors: [{destination: {host: shadow}, percentage: {value: 100}}]'),
    )
    expect((await mesh.get('client', `${url}copied`)).text).toBe('real')
    expect(await copied).toBe('GET /copied')
  })

  it('corsPolicy answers preflights by itself', async () => {
    const app = await startApp((_request, response) => response.end('real'))
    const mesh = await start(
      app,
      virtualService('corsPolicy: {allowOrigins: [{exact: "https://a.example"}], allowMethods: [PUT], maxAge: 1h}'),
    )
    const headers = { origin: 'https://a.example', 'access-control-request-method': 'PUT' }
    const { status, headers: got } = await mesh.get('client', url, { method: 'OPTIONS', headers })
    expect(status).toBe(200)
    expect(got).toMatchObject({
      'access-control-allow-origin': 'https://a.example',
      'access-control-allow-methods': 'PUT',
      'access-control-max-age': '3600',
    })
    expect(app.requests).toHaveLength(0)
  })
})
