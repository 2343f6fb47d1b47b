import type { L4MatchAttributes, TLSMatchAttributes } from '../../api/kinds/virtual-service.ts'
import type { Port } from '../../registry/model.ts'
import { INTERNAL } from '../internal-names.ts'
import { routeDestinations } from '../listener/network-filters.ts'
import { tcpListenerExchange } from '../metadata-exchange.ts'
import { originAt, originMetadata } from '../provenance.ts'
import type { ProxyNode } from '../proxy.ts'
import type { PushContext } from '../scope/push-context.ts'
import type { VirtualServiceConfig } from '../scope/virtual-services.ts'
import { autoPassthroughChains } from './auto-passthrough.ts'
import { serves } from './hosts.ts'
import type { GatewayChain } from './listeners.ts'
import { claimHosts } from './merge.ts'
import { type GatewayServer, passesThrough } from './servers.ts'
import { serverTls } from './tls.ts'

/**
 * The chains of a server that forwards bytes: plain TCP, TLS that ends here, or TLS that passes by its name
 * (networking/core/gateway.go createGatewayTCPFilterChainOpts).
 */
export function layer4GatewayChains(
  push: PushContext,
  proxy: ProxyNode,
  entry: GatewayServer,
  listenerPort: number,
  claimed: Map<number, Map<string, string>>,
): GatewayChain[] {
  const { server } = entry
  if (!passesThrough(server)) {
    const found = tcpFilters(push, proxy, entry)
    if (!found) return []
    return [{ ...found, sniHosts: [...entry.sniHosts], socket: serverTls(push, server) }]
  }
  if (server.tls?.mode === 'AUTO_PASSTHROUGH') return autoPassthroughChains(push, proxy, entry)
  const names = claimed.get(listenerPort) ?? new Map<string, string>()
  claimed.set(listenerPort, names)
  return tlsChains(push, proxy, entry, names)
}

const portOf = ({ server, protocol }: GatewayServer): Port => ({
  name: server.port.name,
  port: server.port.number,
  protocol,
})

const bound = (push: PushContext, proxy: ProxyNode, entry: GatewayServer): VirtualServiceConfig[] =>
  push.virtualServices
    .visible(proxy.namespace, entry.gateway)
    .filter((config) => serves(entry.hosts, config.namespace, config.hosts))

function applies(match: L4MatchAttributes | TLSMatchAttributes, { server, gateway }: GatewayServer): boolean {
  if (match.port && match.port !== server.port.number) return false
  return !match.gateways?.length || match.gateways.includes(gateway)
}

/** The first TCP rule that fits; a server has one route only (buildGatewayNetworkFiltersFromTCPRoutes). */
function tcpFilters(push: PushContext, proxy: ProxyNode, entry: GatewayServer): GatewayChain | undefined {
  const exchange = entry.server.tls?.mode === 'ISTIO_MUTUAL' && push.env.metadataExchange ? [tcpListenerExchange()] : []
  const chain = (config: VirtualServiceConfig, kind: 'tcp' | 'tls', index: number): GatewayChain => ({
    filters: [
      ...exchange,
      ...routeDestinations(
        push,
        proxy,
        config[kind][index]?.route ?? [],
        portOf(entry),
        `${config.name}.${config.namespace}`,
      ),
    ],
    metadata: originMetadata(originAt(config.object, ['spec', kind, index])),
  })
  for (const config of bound(push, proxy, entry)) {
    for (const [index, rule] of config.tcp.entries()) {
      if (!rule.route?.length) continue
      if (!rule.match?.length || rule.match.some((match) => applies(match, entry))) return chain(config, 'tcp', index)
    }
    // Those that were made from TLSRoutes end TLS here with `tls` rules.
    if (!config.object.metadata.annotations[INTERNAL.parents]?.startsWith('TLSRoute/')) continue
    const index = config.tls.findIndex((rule) => rule.match.some((match) => applies(match, entry)))
    if (index >= 0) return chain(config, 'tls', index)
  }
  return undefined
}

/** A chain per match of the TLS rules; names that a chain of the port has already are left out. */
function tlsChains(
  push: PushContext,
  proxy: ProxyNode,
  entry: GatewayServer,
  claimed: Map<string, string>,
): GatewayChain[] {
  const out: GatewayChain[] = []
  for (const config of bound(push, proxy, entry)) {
    for (const [index, rule] of config.tls.entries()) {
      if (!rule.route?.length) continue
      for (const match of rule.match) {
        if (!applies(match, entry)) continue
        if (claimHosts(claimed, match.sniHosts, entry.server.bind ?? '').length) continue
        out.push({
          sniHosts: match.sniHosts,
          filters: routeDestinations(push, proxy, rule.route, portOf(entry), `${config.name}.${config.namespace}`),
          metadata: originMetadata(originAt(config.object, ['spec', 'tls', index])),
        })
      }
    }
  }
  return out
}
