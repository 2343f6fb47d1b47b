import type { Counter, Gauge } from '../../observe/stats.ts'
import type { ClusterStats } from '../cluster-stats.ts'

/** `cluster.<name>.health_check.*` (health_checker_base_impl.h). */
export class HealthStats {
  readonly attempt: Counter
  readonly failure: Counter
  readonly networkFailure: Counter
  readonly passiveFailure: Counter
  readonly success: Counter
  readonly verifyCluster: Counter
  readonly degraded: Gauge
  readonly healthy: Gauge

  constructor(stats: ClusterStats) {
    this.attempt = stats.counter('health_check.attempt')
    this.failure = stats.counter('health_check.failure')
    this.networkFailure = stats.counter('health_check.network_failure')
    this.passiveFailure = stats.counter('health_check.passive_failure')
    this.success = stats.counter('health_check.success')
    this.verifyCluster = stats.counter('health_check.verify_cluster')
    this.degraded = stats.gauge('health_check.degraded')
    this.healthy = stats.gauge('health_check.healthy')
  }
}
