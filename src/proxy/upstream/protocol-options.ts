import type { Cluster as ClusterProto } from '#gen/envoy/config/cluster/v3/cluster_pb.js'
import type {
  HttpProtocolOptions as CommonOptions,
  Http1ProtocolOptions,
  Http2ProtocolOptions,
  UpstreamHttpProtocolOptions,
} from '#gen/envoy/config/core/v3/protocol_pb.js'
import { typeNameOf, unpack } from '../../xds/messages.ts'
import { durationMs, type Problems } from '../http/config.ts'
import { preservedCase } from '../http1/preserve-case.ts'
import { type Http1ClientSettings, http1ClientSettings } from '../http1/settings.ts'
import { compileHttp2Settings, type Http2Settings } from '../http2/settings.ts'
import { compileErrorMatcher, type ErrorMatcher } from './error-matcher.ts'

const HTTP_OPTIONS = 'envoy.extensions.upstreams.http.v3.HttpProtocolOptions'
/** Under this key Istio's own builds expect the options of TCP protocols; both sides ignore other keys. */
const TCP_OPTIONS = 'envoy.extensions.upstreams.tcp.v3.TcpProtocolOptions'

/** Which protocol a cluster's HTTP connections speak. */
export type UpstreamProtocol = 'http1' | 'http2' | 'downstream' | 'auto'

/** HttpProtocolOptions, compiled; times in ms, 0 = off. */
export interface HttpOptions {
  readonly protocol: UpstreamProtocol
  readonly http1: Http1ClientSettings
  readonly http2: Http2Settings
  /** Lines of a response's head. */
  readonly maxHeadersCount: number
  readonly idleTimeout: number
  readonly maxConnectionDuration: number
  /** 0 = no limit. */
  readonly maxRequestsPerConnection: number
  /** Longest exchange, ms; the router's. 0 = off. */
  readonly maxStreamDuration: number
  readonly autoSni: boolean
  readonly autoSanValidation: boolean
  /** Header whose value is the SNI, instead of the authority. */
  readonly autoSniHeader: string
  /** Which responses count as errors for outlier detection; undefined: the 5xx. */
  readonly errorMatcher: ErrorMatcher | undefined
}

const ONE_HOUR = 3_600_000

const COMMON_KNOWN = new Set([
  'idleTimeout',
  'maxConnectionDuration',
  'maxHeadersCount',
  'maxStreamDuration',
  'maxRequestsPerConnection',
])
const HTTP1_KNOWN = new Set([
  'allowAbsoluteUrl',
  'acceptHttp10',
  'defaultHostForHttp10',
  'headerKeyFormat',
  'enableTrailers',
  'allowChunkedLength',
  'overrideStreamErrorOnInvalidHttpMessage',
  'useBalsaParser',
])

/** Compiles the HTTP options of a cluster: the typed extension, or the old fields of the cluster itself. */
export function compileHttpOptions(cluster: ClusterProto, bufferLimit: number, problems: Problems): HttpOptions {
  let errorMatcher: ErrorMatcher | undefined
  let common: CommonOptions | undefined = cluster.commonHttpProtocolOptions
  let upstream: UpstreamHttpProtocolOptions | undefined = cluster.upstreamHttpProtocolOptions
  let http1: Http1ProtocolOptions | undefined = cluster.httpProtocolOptions
  let http2: Http2ProtocolOptions | undefined = cluster.http2ProtocolOptions
  let protocol: UpstreamProtocol =
    cluster.protocolSelection === 1 ? 'downstream' : cluster.http2ProtocolOptions ? 'http2' : 'http1'
  for (const [key, any] of Object.entries(cluster.typedExtensionProtocolOptions)) {
    const path = `typed_extension_protocol_options[${key}]`
    if (typeNameOf(any.typeUrl) === TCP_OPTIONS) {
      const tcp = problems.collect(path, () => unpack(any, TCP_OPTIONS))
      if (tcp?.idleTimeout) problems.add(`${path}.idle_timeout`, 'not supported')
      continue
    }
    if (key !== HTTP_OPTIONS || typeNameOf(any.typeUrl) !== HTTP_OPTIONS) {
      problems.add(path, 'not supported')
      continue
    }
    const options = unpack(any, HTTP_OPTIONS)!
    common = options.commonHttpProtocolOptions
    upstream = options.upstreamHttpProtocolOptions
    const own = options.outlierDetection?.errorMatcher
    if (own) errorMatcher = compileErrorMatcher(own, `${path}.outlier_detection.error_matcher`, problems)
    if (options.httpFilters.some((f) => !f.name.endsWith('upstream_codec')))
      problems.add(`${path}.http_filters`, 'not supported')
    const choice = options.upstreamProtocolOptions
    switch (choice.case) {
      case 'explicitHttpConfig': {
        const explicit = choice.value.protocolConfig
        if (explicit.case === 'http3ProtocolOptions')
          problems.add(`${path}.explicit_http_config.http3_protocol_options`, 'not supported')
        protocol = explicit.case === 'http2ProtocolOptions' ? 'http2' : 'http1'
        http1 = explicit.case === 'httpProtocolOptions' ? explicit.value : undefined
        http2 = explicit.case === 'http2ProtocolOptions' ? explicit.value : undefined
        break
      }
      case 'useDownstreamProtocolConfig':
        protocol = 'downstream'
        http1 = choice.value.httpProtocolOptions
        http2 = choice.value.http2ProtocolOptions
        if (choice.value.http3ProtocolOptions)
          problems.add(`${path}.use_downstream_protocol_config.http3_protocol_options`, 'not supported')
        break
      case 'autoConfig':
        protocol = 'auto'
        http1 = choice.value.httpProtocolOptions
        http2 = choice.value.http2ProtocolOptions
        if (choice.value.http3ProtocolOptions)
          problems.add(`${path}.auto_config.http3_protocol_options`, 'not supported')
        break
      default:
        problems.add(`${path}.upstream_protocol_options`, 'value is required')
    }
  }
  if (common) problems.refuseUnknown(common, COMMON_KNOWN, 'common_http_protocol_options')
  if (http1) problems.refuseUnknown(http1, HTTP1_KNOWN, 'http_protocol_options')
  return {
    protocol,
    http1: http1ClientSettings({
      maxHeadersCount: common?.maxHeadersCount ?? 100,
      enableTrailers: http1?.enableTrailers ?? false,
      allowChunkedLength: http1?.allowChunkedLength ?? false,
      headerCase: headerCase(http1),
      preserveCase: problems.collect('http_protocol_options', () => preservedCase(http1)),
      bufferLimit,
    }),
    http2: compileHttp2Settings(http2, problems, 'http2_protocol_options'),
    maxHeadersCount: common?.maxHeadersCount ?? 100,
    idleTimeout: durationMs(common?.idleTimeout) ?? ONE_HOUR,
    maxConnectionDuration: durationMs(common?.maxConnectionDuration) ?? 0,
    maxRequestsPerConnection: common?.maxRequestsPerConnection ?? cluster.maxRequestsPerConnection ?? 0,
    maxStreamDuration: durationMs(common?.maxStreamDuration) ?? 0,
    autoSni: upstream?.autoSni ?? false,
    autoSanValidation: upstream?.autoSanValidation ?? false,
    autoSniHeader: upstream?.overrideAutoSniHeader ?? '',
    errorMatcher,
  }
}

function headerCase(http1: Http1ProtocolOptions | undefined): 'lower' | 'proper' {
  const format = http1?.headerKeyFormat?.headerFormat
  return format?.case === 'properCaseWords' ? 'proper' : 'lower'
}
