import { afterEach, describe, expect, it } from 'vitest'
import { type App, startApp } from './support/app.ts'
import { client, pod, service, startMesh, type TestMesh } from './support/mesh.ts'

const sidecar = (spec: string, namespace = 'default') => `
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: default, namespace: ${namespace}}
spec: {${spec}}
---`

const base = [
  client(),
  service('reviews'),
  pod('reviews', 'v1'),
  service('other', 'elsewhere'),
  pod('other', 'v1', { namespace: 'elsewhere' }),
]

describe('Sidecar', () => {
  let mesh: TestMesh | undefined
  const apps: App[] = []
  afterEach(async () => {
    await mesh?.stop()
    mesh = undefined
    for (const app of apps.splice(0)) await app.close()
  })
  const start = async (...yaml: string[]) => {
    mesh = await startMesh(yaml.join(''))
    return mesh
  }
  const status = async (from: TestMesh, url: string) => (await from.get('client', url)).status
  const admin = async (from: TestMesh, who: string, path: string) =>
    (await fetch(`http://${from.mesh.workloads().find((w) => w.name === who)!.admin}${path}`)).text()

  it('egress hosts are all that a workload knows', async () => {
    const mesh = await start(
      ...base,
      sidecar('egress: [{hosts: ["./*"]}], outboundTrafficPolicy: {mode: REGISTRY_ONLY}'),
    )
    expect(await status(mesh, 'http://reviews:9080/')).toBe(200)
    expect(await status(mesh, 'http://other.elsewhere:9080/')).toBe(502)
    expect(await admin(mesh, 'client', '/clusters')).not.toContain('other.elsewhere')
  })

  it('an egress listener for a port has hosts of its own', async () => {
    const egress =
      'egress: [{port: {number: 9080, protocol: HTTP, name: http}, hosts: ["elsewhere/*"]}, {hosts: ["./*"]}]'
    const mesh = await start(...base, sidecar(`${egress}, outboundTrafficPolicy: {mode: REGISTRY_ONLY}`))
    expect(await status(mesh, 'http://other.elsewhere:9080/')).toBe(200)
    expect(await status(mesh, 'http://reviews:9080/')).toBe(502)
  })

  it('is for the workloads that it selects', async () => {
    const mesh = await start(
      ...base,
      client('second'),
      sidecar(
        'workloadSelector: {labels: {app: second}}, egress: [{hosts: ["elsewhere/*"]}], outboundTrafficPolicy: {mode: REGISTRY_ONLY}',
      ),
    )
    expect(await status(mesh, 'http://reviews:9080/')).toBe(200)
    expect((await mesh.get('second', 'http://reviews:9080/')).status).toBe(502)
  })

  it('egressProxy takes what no service is for', async () => {
    const mesh = await start(
      ...base,
      sidecar(
        'outboundTrafficPolicy: {mode: ALLOW_ANY, egressProxy: {host: reviews.default.svc.cluster.local, port: {number: 9080}}}',
      ),
    )
    expect((await mesh.get('client', 'http://93.184.216.34:8080/')).echo?.workload).toBe('reviews-v1')
  })

  it('ingress sends a port to where defaultEndpoint says', async () => {
    const app = await startApp((_request, response) => response.end('behind 8080'))
    apps.push(app)
    const annotations = app.annotation.replace('9080=', '8080=')
    const mesh = await start(
      client(),
      service('reviews'),
      pod('reviews', 'v1', { annotations }),
      sidecar(
        'workloadSelector: {labels: {app: reviews}}, ingress: [{port: {number: 9080, protocol: HTTP, name: http}, defaultEndpoint: 127.0.0.1:8080}]',
      ),
    )
    expect((await mesh.get('client', 'http://reviews:9080/')).text).toBe('behind 8080')
  })

  it.each(['inboundConnectionPool: {http: {http2MaxRequests: 1}}', 'POOL-OF-A-LISTENER'])(
    '%s limits what comes in',
    async (pool) => {
      const app = await startApp((_request, response) => setTimeout(() => response.end(), 100))
      apps.push(app)
      const spec = pool.startsWith('POOL')
        ? 'ingress: [{port: {number: 9080, protocol: HTTP, name: http}, connectionPool: {http: {http2MaxRequests: 1}}}]'
        : pool
      const mesh = await start(
        client(),
        service('reviews'),
        pod('reviews', 'v1', { annotations: app.annotation }),
        sidecar(`workloadSelector: {labels: {app: reviews}}, ${spec}`),
      )
      const both = await Promise.all([status(mesh, 'http://reviews:9080/'), status(mesh, 'http://reviews:9080/')])
      expect(both.sort()).toEqual([200, 503])
    },
  )
})
