import { describe, expect, it } from 'vitest'
import { type Json, pilotOf, podYaml, serviceYaml } from './support/pilot.ts'

const object = (kind: string, name: string, spec: string, meta = '') => `---
apiVersion: networking.istio.io/v1
kind: ${kind}
metadata: {name: ${name}${meta}}
spec: {${spec}}
`
const mesh = (config: string) => `---
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data:
  mesh: |
    ${config}
`
const client = podYaml('client', 'app: client')
const HTTP = 'ports: [{number: 80, name: http, protocol: HTTP}]'
const API = 'outbound|80||api.example'

const addresses = (assignment: Json): string[] =>
  (assignment.endpoints ?? []).flatMap((group: Json) =>
    (group.lb_endpoints ?? []).map(({ endpoint }: Json) => {
      const { socket_address: socket, pipe } = endpoint.address
      return pipe ? pipe.path : `${socket.address}:${socket.port_value}`
    }),
  )

describe('a ServiceEntry that selects', () => {
  const selecting = (resolution: string) =>
    client +
    object(
      'ServiceEntry',
      'api',
      `hosts: [api.example], ${HTTP}, resolution: ${resolution}, workloadSelector: {labels: {app: vm}}`,
    ) +
    object('WorkloadEntry', 'ip', 'address: 10.9.0.1, labels: {app: vm}, ports: {http: 7777}') +
    object('WorkloadEntry', 'name', 'address: vm.example, labels: {app: vm}')

  it('takes what has a name only where DNS resolves it', () => {
    expect(addresses(pilotOf(selecting('STATIC')).proxy('client').endpoints(API))).toEqual(['10.9.0.1:7777'])
    const { load_assignment: dns } = pilotOf(selecting('DNS')).proxy('client').cluster(API)
    expect(addresses(dns).sort()).toEqual(['10.9.0.1:7777', 'vm.example:80'])
  })

  it('knows nothing of the health of WorkloadEntries, but of that of pods', () => {
    const yaml = `${selecting('STATIC')}${podYaml('pod', 'app: vm')}`
    const [group] = pilotOf(yaml).proxy('client').endpoints(API).endpoints
    expect(group.lb_endpoints.map(({ health_status }: Json) => health_status ?? 'UNKNOWN').sort()).toEqual([
      'HEALTHY',
      'UNKNOWN',
    ])
  })
})

it('a Kubernetes Service goes to the port of a WorkloadEntry that bears its name, else to its target port', () => {
  const yaml =
    client +
    serviceYaml('a', 'http:80>8080') +
    object('WorkloadEntry', 'one', 'address: 10.9.0.1, labels: {app: a}, ports: {http: 7777}') +
    object('WorkloadEntry', 'two', 'address: 10.9.0.2, labels: {app: a}') +
    object('WorkloadEntry', 'three', 'address: three.example, labels: {app: a}')
  const assignment = pilotOf(yaml).proxy('client').endpoints('outbound|80||a.default.svc.cluster.local')
  expect(addresses(assignment).sort()).toEqual(['10.9.0.1:7777', '10.9.0.2:8080'])
})

it('subsets of a service that keeps the destination keep it as well, whatever their own balancer', () => {
  const rule = object(
    'DestinationRule',
    'a',
    'host: a, trafficPolicy: {loadBalancer: {simple: PASSTHROUGH}}, subsets: [{name: v1, trafficPolicy: {loadBalancer: {simple: RANDOM}}}]',
  )
  const yaml = client + serviceYaml('a', 'http:80') + podYaml('a1', 'app: a') + rule
  expect(pilotOf(yaml).proxy('client').cluster('outbound|80|v1|a.default.svc.cluster.local')).toMatchObject({
    type: 'ORIGINAL_DST',
    lb_policy: 'CLUSTER_PROVIDED',
  })
})

describe('MeshConfig', () => {
  const inbound = (config: string): Json => {
    const made = pilotOf(mesh(config) + serviceYaml('a', 'http:80>9080') + podYaml('a1', 'app: a')).proxy('a1')
    const chains = made.listener('virtualInbound').filter_chains
    const http = chains.find((chain: Json) => chain.name === '0.0.0.0_9080')
    return http.filters.at(-1).typed_config.route_config.virtual_hosts[0].routes[0].route
  }

  it('decides about retries by the server side', () => {
    expect(inbound('{}').retry_policy).toEqual({ retry_on: 'reset-before-request', num_retries: 2 })
    expect(inbound('defaultInboundHttpRetryPolicy: {attempts: 0}').retry_policy).toBeUndefined()
    expect(
      inbound('defaultInboundHttpRetryPolicy: {attempts: 4, retryOn: "reset,503", backoff: 0.5s}').retry_policy,
    ).toEqual({
      retry_on: 'reset,retriable-status-codes',
      num_retries: 4,
      retriable_status_codes: [503],
      retry_back_off: { base_interval: '0.500s' },
    })
  })

  it('may hide the ServiceEntries of some namespaces', () => {
    const entry = object('ServiceEntry', 'api', `hosts: [api.example], ${HTTP}, resolution: DNS`)
    const seen = (config: string, namespace: string) =>
      pilotOf(mesh(config) + entry + podYaml('p', 'app: p', '', namespace))
        .proxy(`${namespace}/p`)
        .names.clusters.includes(API)
    const narrow = 'serviceEntryVisibility: {applyToSidecars: true, defaultVisibility: NAMESPACE}'
    expect([seen('{}', 'other'), seen(narrow, 'default'), seen(narrow, 'other')]).toEqual([true, true, false])
    const none = 'serviceEntryVisibility: {applyToSidecars: true, policies: [{visibility: NONE}]}'
    expect(seen(none, 'default')).toBe(false)
    expect(seen('serviceEntryVisibility: {defaultVisibility: NONE}', 'default')).toBe(true)
  })
})
