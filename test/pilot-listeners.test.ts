import { describe, expect, it } from 'vitest'
import { type Json, managerOf, pilotOf, podYaml, routesOf, serviceYaml } from './support/pilot.ts'

const pods = podYaml('client', 'app: client') + podYaml('a1', 'app: a')

const mesh = (text: string) => `---
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data:
  mesh: |
${text.replace(/^/gm, '    ')}
`

const filterNames = (chain: Json): string[] => managerOf(chain).http_filters.map((filter: Json) => filter.name)

describe('outbound listeners', () => {
  it('of an HTTP port are one for all services, at 0.0.0.0', () => {
    const made = pilotOf(`${serviceYaml('a', 'http:80')}${serviceYaml('b', 'http:80')}${pods}`).proxy('client')
    expect(made.names.listeners).toEqual(['0.0.0.0_80', 'virtualOutbound', 'virtualInbound'])
    const listener = made.listener('0.0.0.0_80')
    expect(listener).toMatchObject({ bind_to_port: false, traffic_direction: 'OUTBOUND' })
    const [chain] = listener.filter_chains
    expect(chain.filter_chain_match).toEqual({
      transport_protocol: 'raw_buffer',
      application_protocols: ['http/1.1', 'h2c'],
    })
    expect(managerOf(chain)).toMatchObject({
      stat_prefix: 'outbound_0.0.0.0_80;',
      rds: { route_config_name: '80', config_source: { ads: {}, resource_api_version: 'V3' } },
      normalize_path: true,
      use_remote_address: false,
    })
    expect(listener.default_filter_chain.filters[0].typed_config.cluster).toBe('PassthroughCluster')
  })

  it('of a TCP port are one for each service, at its address', () => {
    const made = pilotOf(`${serviceYaml('a', 'tcp:3306', 'clusterIP: 10.96.7.1')}${pods}`).proxy('client')
    const listener = made.listener('10.96.7.1_3306')
    expect(listener.filter_chains).toHaveLength(1)
    expect(listener.filter_chains[0].filters.at(-1)).toMatchObject({
      name: 'envoy.filters.network.tcp_proxy',
      typed_config: { cluster: 'outbound|3306||a.default.svc.cluster.local' },
    })
  })

  it('of an unnamed port look at what the client speaks', () => {
    const made = pilotOf(`${serviceYaml('a', ':7000', 'clusterIP: 10.96.7.1')}${pods}`).proxy('client')
    const listener = made.listener('10.96.7.1_7000')
    expect(listener.listener_filters.map((filter: Json) => filter.name)).toContain(
      'envoy.filters.listener.http_inspector',
    )
    const chains = [
      ...listener.filter_chains,
      ...(listener.default_filter_chain ? [listener.default_filter_chain] : []),
    ]
    expect(
      chains.some((chain: Json) => managerOf(chain)?.rds.route_config_name === 'a.default.svc.cluster.local:7000'),
    ).toBe(true)
    expect(JSON.stringify(listener)).toContain('"cluster":"outbound|7000||a.default.svc.cluster.local"')
  })

  it('of a headless TCP service are one for each endpoint', () => {
    const pod = `${podYaml('a2', 'app: a')}status: {podIP: 10.244.9.1}\n`
    const made = pilotOf(
      `${serviceYaml('a', 'tcp:3306', 'clusterIP: None')}${podYaml('client', 'app: client')}${pod}`,
    ).proxy('client')
    expect(made.names.listeners).toContain('10.244.9.1_3306')
  })

  it('send unknown TCP traffic where it was going, or nowhere', () => {
    const catchAll = (yaml: string) => {
      const { filter_chains: chains } = pilotOf(pods + yaml)
        .proxy('client')
        .listener('virtualOutbound')
      return chains.at(-1).filters.at(-1).typed_config.cluster
    }
    expect(catchAll('')).toBe('PassthroughCluster')
    expect(catchAll(mesh('outboundTrafficPolicy: {mode: REGISTRY_ONLY}'))).toBe('BlackHoleCluster')
  })

  it('leave connections to the proxy itself nowhere to go', () => {
    const [chain] = pilotOf(pods).proxy('client').listener('virtualOutbound').filter_chains
    expect([chain.name, chain.filter_chain_match.destination_port]).toEqual(['virtualOutbound-blackhole', 15001])
    expect(chain.filters[0].typed_config.cluster).toBe('BlackHoleCluster')
  })
})

describe('the HTTP proxy port', () => {
  const made = () =>
    pilotOf(`${serviceYaml('a', 'http:80 admin:90')}${pods}`).proxy('client', { HTTP_PROXY_PORT: '15002' })

  it('is a listener with a route for each name with its ports', () => {
    expect(made().names.routes).toContain('http_proxy')
    const route = made().route('http_proxy')
    expect(route.ignore_port_in_host_matching ?? false).toBe(false)
    expect(routesOf(route, 'a.default.svc.cluster.local:90')[0].route.cluster).toBe(
      'outbound|90||a.default.svc.cluster.local',
    )
    expect(routesOf(route, 'a:80')[0].route.cluster).toBe('outbound|80||a.default.svc.cluster.local')
    expect(routesOf(route, 'a')[0].route.cluster).toBe('outbound|80||a.default.svc.cluster.local')
  })
})

