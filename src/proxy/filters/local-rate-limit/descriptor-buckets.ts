import type { LocalRateLimitDescriptor } from '#gen/envoy/extensions/common/ratelimit/v3/ratelimit_pb.js'
import type { Runtime } from '../../../runtime.ts'
import type { DescriptorEntry } from '../../http/rate-limit/descriptor.ts'
import { toByteString } from '../../observe/format/bytes.ts'
import { type BucketConfig, bucketConfig, TokenBucket } from './token-bucket.ts'

/** The shortest time between two fills, ms. */
export const MIN_INTERVAL = 50

/** A limit of its own for requests whose descriptor is the one named here. */
interface Rule {
  readonly entries: readonly DescriptorEntry[]
  readonly bucket: BucketConfig
  readonly shadow: boolean
  /** An entry without a value: each value that comes along has a bucket of its own. */
  readonly wildcard: boolean
}

/** The `descriptors` of a local rate limit, compiled. */
export type DescriptorRules = readonly Rule[]

/** Reads the messages; what is wrong with them is added to `errors`, in Envoy's words. */
export function descriptorRules(configs: readonly LocalRateLimitDescriptor[], errors: string[]): DescriptorRules {
  const seen = new Set<string>()
  return configs.map((config) => {
    const entries = config.entries.map(({ key, value }) => ({ key: toByteString(key), value: toByteString(value) }))
    const bucket: BucketConfig = config.tokenBucket
      ? bucketConfig(config.tokenBucket)
      : { max: 0, tokens: 1, interval: 0 }
    if (bucket.max !== 0 && bucket.interval < MIN_INTERVAL)
      errors.push('local rate limit descriptor token bucket fill timer must be >= 50ms')
    const id = keyOf(entries)
    if (seen.has(id)) {
      const text = config.entries.map(({ key, value }) => `${key}=${value}`).join(', ')
      errors.push(`duplicate descriptor in the local rate descriptor: ${text}`)
    }
    seen.add(id)
    return { entries, bucket, shadow: config.shadowMode, wildcard: entries.some(({ value }) => value === '') }
  })
}

/** Tells lists of entries apart; their lengths keep what is inside from being taken for a boundary. */
function keyOf(entries: readonly DescriptorEntry[]): string {
  let key = ''
  for (let i = 0; i < entries.length; i++) {
    const entry = entries[i]!
    key += `${entry.key.length}:${entry.key}${entry.value.length}:${entry.value}`
  }
  return key
}

/**
 * The buckets of descriptors (LocalRateLimiterImpl, DynamicDescriptorMap). A request's descriptor has the bucket of the
 * rule with exactly its entries, in their order, or else that of the first rule that matches with a wildcard.
 */
export class DescriptorBuckets {
  private readonly exact = new Map<string, TokenBucket>()
  private readonly dynamic: DynamicBuckets[] = []

  /** `maxDynamic`: how many buckets each rule with a wildcard keeps. */
  constructor(rules: DescriptorRules, maxDynamic: number, runtime: Runtime) {
    for (const rule of rules) {
      if (rule.wildcard) this.dynamic.push(new DynamicBuckets(rule, maxDynamic, runtime))
      else this.exact.set(keyOf(rule.entries), new TokenBucket(rule.bucket, runtime, rule.shadow))
    }
  }

  find(entries: readonly DescriptorEntry[]): TokenBucket | undefined {
    const key = keyOf(entries)
    const exact = this.exact.get(key)
    if (exact !== undefined) return exact
    for (let i = 0; i < this.dynamic.length; i++) {
      const rule = this.dynamic[i]!
      if (rule.matches(entries)) return rule.bucket(key)
    }
    return undefined
  }
}

/** The buckets of a rule with wildcards, made as values come along; the one not used for longest makes room. */
class DynamicBuckets {
  private readonly rule: Rule
  private readonly max: number
  private readonly runtime: Runtime
  /** In the order of their last use. */
  private readonly buckets = new Map<string, TokenBucket>()

  constructor(rule: Rule, max: number, runtime: Runtime) {
    this.rule = rule
    this.max = max
    this.runtime = runtime
  }

  matches(entries: readonly DescriptorEntry[]): boolean {
    const own = this.rule.entries
    if (entries.length !== own.length) return false
    for (let i = 0; i < own.length; i++) {
      const { key, value } = own[i]!
      const entry = entries[i]!
      if (entry.key !== key || (value !== '' && entry.value !== value)) return false
    }
    return true
  }

  bucket(key: string): TokenBucket {
    const known = this.buckets.get(key)
    const bucket = known ?? new TokenBucket(this.rule.bucket, this.runtime, this.rule.shadow)
    if (known !== undefined) this.buckets.delete(key)
    this.buckets.set(key, bucket)
    if (this.buckets.size > this.max) this.buckets.delete(this.buckets.keys().next().value!)
    return bucket
  }
}
