import type { Counter, Gauge, StatsStore } from '../observe/stats.ts'

/** Counters of what cannot happen here: they are there for whoever looks for them. */
const NEVER = ['cookies_total_bytes_too_large', 'headers_cb_no_stream', 'metadata_empty_frames', 'outbound_flood']
const LIBRARIES = ['nghttp2_downstream', 'nghttp2_upstream', 'oghttp2_downstream', 'oghttp2_upstream']

/** Counters of HTTP/2 codecs: `http2.` downstream, `cluster.<name>.http2.` upstream (source/common/http/http2/codec_stats.h). */
export class Http2Stats {
  readonly goawaySent: Counter
  readonly headerOverflow: Counter
  readonly headerListTooLarge: Counter
  readonly droppedUnderscores: Counter
  readonly rejectedUnderscores: Counter
  readonly emptyFramesFlood: Counter
  readonly priorityFlood: Counter
  readonly windowUpdateFlood: Counter
  readonly controlFlood: Counter
  readonly keepaliveTimeout: Counter
  readonly messagingError: Counter
  readonly rxReset: Counter
  readonly txReset: Counter
  readonly refusedErrors: Counter
  readonly trailers: Counter
  readonly streamsActive: Gauge
  readonly pendingSendBytes: Gauge
  readonly txFlushTimeout: Counter
  /** Connections; both Envoy and Dinghy have nghttp2 read and write them. */
  readonly connections: Counter

  /** `prefix` with its dot; empty downstream. */
  constructor(stats: StatsStore, prefix: string) {
    const c = (name: string) => stats.counter(`${prefix}http2.${name}`)
    const g = (name: string) => stats.gauge(`${prefix}http2.${name}`)
    this.goawaySent = c('goaway_sent')
    this.headerOverflow = c('header_overflow')
    this.headerListTooLarge = c('header_list_size_too_large')
    this.droppedUnderscores = c('dropped_headers_with_underscores')
    this.rejectedUnderscores = c('requests_rejected_with_underscores_in_headers')
    this.emptyFramesFlood = c('inbound_empty_frames_flood')
    this.priorityFlood = c('inbound_priority_frames_flood')
    this.windowUpdateFlood = c('inbound_window_update_frames_flood')
    this.controlFlood = c('outbound_control_flood')
    this.keepaliveTimeout = c('keepalive_timeout')
    this.messagingError = c('rx_messaging_error')
    this.rxReset = c('rx_reset')
    this.txReset = c('tx_reset')
    this.refusedErrors = c('stream_refused_errors')
    this.trailers = c('trailers')
    this.txFlushTimeout = c('tx_flush_timeout')
    for (const name of NEVER) c(name)
    for (const name of LIBRARIES) c(`${name}_connections`)
    this.connections = c(`nghttp2_${prefix === '' ? 'downstream' : 'upstream'}_connections`)
    for (const name of ['deferred_stream_close', 'outbound_frames_active', 'outbound_control_frames_active']) g(name)
    this.streamsActive = g('streams_active')
    this.pendingSendBytes = g('pending_send_bytes')
  }
}

const downstream = new WeakMap<StatsStore, Http2Stats>()

/** The counters that all listeners of a proxy share; made with the first HTTP/2 connection, as Envoy does. */
export function downstreamHttp2Stats(stats: StatsStore): Http2Stats {
  let found = downstream.get(stats)
  if (found === undefined) {
    found = new Http2Stats(stats, '')
    downstream.set(stats, found)
  }
  return found
}
