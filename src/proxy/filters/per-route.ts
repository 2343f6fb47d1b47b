import type { Any } from '@bufbuild/protobuf/wkt'
import type { FilterConfig } from '#gen/envoy/config/route/v3/route_components_pb.js'
import type { RouteConfiguration } from '#gen/envoy/config/route/v3/route_pb.js'
import { problemText } from '../../xds/problem.ts'
import { configTypeName, resolveTypedConfig } from '../../xds/typed-config.ts'
import type { ProxyContext } from '../context.ts'
import type { Problems } from '../http/config.ts'
import type { PerRouteFilter } from '../http/router/route.ts'
import type { StatsStore } from '../observe/stats.ts'
import { perRouteKind } from './registry.ts'

const FILTER_CONFIG = 'envoy.config.route.v3.FilterConfig'

/** Compiles a `typed_per_filter_config` (source/common/router/per_filter_config.cc). Keys are filter names. */
export function compilePerRouteConfigs(
  configs: Readonly<Record<string, Any>>,
  proxy: ProxyContext,
  problems: Problems,
  path: string,
): ReadonlyMap<string, PerRouteFilter> {
  const out = new Map<string, PerRouteFilter>()
  for (const [name, any] of Object.entries(configs)) {
    const entry = compileOne(any, proxy, problems, `${path}[${name}]`)
    if (entry !== undefined) out.set(name, entry)
  }
  return out
}

/** What was compiled of route configurations that came by RDS, by proxy. */
const compiled = new WeakMap<
  StatsStore,
  WeakMap<RouteConfiguration, Map<object, ReadonlyMap<string, PerRouteFilter>>>
>()

/**
 * The same for a configuration that came by RDS: however many connection managers use it, what filters keep by route is
 * there once, and stays as long as the configuration (Envoy compiles it once for all, RouteConfigProviderManager).
 */
export function sharedPerRouteConfigs(
  routes: RouteConfiguration,
  proxy: ProxyContext,
): (configs: Readonly<Record<string, Any>>, problems: Problems, path: string) => ReadonlyMap<string, PerRouteFilter> {
  let ofProxy = compiled.get(proxy.stats)
  if (ofProxy === undefined) {
    ofProxy = new WeakMap()
    compiled.set(proxy.stats, ofProxy)
  }
  const known = ofProxy.get(routes) ?? new Map<object, ReadonlyMap<string, PerRouteFilter>>()
  ofProxy.set(routes, known)
  return (configs, problems, path) => {
    const there = known.get(configs)
    if (there !== undefined) return there
    const before = problems.errors.length
    const fresh = compilePerRouteConfigs(configs, proxy, problems, path)
    if (problems.errors.length === before) known.set(configs, fresh)
    return fresh
  }
}

function compileOne(any: Any, proxy: ProxyContext, problems: Problems, path: string): PerRouteFilter | undefined {
  const type = configTypeName(any)
  if (type === FILTER_CONFIG) {
    const { message, problems: found } = resolveTypedConfig(any)
    for (const p of found) problems.add(path, problemText(p))
    if (message === undefined) return undefined
    const wrapper = message as FilterConfig
    if (wrapper.disabled) return { disabled: true, config: undefined }
    if (wrapper.config === undefined || wrapper.config.typeUrl === '') return { disabled: false, config: undefined }
    return compileConfig(wrapper.config, proxy, wrapper.isOptional, problems, path)
  }
  return compileConfig(any, proxy, false, problems, path)
}

function compileConfig(
  any: Any,
  proxy: ProxyContext,
  optional: boolean,
  problems: Problems,
  path: string,
): PerRouteFilter | undefined {
  const type = configTypeName(any)
  const kind = perRouteKind(type)
  if (kind === undefined) {
    if (!optional) problems.add(path, `Didn't find a registered implementation for per-route type: '${type}'`)
    return undefined
  }
  const { message, problems: found } = resolveTypedConfig(any)
  for (const p of found) problems.add(path, problemText(p))
  if (message === undefined) return undefined
  const config = problems.collect(path, () => kind.buildPerRoute!(message, proxy.runtime, proxy))
  return config === undefined ? undefined : { disabled: false, config }
}
