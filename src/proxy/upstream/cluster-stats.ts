import { http1CodecStats } from '../http1/stats.ts'
import { Http2Stats } from '../http2/stats.ts'
import type { Counter, Gauge, Histogram, StatsStore } from '../observe/stats.ts'
import type { BalancerStats } from './balancers/balancer.ts'
import type { ClusterStatsView } from './cluster.ts'

const COUNTERS = `assignment_stale assignment_timeout_received assignment_use_cached bind_errors lb_healthy_panic lb_local_cluster_not_ok
lb_recalculate_zone_structures lb_subsets_created lb_subsets_fallback lb_subsets_fallback_panic lb_subsets_removed
lb_subsets_selected lb_zone_cluster_too_small lb_zone_no_capacity_left
lb_zone_routing_all_directly lb_zone_routing_cross_zone lb_zone_routing_sampled membership_change
original_dst_host_invalid retry_or_shadow_abandoned update_attempt update_empty update_failure update_no_rebuild
update_success upstream_cx_close_notify upstream_cx_connect_attempts_exceeded upstream_cx_connect_fail
upstream_cx_connect_timeout upstream_cx_connect_with_0_rtt upstream_cx_destroy upstream_cx_destroy_local
upstream_cx_destroy_local_with_active_rq upstream_cx_destroy_remote upstream_cx_destroy_remote_with_active_rq
upstream_cx_destroy_with_active_rq upstream_cx_http1_total upstream_cx_http2_total upstream_cx_http3_total
upstream_cx_idle_timeout upstream_cx_max_duration_reached upstream_cx_max_requests upstream_cx_none_healthy
upstream_cx_overflow upstream_cx_pool_overflow upstream_cx_preconnect_skipped upstream_cx_protocol_error upstream_cx_rx_bytes_total
upstream_cx_total upstream_cx_tx_bytes_total upstream_flow_control_backed_up_total
upstream_flow_control_drained_total upstream_flow_control_paused_reading_total
upstream_flow_control_resumed_reading_total upstream_internal_redirect_failed_total
upstream_http3_broken
upstream_internal_redirect_succeeded_total upstream_queue_overloaded upstream_rq_0rtt upstream_rq_active_overflow upstream_rq_cancelled
upstream_rq_completed upstream_rq_maintenance_mode upstream_rq_max_duration_reached
upstream_rq_pending_failure_eject upstream_rq_pending_overflow upstream_rq_pending_total upstream_rq_per_try_idle_timeout
upstream_rq_per_try_timeout upstream_rq_retry upstream_rq_retry_backoff_exponential
upstream_rq_retry_backoff_ratelimited upstream_rq_retry_limit_exceeded upstream_rq_retry_overflow
upstream_rq_retry_success upstream_rq_rx_reset upstream_rq_rx_reset_no_error
upstream_rq_timeout upstream_rq_total upstream_rq_tx_reset`
const GAUGES = `lb_subsets_active max_host_weight membership_degraded membership_excluded membership_healthy
membership_total upstream_cx_active upstream_cx_rx_bytes_buffered upstream_cx_tx_bytes_buffered upstream_rq_active
upstream_rq_pending_active version warming_state`

