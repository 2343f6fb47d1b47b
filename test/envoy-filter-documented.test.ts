import http from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { client, pod, service, startMesh, type TestMesh } from './support/mesh.ts'

const app = [
  client(),
  service('reviews', 'default', { name: 'http', port: 8080 }),
  pod('reviews', 'v1', { port: 8080 }),
].join('')
/** A change of listeners holds for new connections, so each request gets one. */
const oneEach = `
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews}
spec: {host: reviews, trafficPolicy: {connectionPool: {http: {maxRequestsPerConnection: 1}}}}
---`

/** EnvoyFilters as Istio's reference page has them; only namespaces, and the address of the service that is asked, differ. */
describe("the EnvoyFilters of Istio's documentation", () => {
  let mesh: TestMesh | undefined
  let acl: http.Server | undefined
  afterEach(async () => {
    await mesh?.stop()
    mesh = undefined
    acl?.closeAllConnections()
    acl?.close()
    acl = undefined
  })
  const told = () =>
    mesh!.events.flatMap((event) =>
      event.type === 'warning' || event.type === 'workload'
        ? [event.message]
        : event.type === 'rejected'
          ? [JSON.stringify(event)]
          : [],
    )

  it('reviews-lua: a script of the inbound side asks a cluster that is added beside it', async () => {
    const asked: string[] = []
    acl = http.createServer(async (request, response) => {
      let body = ''
      for await (const chunk of request) body += chunk
      asked.push(`${request.method} ${request.url} ${request.headers.host} ${body}`)
      response.end('yes')
    })
    await new Promise<void>((resolve) => acl!.listen(0, '127.0.0.1', resolve))
    mesh = await startMesh(
      `${app}${oneEach}
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata:
  name: reviews-lua
  namespace: default
spec:
  workloadSelector:
    labels:
      app: reviews
  configPatches:
  - applyTo: HTTP_FILTER
    match:
      context: SIDECAR_INBOUND
      listener:
        portNumber: 8080
        filterChain:
          filter:
            name: "envoy.filters.network.http_connection_manager"
            subFilter:
              name: "envoy.filters.http.router"
    patch:
      operation: INSERT_BEFORE
      value: # lua filter specification
       name: envoy.filters.http.lua
       typed_config:
          "@type": "type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua"
          defaultSourceCode:
            inlineString: |
              function envoy_on_request(request_handle)
                -- Make an HTTP call to an upstream host with the following headers, body, and timeout.
                local headers, body = request_handle:httpCall(
                 "lua_cluster",
                 {
                  [":method"] = "POST",
                  [":path"] = "/acl",
                  [":authority"] = "internal.org.net"
                 },
                "authorize call",
                5000)
                request_handle:headers():add("x-acl", headers[":status"] .. body)
              end
  - applyTo: CLUSTER
    match:
      context: SIDECAR_OUTBOUND
    patch:
      operation: ADD
      value: # cluster specification
        name: "lua_cluster"
        type: STRICT_DNS
        connect_timeout: 0.5s
        lb_policy: ROUND_ROBIN
        load_assignment:
          cluster_name: lua_cluster
          endpoints:
          - lb_endpoints:
            - endpoint:
                address:
                  socket_address:
                    protocol: TCP
                    address: "127.0.0.1"
                    port_value: ${(acl.address() as AddressInfo).port}
---`,
    )
    const answer = await mesh.get('client', 'http://reviews:8080/')
    expect(answer.echo?.request.headers['x-acl']).toBe('200yes')
    expect(asked).toEqual(['POST /acl internal.org.net authorize call'])
  })

  it('a script by inlineCode, as older pages have it', async () => {
    mesh = await startMesh(`${app}${oneEach}
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: lua-inline, namespace: default}
spec:
  workloadSelector: {labels: {app: reviews}}
  configPatches:
  - applyTo: HTTP_FILTER
    match:
      context: SIDECAR_INBOUND
      listener:
        filterChain: {filter: {name: envoy.filters.network.http_connection_manager, subFilter: {name: envoy.filters.http.router}}}
    patch:
      operation: INSERT_BEFORE
      value:
        name: envoy.lua
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua
          inlineCode: |
            function envoy_on_response(response_handle)
              response_handle:headers():add("x-custom", "via lua")
            end
---`)
    expect((await mesh.get('client', 'http://reviews:8080/')).headers['x-custom']).toBe('via lua')
  })

  it('custom-protocol: a filter that only looks at a protocol is told to be missing by name, and bytes pass', async () => {
    mesh = await startMesh(`${app}${oneEach}
apiVersion: v1
kind: Service
metadata: {name: mongo, namespace: default}
spec: {selector: {app: reviews}, ports: [{name: tcp-mongo, port: 9307, targetPort: 8080}]}
---
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata:
  name: custom-protocol
  namespace: istio-system
spec:
  configPatches:
  - applyTo: NETWORK_FILTER
    match:
      context: SIDECAR_OUTBOUND # will match outbound listeners in all sidecars
      listener:
        portNumber: 9307
        filterChain:
          filter:
            name: "envoy.filters.network.tcp_proxy"
    patch:
      operation: INSERT_BEFORE
      value:
        name: "envoy.extensions.filters.network.mongo_proxy"
        typed_config:
          "@type": "type.googleapis.com/envoy.extensions.filters.network.mongo_proxy.v3.MongoProxy"
          stat_prefix: mongo
---`)
    await vi.waitFor(() => expect(told().join('\n')).toContain('not enforced yet: network filter mongo_proxy'), 5000)
    expect((await mesh.get('client', 'http://reviews:8080/')).status).toBe(200)
  })

  it('an idle time for all connection managers, and the server header by another', async () => {
    mesh = await startMesh(`${app}${oneEach}
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: idle, namespace: istio-system}
spec:
  configPatches:
  - applyTo: NETWORK_FILTER # http connection manager is a filter in Envoy
    match:
      # context omitted so that this applies to both sidecars and gateways
      listener:
        filterChain:
          filter:
            name: "envoy.filters.network.http_connection_manager"
    patch:
      operation: MERGE
      value:
        name: "envoy.filters.network.http_connection_manager"
        typed_config:
          "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
          server_name: mine
          server_header_transformation: OVERWRITE
          common_http_protocol_options:
            idle_timeout: 30s
---`)
    const answer = await mesh.get('client', 'http://reviews:8080/')
    expect([answer.status, answer.headers.server]).toEqual([200, 'mine'])
    expect(told().filter((line) => !line.startsWith('not enforced yet'))).toEqual([])
  })

  it('attributegen, which is WebAssembly, is refused by name, and traffic goes on', async () => {
    mesh = await startMesh(`${app}${oneEach}
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata:
  name: reviews-request-operation
  namespace: default
spec:
  workloadSelector:
    labels:
      app: reviews
  configPatches:
  - applyTo: HTTP_FILTER
    match:
      context: SIDECAR_INBOUND
    patch:
      operation: ADD
      filterClass: STATS # This filter will run *before* the Istio stats filter.
      value:
        name: istio.request_operation
        typed_config:
         "@type": type.googleapis.com/udpa.type.v1.TypedStruct
         type_url: type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm
         value:
           config:
             vm_config:
               runtime: envoy.wasm.runtime.null
               code:
                 local: { inline_string: "envoy.wasm.attributegen" }
---`)
    await vi.waitFor(() => expect(told().join('\n')).toMatch(/wasm.*reviews-request-operation/is), 5000)
  })
})
