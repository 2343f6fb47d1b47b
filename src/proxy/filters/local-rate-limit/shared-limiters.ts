import type { TokenBucket as TokenBucketProto } from '#gen/envoy/type/v3/token_bucket_pb.js'
import { ConfigError, type ProxyContext } from '../../context.ts'
import type { StatsStore } from '../../observe/stats.ts'
import { MIN_INTERVAL } from './descriptor-buckets.ts'
import { Limiter } from './limiter.ts'
import { bucketConfig } from './token-bucket.ts'

/** Limiters of connections that filters share, by proxy; those that no filter has any more are forgotten. */
const shared = new WeakMap<StatsStore, Map<string, WeakRef<Limiter>>>()

/**
 * The limiter of a filter that counts connections. With a `shareKey` it is that of all such filters of the proxy which
 * have the same key and the same bucket (source/extensions/filters/network/local_ratelimit SharedRateLimitSingleton).
 * Throws ConfigError.
 */
export function connectionLimiter(
  bucket: TokenBucketProto | undefined,
  shareKey: string,
  context: ProxyContext,
): Limiter {
  if (bucket === undefined) throw new ConfigError(['LocalRateLimitValidationError.TokenBucket: value is required'])
  const config = bucketConfig(bucket)
  if (config.max !== 0 && config.interval < MIN_INTERVAL)
    throw new ConfigError(['local rate limit token bucket fill timer must be >= 50ms'])
  const make = () =>
    new Limiter({ bucket: config, rules: [], maxDynamic: 0, alwaysDefault: true, share: undefined }, context.runtime)
  if (shareKey === '') return make()
  let limiters = shared.get(context.stats)
  if (limiters === undefined) {
    limiters = new Map()
    shared.set(context.stats, limiters)
  }
  // What is not said and what says the default are two: the messages are compared, not what they mean.
  const { maxTokens, tokensPerFill, fillInterval } = bucket
  const key = [maxTokens, tokensPerFill, fillInterval?.seconds, fillInterval?.nanos, shareKey].join(' ')
  const known = limiters.get(key)?.deref()
  if (known !== undefined) return known
  const limiter = make()
  limiters.set(key, new WeakRef(limiter))
  return limiter
}
