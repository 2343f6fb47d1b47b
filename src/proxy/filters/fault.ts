import type { HTTPFault } from '#gen/envoy/extensions/filters/http/fault/v3/fault_pb.js'
import type { Timer } from '../../runtime.ts'
import type { FilterSlot } from '../http/filter-slot.ts'
import { headerName, type RequestHead } from '../http/headers.ts'
import { H } from '../http/names.ts'
import type { Fraction } from '../http/router/fraction.ts'
import { matchAll } from '../http/router/header-matcher.ts'
import type { Counter, Gauge, StatsStore } from '../observe/stats.ts'
import { responseSide } from './body-side.ts'
import { FaultConfig } from './fault-config.ts'
import { DataStatus, HeadersStatus, type HttpFilter, type HttpFilterKind, TrailersStatus } from './filter.ts'
import { ByteBucket, DEFAULT_FILL_INTERVAL, StreamRateLimiter } from './rate-limiter.ts'

const F = {
  delay: headerName('x-envoy-fault-delay-request'),
  delayPercentage: headerName('x-envoy-fault-delay-request-percentage'),
  abort: headerName('x-envoy-fault-abort-request'),
  abortGrpc: headerName('x-envoy-fault-abort-grpc-request'),
  abortPercentage: headerName('x-envoy-fault-abort-request-percentage'),
  rate: headerName('x-envoy-fault-throughput-response'),
  ratePercentage: headerName('x-envoy-fault-throughput-response-percentage'),
}

class FaultStats {
  readonly delays: Counter
  readonly aborts: Counter
  readonly rates: Counter
  readonly overflow: Counter
  readonly active: Gauge
  readonly store: StatsStore
  readonly prefix: string

  constructor(store: StatsStore, prefix: string) {
    this.store = store
    this.prefix = `${prefix}fault.`
    this.delays = store.counter(`${this.prefix}delays_injected`)
    this.aborts = store.counter(`${this.prefix}aborts_injected`)
    this.rates = store.counter(`${this.prefix}response_rl_injected`)
    this.overflow = store.counter(`${this.prefix}faults_overflow`)
    this.active = store.gauge(`${this.prefix}active_faults`)
  }
}

class FaultFilter implements HttpFilter {
  private readonly base: FaultConfig
  private readonly stats: FaultStats
  private config: FaultConfig
  private timer: Timer | undefined = undefined
  private counted = false
  private limiter: StreamRateLimiter | undefined = undefined

  constructor(base: FaultConfig, stats: FaultStats) {
    this.base = base
    this.config = base
    this.stats = stats
  }

  decodeHeaders(head: RequestHead, _end: boolean, slot: FilterSlot): HeadersStatus {
    const config = (slot.perRoute()?.config as FaultConfig | undefined) ?? this.base
    this.config = config
    if (config.idle || !this.applies(config, head, slot)) return HeadersStatus.CONTINUE
    this.startRateLimit(config, head, slot)
    const delay = this.delayFor(config, head, slot)
    if (delay > 0) {
      if (!this.count(config)) return HeadersStatus.CONTINUE
      this.stats.delays.inc()
      this.perCluster(head, 'delays_injected')
      slot.info.flag('DI')
      if (config.metadata !== undefined) slot.setMetadata(slot.name, config.metadata)
      this.timer = slot.runtime.after(delay, () => {
        this.timer = undefined
        if (!this.abort(config, head, slot)) slot.continueDecoding()
      })
      return HeadersStatus.STOP_ALL_AND_WATERMARK
    }
    return this.abort(config, head, slot) ? HeadersStatus.STOP : HeadersStatus.CONTINUE
  }

  private applies(config: FaultConfig, head: RequestHead, slot: FilterSlot): boolean {
    if (config.upstreamCluster !== '') {
      const forward = slot.route()?.forward
      if (forward === undefined) return false
      if ((forward.clusterHeader?.first(head) ?? forward.cluster) !== config.upstreamCluster) return false
    }
    if (!matchAll(config.headers, head)) return false
    return config.nodes.size === 0 || config.nodes.has(head.get(H.downstreamNode) ?? '')
  }

  /** Takes a place among the active faults; false when all are taken. */
  private count(config: FaultConfig): boolean {
    if (this.counted) return true
    if (this.stats.active.value >= config.maxActive) {
      this.stats.overflow.inc()
      return false
    }
    this.counted = true
    this.stats.active.inc()
    return true
  }

