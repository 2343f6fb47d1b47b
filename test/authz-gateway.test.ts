import { once } from 'node:events'
import net from 'node:net'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type App, startApp } from './support/app.ts'
import { addressOf, ask, gatewayYaml } from './support/gateway.ts'
import { pod, service, startMesh, type TestMesh } from './support/mesh.ts'

const apps = [service('reviews'), pod('reviews', 'v1')].join('')

const policy = (namespace: string, spec: string, name = 'p') => `
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: ${name}, namespace: ${namespace}}
spec: {${spec}}
---`

describe('AuthorizationPolicy at an ingress gateway', () => {
  let mesh: TestMesh
  let authz: App
  beforeAll(async () => {
    authz = await startApp((request, response) => response.writeHead(request.headers['x-ok'] ? 200 : 402).end())
    mesh = await startMesh(
      {
        'base.yaml': `${apps}
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data:
  mesh: |
    extensionProviders:
    - name: authz
      envoyExtAuthzHttp: {service: authz.default.svc.cluster.local, port: 9080, includeRequestHeadersInCheck: [x-ok]}
---
${service('authz')}${pod('authz', 'v1', { annotations: authz.annotation })}
${gatewayYaml({ annotations: `proxy.istio.io/config: '{"gatewayTopology": {"numTrustedProxies": 1}}'` })}
${gatewayYaml({ name: 'behind', annotations: `proxy.istio.io/config: '{"gatewayTopology": {"proxyProtocol": {}}}'` })}
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: web, namespace: istio-system}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ["*"]}]
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: behind, namespace: istio-system}
spec:
  selector: {istio: behind}
  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ["*"]}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: web, namespace: default}
spec:
  hosts: ["*"]
  gateways: [istio-system/web, istio-system/behind]
  http: [{route: [{destination: {host: reviews, port: {number: 9080}}}]}]
---`,
        'policies.yaml': '',
      },
      { watch: true },
    )
  })
  afterAll(async () => {
    await mesh?.stop()
    await authz?.close()
  })
  const use = (...policies: string[]) => mesh.write('policies.yaml', policies.join(''))
  const gateway = 'selector: {matchLabels: {istio: ingressgateway}}'
  const from = async (forwarded: string, headers = {}) =>
    (
      await ask(mesh, 'shop.example.com', {
        headers: { ...(forwarded && { 'x-forwarded-for': forwarded }), ...headers },
      })
    ).status

  it('remoteIpBlocks go by what the trusted proxies before it say', async () => {
    await use(policy('istio-system', `${gateway}, rules: [{from: [{source: {remoteIpBlocks: ["203.0.113.0/24"]}}]}]`))
    expect(await from('203.0.113.5')).toBe(200)
    expect(await from('198.51.100.1, 203.0.113.5')).toBe(200)
    // What stands before the trusted address is what a client may have invented.
    expect(await from('203.0.113.5, 198.51.100.1')).toBe(403)
    expect(await from('')).toBe(403)
  })

  it('ipBlocks go by who connects, whatever headers say', async () => {
    await use(policy('istio-system', `${gateway}, rules: [{from: [{source: {ipBlocks: ["203.0.113.0/24"]}}]}]`))
    expect(await from('203.0.113.5')).toBe(403)
    await use(policy('istio-system', `${gateway}, rules: [{from: [{source: {notIpBlocks: ["203.0.113.0/24"]}}]}]`))
    expect(await from('203.0.113.5')).toBe(200)
  })

  it.each([
    ['remoteIpBlocks', 'remoteIpBlocks: ["203.0.113.0/24"]', '203.0.113.9'],
    // Envoy's direct remote IP is that of the socket; a PROXY header changes only what is behind it.
    ['notIpBlocks', 'notIpBlocks: ["203.0.113.0/24"]', '203.0.113.9'],
  ])('behind a load balancer that sends a PROXY header: %s', async (_what, field, ip) => {
    await use(
      policy('istio-system', `selector: {matchLabels: {istio: behind}}, rules: [{from: [{source: {${field}}}]}]`),
    )
    expect(await viaProxy(ip)).toContain('HTTP/1.1 200')
    if (field.startsWith('remote')) expect(await viaProxy('198.51.100.1')).toContain('HTTP/1.1 403')
  })

  /** The head of the answer to a request that comes with a PROXY header. */
  async function viaProxy(ip: string): Promise<string> {
    const socket = net.connect(addressOf(mesh, 'istio-behind', 8080))
    socket.write(`PROXY TCP4 ${ip} 10.0.0.1 1234 80\r\nGET / HTTP/1.1\r\nhost: a.test\r\n\r\n`)
    const [chunk] = (await once(socket, 'data')) as [Buffer]
    socket.destroy()
    return chunk.toString()
  }

  it('hosts and paths of requests from outside', async () => {
    await use(
      policy(
        'istio-system',
        `${gateway}, action: DENY, rules: [{to: [{operation: {hosts: ["shop.example.com"], paths: ["/admin*"]}}]}]`,
      ),
    )
    expect((await ask(mesh, 'shop.example.com', { path: '/admin/x' })).status).toBe(403)
    expect((await ask(mesh, 'SHOP.example.com', { path: '/admin' })).status).toBe(403)
    expect((await ask(mesh, 'other.example.com', { path: '/admin' })).status).toBe(200)
    expect((await ask(mesh, 'shop.example.com', { path: '/' })).status).toBe(200)
  })

  it('CUSTOM asks before the request comes into the mesh', async () => {
    await use(policy('istio-system', `${gateway}, action: CUSTOM, provider: {name: authz}, rules: [{}]`))
    expect(await from('')).toBe(402)
    expect(await from('', { 'x-ok': '1' })).toBe(200)
  })
})

