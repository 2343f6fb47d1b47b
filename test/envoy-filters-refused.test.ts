import { afterEach, describe, expect, it, vi } from 'vitest'
import { client, pod, service, startMesh, type TestMesh } from './support/mesh.ts'

const MANAGER = 'envoy.filters.network.http_connection_manager'
const services = [client(), service('reviews'), pod('reviews', 'v1')].join('')

/** Patches to the client's listener of port 9080, besides one that is fine; each begins at the line after the last. */
const envoyFilter = (patches: string): string => `apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: patch, namespace: default}
spec:
  workloadSelector: {labels: {app: client}}
  configPatches:
  - applyTo: LISTENER
    match: {context: SIDECAR_OUTBOUND}
    patch: {operation: MERGE, value: {per_connection_buffer_limit_bytes: 65536}}
${patches.trim().replace(/^/gm, '  ')}
`
const OUTBOUND = `context: SIDECAR_OUTBOUND, listener: {portNumber: 9080, filterChain: {filter: {name: ${MANAGER}`

const http = (operation: string, subFilter: string | undefined, value: string): string => `
- applyTo: HTTP_FILTER
  match: {${OUTBOUND}${subFilter ? `, subFilter: {name: ${subFilter}}` : ''}}}}}
  patch: {operation: ${operation}, value: ${value}}
`
const typed = (name: string, type: string, more = ''): string =>
  `{name: ${name}, typed_config: {"@type": type.googleapis.com/${type}${more}}}`
const FILTERS = 'envoy.extensions.filters'

