import type { Message } from '@bufbuild/protobuf'
import type { LocalRateLimit } from '#gen/envoy/extensions/filters/listener/local_ratelimit/v3/local_ratelimit_pb.js'
import { ConfigError, type ProxyContext } from '../context.ts'
import { Verdict } from '../filters/local-rate-limit/limiter.ts'
import { connectionLimiter } from '../filters/local-rate-limit/shared-limiters.ts'
import { featureEnabled } from '../runtime-values.ts'
import type { ListenerFilter } from './listener-filters.ts'

/**
 * `envoy.filters.listener.local_ratelimit`: sockets beyond what a token bucket gives are closed before anything is read
 * from them (source/extensions/filters/listener/local_ratelimit/local_ratelimit.cc).
 */
export function listenerLocalRateLimit(message: Message, context: ProxyContext): Omit<ListenerFilter, 'disabled'> {
  const config = message as LocalRateLimit
  if (config.statPrefix === '')
    throw new ConfigError(['LocalRateLimitValidationError.StatPrefix: value length must be at least 1 characters'])
  const limiter = connectionLimiter(config.tokenBucket, '', context)
  const limited = context.stats.counter(`listener_local_ratelimit.${config.statPrefix}.rate_limited`)
  const enabled = featureEnabled(config.runtimeEnabled, context.runtimeValues)
  return {
    onAccept() {
      if (!enabled || limiter.check() === Verdict.ALLOWED) return 'done'
      limited.inc()
      return 'close'
    },
    onData: () => 'done',
  }
}