describe('AuthorizationPolicy with targetRefs', () => {
  it('binds a gateway of the Gateway API, and no other workload', async () => {
    const mesh = await startMesh(
      {
        'base.yaml': `${apps}
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge, namespace: default}
spec:
  gatewayClassName: istio
  listeners: [{name: http, port: 8080, protocol: HTTP}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: all, namespace: default}
spec:
  parentRefs: [{name: edge}]
  rules: [{backendRefs: [{name: reviews, port: 9080}]}]
---`,
        'policies.yaml': '',
      },
      { watch: true },
    )
    const status = async (path: string) =>
      (await ask(mesh, 'a.test', { workload: 'edge-istio', port: 8080, path })).status
    const to = (name: string) => `targetRefs: [{kind: Gateway, group: gateway.networking.k8s.io, name: ${name}}]`
    const rules = 'action: DENY, rules: [{to: [{operation: {paths: ["/no"]}}]}]'
    try {
      await mesh.write('policies.yaml', policy('default', `${to('edge')}, ${rules}`))
      expect([await status('/no'), await status('/yes')]).toEqual([403, 200])
      await mesh.write('policies.yaml', policy('default', `${to('other')}, ${rules}`))
      expect(await status('/no')).toBe(200)
      // Nothing allowed at the gateway; the server itself has no policy.
      await mesh.write('policies.yaml', policy('default', `${to('edge')}, rules: []`))
      expect(await status('/yes')).toBe(403)
      const outside = await ask(mesh, 'a.test', { workload: 'reviews-v1', port: 9080 })
      expect(outside.status).toBe(200)
    } finally {
      await mesh.stop()
    }
  })
})

describe('trust domains', () => {
  it('a principal of an alias is one of the own trust domain', async () => {
    const mesh = await startMesh(
      {
        'base.yaml': `${apps}
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data:
  mesh: |
    trustDomain: new.example
    trustDomainAliases: [old.example]
---
apiVersion: v1
kind: Pod
metadata: {name: client, namespace: default, labels: {app: client}}
spec: {serviceAccountName: client, containers: [{name: app, image: app}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews}
spec: {host: reviews, trafficPolicy: {connectionPool: {http: {maxRequestsPerConnection: 1}}}}
---`,
        'policies.yaml': '',
      },
      { watch: true },
    )
    const allowed = async (source: string) => {
      await mesh.write('policies.yaml', policy('default', `rules: [{from: [{source: {${source}}}]}]`))
      return (await mesh.get('client', 'http://reviews:9080/')).status === 200
    }
    try {
      expect(await allowed('principals: ["new.example/ns/default/sa/client"]')).toBe(true)
      expect(await allowed('principals: ["old.example/ns/default/sa/client"]')).toBe(true)
      expect(await allowed('principals: ["cluster.local/ns/default/sa/client"]')).toBe(true)
      expect(await allowed('principals: ["strange.example/ns/default/sa/client"]')).toBe(false)
      expect(await allowed('trustDomains: [old.example]')).toBe(true)
      expect(await allowed('notPrincipals: ["old.example/ns/default/sa/client"]')).toBe(false)
    } finally {
      await mesh.stop()
    }
  })
})
