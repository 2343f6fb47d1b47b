import { describe, expect, it } from 'vitest'
import { type Json, pilotOf, podYaml, serviceYaml } from './support/pilot.ts'

const base =
  serviceYaml('a', 'http:80 x:81') +
  podYaml('client', 'app: client') +
  podYaml('a1', 'app: a, version: v1') +
  podYaml('a2', 'app: a, version: v2')

const rule = (spec: string, name = 'a', namespace = 'default') => `---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: ${name}, namespace: ${namespace}}
spec: {host: a.default.svc.cluster.local, ${spec}}
`

const WHOLE = 'outbound|80||a.default.svc.cluster.local'
const V1 = 'outbound|80|v1|a.default.svc.cluster.local'
const subsets = 'subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]'

const clusterOf = (policy: string, name = WHOLE): Json =>
  pilotOf(base + rule(`${policy && `trafficPolicy: {${policy}}, `}${subsets}`))
    .proxy('client')
    .cluster(name)

const http = (cluster: Json) =>
  cluster.typed_extension_protocol_options?.['envoy.extensions.upstreams.http.v3.HttpProtocolOptions']

describe('subsets', () => {
  it('are clusters of their own, with the endpoints that have the labels', () => {
    const made = pilotOf(base + rule(subsets)).proxy('client')
    expect(made.cluster(V1)).toMatchObject({
      name: V1,
      alt_stat_name: `${V1};`,
      type: 'EDS',
      eds_cluster_config: { service_name: V1 },
      metadata: {
        filter_metadata: { istio: { subset: 'v1', config: expect.stringContaining('/destination-rule/a') } },
      },
    })
    const all = made.endpoints(WHOLE).endpoints[0].lb_endpoints
    const first = made.endpoints(V1).endpoints[0].lb_endpoints
    expect(all).toHaveLength(2)
    expect(first).toHaveLength(1)
  })

  it('inherit the policy of the rule, part by part', () => {
    const made = pilotOf(
      base +
        rule(
          `trafficPolicy: {loadBalancer: {simple: RANDOM}, connectionPool: {tcp: {maxConnections: 7}}}, subsets: [{name: v1, labels: {version: v1}, trafficPolicy: {loadBalancer: {simple: ROUND_ROBIN}}}]`,
        ),
    ).proxy('client')
    expect(made.cluster(V1)).toMatchObject({ circuit_breakers: { thresholds: [{ max_connections: 7 }] } })
    expect(made.cluster(V1).lb_policy ?? 'ROUND_ROBIN').toBe('ROUND_ROBIN')
    expect(made.cluster(WHOLE).lb_policy).toBe('RANDOM')
  })
})

describe('settings of a port', () => {
  it('stand for themselves: nothing is inherited but TLS', () => {
    const policy =
      'loadBalancer: {simple: RANDOM}, connectionPool: {tcp: {maxConnections: 7}}, portLevelSettings: [{port: {number: 81}, loadBalancer: {simple: ROUND_ROBIN}}]'
    const other = clusterOf(policy, 'outbound|81||a.default.svc.cluster.local')
    expect(other.circuit_breakers.thresholds[0].max_connections).toBe(4294967295)
    expect(other.lb_policy ?? 'ROUND_ROBIN').toBe('ROUND_ROBIN')
    expect(clusterOf(policy).circuit_breakers.thresholds[0].max_connections).toBe(7)
  })
})

describe('load balancers', () => {
  it.each([
    ['ROUND_ROBIN', undefined],
    ['LEAST_REQUEST', 'LEAST_REQUEST'],
    ['LEAST_CONN', 'LEAST_REQUEST'],
    ['RANDOM', 'RANDOM'],
    ['UNSPECIFIED', 'LEAST_REQUEST'],
  ])('%s', (simple, policy) => {
    expect(clusterOf(`loadBalancer: {simple: ${simple}}`).lb_policy).toBe(policy)
  })

  it('PASSTHROUGH sends to where the connection was going', () => {
    expect(clusterOf('loadBalancer: {simple: PASSTHROUGH}')).toMatchObject({
      type: 'ORIGINAL_DST',
      lb_policy: 'CLUSTER_PROVIDED',
    })
  })

  it('are least request when nothing is said', () => {
    expect(clusterOf('').lb_policy).toBe('LEAST_REQUEST')
  })

  it('consistent hashes are a ring, of the size asked for, or Maglev', () => {
    expect(clusterOf('loadBalancer: {consistentHash: {httpHeaderName: x}}')).toMatchObject({
      lb_policy: 'RING_HASH',
      ring_hash_lb_config: { minimum_ring_size: '1024' },
    })
    expect(
      clusterOf('loadBalancer: {consistentHash: {httpHeaderName: x, ringHash: {minimumRingSize: 5}}}'),
    ).toMatchObject({
      ring_hash_lb_config: { minimum_ring_size: '5' },
    })
    expect(clusterOf('loadBalancer: {consistentHash: {httpHeaderName: x, maglev: {tableSize: 65537}}}')).toMatchObject({
      lb_policy: 'MAGLEV',
      maglev_lb_config: { table_size: '65537' },
    })
  })

  it('warm up', () => {
    expect(
      clusterOf('loadBalancer: {simple: LEAST_REQUEST, warmup: {duration: 10s, aggression: 2, minimumPercent: 5}}'),
    ).toMatchObject({
      least_request_lb_config: {
        slow_start_config: {
          slow_start_window: '10s',
          aggression: { default_value: 2 },
          min_weight_percent: { value: 5 },
        },
      },
    })
  })
})

