import type { BandwidthLimit } from '#gen/envoy/extensions/filters/http/bandwidth_limit/v3/bandwidth_limit_pb.js'
import type { Runtime } from '../../runtime.ts'
import { ConfigError } from '../context.ts'
import { durationMs } from '../http/config.ts'
import type { FilterSlot } from '../http/filter-slot.ts'
import { HeaderMap, type HeaderName, headerName, type RequestHead, type ResponseHead } from '../http/headers.ts'
import type { Counter, Gauge, Histogram, StatsStore } from '../observe/stats.ts'
import { featureEnabled, type RuntimeValues } from '../runtime-values.ts'
import { type BodySide, requestSide, responseSide } from './body-side.ts'
import { DataStatus, HeadersStatus, type HttpFilter, type HttpFilterKind, TrailersStatus } from './filter.ts'
import { ByteBucket, DEFAULT_FILL_INTERVAL, type RateObserver, StreamRateLimiter } from './rate-limiter.ts'

/** Bits of `enable_mode`. */
const REQUEST = 1
const RESPONSE = 2

/** A compiled `BandwidthLimit`. Requests and responses of all streams share its bucket. */
class BandwidthConfig {
  readonly statPrefix: string
  readonly mode: number
  readonly fillInterval: number
  readonly bucket: ByteBucket
  readonly flag: BandwidthLimit['runtimeEnabled']
  readonly tellsDelays: boolean
  readonly trailers: Readonly<Record<'request' | 'requestFilter' | 'response' | 'responseFilter', HeaderName>>

  constructor(config: BandwidthLimit, runtime: Runtime) {
    this.statPrefix = config.statPrefix
    this.mode = config.enableMode
    this.fillInterval = durationMs(config.fillInterval) ?? DEFAULT_FILL_INTERVAL
    this.bucket = new ByteBucket(runtime, Number(config.limitKbps ?? 0))
    this.flag = config.runtimeEnabled
    this.tellsDelays = config.enableResponseTrailers
    const prefix = config.responseTrailerPrefix === '' ? '' : `${config.responseTrailerPrefix}-`
    this.trailers = {
      request: headerName(`${prefix}bandwidth-request-delay-ms`),
      requestFilter: headerName(`${prefix}bandwidth-request-filter-delay-ms`),
      response: headerName(`${prefix}bandwidth-response-delay-ms`),
      responseFilter: headerName(`${prefix}bandwidth-response-filter-delay-ms`),
    }
  }
}

/** What is counted of one direction. */
class DirectionStats {
  readonly enabled: Counter
  readonly enforced: Counter
  readonly pending: Gauge
  readonly incoming: Gauge
  readonly allowed: Gauge
  readonly incomingTotal: Counter
  readonly allowedTotal: Counter
  readonly duration: Histogram

  constructor(store: StatsStore, prefix: string) {
    this.enabled = store.counter(`${prefix}_enabled`)
    this.enforced = store.counter(`${prefix}_enforced`)
    this.pending = store.gauge(`${prefix}_pending`)
    this.incoming = store.gauge(`${prefix}_incoming_size`)
    this.allowed = store.gauge(`${prefix}_allowed_size`)
    this.incomingTotal = store.counter(`${prefix}_incoming_total_size`)
    this.allowedTotal = store.counter(`${prefix}_allowed_total_size`)
    this.duration = store.histogram(`${prefix}_transfer_duration`)
  }
}

/** One body, held to the limit, and what is measured of it. */
class LimitedBody implements RateObserver {
  /** ms from the first byte to the last, whole ones; ms of it that the limit cost. */
  duration = 0
  delay = 0
  private readonly slot: FilterSlot
  private readonly side: BodySide
  private readonly config: BandwidthConfig
  private readonly stats: DirectionStats
  private readonly limiter: StreamRateLimiter
  private readonly ended: (() => void) | undefined
  private started = -1

  /** `ended` is called before the last byte or the trailers go on. */
  constructor(
    slot: FilterSlot,
    side: BodySide,
    config: BandwidthConfig,
    stats: DirectionStats,
    ended: (() => void) | undefined,
  ) {
    this.slot = slot
    this.side = side
    this.config = config
    this.stats = stats
    this.ended = ended
    this.limiter = new StreamRateLimiter(slot, side, config.bucket, config.fillInterval, this)
    stats.enabled.inc()
  }

  write(chunk: Uint8Array, end: boolean, trailers?: HeaderMap): void {
    const { stats } = this
    if (this.started < 0) {
      this.started = this.slot.runtime.now()
      stats.pending.inc()
    }
    stats.incoming.set(end && this.side.endsApart(this.slot) ? 0 : chunk.length)
    stats.incomingTotal.add(chunk.length)
    this.limiter.write(chunk, end, trailers)
  }

  trailersMayGo(): boolean {
    if (!this.limiter.trailersMayGo()) return false
    this.onEnd()
    return true
  }

  onSlice(bytes: number, limited: boolean): void {
    const { stats } = this
    stats.allowed.set(bytes)
    stats.allowedTotal.add(bytes)
    if (!limited) return
    stats.enforced.inc()
    this.delay += this.config.fillInterval
  }

  onEnd(): void {
    if (this.started < 0) return
    this.duration = Math.floor(this.slot.runtime.now() - this.started)
    this.started = -1
    this.stats.duration.record(this.duration)
    this.stats.pending.dec()
    this.ended?.()
  }

