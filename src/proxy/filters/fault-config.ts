import type { HTTPFault } from '#gen/envoy/extensions/filters/http/fault/v3/fault_pb.js'
import { durationMs, Problems } from '../http/config.ts'
import { Fraction } from '../http/router/fraction.ts'
import { compileHeaderMatchers, type HeaderMatcher } from '../http/router/header-matcher.ts'
import { type RuntimeValues, runtimeNumber, runtimeShare } from '../runtime-values.ts'

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
  'delayPercentRuntime',
  'abortPercentRuntime',
  'delayDurationRuntime',
  'abortHttpStatusRuntime',
  'maxActiveFaultsRuntime',
  'responseRateLimitPercentRuntime',
  'abortGrpcStatusRuntime',
])

/** What runtime keys put in the place of configured values and of what headers ask for; undefined: nothing. */
interface Overrides {
  readonly delayShare: Fraction | undefined
  readonly abortShare: Fraction | undefined
  readonly rateShare: Fraction | undefined
  /** ms */
  readonly delay: number | undefined
  readonly abortStatus: number | undefined
  readonly abortGrpc: number | undefined
}

function overridesOf(config: HTTPFault, values: RuntimeValues | undefined): Overrides {
  const whole = (key: string, preset: string): number | undefined => {
    const value = Math.trunc(runtimeNumber(key || preset, Number.NaN, values))
    return Number.isNaN(value) ? undefined : value
  }
  const share = (key: string, preset: string): Fraction | undefined => runtimeShare(key || preset, values)
  return {
    delayShare: share(config.delayPercentRuntime, 'fault.http.delay.fixed_delay_percent'),
    abortShare: share(config.abortPercentRuntime, 'fault.http.abort.abort_percent'),
    rateShare: share(config.responseRateLimitPercentRuntime, 'fault.http.rate_limit.response_percent'),
    delay: whole(config.delayDurationRuntime, 'fault.http.delay.fixed_duration_ms'),
    abortStatus: whole(config.abortHttpStatusRuntime, 'fault.http.abort.http_status'),
    abortGrpc: whole(config.abortGrpcStatusRuntime, 'fault.http.abort.grpc_status'),
  }
}

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
  readonly overrides: Overrides
  readonly metadata: Record<string, unknown> | undefined
  /** Nothing is configured: the filter lets everything pass. */
  readonly idle: boolean

  /** Throws ConfigError. */
  constructor(config: HTTPFault, values: RuntimeValues | undefined) {
    const problems = new Problems()
    problems.refuseUnknown(config, KNOWN, 'fault')
    this.upstreamCluster = config.upstreamCluster
    this.headers = problems.collect('fault', () => compileHeaderMatchers(config.headers, 'headers')) ?? []
    this.nodes = new Set(config.downstreamNodes)
    const most = config.maxActiveFaults ?? Number.POSITIVE_INFINITY
    this.maxActive = runtimeNumber(config.maxActiveFaultsRuntime || 'fault.http.max_active_faults', most, values)
    this.overrides = overridesOf(config, values)
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
