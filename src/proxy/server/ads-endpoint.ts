import type { ApiConfigSource, ConfigSource } from '#gen/envoy/config/core/v3/config_source_pb.js'
import type { AdsMode } from '../../xds/stream.ts'

/** ApiConfigSource.ApiType. */
const MODES: Readonly<Record<number, AdsMode>> = { 2: 'sotw', 3: 'delta', 5: 'sotw', 6: 'delta' }

/** The variant of ADS that the bootstrap asks for. Throws on one that is not spoken here. */
export function adsMode(config: ApiConfigSource): AdsMode {
  const mode = MODES[config.apiType]
  if (!mode) throw new Error('bootstrap.dynamic_resources.ads_config.api_type: only GRPC and DELTA_GRPC are supported')
  return mode
}

/** True when a source says that its resources come over ADS. Throws on any other source. */
export function isAds(source: ConfigSource | undefined, path: string): boolean {
  if (!source) return false
  if (source.configSourceSpecifier.case === 'ads') return true
  throw new Error(`${path}: only ads is supported`)
}
