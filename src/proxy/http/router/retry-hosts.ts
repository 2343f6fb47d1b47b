import { isDeepStrictEqual } from 'node:util'
import type { RetryPolicy as RetryPolicyProto } from '#gen/envoy/config/route/v3/route_components_pb.js'
import type { OmitHostMetadataConfig } from '#gen/envoy/extensions/retry/host/omit_host_metadata/v3/omit_host_metadata_config_pb.js'
import { configTypeName, resolveTypedConfig } from '../../../xds/typed-config.ts'
import { ConfigError } from '../../context.ts'
import type { Host } from '../../upstream/host.ts'

/** Whether a retry passes over a host; `tried` are the hosts of the attempts so far. */
export type HostPredicate = (host: Host, tried: readonly Host[]) => boolean

const PACKAGE = 'envoy.extensions.retry.host'
const METADATA = 'envoy.lb'

const previousHosts: HostPredicate = (host, tried) => tried.includes(host)
const omitCanaries: HostPredicate = (host) => host.canary

/** Passes over hosts whose `envoy.lb` metadata has all the labels (source/extensions/retry/host/omit_host_metadata). */
function omitMetadata(config: OmitHostMetadataConfig): HostPredicate {
  const wanted = Object.entries((config.metadataMatch?.filterMetadata[METADATA] ?? {}) as Record<string, unknown>)
  return (host) => {
    const own = host.metadata.get(METADATA)
    return wanted.every(([key, value]) => {
      const has = own?.[key]
      // A list on the host stands for any of its values.
      if (Array.isArray(has)) return has.some((item) => isDeepStrictEqual(item, value))
      return own !== undefined && isDeepStrictEqual(has, value)
    })
  }
}

/** One entry of `retry_host_predicate`. Throws ConfigError for a type that is not known. */
export function compileHostPredicate(predicate: RetryPolicyProto['retryHostPredicate'][number]): HostPredicate {
  const any = predicate.configType.case === 'typedConfig' ? predicate.configType.value : undefined
  const type = any === undefined ? '' : configTypeName(any)
  const is = (name: string, message: string) =>
    type === `${PACKAGE}.${name}.v3.${message}` ||
    (type === '' && predicate.name === `envoy.retry_host_predicates.${name}`)
  if (is('previous_hosts', 'PreviousHostsPredicate')) return previousHosts
  if (is('omit_canary_hosts', 'OmitCanaryHostsPredicate')) return omitCanaries
  if (any !== undefined && is('omit_host_metadata', 'OmitHostMetadataConfig')) {
    return omitMetadata(resolveTypedConfig(any).message as OmitHostMetadataConfig)
  }
  throw new ConfigError([
    `retry_host_predicate: Didn't find a registered implementation for '${predicate.name}' with type URL: '${type}'`,
  ])
}
