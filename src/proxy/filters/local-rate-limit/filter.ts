import type { LocalRateLimit } from '#gen/envoy/extensions/filters/http/local_ratelimit/v3/local_rate_limit_pb.js'
import { ConfigError } from '../../context.ts'
import type { FilterSlot } from '../../http/filter-slot.ts'
import { headerName, type RequestHead, type ResponseHead } from '../../http/headers.ts'
import { XRateLimitOption } from '../../http/rate-limit/descriptor.ts'
import { HeadersStatus, type HttpFilter, type HttpFilterKind } from '../filter.ts'
import { LocalRateLimitConfig } from './config.ts'
import { DescriptorSource } from './descriptor-source.ts'
import { type Limiter, Verdict } from './limiter.ts'
import type { TokenBucket } from './token-bucket.ts'

const LIMIT = headerName('x-ratelimit-limit')
const REMAINING = headerName('x-ratelimit-remaining')
const RESET = headerName('x-ratelimit-reset')
const RETRY_AFTER = headerName('retry-after')

class LocalRateLimitFilter implements HttpFilter {
  private readonly config: LocalRateLimitConfig
  private readonly source: DescriptorSource

  constructor(config: LocalRateLimitConfig, source: DescriptorSource) {
    this.config = config
    this.source = source
  }

  decodeHeaders(head: RequestHead, _end: boolean, slot: FilterSlot): HeadersStatus {
    const config = (slot.perRoute()?.config as LocalRateLimitConfig | undefined) ?? this.config
    const { runtime } = slot
    if (!config.enabled.hit(runtime.randomU32())) return HeadersStatus.CONTINUE
    const { stats } = config
    stats.enabled.inc()
    const limiter = config.limiterFor(slot.connection)
    const verdict = config.describes ? limiter.checkDescriptors(this.source.descriptors(config, slot)) : limiter.check()
    const { bucket } = limiter
    // Kept for the response: the bucket is told as it is then.
    if (bucket !== undefined && tellsLimits(config, limiter)) slot.memory = bucket
    if (verdict === Verdict.ALLOWED) {
      stats.ok.inc()
      return HeadersStatus.CONTINUE
    }
    stats.limited.inc()
    if (verdict === Verdict.SHADOWED) {
      stats.shadowed.inc()
      return HeadersStatus.CONTINUE
    }
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
      (reply) => {
        config.limitedHeaders.apply(reply, slot.info)
        if (config.tellsRetry && bucket !== undefined && !reply.has(RETRY_AFTER))
          reply.add(RETRY_AFTER, String(Math.max(1, bucket.secondsToNext)))
      },
    )
    return HeadersStatus.STOP
  }

  encodeHeaders(head: ResponseHead, _end: boolean, slot: FilterSlot): HeadersStatus {
    const bucket = slot.memory as TokenBucket | undefined
    if (bucket !== undefined) {
      head.add(LIMIT, String(bucket.max))
      head.add(REMAINING, String(bucket.remaining))
      head.add(RESET, String(bucket.secondsToNext))
    }
    return HeadersStatus.CONTINUE
  }
}

/** Whether answers tell of the limit: as the descriptor that it is of wants it, or else as the filter. */
function tellsLimits(config: LocalRateLimitConfig, { option }: Limiter): boolean {
  return option === XRateLimitOption.UNSPECIFIED ? config.tellsLimits : option === XRateLimitOption.DRAFT_VERSION_03
}

/** `envoy.filters.http.local_ratelimit`: refuses requests beyond what token buckets give. */
export const localRateLimitFilter: HttpFilterKind = {
  type: 'envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit',
  name: 'envoy.filters.http.local_ratelimit',
  build(message, { proxy }) {
    const config = new LocalRateLimitConfig(message as LocalRateLimit, proxy)
    const filter = new LocalRateLimitFilter(config, new DescriptorSource(proxy))
    return { create: () => filter }
  },
  perRouteType: 'envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit',
  buildPerRoute(message, _runtime, proxy) {
    const config = message as LocalRateLimit
    if (config.tokenBucket === undefined)
      throw new ConfigError(['local rate limit token bucket must be set for per filter configs'])
    return new LocalRateLimitConfig(config, proxy)
  },
}
