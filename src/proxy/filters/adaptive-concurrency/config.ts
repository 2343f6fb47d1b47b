import type { GradientControllerConfig } from '#gen/envoy/extensions/filters/http/adaptive_concurrency/v3/adaptive_concurrency_pb.js'
import { ConfigError } from '../../context.ts'
import { durationMs } from '../../http/config.ts'
import { type RuntimeValues, runtimeNumber } from '../../runtime-values.ts'

const KEYS = 'adaptive_concurrency.gradient_controller.'

/** A compiled `GradientControllerConfig`, runtime keys applied. Times are whole milliseconds, shares 0 to 1. */
export class GradientSettings {
  readonly minRttInterval: number
  readonly sampleInterval: number
  readonly jitter: number
  readonly maxLimit: number
  /** Least limit that is ever calculated. */
  readonly minLimit: number
  /** The limit while the least latency is measured. */
  readonly minConcurrency: number
  readonly requestCount: number
  readonly percentile: number
  readonly buffer: number
  /** The least latency, where it is not measured; 0: it is. */
  readonly fixedMinRtt: number

  /** Throws ConfigError. */
  constructor(config: GradientControllerConfig, values: RuntimeValues | undefined) {
    const { concurrencyLimitParams: limits, minRttCalcParams: minRtt, sampleAggregatePercentile } = config
    const number = (key: string, preset: number): number => runtimeNumber(KEYS + key, preset, values)
    const share = (key: string, percent: number): number => Math.max(0, Math.min(number(key, percent), 100)) / 100
    this.minRttInterval = number('min_rtt_calc_interval_ms', Math.floor(durationMs(minRtt?.interval) ?? 0))
    this.sampleInterval = number(
      'sample_rtt_calc_interval_ms',
      Math.floor(durationMs(limits?.concurrencyUpdateInterval) ?? 0),
    )
    this.fixedMinRtt = Math.floor(durationMs(minRtt?.fixedValue) ?? 0)
    this.jitter = share('jitter', minRtt?.jitter?.value ?? 15)
    this.maxLimit = number('max_concurrency_limit', limits?.maxConcurrencyLimit ?? 1000)
    this.minConcurrency = number('min_concurrency', minRtt?.minConcurrency ?? 3)
    this.minLimit = number('min_concurrency_limit', limits?.minConcurrencyLimit ?? this.minConcurrency)
    this.requestCount = number('min_rtt_aggregate_request_count', minRtt?.requestCount ?? 50)
    this.percentile = share('sample_aggregate_percentile', sampleAggregatePercentile?.value ?? 50)
    this.buffer = share('min_rtt_buffer', minRtt?.buffer?.value ?? 25)
    const interval = durationMs(minRtt?.interval)
    if (interval !== undefined && interval < 1)
      throw new ConfigError(['min_rtt_calc_params.interval: value must be greater than or equal to 1ms'])
    if (interval === undefined && this.fixedMinRtt <= 0)
      throw new ConfigError(['adaptive_concurrency: neither `concurrency_update_interval` nor `fixed_value` set'])
  }
}
