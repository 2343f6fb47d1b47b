import type { Counter, StatsStore } from '../../observe/stats.ts'

/** The counters of a filter (source/extensions/filters/http/jwt_authn/stats.h). */
export class JwtStats {
  readonly allowed: Counter
  readonly denied: Counter
  readonly corsPreflightBypassed: Counter
  readonly fetchSuccess: Counter
  readonly fetchFailed: Counter
  readonly cacheHit: Counter
  readonly cacheMiss: Counter

  /** `prefix` is `http.<stat_prefix>.jwt_authn.<the filter's own>`. */
  constructor(stats: StatsStore, prefix: string) {
    const counter = (name: string): Counter => stats.counter(prefix + name)
    this.allowed = counter('allowed')
    this.denied = counter('denied')
    this.corsPreflightBypassed = counter('cors_preflight_bypassed')
    this.fetchSuccess = counter('jwks_fetch_success')
    this.fetchFailed = counter('jwks_fetch_failed')
    this.cacheHit = counter('jwt_cache_hit')
    this.cacheMiss = counter('jwt_cache_miss')
  }
}
