import type { RateLimitDescriptor } from '#gen/envoy/extensions/common/ratelimit/v3/ratelimit_pb.js'
import type { RateLimitRequest } from '#gen/envoy/service/ratelimit/v3/rls_pb.js'
import type { Runtime } from '../runtime.ts'
import type { Backend, Hits } from './backend.ts'
import type { LocalCache } from './local-cache.ts'
import type { Rule } from './rule.ts'
import { UNIT_SECOND, unitSeconds } from './units.ts'

/** What came of one descriptor. */
export interface Verdict {
  readonly overLimit: boolean
  readonly remaining: number
  /** Undefined where there is no limit. */
  readonly rule: Rule | undefined
  /** Seconds until the window ends; 0 without a limit. */
  readonly resetS: number
}

/** How to count. */
export interface LimiterOptions {
  readonly backend: Backend
  readonly runtime: Runtime
  readonly localCache: LocalCache | undefined
  /** Past which share of a limit a hit counts as near it. */
  readonly nearLimitRatio: number
  /** Put before every key. */
  readonly keyPrefix: string
  /** Counters are kept up to so many seconds longer than their window, by chance. */
  readonly expirationJitterS: number
  /** Once one of a request's counters is over its limit, the others are not raised. */
  readonly stopIncrementWhenOverLimit: boolean
}

/** A descriptor with its limit, ready to be counted. */
interface Counted {
  readonly rule: Rule
  readonly key: string
  readonly hits: bigint
  /** Hits to give back: the counter goes down. */
  readonly negative: boolean
  readonly windowS: number
  readonly windowEnd: number
  /** The local cache knows it to be over its limit. */
  known: boolean
}

/** Why a request cannot be answered, in the reference's words. */
export class ServiceError extends Error {}

/**
 * Counts the hits of a request in windows of fixed length and judges them. Keys are those of the reference service, so that
 * both can count in one Redis (src/limiter/base_limiter.go, cache_key.go, and src/redis/fixed_cache_impl.go of
 * envoyproxy/ratelimit).
 */
export class Limiter {
  readonly #options: LimiterOptions

  constructor(options: LimiterOptions) {
    this.#options = options
  }

  /** Counts a request's descriptors by their rules. Rejects with a BackendError when they cannot be counted. */
  async judge(request: RateLimitRequest, rules: readonly (Rule | undefined)[]): Promise<Verdict[]> {
    const { localCache, backend } = this.#options
    const now = Math.floor(this.#options.runtime.wallNow() / 1000)
    const all = request.descriptors.map((descriptor, i) => {
      const rule = rules[i]
      return rule && this.#counted(request, descriptor, rule, now)
    })
    const counted = all.filter((one) => one !== undefined)
    // Every descriptor counts as hit, whatever comes of it.
    for (const { rule, hits, negative } of counted) if (!negative) rule.stats.totalHits.add(hits)
    let anyOver = false
    for (const one of counted) {
      one.known = localCache?.has(one.key) ?? false
      anyOver ||= one.known
    }
    const raise = await this.#raise(counted, anyOver)
    const open = counted.filter((one) => !one.known)
    const hits = open.map((one) => this.#hitsOf(one, raise(one)))
    const values = hits.length > 0 ? await backend.add(hits) : []
    await this.#refill(hits, values)
    const after = new Map(open.map((one, i) => [one, values[i]! < 0n ? 0n : values[i]!]))
    return all.map((one) => (one ? this.#verdict(one, after.get(one) ?? 0n) : UNLIMITED))
  }

  #counted(request: RateLimitRequest, descriptor: RateLimitDescriptor, rule: Rule, now: number): Counted {
    const unitS = unitSeconds(rule.unit)
    if (unitS === undefined) throw new ServiceError('the limit that the request brings along has no unit')
    const windowS = unitS * rule.unitMultiplier
    const start = Math.floor(now / windowS) * windowS
    let key = `${this.#options.keyPrefix}${request.domain}_`
    for (const [i, entry] of descriptor.entries.entries()) {
      key += `${entry.key}_${rule.sharedPatterns?.[i] || entry.value}_`
    }
    return {
      rule,
      key: key + start,
      hits: descriptor.hitsAddend ?? BigInt(Math.max(1, request.hitsAddend)),
      negative: descriptor.isNegativeHits,
      windowS,
      windowEnd: start + windowS,
      known: false,
    }
  }

  /** Gives back no more than was there: a counter that a refund has brought below 0 is raised by what was too much. */
  async #refill(hits: readonly Hits[], values: readonly bigint[]): Promise<void> {
    const tooLow = hits.flatMap((hit, i) => {
      const value = values[i]!
      if (hit.hits >= 0n || value >= 0n) return []
      return [{ ...hit, hits: value < hit.hits ? -hit.hits : -value }]
    })
    if (tooLow.length > 0) await this.#options.backend.add(tooLow)
  }

  /** Which counters a request raises. */
  async #raise(counted: readonly Counted[], anyOver: boolean): Promise<(one: Counted) => boolean> {
    if (!this.#options.stopIncrementWhenOverLimit) return () => true
    if (anyOver) return () => false
    if (counted.length === 0) return () => true
    const values = await this.#options.backend.read(counted.map((one) => this.#hitsOf(one, false)))
    const full = counted.filter(({ hits, rule }, i) => values[i]! + hits > BigInt(rule.requestsPerUnit))
    return full.length === 0 ? () => true : (one) => full.includes(one)
  }

  #hitsOf({ key, hits, negative, windowEnd, windowS, rule }: Counted, raised: boolean): Hits {
    const { expirationJitterS, runtime } = this.#options
    const jitter = expirationJitterS > 0 ? Math.floor(runtime.random() * expirationJitterS) : 0
    const perSecond = rule.unit === UNIT_SECOND && rule.unitMultiplier === 1
    const amount = negative ? -hits : hits
    return { key, hits: raised ? amount : 0n, windowEnd, ttl: windowS + jitter, perSecond }
  }

  #verdict(one: Counted, after: bigint): Verdict {
    const { localCache, nearLimitRatio, runtime } = this.#options
    const { rule, hits, windowS } = one
    const { stats } = rule
    const limit = BigInt(rule.requestsPerUnit)
    const near = BigInt(Math.floor(Math.fround(Math.fround(rule.requestsPerUnit) * Math.fround(nearLimitRatio))))
    const before = one.negative ? after : BigInt.asUintN(64, after - hits)
    const overLimit = one.known || after > limit
    // Of the hits of a request some may have been within the limit, and some near it.
    const over = one.known || before >= limit ? hits : after - limit
    if (one.known) {
      stats.overLimit.add(hits)
      stats.overLimitWithLocalCache.add(hits)
    } else if (overLimit) {
      stats.overLimit.add(over)
      if (before < limit) stats.nearLimit.add(limit - (near > before ? near : before))
      localCache?.add(one.key, windowS)
    } else if (!one.negative) {
      if (after > near) stats.nearLimit.add(before >= near ? hits : after - near)
      stats.withinLimit.add(hits)
    }
    if (overLimit && rule.shadowMode) stats.shadowMode.add(over)
    // The answer may take a while: the end of the window is told as it is by then.
    const now = Math.floor(runtime.wallNow() / 1000)
    return {
      overLimit: overLimit && !rule.shadowMode,
      remaining: overLimit ? 0 : Number(limit - after),
      rule,
      resetS: windowS - (now % windowS),
    }
  }
}

const UNLIMITED: Verdict = { overLimit: false, remaining: 0, rule: undefined, resetS: 0 }
