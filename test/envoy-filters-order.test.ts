import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { client, pod, service, startMesh, type TestMesh } from './support/mesh.ts'
import type { Json } from './support/pilot.ts'

const MANAGER = 'envoy.filters.network.http_connection_manager'
const PLAIN = [
  'istio.metadata_exchange',
  'envoy.filters.http.grpc_stats',
  'istio.alpn',
  'envoy.filters.http.fault',
  'envoy.filters.http.cors',
  'envoy.filters.http.router',
]

const base = `${[client(), service('reviews'), pod('reviews', 'v1')].join('')}
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews}
spec: {host: reviews, trafficPolicy: {connectionPool: {http: {maxRequestsPerConnection: 1}}}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews}
spec:
  hosts: [reviews]
  http:
  - name: broken
    match: [{uri: {prefix: /broken}}]
    fault: {abort: {httpStatus: 418, percentage: {value: 100}}}
    route: [{destination: {host: reviews}}]
  - name: main
    route: [{destination: {host: reviews}}]
---`

const envoyFilter = (patches: string): string => `
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: patch, namespace: default}
spec:
  workloadSelector: {labels: {app: client}}
  configPatches:
${patches.trim().replace(/^/gm, '  ')}
---`

/** A filter that adds its name to the request header x-by. */
const marker = (name: string): string =>
  `{name: ${name}, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.header_mutation.v3.HeaderMutation, mutations: {request_mutations: [{append: {header: {key: x-by, value: ${name}}, append_action: APPEND_IF_EXISTS_OR_ADD}}]}}}`

const http = (operation: string, subFilter: string | undefined, value?: string): string => `
- applyTo: HTTP_FILTER
  match:
    context: SIDECAR_OUTBOUND
    listener: {portNumber: 9080, filterChain: {filter: {name: ${MANAGER}${subFilter ? `, subFilter: {name: ${subFilter}}` : ''}}}}
  patch: {operation: ${operation}${value ? `, value: ${value}` : ''}}
`

