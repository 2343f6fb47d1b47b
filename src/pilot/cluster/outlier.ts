import type { OutlierDetection } from '../../api/kinds/traffic-policy.ts'
import type { Service } from '../../registry/model.ts'
import type { Init } from '../../xds/messages.ts'
import { duration } from '../proto.ts'
import type { ClusterDraft } from './draft.ts'

type Predicate = Init<'envoy.config.common.matcher.v3.MatchPredicate'>

/**
 * Outlier detection: only by consecutive errors, never by success rate; and with it the panic threshold is
 * minHealthPercent, 0 when unset (networking/core/cluster_traffic_policy.go applyOutlierDetection).
 */
export function applyOutlierDetection(
  target: ClusterDraft,
  service: Service,
  settings: OutlierDetection | undefined,
): void {
  if (!settings) return
  const {
    consecutive5xxErrors: errors,
    consecutiveGatewayErrors: gateway,
    consecutiveLocalOriginFailures: local,
  } = settings
  const split = settings.splitExternalLocalOriginErrors
  target.cluster.outlierDetection = {
    enforcingSuccessRate: 0,
    ...(errors === undefined ? {} : { consecutive5xx: errors, enforcingConsecutive5xx: errors > 0 ? 100 : 0 }),
    ...(gateway === undefined
      ? {}
      : { consecutiveGatewayFailure: gateway, enforcingConsecutiveGatewayFailure: gateway > 0 ? 100 : 0 }),
    interval: duration(settings.interval),
    baseEjectionTime: duration(settings.baseEjectionTime),
    maxEjectionPercent: settings.maxEjectionPercent ? settings.maxEjectionPercent : undefined,
    ...(split ? { splitExternalLocalOriginErrors: true, enforcingLocalOriginSuccessRate: 0 } : {}),
    ...(split && local ? { consecutiveLocalOriginFailure: local, enforcingConsecutiveLocalOriginFailure: 100 } : {}),
  }
  const codes = settings.outlierDetectionHttpErrorCodes ?? []
  if (codes.length > 0) target.http = { ...target.http, outlierDetection: { errorMatcher: anyStatus(codes) } }
  const percent = settings.minHealthPercent ?? 0
  if (percent < 0) return
  // A service that wants its unready endpoints known must never have them used in a panic.
  const value = service.trafficDistribution === 'ANY' ? percent : 0
  target.cluster.commonLbConfig = { ...target.cluster.commonLbConfig, healthyPanicThreshold: { value } }
}

// What counts as an error in place of the 5xx codes (applyOutlierDetectionErrorCodes).
function anyStatus(codes: readonly number[]): Predicate {
  const rules = codes.map(
    (code): Predicate => ({
      rule: {
        case: 'httpResponseHeadersMatch',
        value: {
          headers: [
            {
              name: ':status',
              headerMatchSpecifier: {
                case: 'stringMatch',
                value: { matchPattern: { case: 'exact', value: String(code) } },
              },
            },
          ],
        },
      },
    }),
  )
  return rules.length === 1 && rules[0] ? rules[0] : { rule: { case: 'orMatch', value: { rules } } }
}