describe('connection pools', () => {
  it('are bounds and timeouts', () => {
    const cluster = clusterOf(
      'connectionPool: {tcp: {maxConnections: 1, connectTimeout: 3s, tcpKeepalive: {probes: 3, time: 10s, interval: 5s}}, http: {http1MaxPendingRequests: 2, http2MaxRequests: 3, maxRequestsPerConnection: 4, maxRetries: 5, idleTimeout: 6s}}',
    )
    expect(cluster).toMatchObject({
      connect_timeout: '3s',
      circuit_breakers: {
        thresholds: [{ max_connections: 1, max_pending_requests: 2, max_requests: 3, max_retries: 5 }],
      },
      upstream_connection_options: {
        tcp_keepalive: { keepalive_probes: 3, keepalive_time: 10, keepalive_interval: 5 },
      },
    })
    expect(http(cluster)).toMatchObject({
      common_http_protocol_options: { max_requests_per_connection: 4, idle_timeout: '6s' },
    })
  })

  it('upgrade to HTTP/2, or use the protocol of the client', () => {
    expect(http(clusterOf('connectionPool: {http: {h2UpgradePolicy: UPGRADE}}'))).toMatchObject({
      explicit_http_config: { http2_protocol_options: {} },
    })
    expect(http(clusterOf('connectionPool: {http: {useClientProtocol: true}}'))).toHaveProperty(
      'use_downstream_protocol_config',
    )
  })
})

describe('outlier detection', () => {
  it("has istiod's defaults, and no panic", () => {
    expect(clusterOf('outlierDetection: {consecutive5xxErrors: 3}')).toMatchObject({
      outlier_detection: { consecutive_5xx: 3, enforcing_consecutive_5xx: 100, enforcing_success_rate: 0 },
      common_lb_config: { healthy_panic_threshold: {} },
    })
  })

  it('takes what is said', () => {
    expect(
      clusterOf(
        'outlierDetection: {consecutive5xxErrors: 0, consecutiveGatewayErrors: 2, interval: 1s, baseEjectionTime: 2s, maxEjectionPercent: 50, minHealthPercent: 30, splitExternalLocalOriginErrors: true, consecutiveLocalOriginFailures: 4}',
      ),
    ).toMatchObject({
      outlier_detection: {
        consecutive_5xx: 0,
        enforcing_consecutive_5xx: 0,
        consecutive_gateway_failure: 2,
        enforcing_consecutive_gateway_failure: 100,
        interval: '1s',
        base_ejection_time: '2s',
        max_ejection_percent: 50,
        split_external_local_origin_errors: true,
        consecutive_local_origin_failure: 4,
        enforcing_consecutive_local_origin_failure: 100,
      },
      common_lb_config: { healthy_panic_threshold: { value: 30 } },
    })
  })
})

