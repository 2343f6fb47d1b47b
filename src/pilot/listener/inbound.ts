import type { Listener } from '#gen/envoy/config/listener/v3/listener_pb.js'
import type { ServerTLSSettings } from '../../api/kinds/gateway.ts'
import type { IstioIngressListener } from '../../api/kinds/sidecar.ts'
import { type Origin, originOf, type Port, type Service } from '../../registry/model.ts'
import { listenerProtocol, type Protocol, parseProtocol } from '../../registry/protocol.ts'
import { type Init, make } from '../../xds/messages.ts'
import { inboundTls, tlsSocket } from '../authn/tls.ts'
import { serverTls } from '../gateway/tls.ts'
import { tcpListenerExchange } from '../metadata-exchange.ts'
import { INBOUND_PASSTHROUGH_CLUSTER, inboundCluster, listenerName, traceOperation, VIRTUAL_INBOUND } from '../names.ts'
import { duration, socketAddress } from '../proto.ts'
import { configPath, PROVENANCE, provenance } from '../provenance.ts'
import { type ProxyNode, wildcardOf } from '../proxy.ts'
import { defaultInboundRoute } from '../route/default-route.ts'
import { type MtlsMode, modeForPort, type WorkloadMtls } from '../scope/peer-authentication.ts'
import type { PushContext } from '../scope/push-context.ts'
import type { SidecarScope } from '../scope/sidecar-scope.ts'
import { accessLogs } from './access-log.ts'
import { plaintextAlpn } from './chain.ts'
import { connectionManager } from './hcm.ts'
import { type InboundMatch, inboundMatches } from './inbound-matches.ts'
import { inboundListenerFilters } from './listener-filters.ts'
import { inboundTcpFilters, type NetworkFilter, toBlackHole } from './network-filters.ts'
import { tcpMetrics } from './telemetry.ts'

type FilterChain = Init<'envoy.config.listener.v3.FilterChain'>

/** Value of TrafficDirection. */
export const INBOUND = 1

/** A port of the workload, or (0) what is left (networking/core/listener_inbound.go inboundChainConfig). */
interface ChainConfig {
  port: Port
  /** 0 takes every port that no other chain names. */
  targetPort: number
  cluster: string
  bind: string
  bindToPort: boolean
  passthrough: boolean
  service?: Service
  hostname: string
  origin?: Origin
  /** istiod's path of the Sidecar that made it. */
  config?: string
  /** TLS of the Sidecar's own, where mutual TLS is off. */
  tls?: ServerTLSSettings | undefined
}

/** The inbound listeners of a sidecar: `virtualInbound`, and real ones for ports that a Sidecar binds. */
export function inboundListeners(push: PushContext, proxy: ProxyNode): Listener[] {
  const scope = push.scopeOf(proxy)
  const mtls = push.peerAuthentications.forWorkload(proxy.namespace, proxy.labels)
  const virtual: FilterChain[] = [blackHoleChain(push), ...passthroughChains(push, proxy, scope, mtls)]
  const listeners: Listener[] = []
  for (const config of chainConfigs(push, proxy, scope)) {
    const chains = portChains(push, proxy, config, modeForPort(mtls, config.targetPort), mtls.origin)
    if (config.bindToPort) {
      const name = listenerName(config.bind, config.targetPort)
      listeners.push(build(push, proxy, name, config.bind, config.targetPort, chains, true))
    } else {
      virtual.push(...chains)
    }
  }
  if (proxy.interception === 'NONE') return listeners
  const port = push.mesh.proxyInboundListenPort
  return [build(push, proxy, VIRTUAL_INBOUND, wildcardOf(proxy), port, virtual, false), ...listeners]
}

function build(
  push: PushContext,
  proxy: ProxyNode,
  name: string,
  bind: string,
  port: number,
  filterChains: FilterChain[],
  bindToPort: boolean,
): Listener {
  const transparent = proxy.interception === 'TPROXY'
  return make('envoy.config.listener.v3.Listener', {
    name,
    address: socketAddress(bind, port),
    trafficDirection: INBOUND,
    continueOnListenerFiltersTimeout: true,
    maxConnectionsToAcceptPerSocketEvent: 1,
    transparent: !bindToPort && transparent ? true : undefined,
    accessLog: accessLogs(push, 'listener'),
    filterChains,
    listenerFilters: inboundListenerFilters(filterChains, { bindToPort, transparent }),
    listenerFiltersTimeout: duration(push.mesh.protocolDetectionTimeout),
  })
}

