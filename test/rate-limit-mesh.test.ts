import { afterEach, expect, test } from 'vitest'
import { ask, gatewayYaml } from './support/gateway.ts'
import { pod, service, startMesh, type TestMesh } from './support/mesh.ts'
import { type LimitAnswer, OK, OVER, ScriptedRls } from './support/scripted-rls.ts'

const cleanup: (() => unknown)[] = []
afterEach(async () => {
  for (const fn of cleanup.splice(0).reverse()) await fn()
})

/** As Istio's task on global rate limits writes them: the filter of the ingress gateway, and what it counts. */
const FILTERS = `
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata:
  name: filter-ratelimit
  namespace: istio-system
spec:
  workloadSelector:
    labels:
      istio: ingressgateway
  configPatches:
    - applyTo: HTTP_FILTER
      match:
        context: GATEWAY
        listener:
          filterChain:
            filter:
              name: "envoy.filters.network.http_connection_manager"
              subFilter:
                name: "envoy.filters.http.router"
      patch:
        operation: INSERT_BEFORE
        value:
          name: envoy.filters.http.ratelimit
          typed_config:
            "@type": type.googleapis.com/envoy.extensions.filters.http.ratelimit.v3.RateLimit
            domain: ratelimit
            failure_mode_deny: true
            timeout: 10s
            rate_limit_service:
              grpc_service:
                envoy_grpc:
                  cluster_name: outbound|8081||ratelimit.default.svc.cluster.local
                  authority: ratelimit.default.svc.cluster.local
              transport_api_version: V3
---
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata:
  name: filter-ratelimit-svc
  namespace: istio-system
spec:
  workloadSelector:
    labels:
      istio: ingressgateway
  configPatches:
    - applyTo: VIRTUAL_HOST
      match:
        context: GATEWAY
        routeConfiguration:
          vhost:
            name: ""
            route:
              action: ANY
      patch:
        operation: MERGE
        value:
          rate_limits:
            - actions:
              - request_headers:
                  header_name: ":path"
                  descriptor_key: "PATH"
---`

/** The task's advanced case: a route is counted by its host, and by what is asked of it. */
const BY_ROUTE = `
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: filter-ratelimit-route, namespace: istio-system}
spec:
  workloadSelector: {labels: {istio: ingressgateway}}
  configPatches:
    - applyTo: HTTP_ROUTE
      match:
        context: GATEWAY
        routeConfiguration: {vhost: {name: "shop.example.com:80", route: {action: ANY}}}
      patch:
        operation: MERGE
        value:
          route:
            include_vh_rate_limits: true
            rate_limits:
              - actions:
                - {destination_cluster: {}}
                - {header_value_match: {descriptor_value: api, headers: [{name: ":path", string_match: {prefix: /api}}]}}
---`

const SHOP = `
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: shop}
spec:
  selector: {istio: ingressgateway}
  servers:
  - {port: {number: 80, name: http, protocol: HTTP}, hosts: [shop.example.com]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: shop}
spec:
  hosts: [shop.example.com]
  gateways: [shop]
  http: [{route: [{destination: {host: productpage}}]}]
---`

const ratelimit = (port: number) =>
  service('ratelimit', 'default', { name: 'grpc-port', port: 8081 }) +
  pod('ratelimit', 'v1', { port: 8081, annotations: `dinghy.dev/app: "8081=127.0.0.1:${port}"` })

async function shop(answers: LimitAnswer[], more = ''): Promise<{ rls: ScriptedRls; mesh: TestMesh }> {
  const rls = await ScriptedRls.start(...answers)
  cleanup.push(() => rls.stop())
  const mesh = await startMesh(
    gatewayYaml() + service('productpage') + pod('productpage', 'v1') + ratelimit(rls.port) + SHOP + FILTERS + more,
  )
  cleanup.push(() => mesh.stop())
  return { rls, mesh }
}

test('Istio’s documented global rate limit: the gateway asks the service about each path', async () => {
  const { rls, mesh } = await shop([OK, OVER])
  const first = await ask(mesh, 'shop.example.com', { path: '/productpage?u=1' })
  expect([first.status, first.echo.workload]).toEqual([200, 'productpage-v1'])
  const second = await ask(mesh, 'shop.example.com', { path: '/api/v1' })
  expect([second.status, second.text, second.headers['x-envoy-ratelimited']]).toEqual([429, '', 'true'])
  expect(rls.asked.map(({ domain }) => domain)).toEqual(['ratelimit', 'ratelimit'])
  expect(rls.descriptors).toEqual([['PATH=/productpage?u=1'], ['PATH=/api/v1']])
})

test('a route’s own descriptors stand beside the virtual host’s', async () => {
  const { rls, mesh } = await shop([OK], BY_ROUTE)
  await ask(mesh, 'shop.example.com', { path: '/api/v1' })
  await ask(mesh, 'shop.example.com', { path: '/other' })
  const api = 'destination_cluster=outbound|9080||productpage.default.svc.cluster.local,header_match=api'
  expect(rls.descriptors).toEqual([[api, 'PATH=/api/v1'], ['PATH=/other']])
})

test('a gateway whose service is gone refuses, as failure_mode_deny has it', async () => {
  const { rls, mesh } = await shop([OK])
  rls.stop()
  const answer = await ask(mesh, 'shop.example.com')
  expect([answer.status, answer.text]).toEqual([500, ''])
})
