import type { Counter, Gauge, Histogram, StatsStore } from '../observe/stats.ts'

/** Counters of what there is none of here, for whoever looks for them. */
const ABSENT_COUNTERS = [
  'cx_http1_soft_drain',
  'cx_http3_total',
  'cx_overload_disable_keepalive',
  'rq_http3_total',
  'rq_overload_close',
  'rq_too_many_premature_resets',
]
const TRACING = ['client_enabled', 'not_traceable', 'random_sampling', 'service_forced']

/** Counters by class of a response: index 1 is 1xx. */
export class ResponseCounters {
  readonly completed: Counter
  private readonly classes: readonly Counter[]

  /** `prefix` with its dot. */
  constructor(stats: StatsStore, prefix: string) {
    this.completed = stats.counter(`${prefix}downstream_rq_completed`)
    this.classes = [1, 2, 3, 4, 5].map((c) => stats.counter(`${prefix}downstream_rq_${c}xx`))
  }

  charge(status: number): void {
    this.completed.inc()
    this.classes[Math.floor(status / 100) - 1]?.inc()
  }
}

/** The counters of a connection manager under `http.<prefix>.` (source/common/http/conn_manager_config.h). */
export class HcmStats {
  readonly cxTotal: Counter
  readonly cxActive: Gauge
  readonly cxHttp1Total: Counter
  readonly cxHttp1Active: Gauge
  readonly cxHttp2Total: Counter
  readonly cxHttp2Active: Gauge
  readonly cxSslTotal: Counter
  readonly cxSslActive: Gauge
  readonly cxDestroy: Counter
  readonly cxDestroyLocal: Counter
  readonly cxDestroyRemote: Counter
  readonly cxDestroyActiveRq: Counter
  readonly cxDestroyLocalActiveRq: Counter
  readonly cxDestroyRemoteActiveRq: Counter
  readonly cxDrainClose: Counter
  readonly cxIdleTimeout: Counter
  readonly cxMaxDuration: Counter
  readonly cxMaxRequests: Counter
  readonly cxDelayedCloseTimeout: Counter
  readonly cxProtocolError: Counter
  readonly cxRxBytes: Counter
  readonly cxTxBytes: Counter
  readonly cxRxBuffered: Gauge
  readonly tracingHealthCheck: Counter
  readonly cxUpgradesTotal: Counter
  readonly cxUpgradesActive: Gauge
  readonly cxLength: Histogram
  readonly rqTotal: Counter
  readonly rqActive: Gauge
  readonly rqHttp1Total: Counter
  readonly rqHttp2Total: Counter
  readonly rqTime: Histogram
  readonly rqRxReset: Counter
  readonly rqTxReset: Counter
  readonly rqTooLarge: Counter
  readonly rsTooLarge: Counter
  readonly rqTimeout: Counter
  readonly rqHeaderTimeout: Counter
  readonly rqIdleTimeout: Counter
  readonly rqMaxDuration: Counter
  readonly rqNonRelativePath: Counter
  readonly rqFailedPathNormalization: Counter
  readonly rqRedirectedNormalized: Counter
  readonly rqRejectedByIpDetection: Counter
  readonly rqResponseBeforeComplete: Counter
  readonly rqWsOnNonWsRoute: Counter
  readonly flowPaused: Counter
  readonly flowResumed: Counter
  readonly responses: ResponseCounters
  /** The same under `listener.<address>.http.<prefix>.`. */
  readonly listenerResponses: ResponseCounters

  constructor(stats: StatsStore, prefix: string, listenerStatPrefix: string) {
    const c = (name: string) => stats.counter(`${prefix}downstream_${name}`)
    const g = (name: string) => stats.gauge(`${prefix}downstream_${name}`)
    this.cxTotal = c('cx_total')
    this.cxActive = g('cx_active')
    this.cxHttp1Total = c('cx_http1_total')
    this.cxHttp1Active = g('cx_http1_active')
    this.cxHttp2Total = c('cx_http2_total')
    this.cxHttp2Active = g('cx_http2_active')
    this.cxSslTotal = c('cx_ssl_total')
    this.cxSslActive = g('cx_ssl_active')
    this.cxDestroy = c('cx_destroy')
    this.cxDestroyLocal = c('cx_destroy_local')
    this.cxDestroyRemote = c('cx_destroy_remote')
    this.cxDestroyActiveRq = c('cx_destroy_active_rq')
    this.cxDestroyLocalActiveRq = c('cx_destroy_local_active_rq')
    this.cxDestroyRemoteActiveRq = c('cx_destroy_remote_active_rq')
    this.cxDrainClose = c('cx_drain_close')
    this.cxIdleTimeout = c('cx_idle_timeout')
    this.cxMaxDuration = c('cx_max_duration_reached')
    this.cxMaxRequests = c('cx_max_requests_reached')
    this.cxDelayedCloseTimeout = c('cx_delayed_close_timeout')
    this.cxProtocolError = c('cx_protocol_error')
    this.cxRxBytes = c('cx_rx_bytes_total')
    this.cxTxBytes = c('cx_tx_bytes_total')
    this.cxUpgradesTotal = c('cx_upgrades_total')
    this.cxUpgradesActive = g('cx_upgrades_active')
    this.cxLength = stats.histogram(`${prefix}downstream_cx_length_ms`)
    this.rqTotal = c('rq_total')
    this.rqActive = g('rq_active')
    this.rqHttp1Total = c('rq_http1_total')
    this.rqHttp2Total = c('rq_http2_total')
    this.rqTime = stats.histogram(`${prefix}downstream_rq_time`)
    this.rqRxReset = c('rq_rx_reset')
    this.rqTxReset = c('rq_tx_reset')
    this.rqTooLarge = c('rq_too_large')
    this.rsTooLarge = stats.counter(`${prefix}rs_too_large`)
    this.rqTimeout = c('rq_timeout')
    this.rqHeaderTimeout = c('rq_header_timeout')
    this.rqIdleTimeout = c('rq_idle_timeout')
    this.rqMaxDuration = c('rq_max_duration_reached')
    this.rqNonRelativePath = c('rq_non_relative_path')
    this.rqFailedPathNormalization = c('rq_failed_path_normalization')
    this.rqRedirectedNormalized = c('rq_redirected_with_normalized_path')
    this.rqRejectedByIpDetection = c('rq_rejected_via_ip_detection')
    this.rqResponseBeforeComplete = c('rq_response_before_rq_complete')
    this.rqWsOnNonWsRoute = c('rq_ws_on_non_ws_route')
    this.flowPaused = c('flow_control_paused_reading_total')
    this.flowResumed = c('flow_control_resumed_reading_total')
    for (const name of ABSENT_COUNTERS) c(name)
    for (const name of ['cx_http3_active', 'cx_tx_bytes_buffered']) g(name)
    for (const name of TRACING) stats.counter(`${prefix}tracing.${name}`)
    this.tracingHealthCheck = stats.counter(`${prefix}tracing.health_check`)
    this.cxRxBuffered = g('cx_rx_bytes_buffered')
    this.responses = new ResponseCounters(stats, prefix)
    this.listenerResponses = new ResponseCounters(stats, `listener.${listenerStatPrefix}.${prefix}`)
  }

  /** Counts an answer to the client. */
  charge(status: number): void {
    this.responses.charge(status)
    this.listenerResponses.charge(status)
  }
}
