import type { Message } from '@bufbuild/protobuf'
import type { RateLimit } from '#gen/envoy/extensions/filters/network/ratelimit/v3/rate_limit_pb.js'
import type { Runtime } from '../../../runtime.ts'
import type { ProxyContext } from '../../context.ts'
import { type LimitVerdict, RateLimitService } from '../../filters/rate-limit/service.ts'
import { Problems } from '../../http/config.ts'
import type { GrpcPending } from '../../http/grpc-client.ts'
import { type Descriptor, XRateLimitOption } from '../../http/rate-limit/descriptor.ts'
import { toByteString } from '../../observe/format/bytes.ts'
import { compileFormat, type Formatter } from '../../observe/formatter.ts'
import type { Counter, Gauge, StatsStore } from '../../observe/stats.ts'
import { runtimePercent } from '../../runtime-values.ts'
import { mergeDynamicMetadata, type StreamInfo } from '../../stream-info.ts'
import type { FilterStatus, ReadFilter, ReadFilterCallbacks, ReadFilterMaker } from '../read-filters.ts'

const NAMESPACE = 'envoy.filters.network.ratelimit'

/**
 * `envoy.filters.network.ratelimit`: asks a rate limit service, before the first byte of a connection, whether it may
 * stay (source/extensions/filters/network/ratelimit/ratelimit.cc). One that may not is closed without a word.
 */
export function networkRateLimit(message: Message, context: ProxyContext): ReadFilterMaker {
  const shared = new NetworkRateLimit(message as RateLimit, context)
  return (callbacks) => new ConnectionRateLimit(shared, callbacks)
}

/** A descriptor of the config: keys, and the formats of their values. */
type DescriptorFormat = readonly { readonly key: string; readonly value: Formatter }[]

/** Counters under `ratelimit.<stat_prefix>.`. */
class NetworkRateLimitStats {
  readonly active: Gauge
  readonly closed: Counter
  readonly error: Counter
  readonly failureModeAllowed: Counter
  readonly ok: Counter
  readonly overLimit: Counter
  readonly total: Counter

  constructor(stats: StatsStore, prefix: string) {
    const base = `ratelimit.${prefix}.`
    this.active = stats.gauge(`${base}active`)
    this.closed = stats.counter(`${base}cx_closed`)
    this.error = stats.counter(`${base}error`)
    this.failureModeAllowed = stats.counter(`${base}failure_mode_allowed`)
    this.ok = stats.counter(`${base}ok`)
    this.overLimit = stats.counter(`${base}over_limit`)
    this.total = stats.counter(`${base}total`)
  }
}

/** What the connections of one filter share. */
class NetworkRateLimit {
  readonly stats: NetworkRateLimitStats
  readonly failureModeDeny: boolean
  readonly runtime: Runtime
  private readonly enabledPercent: number
  private readonly enforcedPercent: number
  private readonly domain: string
  private readonly service: RateLimitService
  private readonly formats: readonly DescriptorFormat[]

  /** Throws ConfigError. */
  constructor(config: RateLimit, context: ProxyContext) {
    const { runtime, runtimeValues: values } = context
    const problems = new Problems()
    this.formats = config.descriptors.map(({ entries }, i) =>
      entries.flatMap(({ key, value }) => {
        const format = problems.collect(`descriptors[${i}]`, () => compileFormat(value, runtime))
        return format === undefined ? [] : [{ key: toByteString(key), value: format }]
      }),
    )
    this.service = problems.collect(
      '',
      () => new RateLimitService(config.rateLimitService, config.timeout, context),
    ) as RateLimitService
    problems.throwIfAny()
    this.stats = new NetworkRateLimitStats(context.stats, config.statPrefix)
    this.failureModeDeny = config.failureModeDeny
    this.runtime = runtime
    this.enabledPercent = runtimePercent('ratelimit.tcp_filter_enabled', 100, values)
    this.enforcedPercent = runtimePercent('ratelimit.tcp_filter_enforcing', 100, values)
    this.domain = config.domain
  }

  /** Whether the next connection is asked about. */
  enabled(): boolean {
    return this.runtime.randomU32() % 100 < this.enabledPercent
  }

  /** Whether the next one that is over its limit is closed. */
  enforced(): boolean {
    return this.runtime.randomU32() % 100 < this.enforcedPercent
  }

  limit({ transport, info }: ReadFilterCallbacks, done: (verdict: LimitVerdict) => void): GrpcPending {
    const options = { info, downstream: transport.info, metadataMatch: undefined, tellsZeroTimeout: true }
    return this.service.limit(this.domain, this.descriptors(info), 0, options, done)
  }

  /** What else a descriptor of the config says is read past, as Envoy does. */
  private descriptors(info: StreamInfo): Descriptor[] {
    return this.formats.map((entries) => ({
      entries: entries.map(({ key, value }) => ({ key, value: value.format(info) })),
      limit: undefined,
      hitsAddend: undefined,
      negativeHits: false,
      xRateLimitOption: XRateLimitOption.UNSPECIFIED,
    }))
  }
}

class ConnectionRateLimit implements ReadFilter {
  private readonly shared: NetworkRateLimit
  private readonly callbacks: ReadFilterCallbacks
  private state: 'new' | 'calling' | 'passed' | 'closed' = 'new'
  /** The service is being asked this moment, and may answer at once. */
  private asking = false
  private call: GrpcPending | undefined

  constructor(shared: NetworkRateLimit, callbacks: ReadFilterCallbacks) {
    this.shared = shared
    this.callbacks = callbacks
  }

  onNewConnection(): FilterStatus {
    const { shared, callbacks } = this
    if (!shared.enabled()) {
      this.state = 'passed'
      return 'continue'
    }
    this.state = 'calling'
    shared.stats.active.inc()
    shared.stats.total.inc()
    this.asking = true
    this.call = shared.limit(callbacks, (verdict) => this.answered(verdict))
    this.asking = false
    return this.status
  }

  onData(): FilterStatus {
    return this.status
  }

  onClose(): void {
    if (this.state !== 'calling') return
    this.state = 'closed'
    this.call?.cancel()
    this.shared.stats.active.dec()
  }

  private get status(): FilterStatus {
    return this.state === 'passed' ? 'continue' : 'stop'
  }

  private answered({ result, response }: LimitVerdict): void {
    const { shared, callbacks } = this
    const { stats } = shared
    const metadata = response?.dynamicMetadata
    if (metadata !== undefined && Object.keys(metadata).length > 0)
      mergeDynamicMetadata(callbacks.info, NAMESPACE, metadata)
    stats.active.dec()
    if (result === 'ok') stats.ok.inc()
    else if (result === 'error') stats.error.inc()
    else stats.overLimit.inc()
    if (result === 'over limit' && shared.enforced()) {
      this.close('ratelimit_close_over_limit')
      return
    }
    if (result === 'error' && shared.failureModeDeny) {
      this.close('ratelimit_error_failure_mode_connection_close')
      return
    }
    if (result === 'error') stats.failureModeAllowed.inc()
    this.state = 'passed'
    if (!this.asking) callbacks.continueReading()
  }

  private close(reason: string): void {
    const { transport, info } = this.callbacks
    this.state = 'closed'
    this.shared.stats.closed.inc()
    info.bytesReceived = transport.bytesRead
    const facts: { localCloseReason?: string } = transport.info
    facts.localCloseReason = reason
    transport.destroy()
  }
}
