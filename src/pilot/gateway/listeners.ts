import { isHttp, parseProtocol } from '../../registry/protocol.ts'
import { type Init, make } from '../../xds/messages.ts'
import { accessLogs } from '../listener/access-log.ts'
import { type ChainDraft, chainMatch } from '../listener/chain.ts'
import { connectionManager } from '../listener/hcm.ts'
import { proxyProtocolFilter, tlsInspector } from '../listener/listener-filters.ts'
import { type BuiltListener, OUTBOUND } from '../listener/outbound.ts'
import { listenerName } from '../names.ts'
import { addressOf, millis } from '../proto.ts'
import { originMetadata } from '../provenance.ts'
import { type ProxyNode, wildcardOf } from '../proxy.ts'
import { connectionSettingsOf, proxyConfigOf } from '../proxy-config.ts'
import type { PushContext } from '../scope/push-context.ts'
import { layer4GatewayChains } from './layer4.ts'
import type { MergedPort } from './merge.ts'
import { endsHttps } from './servers.ts'
import { serverTls } from './tls.ts'

/** A chain of a gateway's listener before it is built. */
export interface GatewayChain extends ChainDraft {
  /** TLS that ends here. */
  socket?: Init<'envoy.config.core.v3.TransportSocket'>
  /** Of HTTPS: the server's name, which is the prefix of its statistics as it is. */
  serverName?: string
}

// Against handshakes that never end (PILOT_GATEWAY_TRANSPORT_SOCKET_CONNECT_TIMEOUT).
const HANDSHAKE_TIMEOUT = millis(15_000)
/** The first port that needs no rights. */
const UNPRIVILEGED = 1024

/** The listeners of a gateway: one per port and bind address (networking/core/gateway.go buildGatewayListeners). */
export function gatewayListeners(push: PushContext, proxy: ProxyNode): BuiltListener[] {
  const merged = push.gateways.of(proxy)
  const drafts = new Map<string, { bind: string; port: number; chains: GatewayChain[] }>()
  /** Port to names that TLS routes have there, to their bind address. */
  const claimed = new Map<number, Map<string, string>>()
  for (const entry of merged?.ports ?? []) {
    if (proxy.unprivileged && entry.port < UNPRIVILEGED) continue
    const bind = entry.bind || wildcardOf(proxy)
    const name = listenerName(bind, entry.port)
    const chains = chainsOf(push, proxy, entry, claimed)
    const known = drafts.get(name)
    if (known) known.chains.push(...chains)
    else drafts.set(name, { bind, port: entry.port, chains })
  }
  return [...drafts].flatMap(([name, { bind, port, chains }]) =>
    chains.length ? [build(push, proxy, name, bind, port, chains)] : [],
  )
}

function chainsOf(
  push: PushContext,
  proxy: ProxyNode,
  entry: MergedPort,
  claimed: Map<number, Map<string, string>>,
): GatewayChain[] {
  const protocol = parseProtocol(entry.protocol)
  const first = entry.servers[0]
  if (isHttp(protocol)) {
    return [
      {
        http: { side: 'gateway', routes: { rds: entry.routeName }, protocol },
        metadata: first && originMetadata(first.origin),
      },
    ]
  }
  return entry.servers.flatMap((item): GatewayChain[] => {
    if (!endsHttps(item.server)) return layer4GatewayChains(push, proxy, item, entry.port, claimed)
    return [
      {
        sniHosts: [...item.sniHosts],
        socket: serverTls(push, item.server),
        http: { side: 'gateway', routes: { rds: item.routeName }, protocol: item.protocol },
        serverName: item.server.name,
        metadata: originMetadata(item.origin),
      },
    ]
  })
}

function build(
  push: PushContext,
  proxy: ProxyNode,
  name: string,
  bind: string,
  port: number,
  chains: readonly GatewayChain[],
): BuiltListener {
  const inspects = chains.some((chain) => chain.sniHosts?.length || chain.socket)
  const fromProxies = proxyConfigOf(push, proxy).gatewayTopology?.proxyProtocol !== undefined
  const limit = connectionSettingsOf(push, proxy)?.listenerPerConnectionBufferLimitBytes
  const listener = make('envoy.config.listener.v3.Listener', {
    name,
    perConnectionBufferLimitBytes: limit !== undefined && limit >= 0 ? limit : undefined,
    address: addressOf(bind, port),
    trafficDirection: OUTBOUND,
    maxConnectionsToAcceptPerSocketEvent: 1,
    listenerFilters: [...(fromProxies ? [proxyProtocolFilter()] : []), ...(inspects ? [tlsInspector()] : [])],
    filterChains: chains.map((chain) => ({
      filterChainMatch: chainMatch(chain),
      transportSocket: chain.socket,
      transportSocketConnectTimeout: HANDSHAKE_TIMEOUT,
      filters: chain.http
        ? [
            connectionManager(push, proxy, {
              ...chain.http,
              statPrefix: `outbound_${name}`,
              wholeStatPrefix: chain.serverName || undefined,
            }),
          ]
        : chain.filters,
      metadata: chain.metadata,
    })),
    accessLog: accessLogs(push, 'listener'),
  })
  const routeNames = chains.flatMap(({ http }) => (http && 'rds' in http.routes ? [http.routes.rds] : []))
  return { listener, routeNames }
}
