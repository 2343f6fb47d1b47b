import { afterEach, describe, expect, it } from 'vitest'
import { ask, gatewayYaml } from './support/gateway.ts'
import { pod, service, startMesh, type TestMesh } from './support/mesh.ts'

const base =
  gatewayYaml() +
  service('reviews') +
  pod('reviews', 'v1') +
  pod('reviews', 'v2') +
  service('ratings') +
  pod('ratings', 'v1') +
  `
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews}
spec:
  host: reviews
  subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]
---`

const gateway = (servers: string, name = 'g', namespace = 'default') => `
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: ${name}, namespace: ${namespace}}
spec:
  selector: {istio: ingressgateway}
  servers: [${servers}]
---`
const http = (hosts: string, more = '', port = 80) =>
  `{port: {number: ${port}, name: http-${port}, protocol: HTTP}, hosts: [${hosts}]${more}}`
const routes = (
  hosts: string,
  rules: string,
  { name = 'v', gateways = 'g', namespace = 'default', more = '' } = {},
) => `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: ${name}, namespace: ${namespace}}
spec:
  hosts: [${hosts}]
  gateways: [${gateways}]
  ${more}
  http: [${rules}]
---`
const to = (host: string, more = '') => `{route: [{destination: {host: ${host}}}]${more}}`

describe('routes at a gateway', () => {
  let mesh: TestMesh | undefined
  afterEach(async () => {
    await mesh?.stop()
    mesh = undefined
  })
  const who = async (host: string, path = '/') => {
    const answer = await ask(mesh as TestMesh, host, { path })
    return answer.status === 200 ? answer.echo.workload : answer.status
  }

  it('hosts are the intersection of the Gateway and the VirtualService', async () => {
    mesh = await startMesh(
      base +
        gateway(http('"*.shop.com", exact.com')) +
        routes('a.shop.com, other.com', to('reviews', ', name: a'), { name: 'a' }) +
        routes('"*.com"', to('ratings'), { name: 'wide' }),
    )
    expect(String(await who('a.shop.com'))).toMatch(/^reviews/)
    expect(await who('b.shop.com')).toBe('ratings-v1')
    expect(await who('exact.com')).toBe('ratings-v1')
    expect(await who('other.com')).toBe(404)
  })

  it('a host with a namespace takes VirtualServices of that namespace alone', async () => {
    mesh = await startMesh(
      base +
        gateway(http('team/a.com, ./b.com, "*/c.com"')) +
        routes('a.com', to('reviews'), { name: 'a' }) +
        routes('a.com, b.com, c.com', to('ratings.default.svc.cluster.local'), {
          name: 'abc',
          namespace: 'team',
          gateways: 'default/g',
        }),
    )
    expect([await who('a.com'), await who('b.com'), await who('c.com')]).toEqual(['ratings-v1', 404, 'ratings-v1'])
  })

  it('httpsRedirect sends to https, with or without a VirtualService', async () => {
    mesh = await startMesh(
      base +
        gateway(`${http('a.com, b.com', ', tls: {httpsRedirect: true}')},${http('c.com', '', 8080)}`) +
        routes('a.com, c.com', to('ratings')),
    )
    for (const host of ['a.com', 'b.com']) {
      const answer = await ask(mesh, host, { path: '/x?y=1', headers: { 'x-forwarded-proto': 'https' } })
      expect([answer.status, answer.headers.location]).toEqual([301, `https://${host}/x?y=1`])
    }
    expect(await who('c.com')).toBe('ratings-v1')
  })

  it('VirtualServices of one host are joined, and what takes everything comes last', async () => {
    mesh = await startMesh(
      base +
        gateway(http('"*"')) +
        routes('a.com', to('ratings'), { name: 'a' }) +
        routes('a.com', '{match: [{uri: {prefix: /r}}], route: [{destination: {host: reviews, subset: v2}}]}', {
          name: 'b',
        }),
    )
    expect([await who('a.com'), await who('a.com', '/r')]).toEqual(['ratings-v1', 'reviews-v2'])
  })

  it('rules may be for one gateway, or one of its ports', async () => {
    mesh = await startMesh(
      base +
        gateway(`${http('"*"')},${http('"*"', '', 31400)}`) +
        routes(
          '"*"',
          `{match: [{port: 31400}], route: [{destination: {host: reviews, subset: v1}}]},
           {match: [{gateways: [other]}], directResponse: {status: 418}},
           {match: [{gateways: [g]}], route: [{destination: {host: ratings}}]}`,
        ),
    )
    expect(await who('a.com')).toBe('ratings-v1')
    expect((await ask(mesh, 'a.com', { port: 31400 })).echo.workload).toBe('reviews-v1')
  })

  it('delegates, faults, rewrites and headers work as in a sidecar', async () => {
    mesh = await startMesh(
      base +
        gateway(http('"*"')) +
        routes(
          'a.com',
          `{match: [{uri: {prefix: /team}}], delegate: {name: team}},
           {match: [{uri: {prefix: /abort}}], fault: {abort: {httpStatus: 555, percentage: {value: 100}}}, route: [{destination: {host: ratings}}]},
           {rewrite: {uri: /new, authority: ratings}, headers: {response: {set: {x-edge: "1"}}}, route: [{destination: {host: ratings}}]}`,
        ) +
        `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: team}
spec:
  http:
  - match: [{uri: {prefix: /team/one}}]
    route: [{destination: {host: reviews, subset: v1}}]
---`,
    )
    expect(await who('a.com', '/team/one')).toBe('reviews-v1')
    expect((await ask(mesh, 'a.com', { path: '/abort' })).status).toBe(555)
    const answer = await ask(mesh, 'a.com', { path: '/old' })
    expect(answer.headers['x-edge']).toBe('1')
    expect([answer.echo.request.path, answer.echo.request.headers.host]).toEqual(['/newold', 'ratings'])
  })

  it('a VirtualService that is not exported to the namespace of the gateway has no effect there', async () => {
    mesh = await startMesh(base + gateway(http('"*"')) + routes('a.com', to('ratings'), { more: 'exportTo: ["."]' }))
    expect(await who('a.com')).toBe(404)
  })

  it('a destination that does not exist gives 503, and an unknown host 404', async () => {
    mesh = await startMesh(base + gateway(http('"*"')) + routes('a.com', to('nobody')))
    expect([await who('a.com'), await who('z.com')]).toEqual([503, 404])
  })

  it('numTrustedProxies tells which address of x-forwarded-for is the client', async () => {
    const config = `
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data: {mesh: "defaultConfig: {gatewayTopology: {numTrustedProxies: 1}}"}
---`
    mesh = await startMesh(base + config + gateway(http('"*"')) + routes('a.com', to('ratings')))
    const answer = await ask(mesh, 'a.com', { headers: { 'x-forwarded-for': '1.2.3.4, 5.6.7.8' } })
    expect(answer.echo.request.headers['x-envoy-external-address']).toBe('5.6.7.8')
  })

  it('topology may be written at the gateway pod itself', async () => {
    const yaml = gatewayYaml({
      annotations: `proxy.istio.io/config: '{"gatewayTopology": {"numTrustedProxies": 1}}'`,
    })
    mesh = await startMesh(
      yaml + service('ratings') + pod('ratings', 'v1') + gateway(http('"*"')) + routes('a.com', to('ratings')),
    )
    const answer = await ask(mesh, 'a.com', { headers: { 'x-forwarded-for': '1.2.3.4, 5.6.7.8' } })
    expect(answer.echo.request.headers['x-envoy-external-address']).toBe('5.6.7.8')
  })
})
