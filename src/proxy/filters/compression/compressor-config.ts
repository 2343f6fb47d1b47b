import type {
  Compressor,
  Compressor_CommonDirectionConfig,
  CompressorPerRoute,
} from '#gen/envoy/extensions/filters/http/compressor/v3/compressor_pb.js'
import { make } from '../../../xds/messages.ts'
import type { Counter, StatsStore } from '../../observe/stats.ts'
import type { RuntimeValues } from '../../runtime-values.ts'
import { Direction, DirectionStats } from './direction.ts'
import { type CompressorLibrary, compileCompressorLibrary } from './libraries.ts'

/** What is counted of responses alone. */
export class AcceptStats {
  readonly noHeader: Counter
  readonly identity: Counter
  readonly used: Counter
  readonly overshadowed: Counter
  readonly wildcard: Counter
  readonly notValid: Counter
  readonly etag: Counter

  constructor(store: StatsStore, prefix: string) {
    this.noHeader = store.counter(`${prefix}no_accept_header`)
    this.identity = store.counter(`${prefix}header_identity`)
    this.used = store.counter(`${prefix}header_compressor_used`)
    this.overshadowed = store.counter(`${prefix}header_compressor_overshadowed`)
    this.wildcard = store.counter(`${prefix}header_wildcard`)
    this.notValid = store.counter(`${prefix}header_not_valid`)
    this.etag = store.counter(`${prefix}not_compressed_etag`)
  }
}

/** A compiled `Compressor` (source/extensions/filters/http/compressor/compressor_filter.cc CompressorFilterConfig). */
export class CompressorConfig {
  readonly library: CompressorLibrary
  readonly chooseFirst: boolean
  readonly request: Direction
  readonly requestsToo: boolean
  readonly response: Direction
  readonly accept: AcceptStats
  readonly disableOnEtag: boolean
  readonly weakenEtag: boolean
  readonly removeAcceptEncoding: boolean
  readonly tellsStatus: boolean
  readonly uncompressibleCodes: ReadonlySet<number>

  /** `prefix`: `http.<stat_prefix>.`. Throws ConfigError. */
  constructor(config: Compressor, store: StatsStore, prefix: string, values: RuntimeValues | undefined) {
    this.library = compileCompressorLibrary(config.compressorLibrary)
    this.chooseFirst = config.chooseFirst
    const { requestDirectionConfig: request, responseDirectionConfig: response } = config
    const own = `${prefix}compressor.${config.compressorLibrary?.name ?? ''}.${this.library.statsPrefix}.`
    this.request = new Direction(request?.commonConfig, new DirectionStats(store, `${own}request.`), values)
    this.requestsToo = request !== undefined && this.request.enabled
    const stats = new DirectionStats(store, response === undefined ? own : `${own}response.`)
    this.response = new Direction(response === undefined ? older(config) : response.commonConfig, stats, values)
    this.accept = new AcceptStats(store, own)
    this.disableOnEtag = (response ?? config).disableOnEtagHeader
    this.removeAcceptEncoding = (response ?? config).removeAcceptEncodingHeader
    this.weakenEtag = response?.weakenEtagOnCompress ?? false
    this.tellsStatus = response?.statusHeaderEnabled ?? false
    this.uncompressibleCodes = new Set(response?.uncompressibleResponseCodes)
  }
}

/** The deprecated fields, which count where there is no response_direction_config. */
function older(config: Compressor): Compressor_CommonDirectionConfig {
  return make('envoy.extensions.filters.http.compressor.v3.Compressor.CommonDirectionConfig', {
    minContentLength: config.contentLength,
    contentType: config.contentType,
    enabled: config.runtimeEnabled,
  })
}

/** A compiled `CompressorPerRoute`: what it leaves undefined is as the filter has it. */
export class CompressorOverride {
  readonly enabled: boolean | undefined
  readonly removeAcceptEncoding: boolean | undefined
  readonly library: CompressorLibrary | undefined

  /** Throws ConfigError. */
  constructor(config: CompressorPerRoute) {
    const { override } = config
    const overrides = override.case === 'overrides' ? override.value : undefined
    const response = overrides?.responseDirectionConfig
    this.enabled = override.case === 'disabled' ? false : response === undefined ? undefined : true
    this.removeAcceptEncoding = response?.removeAcceptEncodingHeader
    this.library =
      overrides?.compressorLibrary === undefined
        ? undefined
        : compileCompressorLibrary(overrides.compressorLibrary, 'per-route compressor type')
  }
}
