import type { Runtime } from '../../../runtime.ts'
import { type Descriptor, XRateLimitOption } from '../../http/rate-limit/descriptor.ts'
import { DescriptorBuckets, type DescriptorRules } from './descriptor-buckets.ts'
import { type BucketConfig, TokenBucket } from './token-bucket.ts'

/** What limiters of one config are made of. */
export interface LimiterConfig {
  /** Undefined: only descriptors limit. With `max` 0 it refuses everything. */
  readonly bucket: BucketConfig | undefined
  readonly rules: DescriptorRules
  readonly maxDynamic: number
  /** Requests that a descriptor counts take from the default bucket as well. */
  readonly alwaysDefault: boolean
  /** This proxy's part of a limit that several share: what a hit takes is divided by it. Undefined: all of it. */
  readonly share: (() => number) | undefined
}

/** What becomes of a request. SHADOWED: it is beyond the limit of a descriptor that only counts. */
export const Verdict = { ALLOWED: 0, REFUSED: 1, SHADOWED: 2 } as const
export type Verdict = (typeof Verdict)[keyof typeof Verdict]

interface Match {
  readonly bucket: TokenBucket
  readonly descriptor: Descriptor
}

/** Decides on requests by their descriptors (LocalRateLimiterImpl of source/extensions/filters/common/local_ratelimit). */
export class Limiter {
  private readonly config: LimiterConfig
  private readonly default: TokenBucket | undefined
  private readonly refusesAll: boolean
  private readonly descriptors: DescriptorBuckets | undefined
  /** The bucket that the last decision is told by, and whether its descriptor wants it told. */
  bucket: TokenBucket | undefined
  option: XRateLimitOption = XRateLimitOption.UNSPECIFIED

  constructor(config: LimiterConfig, runtime: Runtime) {
    this.config = config
    const { bucket, rules } = config
    this.refusesAll = bucket?.max === 0
    this.default = bucket === undefined || this.refusesAll ? undefined : new TokenBucket(bucket, runtime)
    this.descriptors = rules.length === 0 ? undefined : new DescriptorBuckets(rules, config.maxDynamic, runtime)
  }

  /** Takes what the request costs, for one without descriptors. */
  check(): Verdict {
    this.option = XRateLimitOption.UNSPECIFIED
    this.bucket = this.default
    if (this.default === undefined) return this.refusesAll ? Verdict.REFUSED : Verdict.ALLOWED
    return this.default.take(1 / (this.config.share?.() ?? 1)) ? Verdict.ALLOWED : Verdict.REFUSED
  }

  /**
   * Takes what the request costs from the bucket of each descriptor, the one that fills slowest first, and from the
   * default one. Tokens that were taken before a bucket refused are gone.
   */
  checkDescriptors(descriptors: readonly Descriptor[]): Verdict {
    const matches = this.matches(descriptors)
    if (matches.length === 0) return this.check()
    const share = this.config.share?.() ?? 1
    let shadowed: Match | undefined
    for (let i = 0; i < matches.length; i++) {
      const match = matches[i]!
      const { bucket, descriptor } = match
      if (descriptor.negativeHits && descriptor.hitsAddend !== undefined) bucket.giveBack(descriptor.hitsAddend)
      else if (!bucket.take((descriptor.hitsAddend ?? 1) / share)) {
        if (!bucket.shadow) return this.tell(match, Verdict.REFUSED)
        shadowed ??= match
      }
    }
    if (this.config.alwaysDefault && this.check() === Verdict.REFUSED) return Verdict.REFUSED
    return shadowed === undefined ? this.tell(matches[0]!, Verdict.ALLOWED) : this.tell(shadowed, Verdict.SHADOWED)
  }

  private matches(descriptors: readonly Descriptor[]): Match[] {
    const out: Match[] = []
    if (this.descriptors === undefined) return out
    for (const descriptor of descriptors) {
      const bucket = this.descriptors.find(descriptor.entries)
      if (bucket !== undefined) out.push({ bucket, descriptor })
    }
    return out.length > 1 ? out.sort((a, b) => a.bucket.rate - b.bucket.rate) : out
  }

  private tell(match: Match, verdict: Verdict): Verdict {
    this.bucket = match.bucket
    this.option = match.descriptor.xRateLimitOption
    return verdict
  }
}
