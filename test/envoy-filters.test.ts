import { afterEach, describe, expect, it, vi } from 'vitest'
import { client, pod, service, startMesh, type TestMesh } from './support/mesh.ts'
import { type Json, pilotOf } from './support/pilot.ts'

const services = [client(), service('reviews'), pod('reviews', 'v1')].join('')

/** A change of listeners holds for new connections, so each request gets one. */
const oneEach = `
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews}
spec: {host: reviews, trafficPolicy: {connectionPool: {http: {maxRequestsPerConnection: 1}}}}
---`

const envoyFilter = (patches: string, name = 'patch', more = '') => `
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: ${name}, namespace: default}
spec:
  ${more}
  configPatches:
${patches
  .trim()
  .split('\n')
  .map((line) => `  ${line}`)
  .join('\n')}
---`

/** The names of the HTTP filters of a listener's chain for plain HTTP. */
const filtersOf = (listener: Json): string[] => {
  const chains = [...listener.filter_chains, listener.default_filter_chain].filter(Boolean)
  const manager = chains
    .flatMap((chain: Json) => chain.filters)
    .find((f: Json) => f.name.endsWith('http_connection_manager'))
  return manager.typed_config.http_filters.map((f: Json) => f.name)
}

const httpFilter = (operation: string, name: string, subFilter: string, context = 'SIDECAR_OUTBOUND') => `
- applyTo: HTTP_FILTER
  match: {context: ${context}, listener: {filterChain: {filter: {name: envoy.filters.network.http_connection_manager${subFilter}}}}}
  patch:
    operation: ${operation}
    value: {name: ${name}, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.cors.v3.Cors}}
`
const before = ', subFilter: {name: envoy.filters.http.router}'

