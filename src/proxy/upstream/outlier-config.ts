import type { OutlierDetection } from '#gen/envoy/config/cluster/v3/outlier_detection_pb.js'
import { durationMs, type Problems } from '../http/config.ts'

/** Outlier detection, compiled. Times in ms, shares in percent. */
export interface OutlierSettings {
  readonly interval: number
  readonly baseEjectionTime: number
  readonly maxEjectionTime: number
  readonly maxEjectionTimeJitter: number
  readonly maxEjectionPercent: number
  readonly alwaysEjectOneHost: boolean
  /** An active health check that passes ends an ejection. */
  readonly unejectOnHealthCheck: boolean
  readonly split: boolean
  readonly consecutive5xx: number
  readonly enforcingConsecutive5xx: number
  readonly consecutiveGatewayFailure: number
  readonly enforcingConsecutiveGatewayFailure: number
  readonly consecutiveLocalOriginFailure: number
  readonly enforcingConsecutiveLocalOriginFailure: number
  readonly successRateMinimumHosts: number
  readonly successRateRequestVolume: number
  /** Thousandths of a standard deviation. */
  readonly successRateStdevFactor: number
  readonly enforcingSuccessRate: number
  readonly enforcingLocalOriginSuccessRate: number
  readonly failurePercentageThreshold: number
  readonly failurePercentageMinimumHosts: number
  readonly failurePercentageRequestVolume: number
  readonly enforcingFailurePercentage: number
  readonly enforcingFailurePercentageLocalOrigin: number
}

/** Compiles with Envoy's defaults (source/common/upstream/outlier_detection_impl.h DetectorConfig). */
export function compileOutlier(c: OutlierDetection, problems: Problems): OutlierSettings {
  if (c.monitors.length > 0) problems.add('outlier_detection.monitors', 'not supported')
  const base = durationMs(c.baseEjectionTime) ?? 30_000
  const percent = (value: number | undefined, byDefault: number, name: string) => {
    if (value !== undefined && value > 100)
      problems.add(`outlier_detection.${name}`, 'value must be less than or equal to 100')
    return value ?? byDefault
  }
  const settings: OutlierSettings = {
    interval: durationMs(c.interval) ?? 10_000,
    baseEjectionTime: base,
    maxEjectionTime: durationMs(c.maxEjectionTime) ?? Math.max(base, 300_000),
    maxEjectionTimeJitter: durationMs(c.maxEjectionTimeJitter) ?? 0,
    maxEjectionPercent: percent(c.maxEjectionPercent, 10, 'max_ejection_percent'),
    alwaysEjectOneHost: c.alwaysEjectOneHost ?? false,
    unejectOnHealthCheck: c.successfulActiveHealthCheckUnejectHost ?? true,
    split: c.splitExternalLocalOriginErrors,
    consecutive5xx: c.consecutive5xx ?? 5,
    enforcingConsecutive5xx: percent(c.enforcingConsecutive5xx, 100, 'enforcing_consecutive_5xx'),
    consecutiveGatewayFailure: c.consecutiveGatewayFailure ?? 5,
    enforcingConsecutiveGatewayFailure: percent(
      c.enforcingConsecutiveGatewayFailure,
      0,
      'enforcing_consecutive_gateway_failure',
    ),
    consecutiveLocalOriginFailure: c.consecutiveLocalOriginFailure ?? 5,
    enforcingConsecutiveLocalOriginFailure: percent(
      c.enforcingConsecutiveLocalOriginFailure,
      100,
      'enforcing_consecutive_local_origin_failure',
    ),
    successRateMinimumHosts: c.successRateMinimumHosts ?? 5,
    successRateRequestVolume: c.successRateRequestVolume ?? 100,
    successRateStdevFactor: c.successRateStdevFactor ?? 1900,
    enforcingSuccessRate: percent(c.enforcingSuccessRate, 100, 'enforcing_success_rate'),
    enforcingLocalOriginSuccessRate: percent(
      c.enforcingLocalOriginSuccessRate,
      100,
      'enforcing_local_origin_success_rate',
    ),
    failurePercentageThreshold: percent(c.failurePercentageThreshold, 85, 'failure_percentage_threshold'),
    failurePercentageMinimumHosts: c.failurePercentageMinimumHosts ?? 5,
    failurePercentageRequestVolume: c.failurePercentageRequestVolume ?? 50,
    enforcingFailurePercentage: percent(c.enforcingFailurePercentage, 0, 'enforcing_failure_percentage'),
    enforcingFailurePercentageLocalOrigin: percent(
      c.enforcingFailurePercentageLocalOrigin,
      0,
      'enforcing_failure_percentage_local_origin',
    ),
  }
  if (settings.interval <= 0) problems.add('outlier_detection.interval', 'value must be greater than 0s')
  if (settings.maxEjectionTime < base) {
    problems.add(
      'outlier_detection.max_ejection_time',
      "outlier detector's max_ejection_time cannot be smaller than base_ejection_time",
    )
  }
  return settings
}
