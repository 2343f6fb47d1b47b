import type { Counter, StatsStore } from '../../observe/stats.ts'

/** Counters of the router under `http.<prefix>.` (source/common/router/router.h). */
export class RouterStats {
  readonly noRoute: Counter
  readonly noCluster: Counter
  readonly rqTotal: Counter
  readonly rqDirectResponse: Counter
  readonly rqRedirect: Counter

  constructor(stats: StatsStore, prefix: string) {
    this.noRoute = stats.counter(`${prefix}no_route`)
    this.noCluster = stats.counter(`${prefix}no_cluster`)
    this.rqTotal = stats.counter(`${prefix}rq_total`)
    this.rqDirectResponse = stats.counter(`${prefix}rq_direct_response`)
    this.rqRedirect = stats.counter(`${prefix}rq_redirect`)
    for (const name of ['rq_reset_after_downstream_response_started', 'passthrough_internal_redirect_bad_location']) {
      stats.counter(`${prefix}${name}`)
    }
  }
}
