import type { RuntimeFractionalPercent } from '#gen/envoy/config/core/v3/base_pb.js'
import type {
  RateLimitPerRoute,
  RateLimit as RateLimitProto,
} from '#gen/envoy/extensions/filters/http/ratelimit/v3/rate_limit_pb.js'
import type { ProxyContext } from '../../context.ts'
import { Problems } from '../../http/config.ts'
import { compileRateLimits, type RateLimitPolicies } from '../../http/rate-limit/policies.ts'
import { Fraction } from '../../http/router/fraction.ts'
import { HeaderMutation } from '../../http/router/header-mutation.ts'
import { type RuntimeValues, runtimeFraction, runtimePercent } from '../../runtime-values.ts'
import { RateLimitService } from './service.ts'

const TOO_MANY_REQUESTS = 429
const INTERNAL_SERVER_ERROR = 500
const RESOURCE_EXHAUSTED = 8
const DRAFT_VERSION_03 = 1

/** A compiled RateLimit of the filter (source/extensions/filters/http/ratelimit/ratelimit.h FilterConfig). */
export class RateLimitSettings {
  readonly domain: string
  readonly stage: number
  readonly requestType: 'internal' | 'external' | 'both'
  readonly service: RateLimitService
  readonly enabled: Fraction
  readonly enforced: Fraction
  /** Of the requests about which the service cannot be asked, so many are refused. */
  readonly failureDenied: Fraction
  readonly limitedStatus: number
  /** Of gRPC requests that are refused; undefined: as the status maps. */
  readonly limitedGrpcStatus: number | undefined
  readonly errorStatus: number
  readonly limitedHeaders: HeaderMutation
  /** `x-ratelimit-*` on answers, unless descriptors say otherwise. */
  readonly tellsLimits: boolean
  /** `x-envoy-ratelimited` on answers to what is over its limit. */
  readonly tellsLimited: boolean
  readonly tellsRetryAfter: boolean
  /** `ratelimit.` and the filter's own prefix, of counters of the clusters that requests are for. */
  readonly statPrefix: string
  readonly metadataNamespace: string
  /** Go before those of routes and virtual hosts where there are any. */
  readonly rateLimits: RateLimitPolicies

  /** Throws ConfigError. */
  constructor(config: RateLimitProto, context: ProxyContext) {
    const { runtime, runtimeValues: values } = context
    const problems = new Problems()
    this.domain = config.domain
    this.stage = config.stage
    this.requestType = (config.requestType || 'both') as 'internal' | 'external' | 'both'
    this.service = problems.collect(
      '',
      () => new RateLimitService(config.rateLimitService, config.timeout, context),
    ) as RateLimitService
    this.enabled = shareOf(config.filterEnabled, 'ratelimit.http_filter_enabled', values)
    this.enforced = shareOf(config.filterEnforced, 'ratelimit.http_filter_enforcing', values)
    const denied = config.failureModeDenyPercent
    this.failureDenied = denied ? runtimeFraction(denied, 100, values) : new Fraction(config.failureModeDeny ? 1 : 0, 1)
    const limited = config.rateLimitedStatus?.code ?? 0
    this.limitedStatus = (limited as number) >= 400 ? limited : TOO_MANY_REQUESTS
    this.limitedGrpcStatus = config.rateLimitedAsResourceExhausted ? RESOURCE_EXHAUSTED : undefined
    this.errorStatus = (config.statusOnError?.code as number | undefined) || INTERNAL_SERVER_ERROR
    this.limitedHeaders =
      problems.collect('response_headers_to_add', () => new HeaderMutation(config.responseHeadersToAdd, [], runtime)) ??
      new HeaderMutation([], [], runtime)
    this.tellsLimits = (config.enableXRatelimitHeaders as number) === DRAFT_VERSION_03
    this.tellsLimited = !config.disableXEnvoyRatelimitedHeader
    this.tellsRetryAfter = config.enableRetryAfterHeader
    this.statPrefix = config.statPrefix === '' ? 'ratelimit' : `ratelimit.${config.statPrefix}`
    this.metadataNamespace = config.metadataNamespace || 'envoy.filters.http.ratelimit'
    this.rateLimits = compileRateLimits(config.rateLimits, 'filter', { runtime, values }, problems, 'rate_limits')
    problems.throwIfAny()
  }
}

/** The config's share of requests; without one, the percentage that a runtime layer sets under `key`, or all. */
function shareOf(
  config: RuntimeFractionalPercent | undefined,
  key: string,
  values: RuntimeValues | undefined,
): Fraction {
  return config ? runtimeFraction(config, 100, values) : new Fraction(runtimePercent(key, 100, values), 100)
}

/** What becomes of the virtual host's rate limits on a route (RateLimitPerRoute.VhRateLimitsOptions). */
export const VhRateLimits = { OVERRIDE: 0, INCLUDE: 1, IGNORE: 2 } as const

/** A compiled RateLimitPerRoute. Its `override_option` has no effect in Envoy either. */
export class RouteRateLimit {
  readonly domain: string
  /** Number of VhRateLimits. */
  readonly vhRateLimits: number
  readonly rateLimits: RateLimitPolicies

  /** Throws ConfigError. */
  constructor(config: RateLimitPerRoute, { runtime, runtimeValues: values }: ProxyContext) {
    const problems = new Problems()
    this.domain = config.domain
    this.vhRateLimits = config.vhRateLimits
    this.rateLimits = compileRateLimits(config.rateLimits, 'filter', { runtime, values }, problems, 'rate_limits')
    problems.throwIfAny()
  }
}
