import { afterEach, describe, expect, it } from 'vitest'
import { type App, startApp } from './support/app.ts'
import { client, pod, service, startMesh, type TestMesh } from './support/mesh.ts'

const node = (name: string, region: string) => `
apiVersion: v1
kind: Node
metadata: {name: ${name}, labels: {topology.kubernetes.io/region: ${region}, topology.kubernetes.io/zone: ${region}-1}}
---`

/** The pod of the own region answers 503; outlier detection, which localities need, is too patient to mind. */
const mesh = (broken: App, remote: boolean) =>
  [
    node('here', 'eu'),
    node('far', 'us'),
    client().replace('serviceAccountName: client', 'serviceAccountName: client\n  nodeName: here'),
    service('reviews'),
    pod('reviews', 'here', { spec: 'nodeName: here', annotations: broken.annotation }),
    pod('reviews', 'far', { spec: 'nodeName: far' }),
    `
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews}
spec:
  host: reviews
  trafficPolicy: {outlierDetection: {consecutive5xxErrors: 1000, consecutiveGatewayErrors: 1000}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews}
spec:
  hosts: [reviews]
  http:
    - route: [{destination: {host: reviews}}]
      retries: {attempts: 2, backoff: 1ms, retryOn: 5xx${remote ? ', retryRemoteLocalities: true' : ''}}
---`,
  ].join('')

describe('retries of a VirtualService', () => {
  let running: TestMesh | undefined
  const apps: App[] = []
  afterEach(async () => {
    await running?.stop()
    running = undefined
    for (const app of apps.splice(0)) await app.close()
  })
  const start = async (remote: boolean) => {
    const broken = await startApp((_request, response) => {
      response.writeHead(503)
      response.end()
    })
    apps.push(broken)
    running = await startMesh(mesh(broken, remote))
    return running
  }

  it('stay in the own region', async () => {
    expect(await (await start(false)).split('client', 'http://reviews:9080/', 5)).toEqual({ here: 5 })
  })

  it('reach other regions with retryRemoteLocalities, at the second', async () => {
    expect(await (await start(true)).split('client', 'http://reviews:9080/', 5)).toEqual({ far: 5 })
  })
})
