import type { Counter, Histogram, StatsStore } from '../../observe/stats.ts'
import { ResponseCounters } from './response-counters.ts'

/**
 * What is counted for one virtual cluster (`vhost.<host>.vcluster.<name>.`) or one route with a stat_prefix
 * (`vhost.<host>.route.<prefix>.`): the requests sent, their responses by status, retries, timeouts
 * (envoy/router/router.h VirtualClusterStats, RouteStats).
 */
export class RouteStats {
  readonly rqTotal: Counter
  readonly timeout: Counter
  readonly retry: Counter
  readonly retrySuccess: Counter
  readonly retryLimitExceeded: Counter
  readonly retryOverflow: Counter
  private readonly store: StatsStore
  private readonly prefix: string
  private readonly responses: ResponseCounters
  private time: Histogram | undefined

  /** `kind`: `vcluster` or `route`. */
  constructor(store: StatsStore, virtualHost: string, kind: 'vcluster' | 'route', name: string) {
    this.store = store
    this.prefix = `vhost.${virtualHost}.${kind}.${name}.`
    const counter = (stat: string) => store.counter(`${this.prefix}upstream_rq_${stat}`)
    this.rqTotal = counter('total')
    this.timeout = counter('timeout')
    this.retry = counter('retry')
    this.retrySuccess = counter('retry_success')
    this.retryLimitExceeded = counter('retry_limit_exceeded')
    this.retryOverflow = counter('retry_overflow')
    this.responses = new ResponseCounters(counter)
  }

  /** Counts a response, or an answer in its place, by its status. */
  charge(status: number): void {
    this.responses.charge(status)
  }

  /** Records the time of a request, ms. */
  record(ms: number): void {
    this.time ??= this.store.histogram(`${this.prefix}upstream_rq_time`)
    this.time.record(ms)
  }
}

/** The counters that `RouteStats` shares with the cluster's own of the same names. */
export type RouteStat = 'timeout' | 'retry' | 'retrySuccess' | 'retryLimitExceeded' | 'retryOverflow' | 'rqTotal'

/** Counts an event for all that watch a request. */
export function countAll(stats: readonly RouteStats[], stat: RouteStat): void {
  for (let i = 0; i < stats.length; i++) stats[i]![stat].inc()
}
