import type { LocalRateLimit } from '#gen/envoy/extensions/filters/http/local_ratelimit/v3/local_rate_limit_pb.js'
import { ConfigError, type ProxyContext } from '../../context.ts'
import { Problems } from '../../http/config.ts'
import { compileRateLimits, type RateLimitPolicies } from '../../http/rate-limit/policies.ts'
import type { Fraction } from '../../http/router/fraction.ts'
import { HeaderMutation } from '../../http/router/header-mutation.ts'
import type { ConnectionInfo } from '../../listener/connection.ts'
import type { Counter, StatsStore } from '../../observe/stats.ts'
import { runtimeFraction } from '../../runtime-values.ts'
import { descriptorRules, MIN_INTERVAL } from './descriptor-buckets.ts'
import { Limiter, type LimiterConfig } from './limiter.ts'
import { type BucketConfig, bucketConfig } from './token-bucket.ts'

const TOO_MANY_REQUESTS = 429
const RESOURCE_EXHAUSTED = 8
const DRAFT_VERSION_03 = 1
const MAX_DYNAMIC_DESCRIPTORS = 20

/** `vh_rate_limits`: whether the rate limits of the virtual host count beside those of the route. */
export const VirtualHostLimits = {
  /** Where the route has none. */
  OVERRIDE: 0,
  INCLUDE: 1,
  IGNORE: 2,
} as const

const KNOWN = new Set([
  'statPrefix',
  'status',
  'tokenBucket',
  'filterEnabled',
  'filterEnforced',
  'requestHeadersToAddWhenNotEnforced',
  'responseHeadersToAdd',
  'descriptors',
  'stage',
  'localRateLimitPerDownstreamConnection',
  'localClusterRateLimit',
  'enableXRatelimitHeaders',
  'vhRateLimits',
  'alwaysConsumeDefaultTokenBucket',
  'rateLimitedAsResourceExhausted',
  'rateLimits',
  'maxDynamicDescriptors',
  'enableRetryAfterHeader',
])

/** Counters `<stat_prefix>.http_local_rate_limit.*`. */
class RateLimitStats {
  readonly enabled: Counter
  readonly ok: Counter
  readonly limited: Counter
  readonly enforced: Counter
  readonly shadowed: Counter

  constructor(stats: StatsStore, prefix: string) {
    const counter = (name: string): Counter => stats.counter(`${prefix}.http_local_rate_limit.${name}`)
    this.enabled = counter('enabled')
    this.ok = counter('ok')
    this.limited = counter('rate_limited')
    this.enforced = counter('enforced')
    this.shadowed = counter('shadow_mode')
  }
}

/**
 * The limiters of connections. Whatever filter or route asks first, a connection has one: its limits count for all of
 * them (PerConnectionRateLimiter has one key in the connection's filter state).
 */
const ofConnection = new WeakMap<ConnectionInfo, Limiter>()

/** A compiled LocalRateLimit, of the filter or of a route, with its buckets (source/extensions/filters/http/local_ratelimit). */
export class LocalRateLimitConfig {
  readonly stats: RateLimitStats
  readonly status: number
  /** Undefined: what goes with the status. */
  readonly grpcStatus: number | undefined
  readonly enabled: Fraction
  readonly enforced: Fraction
  readonly unenforcedHeaders: HeaderMutation
  readonly limitedHeaders: HeaderMutation
  /** `x-ratelimit-*` on answers. */
  readonly tellsLimits: boolean
  /** `retry-after` on refusals. */
  readonly tellsRetry: boolean
  /** There are limits for descriptors. */
  readonly describes: boolean
  /** What descriptors are made from; empty: from the rate limits of route and virtual host. */
  readonly rateLimits: RateLimitPolicies
  /** Which rate limits of route and virtual host count. */
  readonly stage: number
  readonly virtualHostLimits: number
  private readonly limiterConfig: LimiterConfig
  private readonly context: ProxyContext
  private readonly shared: Limiter | undefined

