import type { Any } from '@bufbuild/protobuf/wkt'
import type { FilterConfig } from '#gen/envoy/config/route/v3/route_components_pb.js'
import type { Runtime } from '../../runtime.ts'
import { problemText } from '../../xds/problem.ts'
import { configTypeName, resolveTypedConfig } from '../../xds/typed-config.ts'
import type { Problems } from '../http/config.ts'
import type { PerRouteFilter } from '../http/router/route.ts'
import { perRouteKind } from './registry.ts'

const FILTER_CONFIG = 'envoy.config.route.v3.FilterConfig'

/** Compiles a `typed_per_filter_config` (source/common/router/per_filter_config.cc). Keys are filter names. */
export function compilePerRouteConfigs(
  configs: Readonly<Record<string, Any>>,
  runtime: Runtime,
  problems: Problems,
  path: string,
): ReadonlyMap<string, PerRouteFilter> {
  const out = new Map<string, PerRouteFilter>()
  for (const [name, any] of Object.entries(configs)) {
    const entry = compileOne(any, runtime, problems, `${path}[${name}]`)
    if (entry !== undefined) out.set(name, entry)
  }
  return out
}

function compileOne(any: Any, runtime: Runtime, problems: Problems, path: string): PerRouteFilter | undefined {
  const type = configTypeName(any)
  if (type === FILTER_CONFIG) {
    const { message, problems: found } = resolveTypedConfig(any)
    for (const p of found) problems.add(path, problemText(p))
    if (message === undefined) return undefined
    const wrapper = message as FilterConfig
    if (wrapper.disabled) return { disabled: true, config: undefined }
    if (wrapper.config === undefined || wrapper.config.typeUrl === '') return { disabled: false, config: undefined }
    return compileConfig(wrapper.config, runtime, wrapper.isOptional, problems, path)
  }
  return compileConfig(any, runtime, false, problems, path)
}

function compileConfig(
  any: Any,
  runtime: Runtime,
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
  const config = problems.collect(path, () => kind.buildPerRoute!(message, runtime))
  return config === undefined ? undefined : { disabled: false, config }
}
