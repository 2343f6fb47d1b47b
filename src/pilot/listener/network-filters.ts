import type { RouteDestination } from '../../api/kinds/virtual-service.ts'
import type { Port, Service } from '../../registry/model.ts'
import type { Protocol } from '../../registry/protocol.ts'
import { type Init, packed } from '../../xds/messages.ts'
import { tcpCustomAuthorization } from '../authz/custom.ts'
import { tcpAuthorization } from '../authz/filters.ts'
import { dnsCache, dnsCacheName } from '../cluster/dynamic-dns.ts'
import { statName } from '../cluster/outbound.ts'
import { tcpListenerExchange } from '../metadata-exchange.ts'
import { BLACK_HOLE_CLUSTER, hostPort, PASSTHROUGH_CLUSTER } from '../names.ts'
import { duration } from '../proto.ts'
import type { ProxyNode } from '../proxy.ts'
import { destinationCluster } from '../route/destination.ts'
import type { MergedRule } from '../scope/destination-rules.ts'
import type { PushContext } from '../scope/push-context.ts'
import { accessLogs } from './access-log.ts'
import { type ListenerClass, tcpMetrics } from './telemetry.ts'

/** A network filter as a chain lists it. */
export type NetworkFilter = Init<'envoy.config.listener.v3.Filter'>
type TcpProxy = Init<'envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy'>

/** Forwards bytes. */
export function tcpProxy(config: TcpProxy): NetworkFilter {
  return {
    name: 'envoy.filters.network.tcp_proxy',
    configType: {
      case: 'typedConfig',
      value: packed('envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy', config),
    },
  }
}

/** Ends a connection at once. */
export const toBlackHole = (): NetworkFilter =>
  tcpProxy({ statPrefix: BLACK_HOLE_CLUSTER, clusterSpecifier: { case: 'cluster', value: BLACK_HOLE_CLUSTER } })

/** Filters before the last one; Mongo's and MySQL's are told by the protocol. */
function stack(
  push: PushContext,
  side: ListenerClass,
  protocol: Protocol,
  last: NetworkFilter,
  prefix: string,
): NetworkFilter[] {
  const mongo: NetworkFilter[] =
    protocol === 'Mongo'
      ? [
          {
            name: 'envoy.filters.network.mongo_proxy',
            configType: {
              case: 'typedConfig',
              value: packed('envoy.extensions.filters.network.mongo_proxy.v3.MongoProxy', { statPrefix: prefix }),
            },
          },
        ]
      : []
  return [...tcpMetrics(push, side), ...mongo, last]
}

/** To the own application, as bytes (buildInboundNetworkFilters). */
export function inboundTcpFilters(
  push: PushContext,
  proxy: ProxyNode,
  options: { cluster: string; protocol: Protocol; statPrefix: string },
): NetworkFilter[] {
  const last = tcpProxy({
    statPrefix: options.statPrefix,
    clusterSpecifier: { case: 'cluster', value: options.cluster },
    idleTimeout: duration(proxy.idleTimeout),
    accessLog: accessLogs(push, 'tcp'),
  })
  const exchange = push.env.metadataExchange ? [tcpListenerExchange()] : []
  return [
    ...exchange,
    ...tcpCustomAuthorization(push, proxy),
    ...tcpAuthorization(push, proxy),
    ...stack(push, 'inbound', options.protocol, last, options.statPrefix),
  ]
}

/** What unknown destinations get (buildOutboundCatchAllNetworkFiltersOnly). */
export function catchAllFilters(push: PushContext, proxy: ProxyNode): NetworkFilter[] {
  const { mode, egressProxy } = push.scopeOf(proxy).outbound
  const cluster =
    mode === 'REGISTRY_ONLY'
      ? BLACK_HOLE_CLUSTER
      : egressProxy
        ? destinationCluster(egressProxy, undefined, 0)
        : PASSTHROUGH_CLUSTER
  const last = tcpProxy({
    statPrefix: cluster,
    clusterSpecifier: { case: 'cluster', value: cluster },
    idleTimeout: duration(proxy.idleTimeout),
    accessLog: accessLogs(push, 'tcp'),
  })
  return [...tcpMetrics(push, 'outbound'), last]
}