describe('what a proxy refuses is told with the patch that it comes from, and what ran goes on', () => {
  let mesh: TestMesh | undefined
  afterEach(async () => {
    await mesh?.stop()
    mesh = undefined
  })

  const refusals = () =>
    (mesh?.events ?? []).flatMap((event) =>
      event.type === 'rejected' && event.workload === 'client.default' ? [event] : [],
    )

  it.each<[string, string, string | RegExp]>([
    [
      'an HTTP filter that the proxy does not have',
      http('INSERT_FIRST', undefined, typed('envoy.filters.http.wasm', `${FILTERS}.http.wasm.v3.Wasm`)),
      "Didn't find a registered implementation for 'envoy.filters.http.wasm' with type URL: 'envoy.extensions.filters.http.wasm.v3.Wasm'",
    ],
    [
      'a filter of a company of its own',
      http(
        'INSERT_FIRST',
        undefined,
        typed('mine', 'xds.type.v3.TypedStruct', ', type_url: type.googleapis.com/my.Filter, value: {}'),
      ),
      "Didn't find a registered implementation for 'mine' with type URL: 'my.Filter'",
    ],
    [
      'a network filter that the proxy does not have',
      `
- applyTo: NETWORK_FILTER
  match: {${OUTBOUND}}}}}
  patch: {operation: INSERT_BEFORE, value: ${typed('mine', 'udpa.type.v1.TypedStruct', ', type_url: type.googleapis.com/my.Filter, value: {}')}}
`,
      "Didn't find a registered implementation for 'mine' with type URL: 'my.Filter'",
    ],
    [
      'a config that lacks something',
      http('INSERT_FIRST', undefined, typed('limit', `${FILTERS}.http.local_ratelimit.v3.LocalRateLimit`)),
      /LocalRateLimitValidationError.StatPrefix: value length must be at least 1 characters/,
    ],
    [
      'an HTTP filter behind the router',
      http('ADD', undefined, typed('late', `${FILTERS}.http.cors.v3.Cors`)),
      /terminal filter named envoy.filters.http.router of type envoy.filters.http.router must be the last filter/,
    ],
    [
      'a chain without its last filter',
      `
- applyTo: NETWORK_FILTER
  match: {${OUTBOUND}}}}}
  patch: {operation: REPLACE, value: ${typed('nobody', `${FILTERS}.network.rbac.v3.RBAC`, ', stat_prefix: a')}}
`,
      /terminal/,
    ],
  ])('%s', async (_, patches, words) => {
    mesh = await startMesh({ 'base.yaml': services, 'filter.yaml': '' }, { watch: true })
    expect((await mesh.get('client', 'http://reviews:9080/')).status).toBe(200)
    await mesh.write('filter.yaml', envoyFilter(patches))
    await vi.waitFor(() => expect(refusals()).toHaveLength(1), 5000)
    const [refusal] = refusals()
    expect(refusal!.message).toMatch(words)
    expect(refusal!.patches).toHaveLength(1)
    expect(refusal!.patches[0]).toMatch(/filter\.yaml:10:5: EnvoyFilter default\/patch: spec\.configPatches\[1\]$/)
    expect((await mesh.get('client', 'http://reviews:9080/')).status).toBe(200)
  })

  it('a cluster', async () => {
    mesh = await startMesh({ 'base.yaml': services, 'filter.yaml': '' }, { watch: true })
    await mesh.write(
      'filter.yaml',
      envoyFilter(`
- applyTo: CLUSTER
  match: {cluster: {service: reviews.default.svc.cluster.local}}
  patch: {operation: MERGE, value: {lb_policy: CLUSTER_PROVIDED}}
- applyTo: CLUSTER
  match: {cluster: {name: PassthroughCluster}}
  patch: {operation: MERGE, value: {connect_timeout: 1s}}
`),
    )
    await vi.waitFor(() => expect(refusals()).toHaveLength(1), 5000)
    expect(refusals()[0]!.message).toMatch(/outbound\|9080\|\|reviews.* LB policy CLUSTER_PROVIDED must be combined/)
    expect(refusals()[0]!.patches).toEqual([expect.stringContaining('filter.yaml:10:5: EnvoyFilter default/patch')])
    expect((await mesh.get('client', 'http://reviews:9080/')).status).toBe(200)
  })

  it('a route', async () => {
    mesh = await startMesh({ 'base.yaml': services, 'filter.yaml': '' }, { watch: true })
    await mesh.write(
      'filter.yaml',
      envoyFilter(`
- applyTo: HTTP_ROUTE
  match: {context: SIDECAR_OUTBOUND, routeConfiguration: {name: "9080"}}
  patch: {operation: MERGE, value: {route: {prefix_rewrite: /a, regex_rewrite: {pattern: {regex: a}, substitution: b}}}}
`),
    )
    await vi.waitFor(() => expect(refusals()).toHaveLength(1), 5000)
    expect(refusals()[0]!.patches).toEqual([expect.stringContaining('filter.yaml:10:5: EnvoyFilter default/patch')])
    expect((await mesh.get('client', 'http://reviews:9080/')).status).toBe(200)
  })

  it('a listener that was never good: its connections go by the catch-all', async () => {
    mesh = await startMesh({
      'base.yaml': services,
      'filter.yaml': envoyFilter(http('ADD', undefined, typed('late', `${FILTERS}.http.cors.v3.Cors`))),
      'mesh.yaml': `
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data: {mesh: "outboundTrafficPolicy: {mode: REGISTRY_ONLY}\\naccessLogFile: /dev/stdout\\naccessLogFormat: '%RESPONSE_FLAGS% %UPSTREAM_CLUSTER%'\\n"}
`,
    })
    const { status, answer } = await mesh.get('client', 'http://reviews:9080/')
    expect([status, answer.error]).toEqual([0, expect.stringMatching(/hang up|closed|ended/i)])
    expect((await mesh.logLines('default', 'client', 1))[0]).toBe('UH BlackHoleCluster;')
  })
})