/** The statistics of one cluster (envoy/upstream/upstream.h); the hot ones have fields. */
export class ClusterStats implements ClusterStatsView {
  /** `cluster.<name>.` */
  readonly prefix: string
  private readonly store: StatsStore
  private readonly responses = new Map<number, readonly Counter[]>()
  private requestTime: Histogram | undefined
  private internalTime: Histogram | undefined
  private externalTime: Histogram | undefined
  private http2Stats: Http2Stats | undefined
  private http1Begun = false
  readonly connectMs: Histogram
  readonly lengthMs: Histogram
  /** Requests that a connection had carried when it closed. */
  readonly rqPerCx: Histogram
  readonly cxTotal: Counter
  readonly cxActive: Gauge
  readonly cxHttp1Total: Counter
  readonly cxHttp2Total: Counter
  readonly cxConnectFail: Counter
  readonly cxConnectTimeout: Counter
  readonly cxIdleTimeout: Counter
  readonly cxMaxRequests: Counter
  readonly cxMaxDuration: Counter
  readonly cxOverflow: Counter
  readonly cxProtocolError: Counter
  readonly cxNoneHealthy: Counter
  readonly cxRxBytes: Counter
  readonly cxTxBytes: Counter
  readonly cxRxBuffered: Gauge
  readonly rqTotal: Counter
  readonly rqActive: Gauge
  readonly rqPendingTotal: Counter
  readonly rqPendingActive: Gauge
  readonly rqPendingOverflow: Counter
  readonly rqActiveOverflow: Counter
  readonly rqPendingFailureEject: Counter
  readonly rqCancelled: Counter
  readonly membershipChange: Counter
  readonly membershipTotal: Gauge
  readonly membershipHealthy: Gauge
  readonly membershipDegraded: Gauge
  readonly membershipExcluded: Gauge
  readonly balancer: BalancerStats

  /** `name`: alt_stat_name or name, as it is; colons become underscores, as Envoy sanitises scopes. */
  constructor(name: string, store: StatsStore) {
    this.prefix = `cluster.${name.replaceAll(':', '_')}.`
    this.store = store
    for (const c of COUNTERS.split(/\s/)) this.counter(c)
    for (const g of GAUGES.split(/\s/)) this.gauge(g)
    this.rqPerCx = this.histogram('upstream_rq_per_cx')
    this.connectMs = store.histogram(`${this.prefix}upstream_cx_connect_ms`)
    this.lengthMs = store.histogram(`${this.prefix}upstream_cx_length_ms`)
    this.cxTotal = this.counter('upstream_cx_total')
    this.cxActive = this.gauge('upstream_cx_active')
    this.cxHttp1Total = this.counter('upstream_cx_http1_total')
    this.cxHttp2Total = this.counter('upstream_cx_http2_total')
    this.cxConnectFail = this.counter('upstream_cx_connect_fail')
    this.cxConnectTimeout = this.counter('upstream_cx_connect_timeout')
    this.cxIdleTimeout = this.counter('upstream_cx_idle_timeout')
    this.cxMaxRequests = this.counter('upstream_cx_max_requests')
    this.cxMaxDuration = this.counter('upstream_cx_max_duration_reached')
    this.cxOverflow = this.counter('upstream_cx_overflow')
    this.cxProtocolError = this.counter('upstream_cx_protocol_error')
    this.cxNoneHealthy = this.counter('upstream_cx_none_healthy')
    this.cxRxBytes = this.counter('upstream_cx_rx_bytes_total')
    this.cxTxBytes = this.counter('upstream_cx_tx_bytes_total')
    this.cxRxBuffered = this.gauge('upstream_cx_rx_bytes_buffered')
    this.rqTotal = this.counter('upstream_rq_total')
    this.rqActive = this.gauge('upstream_rq_active')
    this.rqPendingTotal = this.counter('upstream_rq_pending_total')
    this.rqPendingActive = this.gauge('upstream_rq_pending_active')
    this.rqPendingOverflow = this.counter('upstream_rq_pending_overflow')
    this.rqActiveOverflow = this.counter('upstream_rq_active_overflow')
    this.rqPendingFailureEject = this.counter('upstream_rq_pending_failure_eject')
    this.rqCancelled = this.counter('upstream_rq_cancelled')
    this.membershipChange = this.counter('membership_change')
    this.membershipTotal = this.gauge('membership_total')
    this.membershipHealthy = this.gauge('membership_healthy')
    this.membershipDegraded = this.gauge('membership_degraded')
    this.membershipExcluded = this.gauge('membership_excluded')
    this.balancer = {
      healthyPanic: this.counter('lb_healthy_panic'),
      gauge: (gauge) => this.gauge(gauge),
      requestsActive: this.rqActive,
      recalculateZones: this.counter('lb_recalculate_zone_structures'),
      localClusterNotOk: this.counter('lb_local_cluster_not_ok'),
      zoneClusterTooSmall: this.counter('lb_zone_cluster_too_small'),
      zoneRoutingAllDirectly: this.counter('lb_zone_routing_all_directly'),
      zoneRoutingSampled: this.counter('lb_zone_routing_sampled'),
      zoneRoutingCrossZone: this.counter('lb_zone_routing_cross_zone'),
      zoneNoCapacityLeft: this.counter('lb_zone_no_capacity_left'),
      subsetsActive: this.gauge('lb_subsets_active'),
      subsetsCreated: this.counter('lb_subsets_created'),
      subsetsRemoved: this.counter('lb_subsets_removed'),
      subsetsSelected: this.counter('lb_subsets_selected'),
      subsetsFallback: this.counter('lb_subsets_fallback'),
      subsetsFallbackPanic: this.counter('lb_subsets_fallback_panic'),
      subsetsDuplicates: { set: (n) => this.gauge('lb_subsets_single_host_per_subset_duplicate').set(n) },
    }
  }

