import type { HttpFilter as HttpFilterProto } from '#gen/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager_pb.js'
import { problemText } from '../../xds/problem.ts'
import { configTypeName, resolveTypedConfig } from '../../xds/typed-config.ts'
import { ConfigError, type ListenerContext, type ProxyContext } from '../context.ts'
import { discoveredHttpFilter, type FilterPlace, type FoundFilters } from '../ecds/http-filter.ts'
import type { Problems } from '../http/config.ts'
import type { ChainEntry } from '../http/filter-chain.ts'
import { routerFilter } from '../http/router/router-kind.ts'
import { adaptiveConcurrencyFilter } from './adaptive-concurrency/filter.ts'
import { admissionControlFilter } from './admission-control/filter.ts'
import { alpnFilter } from './alpn.ts'
import { bandwidthLimitFilter } from './bandwidth-limit.ts'
import { basicAuthFilter } from './basic-auth/filter.ts'
import { bufferFilter } from './buffer.ts'
import { compressorFilter } from './compression/compressor.ts'
import { decompressorFilter } from './compression/decompressor.ts'
import { corsFilter } from './cors.ts'
import { csrfFilter } from './csrf.ts'
import { dynamicForwardProxyFilter } from './dynamic-forward-proxy.ts'
import { extAuthzFilter } from './ext-authz/filter.ts'
import { faultFilter } from './fault.ts'
import type { HttpFilterContext, HttpFilterFactory, HttpFilterKind } from './filter.ts'
import { grpcStatsFilter } from './grpc-stats.ts'
import { grpcWebFilter } from './grpc-web.ts'
import { headerMutationFilter } from './header-mutation.ts'
import { headerToMetadataFilter } from './header-to-metadata/filter.ts'
import { healthCheckFilter } from './health-check.ts'
import { istioStatsFilter } from './istio-stats.ts'
import { jsonToMetadataFilter } from './json-to-metadata/filter.ts'
import { jwtAuthnFilter } from './jwt-authn/filter.ts'
import { localRateLimitFilter } from './local-rate-limit/filter.ts'
import { luaFilter } from './lua/filter.ts'
import { metadataExchangeFilter } from './metadata-exchange.ts'
import { rateLimitFilter } from './rate-limit/filter.ts'
import { rbacFilter } from './rbac.ts'
import { setFilterStateFilter } from './set-filter-state.ts'
import { setMetadataFilter } from './set-metadata.ts'
import { statefulSessionFilter } from './stateful-session.ts'

/** Every HTTP filter there is, by the type of its config. */
const byType = new Map<string, HttpFilterKind>()

/** Adds a filter. Done for all of ours when this module is loaded. */
export function registerHttpFilter(kind: HttpFilterKind): void {
  byType.set(kind.type, kind)
}

for (const kind of [
  routerFilter,
  corsFilter,
  faultFilter,
  headerMutationFilter,
  grpcStatsFilter,
  grpcWebFilter,
  alpnFilter,
  metadataExchangeFilter,
  istioStatsFilter,
  healthCheckFilter,
  dynamicForwardProxyFilter,
  rbacFilter,
  extAuthzFilter,
  statefulSessionFilter,
  localRateLimitFilter,
  rateLimitFilter,
  luaFilter,
  jwtAuthnFilter,
  bufferFilter,
  csrfFilter,
  basicAuthFilter,
  headerToMetadataFilter,
  jsonToMetadataFilter,
  setMetadataFilter,
  setFilterStateFilter,
  compressorFilter,
  decompressorFilter,
  bandwidthLimitFilter,
  admissionControlFilter,
  adaptiveConcurrencyFilter,
]) {
  registerHttpFilter(kind)
}

/** Compiles `http_filters`. Errors name the filter; an optional filter of an unknown type is left out. */
export function compileFilterChain(
  configs: readonly HttpFilterProto[],
  proxy: ProxyContext,
  listener: ListenerContext,
  statPrefix: string,
  proxy100Continue: boolean,
  problems: Problems,
): ChainEntry[] {
  const entries: ChainEntry[] = []
  const last = configs.length - 1
  configs.forEach((config, i) => {
    const path = `http_filters[${i}] ${config.name}`
    const place: FilterPlace = { proxy, listener, statPrefix, proxy100Continue, name: config.name, last: i === last }
    if (config.configType.case === 'configDiscovery') {
      const discovery = config.configType.value
      const found = problems.collect(path, () => discoveredHttpFilter(discovery, config.disabled, place, buildFound))
      if (found !== undefined)
        entries.push({ name: config.name, disabled: config.disabled, factory: found, discovered: found })
      return
    }
    if (config.configType.case === undefined) {
      problems.add(path, 'typed_config is required')
      return
    }
    const any = config.configType.value
    const type = configTypeName(any)
    const kind = byType.get(type)
    if (kind === undefined) {
      if (config.isOptional) return
      problems.add(path, `Didn't find a registered implementation for '${config.name}' with type URL: '${type}'`)
      return
    }
    const { message, problems: found } = resolveTypedConfig(any)
    for (const p of found) problems.add(path, problemText(p))
    if (message === undefined) return
    const factory = problems.collect(path, () => kind.build(message, contextOf(place)))
    if (factory === undefined) return
    const misplaced = misplacement(kind, factory, place)
    if (misplaced !== undefined) problems.add(path, misplaced)
    entries.push({ name: config.name, disabled: config.disabled, factory })
  })
  if (configs.length === 0) problems.add('http_filters', 'Error: a chain without a terminal filter answers nothing')
  return entries
}

const contextOf = ({ proxy, listener, statPrefix, proxy100Continue, name }: FilterPlace): HttpFilterContext => ({
  proxy,
  statPrefix,
  filterName: name,
  direction: listener.direction,
  proxy100Continue,
})

/** Only the last filter of a chain answers requests, and it has to. */
function misplacement(
  kind: HttpFilterKind,
  factory: HttpFilterFactory,
  { name, last }: FilterPlace,
): string | undefined {
  if ((factory.terminal === true) === last) return undefined
  return last
    ? `Error: non-terminal filter named ${name} of type ${kind.name} is the last filter in a http filter chain.`
    : `Error: terminal filter named ${name} of type ${kind.name} must be the last filter in a http filter chain.`
}

/** Makes filters of configs that come by ECDS. */
const buildFound: FoundFilters = {
  known: (type) => byType.has(type),
  build({ typeName, message }, place) {
    const kind = byType.get(typeName)!
    const factory = kind.build(message, contextOf(place))
    const misplaced = misplacement(kind, factory, place)
    if (misplaced === undefined) return factory
    factory.close?.()
    throw new ConfigError([misplaced])
  },
}

/** The filter whose per-route config has that type. */
export function perRouteKind(type: string): HttpFilterKind | undefined {
  for (const kind of byType.values()) if (kind.perRouteType === type && kind.buildPerRoute !== undefined) return kind
  return undefined
}
