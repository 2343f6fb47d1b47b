import type { Counter, Gauge, Histogram, StatsStore } from '../observe/stats.ts'
import { type Address, isPipe } from './connection.ts'

/** Counters of limits that there are none of here, and of what only some chains count. */
const NEVER_COUNTED = ['downstream_cx_overload_reject', 'network_extension_config_missing']

/** Counters of one listener (source/common/listener_manager/active_listener_base.h). */
export class ListenerStats {
  readonly cxTotal: Counter
  readonly cxDestroy: Counter
  readonly cxActive: Gauge
  readonly cxLength: Histogram
  readonly preCxActive: Gauge
  readonly preCxTimeout: Counter
  readonly noFilterChainMatch: Counter
  readonly transportSocketConnectTimeout: Counter
  readonly filterError: Counter
  readonly filterRemoteClose: Counter
  readonly cxOverflow: Counter
  readonly globalCxOverflow: Counter
  readonly extensionConfigMissing: Counter
  readonly workerCxTotal: Counter
  readonly workerCxActive: Gauge

  /** `prefix`: as `listenerStatPrefix` gives it. */
  constructor(stats: StatsStore, prefix: string) {
    const scope = `listener.${prefix}`
    this.cxTotal = stats.counter(`${scope}.downstream_cx_total`)
    this.cxDestroy = stats.counter(`${scope}.downstream_cx_destroy`)
    this.cxActive = stats.gauge(`${scope}.downstream_cx_active`)
    this.cxLength = stats.histogram(`${scope}.downstream_cx_length_ms`)
    this.preCxActive = stats.gauge(`${scope}.downstream_pre_cx_active`)
    this.preCxTimeout = stats.counter(`${scope}.downstream_pre_cx_timeout`)
    this.noFilterChainMatch = stats.counter(`${scope}.no_filter_chain_match`)
    this.transportSocketConnectTimeout = stats.counter(`${scope}.downstream_cx_transport_socket_connect_timeout`)
    this.filterError = stats.counter(`${scope}.downstream_listener_filter_error`)
    this.filterRemoteClose = stats.counter(`${scope}.downstream_listener_filter_remote_close`)
    this.cxOverflow = stats.counter(`${scope}.downstream_cx_overflow`)
    this.globalCxOverflow = stats.counter(`${scope}.downstream_global_cx_overflow`)
    this.extensionConfigMissing = stats.counter(`${scope}.extension_config_missing`)
    this.workerCxTotal = stats.counter(`${scope}.worker_0.downstream_cx_total`)
    this.workerCxActive = stats.gauge(`${scope}.worker_0.downstream_cx_active`)
    stats.histogram(`${scope}.connections_accepted_per_socket_event`)
    for (const name of NEVER_COUNTED) stats.counter(`${scope}.${name}`)
  }
}

/** `<ip>_<port>` as stats name a listener: the colons of the address become underscores. */
export function listenerStatPrefix(statPrefix: string, address: Address): string {
  if (statPrefix !== '') return statPrefix
  if (isPipe(address)) return address.ip.replaceAll(':', '_')
  const ip = address.ip.includes(':') ? `[${address.ip}]` : address.ip
  return `${ip}_${address.port}`.replaceAll(':', '_')
}