/** To one cluster (buildOutboundNetworkFiltersWithSingleDestination). */
export function singleDestination(
  push: PushContext,
  proxy: ProxyNode,
  options: {
    cluster: string
    statPrefix: string
    subset: string
    port: Port
    rule: MergedRule | undefined
    /** Set for a service whose names are resolved by SNI. */
    dynamicDns?: Service
    /** What passes as TLS of the mesh is neither tunnelled nor judged at a gateway. */
    opaque?: boolean
  },
): NetworkFilter[] {
  const { cluster, rule, subset, port } = options
  const last = tcpProxy({
    statPrefix: options.statPrefix,
    clusterSpecifier: { case: 'cluster', value: cluster },
    ...ruleSettings(proxy, rule, subset),
    ...(options.opaque ? { tunnelingConfig: undefined } : {}),
    accessLog: accessLogs(push, 'tcp'),
  })
  const filters = outboundStack(push, proxy, port.protocol, last, options.statPrefix, options.opaque)
  if (options.dynamicDns) filters.splice(-1, 0, sniDynamicForwardProxy(options.dynamicDns, port.port))
  return filters
}

/** To the destinations of a TCP or TLS route (buildOutboundNetworkFilters). */
export function routeDestinations(
  push: PushContext,
  proxy: ProxyNode,
  routes: readonly RouteDestination[],
  port: Port,
  name: string,
): NetworkFilter[] {
  const scope = push.scopeOf(proxy)
  const first = routes[0] as RouteDestination
  const service = scope.byHostname.get(first.destination.host)
  const rule = service && push.ruleFor(proxy, service)
  if (routes.length === 1) {
    const cluster = destinationCluster(first.destination, service, port.port)
    const subset = first.destination.subset ?? ''
    const pattern = push.mesh.outboundClusterStatName
    const statPrefix = pattern && service ? statName(pattern, service, port, subset) : cluster
    return singleDestination(push, proxy, { cluster, statPrefix, subset, port, rule })
  }
  const clusters = routes
    .filter((route) => (route.weight ?? 0) > 0)
    .map((route) => ({
      name: destinationCluster(route.destination, scope.byHostname.get(route.destination.host), port.port),
      weight: route.weight,
    }))
  const last = tcpProxy({
    statPrefix: name,
    clusterSpecifier: { case: 'weightedClusters', value: { clusters } },
    ...ruleSettings(proxy, rule, ''),
    accessLog: accessLogs(push, 'tcp'),
  })
  return outboundStack(push, proxy, port.protocol, last, name)
}

/** At a gateway policies come before (buildCompleteNetworkFilters). */
function outboundStack(
  push: PushContext,
  proxy: ProxyNode,
  protocol: Protocol,
  last: NetworkFilter,
  prefix: string,
  opaque = false,
): NetworkFilter[] {
  if (proxy.type !== 'router') return stack(push, 'outbound', protocol, last, prefix)
  return [
    ...(opaque ? [] : [...tcpCustomAuthorization(push, proxy), ...tcpAuthorization(push, proxy)]),
    ...stack(push, 'gateway', protocol, last, prefix),
  ]
}

/** What a DestinationRule says of connections that are forwarded as bytes. */
function ruleSettings(proxy: ProxyNode, rule: MergedRule | undefined, subset: string): TcpProxy {
  const tcp = rule?.trafficPolicy?.connectionPool?.tcp
  const own = rule?.subsets.find((known) => known.name === subset)?.trafficPolicy
  const balancer = subset !== '' && own?.loadBalancer ? own.loadBalancer : rule?.trafficPolicy?.loadBalancer
  const tunnel = subset === '' ? rule?.trafficPolicy?.tunnel : own?.tunnel
  return {
    idleTimeout: duration(tcp?.idleTimeout ?? proxy.idleTimeout),
    maxDownstreamConnectionDuration: duration(tcp?.maxConnectionDuration),
    hashPolicy: balancer?.consistentHash?.useSourceIp ? [{ policySpecifier: { case: 'sourceIp', value: {} } }] : [],
    tunnelingConfig: tunnel && {
      hostname: hostPort(tunnel.targetHost, tunnel.targetPort),
      usePost: tunnel.protocol === 'POST',
    },
  }
}

/** istiod's name of the filter, which is not Envoy's own (pkg/wellknown). */
export const SNI_DYNAMIC_FORWARD_PROXY = 'envoy.extensions.filters.network.sni_dynamic_forward_proxy'

function sniDynamicForwardProxy(service: Service, port: number): NetworkFilter {
  return {
    name: SNI_DYNAMIC_FORWARD_PROXY,
    configType: {
      case: 'typedConfig',
      value: packed('envoy.extensions.filters.network.sni_dynamic_forward_proxy.v3.FilterConfig', {
        dnsCacheConfig: dnsCache(dnsCacheName(service.hostname)),
        portSpecifier: { case: 'portValue', value: port },
      }),
    },
  }
}