describe('EnvoyFilter patches the resources that pilot makes', () => {
  const outbound = (yaml: string) =>
    pilotOf(services + yaml)
      .proxy('client')
      .listener('0.0.0.0_9080')
  const plain = filtersOf(outbound(''))

  it.each([
    ['INSERT_BEFORE', before, [...plain.slice(0, -1), 'mine', 'envoy.filters.http.router']],
    ['INSERT_AFTER', ', subFilter: {name: envoy.filters.http.fault}', plain.toSpliced(2, 0, 'mine')],
    ['INSERT_FIRST', '', ['mine', ...plain]],
    ['INSERT_BEFORE', '', ['mine', ...plain]],
    ['ADD', '', [...plain, 'mine']],
    ['REPLACE', ', subFilter: {name: envoy.filters.http.cors}', plain.map((f) => (f.endsWith('cors') ? 'mine' : f))],
    ['REMOVE', ', subFilter: {name: envoy.filters.http.cors}', plain.filter((f) => !f.endsWith('cors'))],
    ['INSERT_BEFORE', ', subFilter: {name: envoy.router}', plain],
  ])('an HTTP filter: %s%s', (operation, subFilter, filters) => {
    expect(filtersOf(outbound(envoyFilter(httpFilter(operation, 'mine', subFilter))))).toEqual(filters)
  })

  it('a lower priority comes first, then the root namespace, then the older one', () => {
    const one = (name: string, more: string, namespace = 'default') =>
      envoyFilter(httpFilter('INSERT_BEFORE', name, before), name, more).replace(
        'namespace: default',
        `namespace: ${namespace}`,
      )
    const yaml =
      one('late', 'priority: 10') + one('own', '') + one('root', '', 'istio-system') + one('early', 'priority: -5')
    const mine = filtersOf(outbound(yaml)).filter((name) => !name.startsWith('envoy.'))
    expect(mine).toEqual(['early', 'root', 'own', 'late'])
  })

  it('is for the selected workloads, the context and the version of the proxy alone', () => {
    const only = (more: string, context?: string, proxy = '') =>
      filtersOf(
        outbound(
          envoyFilter(
            httpFilter('INSERT_FIRST', 'mine', '', context).replace('listener:', `${proxy}listener:`),
            'p',
            more,
          ),
        ),
      )[0] === 'mine'
    expect(only('workloadSelector: {labels: {app: client}}')).toBe(true)
    expect(only('workloadSelector: {labels: {app: reviews}}')).toBe(false)
    expect(only('', 'SIDECAR_INBOUND')).toBe(false)
    expect(only('', 'GATEWAY')).toBe(false)
    expect(only('', 'ANY')).toBe(true)
    expect(only('', 'ANY', 'proxy: {metadata: {NAMESPACE: elsewhere}}, ')).toBe(false)
  })

  it('MERGE: scalars overwrite, lists grow, a duration is taken whole, and a zero in a wrapper says nothing', () => {
    const yaml = envoyFilter(`
- applyTo: NETWORK_FILTER
  match: {context: SIDECAR_OUTBOUND, listener: {filterChain: {filter: {name: envoy.filters.network.http_connection_manager}}}}
  patch:
    operation: MERGE
    value:
      typed_config:
        "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
        stat_prefix: mine
        normalize_path: false
        upgrade_configs: [{upgrade_type: CONNECT}]
        stream_idle_timeout: 0.5s
`)
    const config = outbound(yaml).filter_chains?.[0]?.filters ?? outbound(yaml).default_filter_chain.filters
    const manager = config.find((f: Json) => f.name.endsWith('http_connection_manager')).typed_config
    expect(manager.stat_prefix).toBe('mine')
    expect(manager.normalize_path).toBe(true)
    expect(manager.upgrade_configs).toEqual([{ upgrade_type: 'websocket' }, { upgrade_type: 'CONNECT' }])
    expect(manager.stream_idle_timeout).toBe('0.500s')
  })

  it('clusters: by service, port and subset; lists replaced where asked; added and removed', () => {
    const breakers = '{circuit_breakers: {thresholds: [{max_connections: 7}]}}'
    const match = 'match: {cluster: {service: reviews.default.svc.cluster.local, portNumber: 9080}}'
    const cluster = (operation: string, value = breakers) =>
      pilotOf(
        services +
          envoyFilter(`
- applyTo: CLUSTER
  ${match}
  patch: {operation: ${operation}, value: ${value}}
`),
      ).proxy('client')
    const name = 'outbound|9080||reviews.default.svc.cluster.local'
    const limits = (made: Json) => made.circuit_breakers.thresholds.map((t: Json) => t.max_connections)
    expect(limits(cluster('MERGE').cluster(name))).toEqual([4294967295, 7])
    expect(limits(cluster('MERGE_AND_REPLACE_LIST').cluster(name))).toEqual([7])
    expect(cluster('REMOVE').names.clusters).not.toContain(name)
    expect(cluster('ADD', '{name: extra, type: STATIC}').names.clusters).toContain('extra')
  })

  it('routes: into the configuration, the virtual host and the route, and new ones', () => {
    const { proxy } = pilotOf(
      services +
        envoyFilter(`
- applyTo: ROUTE_CONFIGURATION
  match: {routeConfiguration: {portNumber: 9080}}
  patch: {operation: MERGE, value: {response_headers_to_remove: [x-rc]}}
- applyTo: VIRTUAL_HOST
  match: {routeConfiguration: {vhost: {name: "reviews.default.svc.cluster.local:9080"}}}
  patch: {operation: MERGE, value: {response_headers_to_remove: [x-vh]}}
- applyTo: HTTP_ROUTE
  match: {routeConfiguration: {vhost: {name: "reviews.default.svc.cluster.local:9080", route: {action: ROUTE}}}}
  patch: {operation: MERGE, value: {route: {timeout: 3s}}}
- applyTo: HTTP_ROUTE
  match: {routeConfiguration: {vhost: {name: "reviews.default.svc.cluster.local:9080", route: {name: default}}}}
  patch: {operation: INSERT_BEFORE, value: {name: teapot, match: {prefix: /tea}, direct_response: {status: 418}}}
`),
    )
    const config = proxy('client').route('9080')
    expect(config.response_headers_to_remove).toEqual(['x-rc'])
    const host = config.virtual_hosts.find((h: Json) => h.name.startsWith('reviews.'))
    expect(host.response_headers_to_remove).toEqual(['x-vh'])
    expect(host.routes.map((r: Json) => r.name)).toEqual(['teapot', 'default'])
    expect(host.routes[1].route.timeout).toBe('3s')
    const other = config.virtual_hosts.find((h: Json) => h.name === 'allow_any')
    expect(other.response_headers_to_remove).toBeUndefined()
  })
})