  stop(): void {
    this.limiter.stop()
  }
}

/** What the filters of one entry of `http_filters` share. */
class BandwidthLimitShared {
  private readonly config: BandwidthConfig
  private readonly store: StatsStore
  private readonly values: RuntimeValues | undefined
  /** By config: those of routes have prefixes of their own, and go with their routes. */
  private readonly stats = new WeakMap<BandwidthConfig, { request: DirectionStats; response: DirectionStats }>()

  constructor(config: BandwidthConfig, store: StatsStore, values: RuntimeValues | undefined) {
    this.config = config
    this.store = store
    this.values = values
    this.statsOf(config)
  }

  configFor(slot: FilterSlot): BandwidthConfig {
    return (slot.perRoute()?.config as BandwidthConfig | undefined) ?? this.config
  }

  limits(config: BandwidthConfig, direction: number): boolean {
    return (config.mode & direction) !== 0 && featureEnabled(config.flag, this.values)
  }

  statsOf(config: BandwidthConfig): { readonly request: DirectionStats; readonly response: DirectionStats } {
    let stats = this.stats.get(config)
    if (stats === undefined) {
      const prefix = `${config.statPrefix}.http_bandwidth_limit.`
      stats = {
        request: new DirectionStats(this.store, `${prefix}request`),
        response: new DirectionStats(this.store, `${prefix}response`),
      }
      this.stats.set(config, stats)
    }
    return stats
  }
}

/** `envoy.filters.http.bandwidth_limit` for one exchange (source/extensions/filters/http/bandwidth_limit/bandwidth_limit.cc). */
class BandwidthLimitFilter implements HttpFilter {
  private readonly shared: BandwidthLimitShared
  private request: LimitedBody | undefined = undefined
  private response: LimitedBody | undefined = undefined
  private trailers: HeaderMap | undefined = undefined
  private tellsDelays = false

  constructor(shared: BandwidthLimitShared) {
    this.shared = shared
  }

  decodeHeaders(_head: RequestHead, _end: boolean, slot: FilterSlot): HeadersStatus {
    const { shared } = this
    const config = shared.configFor(slot)
    if (shared.limits(config, REQUEST))
      this.request = new LimitedBody(slot, requestSide, config, shared.statsOf(config).request, undefined)
    return HeadersStatus.CONTINUE
  }

  decodeData(chunk: Uint8Array, end: boolean): DataStatus {
    if (this.request === undefined) return DataStatus.CONTINUE
    this.request.write(chunk, end)
    return DataStatus.STOP_NO_BUFFER
  }

  decodeTrailers(): TrailersStatus {
    return this.request === undefined || this.request.trailersMayGo() ? TrailersStatus.CONTINUE : TrailersStatus.STOP
  }

  encodeHeaders(_head: ResponseHead, _end: boolean, slot: FilterSlot): HeadersStatus {
    const { shared } = this
    const config = shared.configFor(slot)
    if (!shared.limits(config, RESPONSE)) return HeadersStatus.CONTINUE
    const tell = config.tellsDelays ? () => this.tellDelays(config) : undefined
    this.tellsDelays = config.tellsDelays
    this.response = new LimitedBody(slot, responseSide, config, shared.statsOf(config).response, tell)
    return HeadersStatus.CONTINUE
  }

  encodeData(chunk: Uint8Array, end: boolean): DataStatus {
    if (this.response === undefined) return DataStatus.CONTINUE
    if (end && this.tellsDelays) this.trailers = new HeaderMap(256)
    this.response.write(chunk, end, this.trailers)
    return DataStatus.STOP_NO_BUFFER
  }

  encodeTrailers(trailers: HeaderMap): TrailersStatus {
    if (this.response === undefined) return TrailersStatus.CONTINUE
    this.trailers = trailers
    return this.response.trailersMayGo() ? TrailersStatus.CONTINUE : TrailersStatus.STOP
  }

  private tellDelays({ trailers: names }: BandwidthConfig): void {
    const { trailers, request, response } = this
    if (trailers === undefined) return
    const tell = (name: HeaderName, ms: number | undefined): void => {
      if (ms !== undefined && ms > 0) trailers.set(name, String(ms))
    }
    tell(names.request, request?.duration)
    tell(names.requestFilter, request?.delay)
    tell(names.response, response?.duration)
    tell(names.responseFilter, response?.delay)
  }

  onDestroy(): void {
    this.request?.stop()
    this.response?.stop()
  }
}

const TYPE = 'envoy.extensions.filters.http.bandwidth_limit.v3.BandwidthLimit'

/** `envoy.filters.http.bandwidth_limit`: holds bodies to so many KiB a second, all streams together. */
export const bandwidthLimitFilter: HttpFilterKind = {
  type: TYPE,
  name: 'envoy.filters.http.bandwidth_limit',
  build(message, { proxy }) {
    const config = new BandwidthConfig(message as BandwidthLimit, proxy.runtime)
    const shared = new BandwidthLimitShared(config, proxy.stats, proxy.runtimeValues)
    return { create: () => new BandwidthLimitFilter(shared) }
  },
  perRouteType: TYPE,
  buildPerRoute(message, runtime) {
    const config = message as BandwidthLimit
    if (config.limitKbps === undefined) throw new ConfigError(['limit must be set for per route filter config'])
    return new BandwidthConfig(config, runtime)
  },
}
