import type { AccessLogFilter, ComparisonFilter } from '#gen/envoy/config/accesslog/v3/accesslog_pb.js'
import type { Runtime } from '../../runtime.ts'
import { typeNameOf } from '../../xds/messages.ts'
import { ConfigError } from '../context.ts'
import { headerName } from '../http/headers.ts'
import { Fraction } from '../http/router/fraction.ts'
import { HeaderMatcher } from '../http/router/header-matcher.ts'
import { MetadataMatcher } from '../http/router/metadata-matcher.ts'
import type { AccessLogType, ResponseFlag, StreamInfo } from '../stream-info.ts'
import { durationOf } from './format/durations.ts'
import { isResponseFlag } from './format/flags.ts'
import { grpcStatusOf } from './format/grpc.ts'
import { metadataValue } from './format/metadata.ts'
import { logTypeOf } from './format/stream.ts'

/** Whether a finished stream is logged. */
export type LogFilter = (info: StreamInfo) => boolean

// envoy.config.accesslog.v3.ComparisonFilter.Op
const EQ = 0
const GE = 1
const LE = 2
const NE = 3

const REQUEST_ID = headerName('x-request-id')

/** envoy.data.accesslog.v3.AccessLogType by number. */
const LOG_TYPES: readonly AccessLogType[] = [
  'NotSet',
  'TcpUpstreamConnected',
  'TcpPeriodic',
  'TcpConnectionEnd',
  'DownstreamStart',
  'DownstreamPeriodic',
  'DownstreamEnd',
  'UpstreamPoolReady',
  'UpstreamPeriodic',
  'UpstreamEnd',
  'DownstreamTunnelSuccessfullyEstablished',
  'UdpTunnelUpstreamConnected',
  'UdpPeriodic',
  'UdpSessionEnd',
]

function comparison(config: ComparisonFilter | undefined, path: string): (value: number) => boolean {
  const wanted = config?.value?.defaultValue ?? 0
  switch (config?.op) {
    case EQ:
      return (value) => value === wanted
    case GE:
      return (value) => value >= wanted
    case LE:
      return (value) => value <= wanted
    case NE:
      return (value) => value !== wanted
    default:
      throw new ConfigError([`${path}: comparison is required`])
  }
}

/** 32 bits that are the same for everything that happens to one request. */
function stableRandom(info: StreamInfo, runtime: Runtime): number {
  const id = info.request?.get(REQUEST_ID)
  const bits = id === undefined ? Number.NaN : Number.parseInt(id.slice(0, 8), 16)
  return Number.isNaN(bits) ? runtime.randomU32() : bits
}

function responseFlags(flags: readonly string[]): LogFilter {
  const wanted = new Set<ResponseFlag>()
  for (const flag of flags) {
    if (!isResponseFlag(flag)) throw new ConfigError([`response_flag_filter.flags: ${flag} is no response flag`])
    wanted.add(flag)
  }
  if (wanted.size === 0) return (info) => info.flags.length > 0
  return (info) => info.flags.some((flag) => wanted.has(flag))
}

/**
 * Compiles an access-log filter (source/common/access_log/access_log_impl.cc). Runtime keys have their
 * default value: there is no runtime layer. Throws ConfigError.
 */
export function compileLogFilter(config: AccessLogFilter, runtime: Runtime): LogFilter {
  const filter = config.filterSpecifier
  switch (filter.case) {
    case 'statusCodeFilter': {
      const test = comparison(filter.value.comparison, 'status_code_filter')
      return (info) => test(info.responseCode)
    }
    case 'durationFilter': {
      const test = comparison(filter.value.comparison, 'duration_filter')
      return (info) => test(durationOf(info, runtime))
    }
    case 'notHealthCheckFilter':
      return (info) => info.healthCheck !== true
    case 'traceableFilter':
      return (info) => info.traceForced === true
    case 'runtimeFilter': {
      const share = Fraction.of(filter.value.percentSampled)
      if (filter.value.useIndependentRandomness) return () => share.hit(runtime.randomU32())
      return (info) => share.hit(stableRandom(info, runtime))
    }
    case 'andFilter': {
      const filters = filter.value.filters.map((f) => compileLogFilter(f, runtime))
      return (info) => filters.every((test) => test(info))
    }
    case 'orFilter': {
      const filters = filter.value.filters.map((f) => compileLogFilter(f, runtime))
      return (info) => filters.some((test) => test(info))
    }
    case 'headerFilter': {
      if (!filter.value.header) throw new ConfigError(['header_filter.header: is required'])
      const matcher = new HeaderMatcher(filter.value.header)
      return (info) => info.request !== undefined && matcher.matches(info.request)
    }
    case 'responseFlagFilter':
      return responseFlags(filter.value.flags)
    case 'grpcStatusFilter': {
      const statuses = new Set<number>(filter.value.statuses)
      const { exclude } = filter.value
      return (info) => {
        const status = grpcStatusOf(info) ?? 2
        return statuses.has(status > 16 ? -1 : status) !== exclude
      }
    }
    case 'metadataFilter': {
      const { matcher, matchIfKeyNotFound = true } = filter.value
      if (!matcher) return () => matchIfKeyNotFound
      const compiled = new MetadataMatcher({ ...matcher, invert: false })
      const path = matcher.path.map((segment) => String(segment.segment.value ?? ''))
      return (info) => {
        const value = metadataValue(info.dynamicMetadata, matcher.filter, path)
        return value === undefined || value === null ? matchIfKeyNotFound : compiled.matches(info.dynamicMetadata)
      }
    }
    case 'logTypeFilter': {
      const types = new Set<AccessLogType>(filter.value.types.map((t) => LOG_TYPES[t] ?? 'NotSet'))
      const { exclude } = filter.value
      return (info) => types.has(logTypeOf(info)) !== exclude
    }
    case 'extensionFilter': {
      const any = filter.value.configType.value
      const type = any ? typeNameOf(any.typeUrl) : filter.value.name
      throw new ConfigError([`extension_filter: ${type} is not supported`])
    }
    default:
      throw new ConfigError(['filter: filter_specifier is required'])
  }
}