describe('the domains of a service', () => {
  const domains = (pod: string) => {
    const yaml =
      serviceYaml('a', 'http:80', 'clusterIP: 10.96.7.1') + pods + podYaml('client', 'app: client', '', 'prod')
    return pilotOf(yaml).proxy(pod).route('80').virtual_hosts[0].domains
  }

  it('are its names as seen from the client, and its address', () => {
    expect(domains('client').sort()).toEqual(
      [
        'a',
        'a.default',
        'a.default.svc',
        'a.default.svc.cluster.local',
        'a.default.svc.cluster.local.',
        '10.96.7.1',
      ].sort(),
    )
    expect(domains('prod/client')).not.toContain('a')
    expect(domains('prod/client')).toContain('a.default')
  })
})

describe('hosts that nobody knows', () => {
  const last = (yaml: string) =>
    pilotOf(`${serviceYaml('a', 'http:80')}${pods}${yaml}`)
      .proxy('client')
      .route('80')
      .virtual_hosts.at(-1)

  it('are passed through', () => {
    expect(last('')).toMatchObject({
      name: 'allow_any',
      domains: ['*'],
      routes: [{ route: { cluster: 'PassthroughCluster' } }],
    })
  })

  it('are refused under REGISTRY_ONLY', () => {
    expect(last(mesh('outboundTrafficPolicy: {mode: REGISTRY_ONLY}'))).toMatchObject({
      name: 'block_all',
      domains: ['*'],
      routes: [{ direct_response: { status: 502 } }],
    })
  })
})

describe('inbound listeners', () => {
  const service = serviceYaml('a', 'http:80>8080 tcp:90>9090')

  it('have chains for each target port, with and without mutual TLS', () => {
    const listener = pilotOf(service + pods)
      .proxy('a1')
      .listener('virtualInbound')
    const of8080 = listener.filter_chains.filter((chain: Json) => chain.filter_chain_match?.destination_port === 8080)
    expect(of8080.map((chain: Json) => [chain.name, chain.filter_chain_match.transport_protocol])).toEqual([
      ['0.0.0.0_8080', 'tls'],
      ['0.0.0.0_8080', 'raw_buffer'],
    ])
    const manager = managerOf(of8080[0])
    expect(manager).toMatchObject({
      stat_prefix: 'inbound_0.0.0.0_8080;',
      forward_client_cert_details: 'APPEND_FORWARD',
      set_current_client_cert_details: { subject: true, dns: true, uri: true },
      route_config: {
        name: 'inbound|8080||',
        validate_clusters: false,
        virtual_hosts: [
          {
            name: 'inbound|http|80',
            domains: ['*'],
            routes: [{ name: 'default', route: { cluster: 'inbound|8080||', timeout: '0s' } }],
          },
        ],
      },
    })
    const of9090 = listener.filter_chains.filter((chain: Json) => chain.filter_chain_match?.destination_port === 9090)
    expect(of9090.every((chain: Json) => managerOf(chain) === undefined)).toBe(true)
  })

  it('connect to the app from an address that tells them apart', () => {
    expect(
      pilotOf(service + pods)
        .proxy('a1')
        .cluster('inbound|8080||'),
    ).toMatchObject({
      type: 'ORIGINAL_DST',
      lb_policy: 'CLUSTER_PROVIDED',
      upstream_bind_config: { source_address: { address: '127.0.0.6' } },
    })
  })

  it('reach an app on localhost when the Sidecar says so', () => {
    const sidecar = `---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: s}
spec:
  workloadSelector: {labels: {app: a}}
  ingress: [{port: {number: 9000, protocol: HTTP, name: http}, defaultEndpoint: 127.0.0.1:3000}]
  egress: [{hosts: ["./*"]}]
`
    const made = pilotOf(service + pods + sidecar).proxy('a1')
    expect(made.names.clusters.filter((name) => name.startsWith('inbound|'))).toEqual(['inbound|9000||'])
    expect(JSON.stringify(made.cluster('inbound|9000||'))).toContain('"port_value":3000')
  })
})

describe("istiod's switches", () => {
  const chain = (env: Record<string, string>) =>
    pilotOf(`${serviceYaml('a', 'http:80')}${pods}`, { env })
      .proxy('client')
      .listener('0.0.0.0_80').filter_chains[0]

  it('metadata exchange and ALPN filter are there by default', () => {
    const on = { PILOT_ENABLE_METADATA_EXCHANGE: 'true', PILOT_ENABLE_ALPN_FILTER: 'true' }
    expect(filterNames(chain(on))).toEqual([
      'istio.metadata_exchange',
      'envoy.filters.http.grpc_stats',
      'istio.alpn',
      'envoy.filters.http.fault',
      'envoy.filters.http.cors',
      'envoy.filters.http.router',
    ])
  })

  it('and can be left out', () => {
    expect(filterNames(chain({}))).toEqual([
      'envoy.filters.http.grpc_stats',
      'envoy.filters.http.fault',
      'envoy.filters.http.cors',
      'envoy.filters.http.router',
    ])
  })
})

