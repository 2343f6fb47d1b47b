import type { Counter, StatsStore } from '../../observe/stats.ts'
import type { Cluster } from '../../upstream/cluster.ts'

/** Counters that are kept for the cluster of the route, too. */
type Shared = 'ok' | 'denied' | 'error' | 'invalid' | 'failure_mode_allowed'

/** The counters of one filter (source/extensions/filters/http/ext_authz/ext_authz.h). */
export class ExtAuthzStats {
  readonly disabled: Counter
  readonly ignoredMetadata: Counter
  readonly requestLimits: Counter
  readonly responseLimits: Counter
  readonly shadowDenied: Counter
  readonly shadowError: Counter
  private readonly shared: Readonly<Record<Shared, Counter>>
  /** `ext_authz.` and the filter's own prefix. */
  private readonly infix: string

  /** `prefix`: `http.<stat_prefix>.`; `own`: of the filter, may be empty. */
  constructor(stats: StatsStore, prefix: string, own: string) {
    this.infix = own === '' ? 'ext_authz.' : `ext_authz.${own}.`
    const here = own.endsWith('.') ? `ext_authz.${own}` : this.infix
    const counter = (name: string): Counter => stats.counter(`${prefix}${here}${name}`)
    this.disabled = counter('disabled')
    this.ignoredMetadata = counter('ignored_dynamic_metadata')
    counter('filter_state_name_collision')
    counter('omitted_response_headers')
    this.requestLimits = counter('request_header_limits_reached')
    this.responseLimits = counter('response_header_limits_reached')
    this.shadowDenied = counter('shadow_denied')
    this.shadowError = counter('shadow_error')
    this.shared = {
      ok: counter('ok'),
      denied: counter('denied'),
      error: counter('error'),
      invalid: counter('invalid'),
      failure_mode_allowed: counter('failure_mode_allowed'),
    }
  }

  /** Counts it here, and for the cluster that the request is for. */
  count(what: Shared, cluster: Cluster | undefined): void {
    this.shared[what].inc()
    cluster?.stats.counter(`${this.infix}${what}`).inc()
  }
}