  /** Throws ConfigError. */
  constructor(config: LocalRateLimit, context: ProxyContext) {
    const problems = new Problems()
    const { runtime, runtimeValues: values } = context
    problems.refuseUnknown(config, KNOWN, 'local_ratelimit')
    this.context = context
    this.stats = new RateLimitStats(context.stats, config.statPrefix)
    const status = config.status?.code ?? 0
    this.status = status >= 400 ? status : TOO_MANY_REQUESTS
    this.grpcStatus = config.rateLimitedAsResourceExhausted ? RESOURCE_EXHAUSTED : undefined
    this.enabled = runtimeFraction(config.filterEnabled, 0, values)
    this.enforced = runtimeFraction(config.filterEnforced, 0, values)
    const mutation = (options: LocalRateLimit['responseHeadersToAdd'], path: string) =>
      problems.collect(path, () => new HeaderMutation(options, [], runtime)) ?? new HeaderMutation([], [], runtime)
    this.unenforcedHeaders = mutation(
      config.requestHeadersToAddWhenNotEnforced,
      'request_headers_to_add_when_not_enforced',
    )
    this.limitedHeaders = mutation(config.responseHeadersToAdd, 'response_headers_to_add')
    this.tellsLimits = config.enableXRatelimitHeaders === DRAFT_VERSION_03
    this.tellsRetry = config.enableRetryAfterHeader && this.status === TOO_MANY_REQUESTS
    this.describes = config.descriptors.length > 0
    this.rateLimits = compileRateLimits(config.rateLimits, 'local', { runtime, values }, problems, 'rate_limits')
    this.stage = config.stage
    this.virtualHostLimits = config.vhRateLimits
    this.limiterConfig = {
      bucket: problems.collect('', () => defaultBucket(config)),
      rules: problems.collect('', () => rulesOf(config)) ?? [],
      maxDynamic: config.maxDynamicDescriptors ?? MAX_DYNAMIC_DESCRIPTORS,
      alwaysDefault: config.alwaysConsumeDefaultTokenBucket ?? true,
      share: problems.collect('', () => shareOf(config, context)),
    }
    problems.throwIfAny()
    if (!config.localRateLimitPerDownstreamConnection) this.shared = new Limiter(this.limiterConfig, runtime)
  }

  /** What decides on a connection's requests. */
  limiterFor(connection: ConnectionInfo): Limiter {
    if (this.shared !== undefined) return this.shared
    let own = ofConnection.get(connection)
    if (own === undefined) {
      own = new Limiter(this.limiterConfig, this.context.runtime)
      ofConnection.set(connection, own)
    }
    return own
  }
}

function defaultBucket({ tokenBucket }: LocalRateLimit): BucketConfig | undefined {
  if (tokenBucket === undefined) return undefined
  const bucket = bucketConfig(tokenBucket)
  if (bucket.max !== 0 && bucket.interval < MIN_INTERVAL)
    throw new ConfigError(['local rate limit token bucket fill timer must be >= 50ms'])
  return bucket
}

function rulesOf(config: LocalRateLimit): LimiterConfig['rules'] {
  const errors: string[] = []
  const rules = descriptorRules(config.descriptors, errors)
  if (errors.length > 0) throw new ConfigError(errors)
  return rules
}

/** The members of the local cluster share the limit (ShareProviderManager, DefaultEvenShareMonitor). */
function shareOf(config: LocalRateLimit, context: ProxyContext): (() => number) | undefined {
  if (config.localClusterRateLimit === undefined) return undefined
  const refusal = 'local_cluster_rate_limit is set'
  if (config.localRateLimitPerDownstreamConnection)
    throw new ConfigError([`${refusal} and local_rate_limit_per_downstream_connection is set to true`])
  const { localClusterName, clusters, stats } = context
  if (localClusterName === undefined) throw new ConfigError([`${refusal} but no local cluster name is present`])
  const cluster = clusters.get(localClusterName)
  if (!(clusters.has?.(localClusterName) ?? cluster !== undefined))
    throw new ConfigError([`${refusal} but no local cluster is present`])
  const members = stats.gauge(`cluster.${cluster?.observabilityName ?? localClusterName}.membership_total`)
  return () => 1 / Math.max(1, members.value)
}