describe('access logs', () => {
  const logs = (text: string) => {
    const made = pilotOf(`${serviceYaml('a', 'http:80')}${pods}${mesh(text)}`).proxy('client')
    return {
      http: managerOf(made.listener('0.0.0.0_80').filter_chains[0]).access_log,
      listener: made.listener('virtualOutbound').access_log,
    }
  }

  it('are off unless the mesh names a file', () => {
    expect(logs('enableTracing: false')).toEqual({ http: undefined, listener: undefined })
  })

  it("are lines in Istio's format, and of listeners those without a route", () => {
    const { http, listener } = logs('accessLogFile: /dev/stdout')
    expect(http[0]).toMatchObject({ name: 'envoy.access_loggers.file', typed_config: { path: '/dev/stdout' } })
    expect(http[0].typed_config.log_format.text_format_source.inline_string).toMatch(
      /^\[%START_TIME%\] "%REQ\(:METHOD\)%/,
    )
    expect(listener[0].filter).toEqual({ response_flag_filter: { flags: ['NR'] } })
  })

  it('have the format of the mesh, and end with a line break', () => {
    const { http } = logs('accessLogFile: /dev/stdout\naccessLogFormat: "%RESPONSE_CODE%"')
    expect(http[0].typed_config.log_format.text_format_source.inline_string).toBe('%RESPONSE_CODE%\n')
  })

  it('are JSON when asked, with the fields given', () => {
    const { http } = logs(
      'accessLogFile: /dev/stdout\naccessLogEncoding: JSON\naccessLogFormat: \'{"code": "%RESPONSE_CODE%"}\'',
    )
    expect(http[0].typed_config.log_format.json_format).toEqual({ code: '%RESPONSE_CODE%' })
    const { http: full } = logs('accessLogFile: /dev/stdout\naccessLogEncoding: JSON')
    expect(full[0].typed_config.log_format.json_format).toMatchObject({
      response_code: '%RESPONSE_CODE%',
      authority: '%REQ(:AUTHORITY)%',
    })
  })

  it('go to the default providers of the mesh', () => {
    const providers = `defaultProviders: {accessLogging: [otel, als]}
extensionProviders:
- {name: als, envoyHttpAls: {service: a.default.svc.cluster.local, port: 80}}
- {name: otel, envoyOtelAls: {service: a.default.svc.cluster.local, port: 80, logFormat: {text: "%PROTOCOL%", labels: {code: "%RESPONSE_CODE%"}}}}`
    const { http } = logs(providers)
    expect(http.map((log: Json) => log.name)).toEqual([
      'envoy.access_loggers.http_grpc',
      'envoy.access_loggers.open_telemetry',
    ])
    expect(http[1].typed_config).toMatchObject({
      common_config: {
        log_name: 'otel_envoy_accesslog',
        grpc_service: { envoy_grpc: { cluster_name: 'outbound|80||a.default.svc.cluster.local' } },
      },
      body: { string_value: '%PROTOCOL%' },
      attributes: { values: [{ key: 'code', value: { string_value: '%RESPONSE_CODE%' } }] },
    })
  })
})

describe('a ServiceEntry with a wildcard host that is resolved by name', () => {
  const made = () =>
    pilotOf(`${pods}---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: e}
spec:
  hosts: ["*.e.com"]
  location: MESH_INTERNAL
  resolution: DYNAMIC_DNS
  subjectAltNames: [spiffe://x/y]
  ports: [{number: 8080, name: http, protocol: HTTP}, {number: 8443, name: tls, protocol: TLS}]
`).proxy('client')

  it('has one DNS cache for its clusters and filters', () => {
    const cache = { name: '*.e.com_dfp_dns_cache', dns_lookup_family: 'V4_ONLY' }
    const { cluster, listener } = made()
    expect(cluster('outbound|8080||*.e.com').cluster_type.typed_config.dns_cache_config).toEqual(cache)
    const filters = managerOf(listener('0.0.0.0_8080').filter_chains[0]).http_filters
    expect(filters.at(-2).typed_config.dns_cache_config).toEqual(cache)
    const [sni] = listener('0.0.0.0_8443').filter_chains[0].filters.slice(-2)
    expect(sni.name).toBe('envoy.extensions.filters.network.sni_dynamic_forward_proxy')
    expect(sni.typed_config.dns_cache_config).toEqual(cache)
  })

  it('has clusters that name neither the service nor its accounts', () => {
    const cluster = JSON.stringify(made().cluster('outbound|8080||*.e.com'))
    expect(cluster).not.toContain('"services"')
    expect(cluster).not.toContain('spiffe://x/y')
  })
})
