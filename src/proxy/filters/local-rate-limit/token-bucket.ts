import type { TokenBucket as TokenBucketProto } from '#gen/envoy/type/v3/token_bucket_pb.js'
import type { Runtime } from '../../../runtime.ts'
import { ConfigError } from '../../context.ts'
import { durationMs } from '../../http/config.ts'

/** The shortest time between two fills, ms. */
const MIN_INTERVAL = 50

/** What rounding may take from a token. It is never given away: what is taken too early is owed. */
const SLACK = 1e-6

/**
 * A token bucket that fills continuously (source/common/common/token_bucket_impl.h AtomicTokenBucketImpl): it holds no count,
 * but the time at which it was empty, so that no more than `maxTokens + rate × time` can ever be taken. Starts full.
 */
export class TokenBucket {
  readonly maxTokens: number
  /** Tokens per ms. */
  readonly rate: number
  private readonly runtime: Runtime
  private emptyAt: number

  constructor(maxTokens: number, rate: number, runtime: Runtime) {
    this.maxTokens = maxTokens
    this.rate = rate
    this.runtime = runtime
    this.emptyAt = runtime.now() - maxTokens / rate
  }

  /** Tokens that are there now, with fractions. */
  private get tokens(): number {
    return Math.min(this.maxTokens, (this.runtime.now() - this.emptyAt) * this.rate)
  }

  /** Takes `count` tokens, or none when there are fewer. */
  take(count = 1): boolean {
    const { tokens } = this
    if (tokens + SLACK < count) return false
    this.emptyAt = this.runtime.now() - (tokens - count) / this.rate
    return true
  }

  /** Whole tokens that are left. */
  get remaining(): number {
    return Math.floor(this.tokens + SLACK)
  }

  /** Seconds until there is a token, rounded up; 0 when there is one. */
  get secondsToNext(): number {
    const { tokens } = this
    return tokens + SLACK >= 1 ? 0 : Math.ceil((1 - tokens) / this.rate / 1000)
  }
}

/** What a bucket is made of; undefined for a message that asks for none. */
export interface BucketConfig {
  readonly maxTokens: number
  /** Tokens per ms. */
  readonly rate: number
}

/** Reads the message. Throws ConfigError. */
export function bucketConfig(config: TokenBucketProto): BucketConfig {
  const interval = durationMs(config.fillInterval) ?? 0
  const errors: string[] = []
  if (config.maxTokens === 0) errors.push('token_bucket.max_tokens: value must be greater than 0')
  if (interval < MIN_INTERVAL) errors.push('local rate limit token bucket fill timer must be >= 50ms')
  if (errors.length > 0) throw new ConfigError(errors)
  return { maxTokens: config.maxTokens, rate: (config.tokensPerFill ?? 1) / interval }
}
