import type { HTTPFault } from '#gen/envoy/extensions/filters/http/fault/v3/fault_pb.js'
import { durationMs, Problems } from '../http/config.ts'
import { Fraction } from '../http/router/fraction.ts'
import { compileHeaderMatchers, type HeaderMatcher } from '../http/router/header-matcher.ts'

const KNOWN = new Set([
  'delay',
  'abort',
  'upstreamCluster',
  'headers',
  'downstreamNodes',
  'maxActiveFaults',
  'responseRateLimit',
  'disableDownstreamClusterStats',
  'filterMetadata',
  // Runtime keys override what has a fixed value here; there is no runtime layer that would.
  'delayPercentRuntime',
  'abortPercentRuntime',
  'delayDurationRuntime',
  'abortHttpStatusRuntime',
  'maxActiveFaultsRuntime',
  'responseRateLimitPercentRuntime',
  'abortGrpcStatusRuntime',
])

/** A compiled HTTPFault (source/extensions/filters/http/fault/fault_filter.cc). */
export class FaultConfig {
  readonly upstreamCluster: string
  readonly headers: readonly HeaderMatcher[]
  readonly nodes: ReadonlySet<string>
  readonly maxActive: number
  /** ms; undefined without a fixed delay. */
  readonly delay: number | undefined
  readonly delayByHeader: boolean
  readonly delayFraction: Fraction
  readonly abortStatus: number | undefined
  readonly abortGrpc: number | undefined
  readonly abortByHeader: boolean
  readonly abortFraction: Fraction
  /** KiB/s; undefined without a fixed limit. */
  readonly rate: number | undefined
  readonly rateByHeader: boolean
  readonly rateFraction: Fraction
  readonly clusterStats: boolean
  readonly metadata: Record<string, unknown> | undefined
  /** Nothing is configured: the filter lets everything pass. */
  readonly idle: boolean

  /** Throws ConfigError. */
  constructor(config: HTTPFault) {
    const problems = new Problems()
    problems.refuseUnknown(config, KNOWN, 'fault')
    this.upstreamCluster = config.upstreamCluster
    this.headers = problems.collect('fault', () => compileHeaderMatchers(config.headers, 'headers')) ?? []
    this.nodes = new Set(config.downstreamNodes)
    this.maxActive = config.maxActiveFaults ?? Number.POSITIVE_INFINITY
    const delay = config.delay?.faultDelaySecifier
    this.delay = delay?.case === 'fixedDelay' ? durationMs(delay.value) : undefined
    this.delayByHeader = delay?.case === 'headerDelay'
    this.delayFraction = Fraction.of(config.delay?.percentage)
    const abort = config.abort?.errorType
    this.abortStatus = abort?.case === 'httpStatus' ? abort.value : undefined
    this.abortGrpc = abort?.case === 'grpcStatus' ? abort.value : undefined
    this.abortByHeader = abort?.case === 'headerAbort'
    this.abortFraction = Fraction.of(config.abort?.percentage)
    if (this.abortStatus !== undefined && (this.abortStatus < 200 || this.abortStatus > 599)) {
      problems.add('fault.abort.http_status', `${this.abortStatus} is not within 200 and 599`)
    }
    const rate = config.responseRateLimit?.limitType
    this.rate = rate?.case === 'fixedLimit' ? Number(rate.value.limitKbps) : undefined
    this.rateByHeader = rate?.case === 'headerLimit'
    this.rateFraction = Fraction.of(config.responseRateLimit?.percentage)
    this.clusterStats = !config.disableDownstreamClusterStats
    this.metadata = config.filterMetadata as Record<string, unknown> | undefined
    this.idle = config.delay === undefined && config.abort === undefined && config.responseRateLimit === undefined
    problems.throwIfAny()
  }
}
