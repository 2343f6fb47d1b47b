import type { LocalRateLimit } from '#gen/envoy/extensions/filters/http/local_ratelimit/v3/local_rate_limit_pb.js'
import { ConfigError } from '../../context.ts'
import type { FilterSlot } from '../../http/filter-slot.ts'
import { headerName, type RequestHead, type ResponseHead } from '../../http/headers.ts'
import type { Counter, StatsStore } from '../../observe/stats.ts'
import { HeadersStatus, type HttpFilter, type HttpFilterKind } from '../filter.ts'
import { LocalRateLimitConfig } from './config.ts'
import type { TokenBucket } from './token-bucket.ts'

const LIMIT = headerName('x-ratelimit-limit')
const REMAINING = headerName('x-ratelimit-remaining')
const RESET = headerName('x-ratelimit-reset')

interface RateLimitStats {
  readonly enabled: Counter
  readonly ok: Counter
  readonly limited: Counter
  readonly enforced: Counter
}

function statsOf(stats: StatsStore, prefix: string): RateLimitStats {
  const counter = (name: string): Counter => stats.counter(`${prefix}.http_local_rate_limit.${name}`)
  counter('shadow_mode')
  return {
    enabled: counter('enabled'),
    ok: counter('ok'),
    limited: counter('rate_limited'),
    enforced: counter('enforced'),
  }
}

/** What is remembered of a request that was counted: the bucket that its answer tells of. */
interface Counted {
  readonly config: LocalRateLimitConfig
  readonly bucket: TokenBucket | undefined
}

class LocalRateLimitFilter implements HttpFilter {
  private readonly config: LocalRateLimitConfig
  private readonly statsStore: StatsStore
  /** By config: those of routes have prefixes of their own, and go with their routes. */
  private readonly stats = new WeakMap<LocalRateLimitConfig, RateLimitStats>()

  constructor(config: LocalRateLimitConfig, stats: StatsStore) {
    this.config = config
    this.statsStore = stats
    this.stats.set(config, statsOf(stats, config.statPrefix))
  }

  decodeHeaders(head: RequestHead, _end: boolean, slot: FilterSlot): HeadersStatus {
    const config = (slot.perRoute()?.config as LocalRateLimitConfig | undefined) ?? this.config
    const { runtime } = slot
    if (!config.enabled.hit(runtime.randomU32())) return HeadersStatus.CONTINUE
    const stats = this.statsOf(config)
    stats.enabled.inc()
    const bucket = config.bucketFor(slot.connection)
    slot.memory = { config, bucket } satisfies Counted
    if (bucket === undefined || bucket.take()) {
      stats.ok.inc()
      return HeadersStatus.CONTINUE
    }
    stats.limited.inc()
    if (!config.enforced.hit(runtime.randomU32())) {
      config.unenforcedHeaders.apply(head, slot.info)
      return HeadersStatus.CONTINUE
    }
    stats.enforced.inc()
    slot.sendLocalReply(
      {
        status: config.status,
        body: 'local_rate_limited',
        details: 'local_rate_limited',
        flag: 'RL',
        grpcStatus: config.grpcStatus,
      },
      (reply) => config.limitedHeaders.apply(reply, slot.info),
    )
    return HeadersStatus.STOP
  }

  encodeHeaders(head: ResponseHead, _end: boolean, slot: FilterSlot): HeadersStatus {
    const counted = slot.memory as Counted | undefined
    if (counted?.config.tellsLimits && counted.bucket !== undefined) {
      head.add(LIMIT, String(counted.bucket.maxTokens))
      head.add(REMAINING, String(counted.bucket.remaining))
      head.add(RESET, String(counted.bucket.secondsToNext))
    }
    return HeadersStatus.CONTINUE
  }

  private statsOf(config: LocalRateLimitConfig): RateLimitStats {
    let stats = this.stats.get(config)
    if (stats === undefined) {
      stats = statsOf(this.statsStore, config.statPrefix)
      this.stats.set(config, stats)
    }
    return stats
  }
}

/** `envoy.filters.http.local_ratelimit`: refuses requests beyond what a token bucket gives. */
export const localRateLimitFilter: HttpFilterKind = {
  type: 'envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit',
  name: 'envoy.filters.http.local_ratelimit',
  build(message, context) {
    const config = new LocalRateLimitConfig(message as LocalRateLimit, context.proxy.runtime)
    const filter = new LocalRateLimitFilter(config, context.proxy.stats)
    return { create: () => filter }
  },
  perRouteType: 'envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit',
  buildPerRoute(message, runtime) {
    const config = message as LocalRateLimit
    if (config.tokenBucket === undefined)
      throw new ConfigError(['local rate limit token bucket must be set for per filter configs'])
    return new LocalRateLimitConfig(config, runtime)
  },
}