describe('the sidecar has what EnvoyFilters make of it, in /config_dump and on traffic', () => {
  let mesh: TestMesh
  beforeAll(async () => {
    mesh = await startMesh({ 'base.yaml': base, 'filter.yaml': '' }, { watch: true })
  })
  afterAll(() => mesh.stop())

  const dump = async (resource: string): Promise<Json[]> => {
    const { ip, port } = mesh.mesh.sidecarOf('client')!.adminAddress!
    const response = await fetch(`http://${ip}:${port}/config_dump?resource=${resource}`)
    return ((await response.json()) as Json).configs
  }
  const listener = async (name = '0.0.0.0_9080'): Promise<Json> =>
    (await dump('dynamic_listeners')).find((l: Json) => l.name === name).active_state.listener
  const chainOf = async (): Promise<Json> => {
    const { filter_chains: chains = [], default_filter_chain: last } = await listener()
    return [...chains, last].find((c: Json) => c?.filters.some((f: Json) => f.name === MANAGER))
  }
  const httpFilters = async (): Promise<string[]> =>
    (await chainOf()).filters.find((f: Json) => f.name === MANAGER).typed_config.http_filters.map((f: Json) => f.name)
  const markers = async (): Promise<string | undefined> =>
    (await mesh.get('client', 'http://reviews:9080/')).echo?.request.headers['x-by']

  const [router, fault, cors] = ['envoy.filters.http.router', 'envoy.filters.http.fault', 'envoy.filters.http.cors']
  it.each<[string, string, string[], string]>([
    [
      'two INSERT_FIRST: the later one is the first',
      http('INSERT_FIRST', undefined, marker('a')) + http('INSERT_FIRST', undefined, marker('b')),
      ['b', 'a', ...PLAIN],
      'b, a',
    ],
    [
      'INSERT_BEFORE the router: in order',
      http('INSERT_BEFORE', router, marker('a')) + http('INSERT_BEFORE', router, marker('b')),
      [...PLAIN.slice(0, -1), 'a', 'b', router],
      'a, b',
    ],
    [
      'INSERT_AFTER fault: the later one is nearer',
      http('INSERT_AFTER', fault, marker('a')) + http('INSERT_AFTER', fault, marker('b')),
      PLAIN.toSpliced(4, 0, 'b', 'a'),
      'b, a',
    ],
    ['REPLACE cors', http('REPLACE', cors, marker('a')), PLAIN.with(4, 'a'), 'a'],
    [
      'one patch finds what an earlier one has put there',
      http('INSERT_BEFORE', router, marker('a')) +
        http('INSERT_BEFORE', 'a', marker('b')) +
        http('REPLACE', 'a', marker('c')),
      [...PLAIN.slice(0, -1), 'b', 'c', router],
      'b, c',
    ],
    [
      'MERGE changes a config, and the name',
      http('INSERT_BEFORE', router, marker('a')) + http('MERGE', 'a', marker('b')),
      [...PLAIN.slice(0, -1), 'b', router],
      'a, b',
    ],
  ])('%s', async (_, patches, filters, by) => {
    await mesh.write('filter.yaml', envoyFilter(patches))
    expect(await httpFilters()).toEqual(filters)
    expect(await markers()).toBe(by)
  })

  it('REMOVE takes the fault filter, and with it the fault of a VirtualService', async () => {
    await mesh.write('filter.yaml', '')
    expect((await mesh.get('client', 'http://reviews:9080/broken')).status).toBe(418)
    await mesh.write('filter.yaml', envoyFilter(http('REMOVE', fault)))
    expect(await httpFilters()).toEqual(PLAIN.filter((name) => name !== fault))
    expect((await mesh.get('client', 'http://reviews:9080/broken')).status).toBe(200)
  })

  it('a network filter before the connection manager refuses the connections', async () => {
    await mesh.write(
      'filter.yaml',
      envoyFilter(`
- applyTo: NETWORK_FILTER
  match: {context: SIDECAR_OUTBOUND, listener: {portNumber: 9080, filterChain: {filter: {name: ${MANAGER}}}}}
  patch:
    operation: INSERT_BEFORE
    value:
      name: nobody
      typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.network.rbac.v3.RBAC, stat_prefix: nobody., rules: {}}
`),
    )
    expect((await chainOf()).filters.map((f: Json) => f.name)).toEqual(['nobody', MANAGER])
    await expect(mesh.get('client', 'http://reviews:9080/')).resolves.toMatchObject({ status: 0 })
  })

  it('listener filters, and a setting of the listener', async () => {
    await mesh.write(
      'filter.yaml',
      envoyFilter(`
- applyTo: LISTENER_FILTER
  match: {context: SIDECAR_INBOUND, listener: {listenerFilter: envoy.filters.listener.tls_inspector}}
  patch:
    operation: INSERT_BEFORE
    value: {name: mine, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol, allow_requests_without_proxy_protocol: true}}
- applyTo: LISTENER
  match: {context: SIDECAR_INBOUND, listener: {name: virtualInbound}}
  patch: {operation: MERGE, value: {per_connection_buffer_limit_bytes: 65536}}
`),
    )
    const inbound = await listener('virtualInbound')
    const names = inbound.listener_filters.map((f: Json) => f.name)
    expect(names.indexOf('mine')).toBe(names.indexOf('envoy.filters.listener.tls_inspector') - 1)
    expect(inbound.per_connection_buffer_limit_bytes).toBe(65536)
  })

  it('a cluster and the routes to it, in the order that they are put in', async () => {
    await mesh.write(
      'filter.yaml',
      envoyFilter(`
- applyTo: CLUSTER
  match: {context: SIDECAR_OUTBOUND}
  patch: {operation: ADD, value: {name: mine, type: STATIC, connect_timeout: 1s}}
- applyTo: HTTP_ROUTE
  match: {context: SIDECAR_OUTBOUND, routeConfiguration: {name: "9080", vhost: {name: "reviews.default.svc.cluster.local:9080", route: {name: main}}}}
  patch: {operation: INSERT_BEFORE, value: {name: nowhere, match: {prefix: /nowhere}, route: {cluster: mine}}}
- applyTo: HTTP_ROUTE
  match: {context: SIDECAR_OUTBOUND, routeConfiguration: {name: "9080", vhost: {name: "reviews.default.svc.cluster.local:9080"}}}
  patch: {operation: INSERT_FIRST, value: {name: tea, match: {prefix: /tea}, direct_response: {status: 418}}}
`),
    )
    const routes = (await dump('dynamic_route_configs')).find((r: Json) => r.route_config.name === '9080')
    const host = routes.route_config.virtual_hosts.find((h: Json) => h.name.startsWith('reviews.'))
    expect(host.routes.map((r: Json) => r.name)).toEqual(['tea', 'broken', 'nowhere', 'main'])
    expect((await mesh.get('client', 'http://reviews:9080/tea')).status).toBe(418)
    expect((await mesh.get('client', 'http://reviews:9080/nowhere')).status).toBe(503)
    expect((await mesh.get('client', 'http://reviews:9080/')).status).toBe(200)
  })
})
