import type { ProxyContext } from '../context.ts'
import type { AccessLogger } from '../observe/formatter.ts'
import type { Counter, Gauge, StatsStore } from '../observe/stats.ts'
import type { TcpProxyConfig } from './config.ts'

/** Counters of things that do not happen here. */
const NEVER_COUNTED = [
  'downstream_cx_drain_close',
  'downstream_cx_overload_close',
  'route_delayed_total',
  'upstream_flush_total',
]

/** The counters of one stat prefix (source/common/tcp_proxy/tcp_proxy.h). */
export class TcpProxyStats {
  readonly cxTotal: Counter
  readonly noRoute: Counter
  readonly rxBytes: Counter
  readonly txBytes: Counter
  readonly pausedReading: Counter
  readonly resumedReading: Counter
  readonly idleTimeout: Counter
  readonly earlyData: Counter
  readonly maxDuration: Counter
  readonly rxBuffered: Gauge
  readonly txBuffered: Gauge

  constructor(stats: StatsStore, prefix: string) {
    this.cxTotal = stats.counter(`tcp.${prefix}.downstream_cx_total`)
    this.noRoute = stats.counter(`tcp.${prefix}.downstream_cx_no_route`)
    this.rxBytes = stats.counter(`tcp.${prefix}.downstream_cx_rx_bytes_total`)
    this.txBytes = stats.counter(`tcp.${prefix}.downstream_cx_tx_bytes_total`)
    this.pausedReading = stats.counter(`tcp.${prefix}.downstream_flow_control_paused_reading_total`)
    this.resumedReading = stats.counter(`tcp.${prefix}.downstream_flow_control_resumed_reading_total`)
    this.idleTimeout = stats.counter(`tcp.${prefix}.idle_timeout`)
    this.earlyData = stats.counter(`tcp.${prefix}.early_data_received_count_total`)
    this.maxDuration = stats.counter(`tcp.${prefix}.max_downstream_connection_duration`)
    this.rxBuffered = stats.gauge(`tcp.${prefix}.downstream_cx_rx_bytes_buffered`)
    this.txBuffered = stats.gauge(`tcp.${prefix}.downstream_cx_tx_bytes_buffered`)
    for (const name of NEVER_COUNTED) stats.counter(`tcp.${prefix}.${name}`)
    stats.gauge(`tcp.${prefix}.upstream_flush_active`)
  }
}

/** What all connections of one filter share. */
export interface TcpProxyShared {
  readonly config: TcpProxyConfig
  readonly context: ProxyContext
  readonly loggers: readonly AccessLogger[]
  readonly stats: TcpProxyStats
  readonly listenerName: string
  readonly sessions: Set<{ readonly buffered: number }>
}
