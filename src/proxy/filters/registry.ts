import type { HttpFilter as HttpFilterProto } from '#gen/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager_pb.js'
import { problemText } from '../../xds/problem.ts'
import { configTypeName, resolveTypedConfig } from '../../xds/typed-config.ts'
import type { ListenerContext, ProxyContext } from '../context.ts'
import type { Problems } from '../http/config.ts'
import type { ChainEntry } from '../http/filter-chain.ts'
import { routerFilter } from '../http/router/router-kind.ts'
import { alpnFilter } from './alpn.ts'
import { corsFilter } from './cors.ts'
import { dynamicForwardProxyFilter } from './dynamic-forward-proxy.ts'
import { extAuthzFilter } from './ext-authz/filter.ts'
import { faultFilter } from './fault.ts'
import type { HttpFilterKind } from './filter.ts'
import { grpcStatsFilter } from './grpc-stats.ts'
import { grpcWebFilter } from './grpc-web.ts'
import { headerMutationFilter } from './header-mutation.ts'
import { healthCheckFilter } from './health-check.ts'
import { istioStatsFilter } from './istio-stats.ts'
import { jwtAuthnFilter } from './jwt-authn/filter.ts'
import { localRateLimitFilter } from './local-rate-limit/filter.ts'
import { luaFilter } from './lua/filter.ts'
import { metadataExchangeFilter } from './metadata-exchange.ts'
import { rbacFilter } from './rbac.ts'
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
  luaFilter,
  jwtAuthnFilter,
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
  configs.forEach((config, i) => {
    const path = `http_filters[${i}] ${config.name}`
    if (config.configType.case !== 'typedConfig') {
      const what =
        config.configType.case === undefined ? 'typed_config is required' : 'config_discovery is not supported'
      problems.add(path, what)
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
    const factory = problems.collect(path, () =>
      kind.build(message, {
        proxy,
        statPrefix,
        filterName: config.name,
        direction: listener.direction,
        proxy100Continue,
      }),
    )
    if (factory === undefined) return
    const last = i === configs.length - 1
    if (factory.terminal === true && !last) {
      problems.add(
        path,
        `Error: terminal filter named ${config.name} of type ${kind.name} must be the last filter in a http filter chain.`,
      )
    } else if (last && factory.terminal !== true) {
      problems.add(
        path,
        `Error: non-terminal filter named ${config.name} of type ${kind.name} is the last filter in a http filter chain.`,
      )
    }
    entries.push({ name: config.name, disabled: config.disabled, factory })
  })
  if (configs.length === 0) problems.add('http_filters', 'Error: a chain without a terminal filter answers nothing')
  return entries
}

/** The filter whose per-route config has that type. */
export function perRouteKind(type: string): HttpFilterKind | undefined {
  for (const kind of byType.values()) if (kind.perRouteType === type && kind.buildPerRoute !== undefined) return kind
  return undefined
}
