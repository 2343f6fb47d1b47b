import type { Counter, StatsStore } from '../../observe/stats.ts'

/** Counters of the router under `http.<prefix>.` (source/common/router/router.h). */
export class RouterStats {
  readonly noRoute: Counter
  readonly noCluster: Counter
  readonly rqTotal: Counter
  readonly rqDirectResponse: Counter
  readonly rqRedirect: Counter
  readonly resetAfterStart: Counter
  /** Why redirects went to the client that a policy would have followed. */
  readonly redirectBadLocation: Counter
  readonly redirectUnsafeScheme: Counter
  readonly redirectTooMany: Counter
  readonly redirectNoRoute: Counter
  readonly redirectPredicate: Counter

  constructor(stats: StatsStore, prefix: string) {
    this.noRoute = stats.counter(`${prefix}no_route`)
    this.noCluster = stats.counter(`${prefix}no_cluster`)
    this.rqTotal = stats.counter(`${prefix}rq_total`)
    this.rqDirectResponse = stats.counter(`${prefix}rq_direct_response`)
    this.rqRedirect = stats.counter(`${prefix}rq_redirect`)
    this.resetAfterStart = stats.counter(`${prefix}rq_reset_after_downstream_response_started`)
    stats.counter(`${prefix}rq_overload_local_reply`)
    const passed = (why: string) => stats.counter(`${prefix}passthrough_internal_redirect_${why}`)
    this.redirectBadLocation = passed('bad_location')
    this.redirectUnsafeScheme = passed('unsafe_scheme')
    this.redirectTooMany = passed('too_many_redirects')
    this.redirectNoRoute = passed('no_route')
    this.redirectPredicate = passed('predicate')
  }
}