/** Of several services on one port of the workload the oldest decides. */
function chainConfigs(push: PushContext, proxy: ProxyNode, scope: SidecarScope): ChainConfig[] {
  const byPort = new Map<number, ChainConfig>()
  const ingress = scope.sidecar?.ingress ?? []
  const reserved = [proxy.statusPort, proxy.prometheusPort, push.mesh.proxyListenPort, push.mesh.proxyInboundListenPort]
  for (const listener of ingress) {
    const config = ingressConfig(push, proxy, scope, listener)
    if (config.bind === wildcardOf(proxy) && reserved.slice(0, 2).includes(config.targetPort)) continue
    if (!byPort.has(config.targetPort)) byPort.set(config.targetPort, config)
  }
  if (ingress.length === 0 && proxy.interception !== 'NONE') {
    for (const { service, port, targetPort } of proxy.targets) {
      if (byPort.has(targetPort) || reserved.includes(targetPort)) continue
      byPort.set(targetPort, {
        port,
        targetPort,
        cluster: inboundCluster(targetPort),
        bind: wildcardOf(proxy),
        bindToPort: false,
        passthrough: false,
        service,
        hostname: service.hostname,
        origin: service.origin,
      })
    }
  }
  return [...byPort.values()].sort((a, b) => a.targetPort - b.targetPort)
}

function ingressConfig(
  push: PushContext,
  proxy: ProxyNode,
  scope: SidecarScope,
  listener: IstioIngressListener,
): ChainConfig {
  const { number = 0, name = '', protocol } = listener.port
  const mode = listener.captureMode ?? 'DEFAULT'
  const tls = push.env.tlsOnSidecarIngress ? listener.tls : undefined
  const stated = parseProtocol(protocol)
  return {
    port: { name, port: number, protocol: tls ? afterTls(stated) : stated },
    tls,
    targetPort: number,
    cluster: inboundCluster(number),
    bind: listener.bind || proxy.ips[0] || wildcardOf(proxy),
    bindToPort: mode === 'DEFAULT' ? proxy.interception === 'NONE' : mode === 'NONE',
    passthrough: false,
    hostname: `${scope.name}.${scope.namespace}`,
    origin: scope.object && originOf(scope.object),
    config: scope.object && configPath(scope.object),
  }
}

/** What is left when TLS has ended (pkg/config/protocol AfterTLSTermination). */
const afterTls = (protocol: Protocol): Protocol =>
  protocol === 'HTTPS' ? 'HTTP' : protocol === 'TLS' ? 'TCP' : protocol

function blackHoleChain(push: PushContext): FilterChain {
  return {
    name: 'virtualInbound-blackhole',
    filterChainMatch: { destinationPort: push.mesh.proxyInboundListenPort },
    filters: [
      ...(push.env.metadataExchange ? [tcpListenerExchange()] : []),
      ...tcpMetrics(push, 'inbound'),
      toBlackHole(),
    ],
  }
}

/** Chains for ports that no service names, and for those of them that a policy does. */
function passthroughChains(
  push: PushContext,
  proxy: ProxyNode,
  scope: SidecarScope,
  mtls: WorkloadMtls,
): FilterChain[] {
  const ingress = scope.sidecar?.ingress
  const served = new Set(
    ingress?.length
      ? ingress.map((listener) => listener.port.number ?? 0)
      : proxy.targets.map((target) => target.targetPort),
  )
  const ports = [...mtls.ports.keys()].filter((port) => !served.has(port))
  return [0, ...ports].flatMap((targetPort) => {
    const config: ChainConfig = {
      port: { name: VIRTUAL_INBOUND, port: 0, protocol: 'AUTO' },
      targetPort,
      cluster: INBOUND_PASSTHROUGH_CLUSTER,
      bind: '',
      bindToPort: false,
      passthrough: true,
      hostname: '',
    }
    return portChains(push, proxy, config, modeForPort(mtls, targetPort), mtls.origin)
  })
}