describe('a patch of what its clients keep connections to', () => {
  let mesh: TestMesh | undefined
  afterEach(async () => {
    await mesh?.stop()
    mesh = undefined
  })

  it('holds from the second request on: the first is told to go', async () => {
    const marked = (value: string): string => `apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: patch, namespace: default}
spec:
  workloadSelector: {labels: {app: reviews}}
  configPatches:
  - applyTo: HTTP_FILTER
    match: {context: SIDECAR_INBOUND, listener: {filterChain: {filter: {name: ${MANAGER}}}}}
    patch:
      operation: INSERT_FIRST
      value:
        name: mark
        typed_config:
          "@type": type.googleapis.com/${FILTERS}.http.header_mutation.v3.HeaderMutation
          mutations: {response_mutations: [{append: {header: {key: x-mark, value: ${value}}}}]}
`
    mesh = await startMesh({ 'base.yaml': services, 'filter.yaml': marked('one') }, { watch: true })
    const mark = async () => (await mesh!.get('client', 'http://reviews:9080/')).headers['x-mark']
    expect([await mark(), await mark()]).toEqual(['one', 'one'])
    await mesh.write('filter.yaml', marked('two'))
    expect([await mark(), await mark(), await mark()]).toEqual(['one', 'two', 'two'])
    // A value that is none of Envoy's messages, as a webhook refuses it: what ran goes on.
    await mesh.write('filter.yaml', marked('three').replace('HeaderMutation', 'HeaderMutations'))
    expect(mesh.events.at(-1)).toMatchObject({
      type: 'problems',
      problems: [{ severity: 'error', line: 14, message: expect.stringMatching(/HeaderMutations/) }],
    })
    expect(await mark()).toBe('two')
    await mesh.write('filter.yaml', marked('four'))
    expect([await mark(), await mark()]).toEqual(['two', 'four'])
  })
})

