import { status } from '@grpc/grpc-js'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { addressOf } from './support/gateway.ts'
import { EchoClient, type GrpcApp, startGrpcApp } from './support/grpc.ts'
import { pod, service, startMesh, type TestMesh } from './support/mesh.ts'

const YAML = `
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  gatewayClassName: istio
  listeners: [{name: http, port: 8080, protocol: HTTP}]
  allowedListeners: {namespaces: {from: Same}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: ListenerSet
metadata: {name: more}
spec:
  parentRef: {name: edge}
  listeners: [{name: extra, port: 8081, protocol: HTTP}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: GRPCRoute
metadata: {name: echo}
spec:
  parentRefs: [{name: edge}]
  hostnames: [echo.test]
  rules:
  - matches: [{method: {service: test.Echo, method: Unary}, headers: [{name: x-to, value: two}]}]
    backendRefs: [{name: two, port: 9080}]
  - matches: [{method: {service: test.Echo, method: Unary}}]
    filters: [{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: x-by, value: route}]}}]
    backendRefs: [{name: one, port: 9080}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: GRPCRoute
metadata: {name: extra}
spec:
  parentRefs: [{name: more, kind: ListenerSet, group: gateway.networking.k8s.io}]
  rules: [{backendRefs: [{name: two, port: 9080}]}]
---
`

describe('the GRPCRoutes of a Gateway', () => {
  let mesh: TestMesh
  const apps: GrpcApp[] = []
  const clients: EchoClient[] = []

  beforeAll(async () => {
    const named = async (name: string) => {
      const app = await startGrpcApp({
        unary: (call, done) => done(null, `${name} ${call.request} ${call.metadata.get('x-by')}`),
        bidi: (call) => {
          call.on('data', (message: string) => call.write(`${name} ${message}`))
          call.on('end', () => call.end())
        },
      })
      apps.push(app)
      return service(name, 'default', { name: 'grpc', port: 9080 }) + pod(name, 'v1', { annotations: app.annotation })
    }
    mesh = await startMesh((await named('one')) + (await named('two')) + YAML)
  })
  afterAll(async () => {
    for (const client of clients) client.close()
    await mesh?.stop()
    for (const app of apps) app.close()
  })
  const at = (port: number, authority: string) => {
    const client = new EchoClient(addressOf(mesh, 'edge-istio', port), authority)
    clients.push(client)
    return client
  }

  it('choose by service, method and header', async () => {
    const echo = at(8080, 'echo.test')
    expect(await echo.unary('hi')).toMatchObject({ code: status.OK, messages: ['one hi route'] })
    expect(await echo.unary('hi', { 'x-to': 'two' })).toMatchObject({ code: status.OK, messages: ['two hi '] })
    // No rule is for this method.
    expect((await echo.bidi(['a'])).code).toBe(status.UNIMPLEMENTED)
    expect((await at(8080, 'other.test').unary('hi')).code).toBe(status.UNIMPLEMENTED)
  })

  it('may be attached to the listeners of a ListenerSet', async () => {
    const echo = at(8081, 'any.test')
    expect(await echo.unary('hi')).toMatchObject({ code: status.OK, messages: ['two hi '] })
    expect(await echo.bidi(['a', 'b'])).toMatchObject({ code: status.OK, messages: ['two a', 'two b'] })
  })
})
