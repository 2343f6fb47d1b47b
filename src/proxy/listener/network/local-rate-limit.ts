import type { Message } from '@bufbuild/protobuf'
import type { LocalRateLimit } from '#gen/envoy/extensions/filters/network/local_ratelimit/v3/local_rate_limit_pb.js'
import { ConfigError, type ListenerContext, type ProxyContext } from '../../context.ts'
import { Verdict } from '../../filters/local-rate-limit/limiter.ts'
import { connectionLimiter } from '../../filters/local-rate-limit/shared-limiters.ts'
import { featureEnabled } from '../../runtime-values.ts'
import type { ReadFilter, ReadFilterMaker } from '../read-filters.ts'

/**
 * `envoy.filters.network.local_ratelimit`: connections beyond what a token bucket gives are closed at once
 * (source/extensions/filters/network/local_ratelimit/local_ratelimit.cc).
 */
export function networkLocalRateLimit(
  message: Message,
  context: ProxyContext,
  _listener: ListenerContext,
): ReadFilterMaker {
  const config = message as LocalRateLimit
  if (config.statPrefix === '')
    throw new ConfigError(['LocalRateLimitValidationError.StatPrefix: value length must be at least 1 characters'])
  const limiter = connectionLimiter(config.tokenBucket, config.shareKey, context)
  const limited = context.stats.counter(`local_rate_limit.${config.statPrefix}.rate_limited`)
  if (!featureEnabled(config.runtimeEnabled, context.runtimeValues)) return () => PASS
  return ({ transport, info }): ReadFilter => ({
    onNewConnection() {
      if (limiter.check() === Verdict.ALLOWED) return 'continue'
      limited.inc()
      // Envoy's own flag for it.
      info.flags.push('URX')
      const facts: { localCloseReason?: string; detectedCloseType?: string } = transport.info
      facts.localCloseReason = 'local_ratelimit_close_over_limit'
      facts.detectedCloseType = 'Normal'
      // The kernel resets a connection that is closed with bytes unread; those that an inspector has seen are.
      transport.destroy(transport.hasUnread)
      return 'stop'
    },
    onData: () => 'continue',
  })
}

const PASS: ReadFilter = { onNewConnection: () => 'continue', onData: () => 'continue' }