function portChains(
  push: PushContext,
  proxy: ProxyNode,
  config: ChainConfig,
  mode: MtlsMode,
  policy: Origin | undefined,
): FilterChain[] {
  const kind = listenerProtocol(config.port.protocol)
  const own = config.tls && mode === 'DISABLE'
  const matches = own
    ? [
        {
          alpn: [],
          transport: 'tls' as const,
          protocol: kind === 'http' ? ('http' as const) : ('tcp' as const),
          tls: true,
        },
      ]
    : inboundMatches(kind, mode, plaintextAlpn(push.env.http10))
  const filters = { http: () => httpChainFilters(push, proxy, config), tcp: () => tcpChainFilters(push, proxy, config) }
  const made: { http?: NetworkFilter[]; tcp?: NetworkFilter[] } = {}
  return matches.map((match) => {
    made[match.protocol] ??= filters[match.protocol]()
    return chain(
      push,
      own ? config : { ...config, tls: undefined },
      match,
      made[match.protocol] as NetworkFilter[],
      policy,
    )
  })
}

function chain(
  push: PushContext,
  config: ChainConfig,
  match: InboundMatch,
  filters: NetworkFilter[],
  policy: Origin | undefined,
): FilterChain {
  const peerExchange = push.env.metadataExchange && !push.env.disableMxAlpn
  const name = config.passthrough
    ? match.protocol === 'http'
      ? 'virtualInbound-catchall-http'
      : VIRTUAL_INBOUND
    : listenerName(config.bind, config.targetPort)
  const origin = match.transport === 'tls' && policy && !config.service ? policy : config.origin
  return {
    name,
    filterChainMatch: {
      destinationPort: config.targetPort || undefined,
      transportProtocol: match.transport,
      applicationProtocols: match.alpn,
    },
    transportSocket: config.tls
      ? serverTls(push, {
          hosts: [],
          port: { number: config.targetPort, protocol: 'HTTPS', name: '' },
          tls: config.tls,
        })
      : match.tls
        ? tlsSocket(inboundTls(push.mesh, match.protocol, peerExchange))
        : undefined,
    filters,
    metadata:
      config.config || origin
        ? {
            filterMetadata: {
              ...(config.config ? { istio: { config: config.config } } : {}),
              ...(origin ? { [PROVENANCE]: provenance(origin) } : {}),
            },
          }
        : undefined,
  }
}

function httpChainFilters(push: PushContext, proxy: ProxyNode, config: ChainConfig): NetworkFilter[] {
  const { cluster, port, hostname, origin } = config
  const route = defaultInboundRoute(
    cluster,
    traceOperation(hostname, port.port),
    port.protocol,
    push.mesh.defaultInboundHttpRetryPolicy,
    origin,
  )
  const manager = connectionManager(push, proxy, {
    side: 'inbound',
    statPrefix: config.passthrough ? cluster : `inbound_${listenerName(config.bind, config.targetPort)}`,
    routes: {
      inline: {
        name: cluster,
        virtualHosts: [{ name: `inbound|http|${port.port}`, domains: ['*'], routes: [route] }],
        validateClusters: false,
      },
    },
    protocol: port.protocol,
  })
  return push.env.metadataExchange ? [tcpListenerExchange(), manager] : [manager]
}

/** The name of a port's TCP stats (networking/telemetry BuildInboundStatPrefix, which knows nothing of target ports). */
function inboundStatName(pattern: string, { service, hostname, port }: ChainConfig): string {
  const kubernetes = service?.registry === 'Kubernetes'
  return pattern
    .replaceAll('%SERVICE%', kubernetes ? `${service.name}.${service.namespace}` : hostname)
    .replaceAll('%SERVICE_NAME%', kubernetes ? service.name : hostname)
    .replaceAll('%SERVICE_FQDN%', hostname)
    .replaceAll('%SUBSET_NAME%', '')
    .replaceAll('%SERVICE_PORT%', String(port.port))
    .replaceAll('%SERVICE_PORT_NAME%', port.name)
}

function tcpChainFilters(push: PushContext, proxy: ProxyNode, config: ChainConfig): NetworkFilter[] {
  const pattern = push.mesh.inboundClusterStatName
  const prefix = pattern ? inboundStatName(pattern, config) : config.cluster
  return inboundTcpFilters(push, proxy, { cluster: config.cluster, protocol: config.port.protocol, statPrefix: prefix })
}
