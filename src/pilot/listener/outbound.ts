import type { Listener } from '#gen/envoy/config/listener/v3/listener_pb.js'
import { type Init, make } from '../../xds/messages.ts'
import { HTTP_PROXY_ROUTE, listenerName, VIRTUAL_OUTBOUND } from '../names.ts'
import { addressOf, duration, millis, socketAddress, ZERO } from '../proto.ts'
import { localhostOf, type ProxyNode, wildcardOf } from '../proxy.ts'
import { catchAll } from '../route/route-configuration.ts'
import type { PushContext } from '../scope/push-context.ts'
import { accessLogs } from './access-log.ts'
import { chainMatch, plaintextAlpn, takesAll } from './chain.ts'
import { connectionManager } from './hcm.ts'
import { httpInspector, tlsInspector } from './listener-filters.ts'
import { catchAllFilters, SNI_DYNAMIC_FORWARD_PROXY, toBlackHole } from './network-filters.ts'
import { type ListenerEntry, outboundEntries } from './outbound-entries.ts'
import { tcpMetrics } from './telemetry.ts'

type FilterChain = Init<'envoy.config.listener.v3.FilterChain'>

/** Value of TrafficDirection. */
export const OUTBOUND = 2
// Against handshakes that never end (PILOT_GATEWAY_TRANSPORT_SOCKET_CONNECT_TIMEOUT; istiod sets it here as well).
const HANDSHAKE_TIMEOUT = millis(15_000)

/** A listener, and the route configurations that it asks for. */
export interface BuiltListener {
  listener: Listener
  routeNames: string[]
}

/** The outbound listeners of a sidecar: those of services, of the HTTP proxy port, and the one that takes the rest. */
export function outboundListeners(push: PushContext, proxy: ProxyNode): BuiltListener[] {
  const entries = outboundEntries(push, proxy)
  const fallthrough = catchAllFilters(push, proxy)
  const out = entries.map((entry) => build(push, proxy, entry, fallthrough))
  const httpProxyPort = proxy.httpProxyPort ?? push.mesh.proxyHttpPort ?? 0
  if (httpProxyPort !== 0) out.push(build(push, proxy, httpProxyEntry(proxy, httpProxyPort), undefined))
  if (proxy.interception !== 'NONE') out.push({ listener: virtualOutbound(push, proxy), routeNames: [] })
  return out
}

function httpProxyEntry(proxy: ProxyNode, port: number): ListenerEntry {
  return {
    bind: localhostOf(proxy),
    bindToPort: true,
    port: { name: '', port, protocol: 'HTTP_PROXY' },
    protocol: 'HTTP_PROXY',
    locked: false,
    chains: [
      {
        http: { side: 'outbound', routes: { rds: HTTP_PROXY_ROUTE }, protocol: 'HTTP_PROXY', absoluteUrls: true },
      },
    ],
  }
}

function build(
  push: PushContext,
  proxy: ProxyNode,
  entry: ListenerEntry,
  fallthrough: FilterChain['filters'],
): BuiltListener {
  const name = listenerName(entry.bind, entry.port.port)
  const routeNames: string[] = []
  const filterChains: FilterChain[] = []
  let defaultFilterChain: FilterChain | undefined
  for (const draft of entry.chains) {
    const { http } = draft
    if (http && 'rds' in http.routes) routeNames.push(http.routes.rds)
    const chain: FilterChain = {
      metadata: draft.metadata,
      transportSocketConnectTimeout: HANDSHAKE_TIMEOUT,
      filters: http ? [connectionManager(push, proxy, { ...http, statPrefix: `outbound_${name}` })] : draft.filters,
    }
    if (takesAll(draft)) defaultFilterChain = chain
    else filterChains.push({ ...chain, filterChainMatch: chainMatch(draft) })
  }
  if (defaultFilterChain && filterChains.length === 0) {
    filterChains.push(defaultFilterChain)
    defaultFilterChain = undefined
  } else if (!defaultFilterChain && fallthrough) {
    // What starts to look like one chain and then is not must not be dropped.
    defaultFilterChain = { name: 'PassthroughFilterChain', filterChainMatch: {}, filters: fallthrough }
  }
  const needsHttp = entry.chains.some((chain) => chain.alpn?.length)
  const listener = make('envoy.config.listener.v3.Listener', {
    name,
    address: addressOf(entry.bind, entry.port.port),
    trafficDirection: OUTBOUND,
    continueOnListenerFiltersTimeout: true,
    filterChains,
    defaultFilterChain,
    listenerFilters: [...(needsTls(entry) ? [tlsInspector()] : []), ...(needsHttp ? [httpInspector()] : [])],
    listenerFiltersTimeout: needsHttp ? duration(push.mesh.protocolDetectionTimeout) : ZERO,
    ...(entry.bindToPort ? { maxConnectionsToAcceptPerSocketEvent: 1 } : { bindToPort: false }),
  })
  return { listener, routeNames }
}

function needsTls(entry: ListenerEntry): boolean {
  return entry.chains.some(
    (chain) => chain.sniHosts?.length || chain.filters?.some((filter) => filter.name === SNI_DYNAMIC_FORWARD_PROXY),
  )
}

/** The listener that redirected connections enter, and that keeps those for which there is no other. */
function virtualOutbound(push: PushContext, proxy: ProxyNode): Listener {
  const dynamic = push.scopeOf(proxy).outbound.mode === 'ALLOW_ANY_DYNAMIC_DNS'
  const port = push.mesh.proxyListenPort
  const chains: FilterChain[] = [
    {
      // Who calls the port itself would call it again and again.
      name: 'virtualOutbound-blackhole',
      filterChainMatch: { destinationPort: port },
      filters: [...tcpMetrics(push, 'outbound'), toBlackHole()],
    },
  ]
  if (dynamic) chains.push(dynamicDnsChain(push, proxy))
  chains.push({ name: 'virtualOutbound-catchall-tcp', filters: catchAllFilters(push, proxy) })
  return make('envoy.config.listener.v3.Listener', {
    name: VIRTUAL_OUTBOUND,
    address: socketAddress(wildcardOf(proxy), port),
    transparent: proxy.interception === 'TPROXY' ? true : undefined,
    useOriginalDst: true,
    filterChains: chains,
    listenerFilters: dynamic ? [httpInspector()] : [],
    trafficDirection: OUTBOUND,
    maxConnectionsToAcceptPerSocketEvent: 1,
    accessLog: accessLogs(push, 'listener'),
  })
}

function dynamicDnsChain(push: PushContext, proxy: ProxyNode): FilterChain {
  const inline: Init<'envoy.config.route.v3.RouteConfiguration'> = {
    name: 'allow_any_dynamic_dns',
    virtualHosts: [catchAll(push, proxy)],
    validateClusters: false,
    maxDirectResponseBodySizeBytes: 1024 * 1024,
    ignorePortInHostMatching: true,
  }
  return {
    name: 'virtualOutbound-catchall-tcp-http',
    filterChainMatch: { applicationProtocols: plaintextAlpn(push.env.http10) },
    filters: [
      connectionManager(push, proxy, {
        side: 'outbound',
        routes: { inline },
        protocol: 'HTTP',
        statPrefix: 'outbound_virtualOutbound_allow_any_dynamic_dns',
      }),
    ],
  }
}