  private delayFor(config: FaultConfig, head: RequestHead, slot: FilterSlot): number {
    const ms = config.delayByHeader ? number(head.get(F.delay)) : config.delay
    if (ms === undefined || ms === 0) return 0
    const { delay, delayShare } = config.overrides
    const percentage = config.delayByHeader ? head.get(F.delayPercentage) : undefined
    return hits(delayShare, config.delayFraction, percentage, slot.runtime.randomU32()) ? (delay ?? ms) : 0
  }

  /** True when the request was answered here. */
  private abort(config: FaultConfig, head: RequestHead, slot: FilterSlot): boolean {
    let status = config.abortStatus
    let grpc = config.abortGrpc
    if (config.abortByHeader) {
      grpc = number(head.get(F.abortGrpc))
      const given = number(head.get(F.abort))
      status = given !== undefined && given >= 200 && given <= 599 ? given : undefined
    }
    if (status === undefined && grpc === undefined) return false
    const percentage = config.abortByHeader ? head.get(F.abortPercentage) : undefined
    const { overrides } = config
    if (!hits(overrides.abortShare, config.abortFraction, percentage, slot.runtime.randomU32())) return false
    if (!this.count(config)) return false
    this.stats.aborts.inc()
    this.perCluster(head, 'aborts_injected')
    if (config.metadata !== undefined) slot.setMetadata(slot.name, config.metadata)
    if (status !== undefined) status = overrides.abortStatus ?? status
    if (grpc !== undefined) grpc = overrides.abortGrpc ?? grpc
    slot.sendLocalReply({
      status: status ?? 200,
      body: 'fault filter abort',
      details: 'fault_filter_abort',
      flag: 'FI',
      ...(grpc !== undefined ? { grpcStatus: grpc } : {}),
    })
    return true
  }

  private startRateLimit(config: FaultConfig, head: RequestHead, slot: FilterSlot): void {
    const kib = config.rateByHeader ? number(head.get(F.rate)) : config.rate
    if (kib === undefined || kib < 1) return
    const percentage = config.rateByHeader ? head.get(F.ratePercentage) : undefined
    if (
      !hits(config.overrides.rateShare, config.rateFraction, percentage, slot.runtime.randomU32()) ||
      !this.count(config)
    )
      return
    this.stats.rates.inc()
    const bucket = new ByteBucket(slot.runtime, kib)
    this.limiter = new StreamRateLimiter(slot, responseSide, bucket, DEFAULT_FILL_INTERVAL)
  }

  private perCluster(head: RequestHead, what: string): void {
    if (!this.config.clusterStats) return
    const cluster = head.get(H.downstreamCluster)
    if (cluster !== undefined && cluster !== '')
      this.stats.store.counter(`${this.stats.prefix}${cluster}.${what}`).inc()
  }

  encodeData(chunk: Uint8Array, end: boolean): DataStatus {
    if (this.limiter === undefined) return DataStatus.CONTINUE
    this.limiter.write(chunk, end)
    return DataStatus.STOP_NO_BUFFER
  }

  encodeTrailers(): TrailersStatus {
    return this.limiter === undefined || this.limiter.trailersMayGo() ? TrailersStatus.CONTINUE : TrailersStatus.STOP
  }

  onDestroy(): void {
    this.timer?.cancel()
    this.timer = undefined
    this.limiter?.stop()
    if (this.counted) {
      this.counted = false
      this.stats.active.dec()
    }
  }
}

/** Whether the roll hits: the runtime's share, or the configured one, which a percentage from a header can only lower. */
function hits(runtime: Fraction | undefined, fraction: Fraction, header: string | undefined, random: number): boolean {
  if (runtime !== undefined) return runtime.hit(random)
  const wanted = number(header)
  const numerator = wanted === undefined ? fraction.numerator : Math.min(wanted, fraction.numerator)
  return random % fraction.denominator < numerator
}

function number(text: string | undefined): number | undefined {
  return text !== undefined && /^\d{1,15}$/.test(text) ? Number(text) : undefined
}

/** `envoy.filters.http.fault`: delays, aborts and slows down requests (source/extensions/filters/http/fault). */
export const faultFilter: HttpFilterKind = {
  type: 'envoy.extensions.filters.http.fault.v3.HTTPFault',
  name: 'envoy.filters.http.fault',
  build(message, context) {
    const config = new FaultConfig(message as HTTPFault, context.proxy.runtimeValues)
    const stats = new FaultStats(context.proxy.stats, context.statPrefix)
    return { create: () => new FaultFilter(config, stats) }
  },
  perRouteType: 'envoy.extensions.filters.http.fault.v3.HTTPFault',
  buildPerRoute: (message, _runtime, proxy) => new FaultConfig(message as HTTPFault, proxy.runtimeValues),
}