  /** Counters of the HTTP/2 codec: made with the first connection that speaks it. */
  get http2(): Http2Stats {
    this.http2Stats ??= new Http2Stats(this.store, this.prefix)
    return this.http2Stats
  }

  /** A connection speaks HTTP/1: the counters of its codec come to be with the first. */
  beginHttp1(): void {
    if (this.http1Begun) return
    this.http1Begun = true
    http1CodecStats(this.store, this.prefix)
  }

  counter(name: string): Counter {
    return this.store.counter(this.prefix + name)
  }
  gauge(name: string): Gauge {
    return this.store.gauge(this.prefix + name)
  }

  chargeResponse(code: number, internal: boolean, canary: boolean): void {
    // One key per combination, so that a request costs one lookup.
    const key = code * 4 + (internal ? 1 : 0) + (canary ? 2 : 0)
    let counters = this.responses.get(key)
    if (counters === undefined) {
      counters = ['', internal ? 'internal.' : 'external.', ...(canary ? ['canary.'] : [])].flatMap((p) =>
        this.codes(p, code),
      )
      this.responses.set(key, counters)
    }
    for (let i = 0; i < counters.length; i++) counters[i]!.value++
  }

  chargeRetriedResponse(code: number): void {
    let counters = this.responses.get(-code)
    if (counters === undefined) {
      counters = this.codes('retry.', code)
      this.responses.set(-code, counters)
    }
    for (let i = 0; i < counters.length; i++) counters[i]!.value++
  }

  private codes(prefix: string, code: number): Counter[] {
    const known = code >= 100 && code < 600 ? [`${Math.floor(code / 100)}xx`, String(code)] : ['unknown']
    return ['completed', ...known].map((name) => this.counter(`${prefix}upstream_rq_${name}`))
  }

  histogram(name: string): Histogram {
    return this.store.histogram(this.prefix + name)
  }

  recordRequestTime(ms: number, internal: boolean, canary: boolean): void {
    this.requestTime ??= this.histogram('upstream_rq_time')
    this.requestTime.record(ms)
    if (internal) {
      this.internalTime ??= this.histogram('internal.upstream_rq_time')
      this.internalTime.record(ms)
    } else {
      this.externalTime ??= this.histogram('external.upstream_rq_time')
      this.externalTime.record(ms)
    }
    if (canary) this.histogram('canary.upstream_rq_time').record(ms)
  }

  /** Counts a closed upstream connection (source/common/upstream reportUpstreamCxDestroy). */
  chargeDestroy(remote: boolean, withActiveRequest: boolean): void {
    const side = remote ? 'remote' : 'local'
    this.counter('upstream_cx_destroy').inc()
    this.counter(`upstream_cx_destroy_${side}`).inc()
    if (!withActiveRequest) return
    this.counter('upstream_cx_destroy_with_active_rq').inc()
    this.counter(`upstream_cx_destroy_${side}_with_active_rq`).inc()
  }
}