describe('patches without effect are told with what they looked for and what there was', () => {
  let mesh: TestMesh | undefined
  afterEach(async () => {
    await mesh?.stop()
    mesh = undefined
  })

  it('each in its own words', async () => {
    const cors = typed('mine', `${FILTERS}.http.cors.v3.Cors`)
    const patch = (applyTo: string, match: string, operation: string, value?: string): string =>
      `- applyTo: ${applyTo}\n  match: {${match}}\n  patch: {operation: ${operation}${value ? `, value: ${value}` : ''}}\n`
    mesh = await startMesh({
      'base.yaml': services,
      'filter.yaml': envoyFilter(
        http('INSERT_BEFORE', 'envoy.router', cors) +
          http('REPLACE', 'envoy.filters.http.faults', cors) +
          patch('LISTENER', 'context: SIDECAR_OUTBOUND, listener: {portNumber: 81}', 'REMOVE') +
          patch(
            'FILTER_CHAIN',
            'context: SIDECAR_OUTBOUND, listener: {portNumber: 9080, filterChain: {sni: a.com}}',
            'REMOVE',
          ) +
          patch(
            'NETWORK_FILTER',
            'context: SIDECAR_OUTBOUND, listener: {portNumber: 9080, filterChain: {filter: {name: envoy.tcp_proxy}}}',
            'REMOVE',
          ) +
          patch('LISTENER_FILTER', 'listener: {name: virtualInbound, listenerFilter: nobody}', 'REMOVE') +
          patch(
            'ROUTE_CONFIGURATION',
            'context: SIDECAR_OUTBOUND, routeConfiguration: {portNumber: 9081}',
            'MERGE',
            '{validate_clusters: false}',
          ) +
          patch(
            'VIRTUAL_HOST',
            'context: SIDECAR_OUTBOUND, routeConfiguration: {name: "9080", vhost: {name: "reviews:9080"}}',
            'REMOVE',
          ) +
          patch(
            'HTTP_ROUTE',
            'context: SIDECAR_OUTBOUND, routeConfiguration: {name: "9080", vhost: {name: "reviews.default.svc.cluster.local:9080", route: {name: main}}}',
            'REMOVE',
          ) +
          patch('CLUSTER', 'context: GATEWAY', 'MERGE', '{connect_timeout: 1s}') +
          patch('CLUSTER', 'proxy: {metadata: {A: b}}', 'MERGE', '{connect_timeout: 1s}') +
          patch('CLUSTER', 'cluster: {name: PassthroughCluster}', 'ADD', '{name: PassthroughCluster, type: STATIC}') +
          patch('ROUTE_CONFIGURATION', '', 'REMOVE') +
          patch('CLUSTER', 'cluster: {portNumber: 9080}', 'MERGE', '{name: mine}') +
          patch('CLUSTER', 'cluster: {name: BlackHoleCluster}', 'MERGE', '{name: mine}') +
          patch(
            'HTTP_FILTER',
            'context: SIDECAR_OUTBOUND, listener: {portNumber: 9080, filterChain: {filter: {name: envoy.http_connection_manager}}}',
            'INSERT_FIRST',
            cors,
          ),
      ),
    })
    const { events } = mesh
    const told = () =>
      events.flatMap((event) =>
        event.type === 'warning'
          ? [event.message.replace(/^.*filter\.yaml:(\d+):\d+: EnvoyFilter default\/patch: spec\.configPatches/, '$1 ')]
          : [],
      )
    await vi.waitFor(() => expect(told().length).toBeGreaterThanOrEqual(12), 5000)
    const nothing = 'matches nothing that any connected proxy has'
    const filters =
      'envoy.filters.http.cors, envoy.filters.http.fault, envoy.filters.http.grpc_stats, envoy.filters.http.router, istio.alpn, istio.metadata_exchange'
    expect(told()).toEqual([
      `10 [1]: INSERT_BEFORE of HTTP_FILTER ${nothing}: no HTTP filter "envoy.router"; there: ${filters}; did you mean "envoy.filters.http.router"?`,
      `14 [2]: REPLACE of HTTP_FILTER ${nothing}: no HTTP filter "envoy.filters.http.faults"; there: ${filters}; did you mean "envoy.filters.http.fault"?`,
      `17 [3]: REMOVE of LISTENER ${nothing}: no listener with portNumber 81; there: 0.0.0.0_9080, 127.0.0.1_15002, virtualOutbound`,
      `20 [4]: REMOVE of FILTER_CHAIN ${nothing}: no filter chain with sni a.com and portNumber 9080; there: (unnamed, of 0.0.0.0_9080), PassthroughFilterChain, virtualOutbound-blackhole, virtualOutbound-catchall-tcp`,
      `23 [5]: REMOVE of NETWORK_FILTER ${nothing}: no network filter "envoy.tcp_proxy"; there: ${MANAGER}, envoy.filters.network.tcp_proxy; did you mean "envoy.filters.network.tcp_proxy"?`,
      `26 [6]: REMOVE of LISTENER_FILTER ${nothing}: no listener filter "nobody"; there: envoy.filters.listener.http_inspector, envoy.filters.listener.original_dst, envoy.filters.listener.tls_inspector`,
      `29 [7]: MERGE of ROUTE_CONFIGURATION ${nothing}: no route configuration with portNumber 9081; there: 9080, http_proxy`,
      `32 [8]: REMOVE of VIRTUAL_HOST ${nothing}: no virtual host "reviews:9080"; there: allow_any, reviews.default.svc.cluster.local:9080`,
      `35 [9]: REMOVE of HTTP_ROUTE ${nothing}: no route "main"; there: default`,
      `38 [10]: MERGE of CLUSTER ${nothing} for the context GATEWAY`,
      `41 [11]: MERGE of CLUSTER ${nothing}: none is one that it is for`,
      '44 [12]: there is a cluster "PassthroughCluster" already, which stays: it is not added',
      '50 [14]: makes more than one cluster called "mine", of which only the first stays',
      '53 [15]: makes more than one cluster called "mine", of which only the first stays',
      `56 [16]: INSERT_FIRST of HTTP_FILTER ${nothing}: no network filter "envoy.http_connection_manager"; there: ${MANAGER}; did you mean "${MANAGER}"?`,
    ])
  })
})