describe('what goes wrong with one patch', () => {
  const typed = (type: string, more = '') => `{name: x, typed_config: {"@type": type.googleapis.com/${type}${more}}}`
  const TCP = 'envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy'

  it('a config of another type ends the patching of the listeners, but not that of the catch-all', () => {
    const yaml = envoyFilter(`
- applyTo: NETWORK_FILTER
  match: {context: SIDECAR_OUTBOUND}
  patch: {operation: MERGE, value: ${typed(TCP, ', stat_prefix: mine')}}
- applyTo: LISTENER
  match: {context: SIDECAR_OUTBOUND}
  patch: {operation: ADD, value: {name: more, address: {socket_address: {address: 0.0.0.0, port_value: 81}}}}
`)
    const proxy = pilotOf(services + yaml).proxy('client')
    const [catchAll] = proxy.listener('virtualOutbound').filter_chains
    expect(catchAll.filters.map((f: Json) => [f.name, f.typed_config.stat_prefix])).toEqual([['x', 'mine']])
    const [chain] = proxy.listener('0.0.0.0_9080').filter_chains
    expect(chain.filters[0].name).toBe('envoy.filters.network.http_connection_manager')
    expect(proxy.names.listeners).not.toContain('more')
  })

  it('a cluster of a name that is there already is not added', () => {
    const yaml = envoyFilter(`
- applyTo: CLUSTER
  match: {context: SIDECAR_OUTBOUND}
  patch: {operation: ADD, value: {name: BlackHoleCluster, alt_stat_name: mine}}
- applyTo: CLUSTER
  match: {context: SIDECAR_OUTBOUND}
  patch: {operation: ADD, value: {name: twice, alt_stat_name: first}}
- applyTo: CLUSTER
  match: {context: SIDECAR_OUTBOUND}
  patch: {operation: ADD, value: {name: twice, alt_stat_name: second}}
`)
    const proxy = pilotOf(services + yaml).proxy('client')
    expect(proxy.cluster('BlackHoleCluster').alt_stat_name).not.toBe('mine')
    expect(proxy.cluster('twice').alt_stat_name).toBe('first')
  })
})

describe('EnvoyFilter on traffic', () => {
  let mesh: TestMesh | undefined
  afterEach(async () => {
    await mesh?.stop()
    mesh = undefined
  })

  it('holds at the side that it names, and ends when it is taken away', async () => {
    mesh = await startMesh(
      {
        'base.yaml': services + oneEach,
        'filter.yaml': envoyFilter(`
- applyTo: VIRTUAL_HOST
  match: {context: SIDECAR_INBOUND}
  patch: {operation: MERGE, value: {response_headers_to_add: [{header: {key: x-side, value: server}}]}}
- applyTo: VIRTUAL_HOST
  match: {context: SIDECAR_OUTBOUND, routeConfiguration: {name: "9080"}}
  patch: {operation: MERGE, value: {response_headers_to_add: [{header: {key: x-side, value: client}}]}}
`),
      },
      { watch: true },
    )
    const answer = await mesh.get('client', 'http://reviews:9080/')
    expect(answer.answer.headers.filter(([name]) => name === 'x-side').map(([, value]) => value)).toEqual([
      'server',
      'client',
    ])
    await mesh.write('filter.yaml', '')
    expect((await mesh.get('client', 'http://reviews:9080/')).headers['x-side']).toBeUndefined()
  })

  it('a patch that matches nothing, or cannot be read, is told with its place', async () => {
    mesh = await startMesh({
      'base.yaml': services,
      'filter.yaml': envoyFilter(`
- applyTo: CLUSTER
  match: {cluster: {name: nobody}}
  patch: {operation: MERGE, value: {connect_timeout: 1s}}
- applyTo: CLUSTER
  match: {cluster: {name: BlackHoleCluster}}
  patch: {operation: MERGE, value: {connect_timeout: never}}
`),
    })
    const { events } = mesh
    const told = () => events.flatMap((event) => (event.type === 'warning' ? [event.message] : []))
    await vi.waitFor(() => expect(told()).toHaveLength(2), 5000)
    expect(told()[0]).toMatch(
      /filter\.yaml:\d+:\d+: EnvoyFilter default\/patch: spec\.configPatches\[1\]: .*connect_timeout/,
    )
    expect(told()[1]).toMatch(
      /filter\.yaml:\d+:\d+: .*spec\.configPatches\[0\]: MERGE of CLUSTER matches nothing .*: no cluster "nobody"; there: BlackHoleCluster, /,
    )
  })

  it('a config of another type than the filter has is told, and the filter stays as it is', async () => {
    mesh = await startMesh({
      'base.yaml': services + oneEach,
      'filter.yaml': envoyFilter(`
- applyTo: HTTP_FILTER
  match:
    context: SIDECAR_OUTBOUND
    listener: {filterChain: {filter: {name: envoy.filters.network.http_connection_manager, subFilter: {name: envoy.filters.http.fault}}}}
  patch:
    operation: MERGE
    value:
      name: envoy.filters.http.fault
      typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.cors.v3.Cors}
`),
    })
    const { events } = mesh
    const told = () => events.flatMap((event) => (event.type === 'warning' ? [event.message] : []))
    await vi.waitFor(() => expect(told()).toHaveLength(1), 5000)
    expect(told()[0]).toMatch(/filter\.yaml:\d+:\d+: .*configPatches\[0\]: .*Cors does not fit .*HTTPFault/)
    expect((await mesh.get('client', 'http://reviews:9080/')).status).toBe(200)
  })
})
