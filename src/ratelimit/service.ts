import type { RateLimitRequest, RateLimitResponse } from '#gen/envoy/service/ratelimit/v3/rls_pb.js'
import { type Init, make } from '../xds/messages.ts'
import { BackendError } from './backend.ts'
import type { RateLimits } from './config.ts'
import { findRule } from './find-rule.ts'
import { type Limiter, ServiceError, type Verdict } from './limiter.ts'
import { responseMetadata } from './metadata.ts'
import type { Rule } from './rule.ts'
import type { Stats } from './stats.ts'

/** The names of the headers that tell a client of its limit. */
export interface HeaderNames {
  readonly limit: string
  readonly remaining: string
  readonly reset: string
}

/** How requests are answered. */
export interface ServiceOptions {
  readonly limiter: Limiter
  readonly stats: Stats
  /** Nothing is ever over its limit; what would have been is counted (SHADOW_MODE). */
  readonly shadowMode: boolean
  /** Every rule is a quota: a request is over only when all its quotas are (QUOTA_MODE). */
  readonly quotaMode: boolean
  /** Undefined: no headers. */
  readonly headers: HeaderNames | undefined
  /** Responses carry the request, and the metadata of the rules that passed. */
  readonly dynamicMetadata: boolean
}

type StatusInit = Init<'envoy.service.ratelimit.v3.RateLimitResponse.DescriptorStatus'>

const OK = 1
const OVER_LIMIT = 2
const MAX_UINT32 = 0xffff_ffff

/** The rate-limit service, whatever carries it (src/service/ratelimit.go of envoyproxy/ratelimit). */
export class RateLimitService {
  readonly #options: ServiceOptions
  /** The limits in force; undefined until some have been read without an error. */
  limits: RateLimits | undefined

  constructor(options: ServiceOptions) {
    this.#options = options
  }

  /** Answers a request. Rejects with a ServiceError or a BackendError; both are counted. */
  async shouldRateLimit(request: RateLimitRequest): Promise<RateLimitResponse> {
    const { stats } = this.#options
    try {
      return await this.#answer(request)
    } catch (error) {
      if (error instanceof BackendError) stats.redisError.inc()
      else if (error instanceof ServiceError) stats.serviceError.inc()
      throw error
    }
  }

  async #answer(request: RateLimitRequest): Promise<RateLimitResponse> {
    if (request.domain === '') throw new ServiceError('rate limit domain must not be empty')
    if (request.descriptors.length === 0) throw new ServiceError('rate limit descriptor list must not be empty')
    if (!this.limits) throw new ServiceError('no rate limit configuration loaded')
    const { rules, unlimited } = this.#rules(request, this.limits)
    const verdicts = await this.#options.limiter.judge(request, rules)
    const passed: number[] = []
    let over = 0
    let quotas = 0
    let quotasOver = 0
    for (const [i, verdict] of verdicts.entries()) {
      if (unlimited[i]) continue
      const quota = this.#options.quotaMode || (rules[i]?.quotaMode ?? false)
      if (quota) quotas++
      if (!verdict.overLimit) passed.push(i)
      else if (quota) quotasOver++
      else over++
    }
    const isOver = over > 0 || (quotas > 0 && quotas === quotasOver)
    if (isOver && this.#options.shadowMode) this.#options.stats.globalShadowMode.inc()
    const { dynamicMetadata } = this.#options
    return make('envoy.service.ratelimit.v3.RateLimitResponse', {
      overallCode: isOver && !this.#options.shadowMode ? OVER_LIMIT : OK,
      statuses: verdicts.map((verdict, i) => (unlimited[i] ? UNLIMITED : statusOf(verdict))),
      responseHeadersToAdd: this.#headers(verdicts, rules, unlimited),
      ...(dynamicMetadata ? { dynamicMetadata: responseMetadata(request, passed, rules) } : {}),
    })
  }

  /** The rules to count, and which descriptors have no limit to their hits. */
  #rules(request: RateLimitRequest, limits: RateLimits): { rules: (Rule | undefined)[]; unlimited: boolean[] } {
    const found = request.descriptors.map((d) => findRule(limits, request.domain, d, this.#options.stats))
    const replaced = new Set(found.flatMap((rule) => rule?.replaces ?? []))
    return {
      rules: found.map((rule) =>
        !rule || rule.unlimited || (rule.name !== '' && replaced.has(rule.name)) ? undefined : rule,
      ),
      unlimited: found.map((rule) => rule?.unlimited ?? false),
    }
  }

  /** Tells of the limit that is nearest: of the last that is over, else of that which leaves least. */
  #headers(verdicts: readonly Verdict[], rules: readonly (Rule | undefined)[], unlimited: readonly boolean[]) {
    const { headers, quotaMode } = this.#options
    if (!headers) return []
    let nearest: Verdict | undefined
    let least = MAX_UINT32
    for (const [i, verdict] of verdicts.entries()) {
      if (!verdict.rule || unlimited[i]) continue
      const isOver = verdict.overLimit && !(quotaMode || rules[i]?.quotaMode)
      if (!isOver && verdict.remaining >= least) continue
      nearest = verdict
      least = isOver ? 0 : verdict.remaining
    }
    if (!nearest?.rule) return []
    return [
      { key: headers.limit, value: String(nearest.rule.requestsPerUnit) },
      { key: headers.remaining, value: String(nearest.remaining) },
      { key: headers.reset, value: String(nearest.resetS) },
    ]
  }
}

const UNLIMITED: StatusInit = { code: OK, limitRemaining: MAX_UINT32 }

function statusOf({ overLimit, remaining, rule, resetS }: Verdict): StatusInit {
  const code = overLimit ? OVER_LIMIT : OK
  if (!rule) return { code, limitRemaining: remaining }
  const { requestsPerUnit, unit, unitMultiplier, name } = rule
  const multiplied = unitMultiplier === 1 ? {} : { unitMultiplier }
  return {
    code,
    currentLimit: { requestsPerUnit, unit, name, ...multiplied },
    limitRemaining: remaining,
    durationUntilReset: { seconds: BigInt(resetS) },
  }
}
