import type { TokenBucket as TokenBucketProto } from '#gen/envoy/type/v3/token_bucket_pb.js'
import type { Runtime } from '../../../runtime.ts'
import { productAtLeast } from './exact.ts'

/** The slowest a bucket fills: one token in a year, ms (source/common/common/token_bucket_impl.cc kMinFillRate). */
const LONGEST_INTERVAL = 365 * 24 * 3600 * 1000

/** What a bucket is made of. Fills with `tokens` every `interval` ms, continuously. All are whole numbers. */
export interface BucketConfig {
  readonly max: number
  readonly tokens: number
  /** ms. */
  readonly interval: number
}

/** Reads the message: tokens_per_fill is 1 by default, and intervals are cut to whole ms. */
export function bucketConfig(config: TokenBucketProto): BucketConfig {
  const { seconds = 0n, nanos = 0 } = config.fillInterval ?? {}
  return {
    max: config.maxTokens,
    tokens: config.tokensPerFill ?? 1,
    interval: Number(seconds) * 1000 + Math.trunc(nanos / 1e6),
  }
}

/**
 * A token bucket that fills continuously (AtomicTokenBucketImpl, RateLimitTokenBucket of
 * source/extensions/filters/common/local_ratelimit). Starts full. It remembers when it was last seen full, and how many
 * tokens were taken since: nothing is added up, so that nothing is lost or won by rounding, however long it is in use.
 * What is taken since it was full at `t` is never more than `max + tokens × (now − t) / interval`.
 */
export class TokenBucket {
  readonly max: number
  /** Tokens per ms; what buckets are sorted by. */
  readonly rate: number
  /** A refusal is counted, and lets the request through (LocalRateLimitDescriptor.shadow_mode). */
  readonly shadow: boolean
  private readonly tokens: number
  private readonly interval: number
  private readonly runtime: Runtime
  private fullAt: number
  private taken = 0

  constructor(config: BucketConfig, runtime: Runtime, shadow = false) {
    const slow = config.tokens * LONGEST_INTERVAL < config.interval
    this.max = config.max
    this.tokens = slow ? 1 : config.tokens
    this.interval = slow ? LONGEST_INTERVAL : config.interval
    this.rate = this.tokens / this.interval
    this.shadow = shadow
    this.runtime = runtime
    this.fullAt = runtime.now()
  }

  /** Takes `count` tokens, or none when there are fewer. Taking none is refused, as Envoy does. */
  take(count = 1): boolean {
    if (count > this.max) return false
    const now = this.runtime.now()
    this.settle(now)
    if (count === 0 || !this.flowed(now, this.taken + count - this.max)) return false
    this.taken += count
    return true
  }

  /** Puts tokens back, as far as there is room. */
  giveBack(count: number): void {
    const now = this.runtime.now()
    this.settle(now)
    this.taken -= count
    this.settle(now)
  }

  /** Whole tokens that are left. */
  get remaining(): number {
    if (this.max === 0) return 0 // its interval may be 0, and its rate without end
    const now = this.runtime.now()
    this.settle(now)
    const guess = Math.floor(this.max - this.taken + (now - this.fullAt) * this.rate)
    if (this.flowed(now, this.taken + guess + 1 - this.max)) return guess + 1
    return this.flowed(now, this.taken + guess - this.max) ? guess : guess - 1
  }

  /** Seconds until there is a token, rounded up; 0 when there is one. */
  get secondsToNext(): number {
    const now = this.runtime.now()
    this.settle(now)
    const missing = this.taken + 1 - this.max
    if (this.flowed(now, missing)) return 0
    // Envoy counts the time in whole ms.
    const ms = Math.floor((missing * this.interval) / this.tokens - (now - this.fullAt))
    return Math.ceil(ms / 1000)
  }

  /** Whether so many tokens have flowed in since the bucket was full. */
  private flowed(now: number, count: number): boolean {
    return count <= 0 || productAtLeast(this.tokens, now - this.fullAt, count, this.interval)
  }

  /** A bucket that is full again saves nothing up. */
  private settle(now: number): void {
    if (!this.flowed(now, this.taken)) return
    this.fullAt = now
    this.taken = 0
  }
}
