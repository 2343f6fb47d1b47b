import type { RateLimitResponse_DescriptorStatus as DescriptorStatus } from '#gen/envoy/service/ratelimit/v3/rls_pb.js'
import { type Descriptor, XRateLimitOption } from '../../http/rate-limit/descriptor.ts'
import { toByteString } from '../../observe/format/bytes.ts'

/** Seconds of the units of RateLimitResponse.RateLimit.Unit. */
const SECONDS: Readonly<Record<number, number>> = {
  1: 1,
  2: 60,
  3: 3600,
  4: 86_400,
  5: 30 * 86_400,
  6: 365 * 86_400,
  7: 7 * 86_400,
}

/**
 * `x-ratelimit-*` for the statuses of descriptors, which are in the same order
 * (source/extensions/filters/http/ratelimit/ratelimit_headers.cc); `enabled` where a descriptor does not say.
 */
export function rateLimitHeaders(
  descriptors: readonly Descriptor[],
  statuses: readonly DescriptorStatus[],
  enabled: boolean,
): [name: string, value: string][] {
  const told = (i: number): boolean => {
    const option = descriptors[i]?.xRateLimitOption ?? XRateLimitOption.UNSPECIFIED
    return option === XRateLimitOption.UNSPECIFIED ? enabled : option === XRateLimitOption.DRAFT_VERSION_03
  }
  let tightest = -1
  statuses.forEach(({ currentLimit, limitRemaining }, i) => {
    if (currentLimit === undefined) return
    if (tightest < 0 || limitRemaining < statuses[tightest]!.limitRemaining) tightest = i
  })
  const least = statuses[tightest]
  if (least === undefined || !told(tightest)) return []
  let limits = String(least.currentLimit!.requestsPerUnit)
  statuses.forEach(({ currentLimit: limit }, i) => {
    const window = SECONDS[(limit?.unit as number | undefined) ?? 0] ?? 0
    if (limit === undefined || window === 0 || !told(i)) return
    limits += `, ${limit.requestsPerUnit};w=${window * (limit.unitMultiplier ?? 1)}`
    if (limit.name !== '') limits += `;name="${toByteString(limit.name)}"`
  })
  return [
    ['x-ratelimit-limit', limits],
    ['x-ratelimit-remaining', String(least.limitRemaining)],
    ['x-ratelimit-reset', String(least.durationUntilReset?.seconds ?? 0n)],
  ]
}

/** RateLimitResponse.Code */
const OVER_LIMIT = 2

/** Seconds until the last of the limits that are exceeded has room again, at least 1; undefined: none is. */
export function retryAfter(statuses: readonly DescriptorStatus[]): number | undefined {
  const over = statuses.filter(({ code }) => (code as number) === OVER_LIMIT)
  if (over.length === 0) return undefined
  return over.reduce((most, { durationUntilReset: left }) => Math.max(most, Number(left?.seconds ?? 0n)), 1)
}
