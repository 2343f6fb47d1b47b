import type { Message } from '@bufbuild/protobuf'
import type { Filter, FilterChain } from '#gen/envoy/config/listener/v3/listener_components_pb.js'
import type { HttpConnectionManager } from '#gen/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager_pb.js'
import type { ConnectionHandler, ListenerContext, ProxyContext, TerminalFilterFactory } from '../context.ts'
import type { OpenedConfig } from '../ecds/source.ts'
import { httpConnectionManager } from '../http/connection-manager.ts'
import { tcpProxy } from '../tcp/tcp-proxy.ts'
import { DiscoveredNetworkChain, type NetworkFilter } from './discovered-network-filters.ts'
import { directResponse, echo } from './network/answering.ts'
import { connectionLimit } from './network/connection-limit.ts'
import { networkExtAuthz } from './network/ext-authz.ts'
import { networkLocalRateLimit } from './network/local-rate-limit.ts'
import { networkRateLimit } from './network/rate-limit.ts'
import { networkRbac } from './network/rbac.ts'
import { networkSetFilterState } from './network/set-filter-state.ts'
import { sniCluster } from './network/sni-cluster.ts'
import { sniDynamicForwardProxy } from './network/sni-dynamic-forward-proxy.ts'
import { type ReadFilterFactory, type ReadFilterMaker, withReadFilters } from './read-filters.ts'
import { openTypedConfig } from './typed-filter.ts'

const NETWORK = 'envoy.extensions.filters.network.'
const HCM = `${NETWORK}http_connection_manager.v3.HttpConnectionManager`

/** Filters that end a chain: they take the connection. */
const terminal: Readonly<Record<string, TerminalFilterFactory>> = {
  [HCM]: httpConnectionManager,
  [`${NETWORK}tcp_proxy.v3.TcpProxy`]: tcpProxy,
  [`${NETWORK}direct_response.v3.Config`]: directResponse,
  [`${NETWORK}echo.v3.Echo`]: echo,
}

/** Filters that stand before the last one. */
const reading: Readonly<Record<string, ReadFilterFactory>> = {
  [`${NETWORK}connection_limit.v3.ConnectionLimit`]: connectionLimit,
  [`${NETWORK}ext_authz.v3.ExtAuthz`]: networkExtAuthz,
  [`${NETWORK}local_ratelimit.v3.LocalRateLimit`]: networkLocalRateLimit,
  [`${NETWORK}ratelimit.v3.RateLimit`]: networkRateLimit,
  [`${NETWORK}rbac.v3.RBAC`]: networkRbac,
  [`${NETWORK}set_filter_state.v3.Config`]: networkSetFilterState,
  [`${NETWORK}sni_cluster.v3.SniCluster`]: sniCluster,
  [`${NETWORK}sni_dynamic_forward_proxy.v3.FilterConfig`]: sniDynamicForwardProxy,
}

/**
 * Filters that may stand before, and only make statistics, or feed those that do. Metadata exchange is taken without
 * a word: it stands in every chain that istiod makes, and nothing that carries bytes depends on it.
 */
const accepted: Readonly<Record<string, { name: string; noted: boolean }>> = {
  'envoy.tcp.metadataexchange.config.MetadataExchange': { name: 'istio.metadata_exchange', noted: false },
  'stats.PluginConfig': { name: 'istio.stats', noted: true },
  [`${NETWORK}mongo_proxy.v3.MongoProxy`]: { name: 'mongo_proxy', noted: true },
}

/** Builds the filters of a chain, as one handler; undefined for a chain without filters. Throws with Envoy's words. */
export function buildNetworkFilters(
  filters: readonly Filter[],
  context: ProxyContext,
  listener: ListenerContext,
): ConnectionHandler | undefined {
  const build = (name: string, config: OpenedConfig, last: boolean) =>
    buildNetworkFilter(name, config, last, context, listener)
  if (filters.some(({ configType }) => configType.case === 'configDiscovery'))
    return new DiscoveredNetworkChain(filters, { context, listener, known, build, open: openTypedConfig })
  const makers: ReadFilterMaker[] = []
  let handler: ConnectionHandler | undefined
  filters.forEach((filter, i) => {
    const made = build(filter.name, openTypedConfig(filter), i === filters.length - 1)
    if (made.kind === 'terminal') handler = made.handler
    else if (made.kind === 'reading') makers.push(made.maker)
  })
  return handler && withReadFilters(makers, handler, context, listener)
}

const known = (typeName: string): boolean => typeName in terminal || typeName in reading || typeName in accepted

function buildNetworkFilter(
  name: string,
  { typeName, message }: OpenedConfig,
  last: boolean,
  context: ProxyContext,
  listener: ListenerContext,
): NetworkFilter {
  const factory = terminal[typeName]
  if (factory) {
    if (typeName === HCM) checkRouteSource(message as HttpConnectionManager)
    if (!last) {
      throw new Error(
        `Error: terminal filter named ${name} of type ${registeredName(typeName)} must be the last filter in a network filter chain.`,
      )
    }
    return { kind: 'terminal', handler: factory(message, context, listener) }
  }
  const reads = reading[typeName]
  const maker = reads?.(message, context, listener)
  if (!maker) noteAccepted(name, typeName, message, context)
  if (last) {
    throw new Error(
      `Error: non-terminal filter named ${name} of type ${registeredName(typeName)} is the last filter in a network filter chain.`,
    )
  }
  return maker ? { kind: 'reading', maker } : { kind: 'idle' }
}

/** Routes come over ADS or stand in the config: a filter chain must not wait for a source that nobody reads. */
function checkRouteSource({ routeSpecifier }: HttpConnectionManager): void {
  if (routeSpecifier.case !== 'rds') return
  const source = routeSpecifier.value.configSource?.configSourceSpecifier.case
  if (source !== 'ads') throw new Error(`rds.config_source: only ads is supported`)
}

function noteAccepted(name: string, typeName: string, _config: Message, context: ProxyContext): void {
  const what = accepted[typeName]
  if (what === undefined) {
    throw new Error(`Didn't find a registered implementation for '${name}' with type URL: '${typeName}'`)
  }
  if (what.noted) context.notEnforced?.(`network filter ${what.name}`)
}

/** `envoy.filters.network.tcp_proxy` from `envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy`. */
function registeredName(typeName: string): string {
  const found = /^envoy\.extensions\.(filters\.network\.\w+)\.v3\./.exec(typeName)
  return found ? `envoy.${found[1]}` : (accepted[typeName]?.name ?? typeName)
}

/** ms that Envoy waits for the first routes of a config source that says nothing (source/common/config/utility.cc). */
const INITIAL_FETCH_TIMEOUT_MS = 15_000

/** How long a chain may wait for its routes and secrets, ms; 0: for ever. The route source's word counts. */
export function initialFetchTimeout(chain: FilterChain): number {
  for (const filter of chain.filters) {
    if (filter.configType.case === 'configDiscovery') continue
    const { typeName, message } = openTypedConfig(filter)
    if (typeName !== HCM) continue
    const { routeSpecifier } = message as HttpConnectionManager
    const limit = routeSpecifier.case === 'rds' ? routeSpecifier.value.configSource?.initialFetchTimeout : undefined
    if (limit) return Number(limit.seconds) * 1000 + limit.nanos / 1e6
  }
  return INITIAL_FETCH_TIMEOUT_MS
}