describe('TLS', () => {
  const socketOf = (policy: string, name = WHOLE) => clusterOf(policy, name).transport_socket?.typed_config

  it('is automatic when nothing is said: by the endpoint', () => {
    const cluster = clusterOf('')
    expect(cluster.transport_socket).toBeUndefined()
    const [mutual, plain] = cluster.transport_socket_matches
    expect([mutual.name, mutual.match]).toEqual(['tlsMode-istio', { tlsMode: 'istio' }])
    expect(mutual.transport_socket.typed_config).toMatchObject({
      sni: 'outbound_.80_._.a.default.svc.cluster.local',
      common_tls_context: {
        alpn_protocols: ['istio'],
        tls_certificate_sds_secret_configs: [{ name: 'default' }],
        combined_validation_context: {
          default_validation_context: {
            match_subject_alt_names: [{ exact: 'spiffe://cluster.local/ns/default/sa/default' }],
          },
          validation_context_sds_secret_config: { name: 'ROOTCA' },
        },
      },
    })
    expect([plain.name, plain.transport_socket.name]).toEqual([
      'tlsMode-disabled',
      'envoy.transport_sockets.raw_buffer',
    ])
  })

  it('DISABLE is plain text', () => {
    const cluster = clusterOf('tls: {mode: DISABLE}')
    expect(cluster.transport_socket).toBeUndefined()
    expect(cluster.transport_socket_matches).toBeUndefined()
  })

  it('ISTIO_MUTUAL is for every endpoint, with SNI and names as told', () => {
    expect(socketOf('tls: {mode: ISTIO_MUTUAL, sni: other, subjectAltNames: [x]}')).toMatchObject({
      sni: 'other',
      common_tls_context: {
        combined_validation_context: { default_validation_context: { match_subject_alt_names: [{ exact: 'x' }] } },
      },
    })
  })

  it('SIMPLE verifies by files, or not at all', () => {
    expect(socketOf('tls: {mode: SIMPLE, sni: other, insecureSkipVerify: true}')).toMatchObject({ sni: 'other' })
    expect(JSON.stringify(socketOf('tls: {mode: SIMPLE, caCertificates: /etc/ca.pem}'))).toContain(
      'file-root:/etc/ca.pem',
    )
  })

  it('MUTUAL has a certificate of its own', () => {
    const made = socketOf('tls: {mode: MUTUAL, clientCertificate: /c.pem, privateKey: /k.pem, caCertificates: /ca.pem}')
    expect(made.common_tls_context.tls_certificate_sds_secret_configs[0].name).toBe('file-cert:/c.pem~/k.pem')
  })

  it('of a subset goes before that of the rule', () => {
    const made = pilotOf(
      base +
        rule(
          'trafficPolicy: {tls: {mode: DISABLE}}, subsets: [{name: v1, labels: {version: v1}, trafficPolicy: {tls: {mode: ISTIO_MUTUAL}}}]',
        ),
    ).proxy('client')
    expect(made.cluster(V1).transport_socket?.name).toBe('envoy.transport_sockets.tls')
    expect(made.cluster(WHOLE).transport_socket).toBeUndefined()
  })
})

describe('of several rules for a host', () => {
  const policy = (simple: string) => `trafficPolicy: {loadBalancer: {simple: ${simple}}}`
  const lb = (yaml: string, pod = 'client') =>
    pilotOf(base + podYaml('client', 'app: client', '', 'prod') + yaml)
      .proxy(pod)
      .cluster(WHOLE).lb_policy

  it("the client's namespace comes first, then the service's, then the root namespace", () => {
    const root = rule(policy('ROUND_ROBIN'), 'root', 'istio-system')
    const own = rule(policy('RANDOM'), 'own', 'prod')
    const service = rule(policy('LEAST_REQUEST'), 'service')
    expect(lb(root + own + service, 'prod/client')).toBe('RANDOM')
    expect(lb(root + own + service)).toBe('LEAST_REQUEST')
    expect(lb(root + own)).toBeUndefined()
  })

  it('of the same namespace and host, subsets are put together and the first policy stays', () => {
    const made = pilotOf(
      base +
        rule(`${policy('RANDOM')}, subsets: [{name: v1, labels: {version: v1}}]`, 'a') +
        rule('subsets: [{name: v2, labels: {version: v2}}]', 'b'),
    ).proxy('client')
    expect(made.names.clusters.filter((name) => name.includes('|v'))).toHaveLength(4)
    expect(made.cluster(WHOLE).lb_policy).toBe('RANDOM')
  })

  it('exportTo hides one from other namespaces', () => {
    const hidden = rule(`${policy('RANDOM')}, exportTo: ["."]`)
    expect(lb(hidden)).toBe('RANDOM')
    expect(lb(hidden, 'prod/client')).toBe('LEAST_REQUEST')
  })

  it('one with a workloadSelector is for those clients alone', () => {
    const selected = rule(`${policy('RANDOM')}, workloadSelector: {matchLabels: {app: client}}`)
    expect(lb(selected)).toBe('RANDOM')
    expect(lb(selected, 'a1')).toBe('LEAST_REQUEST')
  })
})

describe('outlier detection by status codes', () => {
  it('counts those in place of the 5xx', () => {
    const codes = (list: string) =>
      http(clusterOf(`outlierDetection: {consecutive5xxErrors: 1, outlierDetectionHttpErrorCodes: ${list}}`))
        .outlier_detection.error_matcher
    const status = (code: string) => ({
      http_response_headers_match: { headers: [{ name: ':status', string_match: { exact: code } }] },
    })
    expect(codes('[429]')).toEqual(status('429'))
    expect(codes('[429, 503]')).toEqual({ or_match: { rules: [status('429'), status('503')] } })
  })
})

describe('the PROXY protocol', () => {
  it('goes around plain text where there is no TLS', () => {
    const { transport_socket: socket } = clusterOf('tls: {mode: DISABLE}, proxyProtocol: {version: V2}')
    expect(socket.name).toBe('envoy.transport_sockets.upstream_proxy_protocol')
    expect(socket.typed_config).toMatchObject({ config: { version: 'V2' }, transport_socket: { name: 'raw_buffer' } })
  })
})
