import { describe, expect, it } from 'vitest'
import { type Json, pilotOf, podYaml, serviceYaml } from './support/pilot.ts'

const NAME = 'outbound|80||a.default.svc.cluster.local'

const node = (name: string, region: string, zone: string) => `---
apiVersion: v1
kind: Node
metadata: {name: ${name}, labels: {topology.kubernetes.io/region: ${region}, topology.kubernetes.io/zone: ${zone}}}
`

const rule = (policy: string) => `---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: a}
spec: {host: a, trafficPolicy: {${policy}}}
`

const groups = (assignment: Json) =>
  assignment.endpoints.map((group: Json) => ({
    zone: group.locality?.zone,
    priority: group.priority ?? 0,
    weight: group.load_balancing_weight,
    of: group.lb_endpoints?.map((endpoint: Json) => endpoint.endpoint.address.socket_address.address),
  }))

describe('endpoints', () => {
  it('say how they take mutual TLS, and whose they are', () => {
    const made = pilotOf(
      `${serviceYaml('a', 'http:80>8080')}${podYaml('client', 'app: client')}${podYaml('a1', 'app: a, version: v1')}status: {podIP: 10.244.9.1}\n${podYaml('a2', 'app: a, sidecar.istio.io/inject: "false"')}status: {podIP: 10.244.9.2}\n`,
    ).proxy('client')
    const [first, second] = made.endpoints(NAME).endpoints[0].lb_endpoints
    expect(first).toEqual({
      endpoint: { address: { socket_address: { address: '10.244.9.1', port_value: 8080 } } },
      health_status: 'HEALTHY',
      load_balancing_weight: 1,
      metadata: {
        filter_metadata: {
          'envoy.transport_socket_match': { tlsMode: 'istio' },
          istio: { workload: 'a1;default;a;v1;Kubernetes' },
        },
      },
    })
    expect(second.metadata.filter_metadata).not.toHaveProperty('envoy.transport_socket_match')
  })

  it('without a sidecar do not take mutual TLS, even where a DestinationRule says it', () => {
    const made = pilotOf(
      serviceYaml('a', 'http:80') +
        podYaml('client', 'app: client') +
        podYaml('a1', 'app: a, sidecar.istio.io/inject: "false"') +
        rule('tls: {mode: ISTIO_MUTUAL}'),
    ).proxy('client')
    expect(JSON.stringify(made.endpoints(NAME))).not.toContain('tlsMode')
  })

  it('that are not ready are sent as unhealthy', () => {
    const unready = `${podYaml('a1', 'app: a')}status: {conditions: [{type: Ready, status: "False"}]}\n`
    const yaml = serviceYaml('a', 'http:80') + podYaml('client', 'app: client') + unready
    expect(pilotOf(yaml).proxy('client').endpoints(NAME).endpoints[0].lb_endpoints[0].health_status).toBe('UNHEALTHY')
    const switched = pilotOf(yaml, { env: { PILOT_AUTO_SEND_UNHEALTHY_ENDPOINTS: 'false' } })
    expect(switched.proxy('client').endpoints(NAME).endpoints).toBeUndefined()
  })

  it('under PeerAuthentication DISABLE are plain', () => {
    const disable =
      '---\napiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: d}\nspec: {mtls: {mode: DISABLE}}\n'
    const made = pilotOf(
      serviceYaml('a', 'http:80') + podYaml('client', 'app: client') + podYaml('a1', 'app: a') + disable,
    ).proxy('client')
    expect(JSON.stringify(made.endpoints(NAME))).not.toContain('tlsMode')
  })
})

describe('localities', () => {
  const placed = (name: string, onNode: string, ip: string) =>
    `${podYaml(name, 'app: a', `nodeName: ${onNode}`)}status: {podIP: ${ip}}\n`
  const base =
    node('n1', 'eu', 'eu-1') +
    node('n2', 'eu', 'eu-2') +
    node('n3', 'us', 'us-1') +
    serviceYaml('a', 'http:80') +
    podYaml('client', 'app: client', 'nodeName: n1') +
    placed('a1', 'n1', '10.244.9.1') +
    placed('a2', 'n2', '10.244.9.2') +
    placed('a3', 'n3', '10.244.9.3')
  const outlier = 'outlierDetection: {consecutive5xxErrors: 1}'

  it('are told apart, all at the same priority without outlier detection', () => {
    const made = groups(pilotOf(base).proxy('client').endpoints(NAME))
    expect(made.map((group: Json) => [group.zone, group.priority])).toEqual([
      ['eu-1', 0],
      ['eu-2', 0],
      ['us-1', 0],
    ])
  })

  it('with outlier detection fail over by distance', () => {
    const made = groups(
      pilotOf(base + rule(outlier))
        .proxy('client')
        .endpoints(NAME),
    )
    expect(made.map((group: Json) => [group.zone, group.priority])).toEqual([
      ['eu-1', 0],
      ['eu-2', 1],
      ['us-1', 2],
    ])
  })

  it('distribute as told', () => {
    const made = groups(
      pilotOf(
        base +
          rule(
            `${outlier}, loadBalancer: {localityLbSetting: {distribute: [{from: "eu/*", to: {"eu/eu-1/*": 80, "us/*": 20}}]}}`,
          ),
      )
        .proxy('client')
        .endpoints(NAME),
    )
    const filled = made.filter((group: Json) => group.of)
    expect(filled.map((group: Json) => [group.zone, group.weight])).toEqual([
      ['eu-1', 80],
      ['us-1', 20],
    ])
  })

  it('fail over by labels in the order of failoverPriority', () => {
    const made = groups(
      pilotOf(
        base +
          rule(`${outlier}, loadBalancer: {localityLbSetting: {failoverPriority: [topology.kubernetes.io/region]}}`),
      )
        .proxy('client')
        .endpoints(NAME),
    )
    expect(made.map((group: Json) => [group.priority, group.of])).toEqual([
      [0, ['10.244.9.1']],
      [0, ['10.244.9.2']],
      [1, ['10.244.9.3']],
    ])
  })
})
