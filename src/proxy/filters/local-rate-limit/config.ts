import type { LocalRateLimit } from '#gen/envoy/extensions/filters/http/local_ratelimit/v3/local_rate_limit_pb.js'
import type { Runtime } from '../../../runtime.ts'
import { Problems } from '../../http/config.ts'
import { Fraction } from '../../http/router/fraction.ts'
import { HeaderMutation } from '../../http/router/header-mutation.ts'
import type { ConnectionInfo } from '../../listener/connection.ts'
import { type BucketConfig, bucketConfig, TokenBucket } from './token-bucket.ts'

const TOO_MANY_REQUESTS = 429
const RESOURCE_EXHAUSTED = 8
const UNAVAILABLE = 14
const DRAFT_VERSION_03 = 1

const KNOWN = new Set([
  'statPrefix',
  'status',
  'tokenBucket',
  'filterEnabled',
  'filterEnforced',
  'requestHeadersToAddWhenNotEnforced',
  'responseHeadersToAdd',
  'localRateLimitPerDownstreamConnection',
  'enableXRatelimitHeaders',
  'rateLimitedAsResourceExhausted',
  // About descriptors, which are refused: without any these change nothing.
  'stage',
  'vhRateLimits',
  'alwaysConsumeDefaultTokenBucket',
  'maxDynamicDescriptors',
])

/** A compiled LocalRateLimit, of the filter or of a route, with its bucket (source/extensions/filters/http/local_ratelimit). */
export class LocalRateLimitConfig {
  readonly statPrefix: string
  readonly status: number
  readonly grpcStatus: number
  readonly enabled: Fraction
  readonly enforced: Fraction
  readonly unenforcedHeaders: HeaderMutation
  readonly limitedHeaders: HeaderMutation
  /** `x-ratelimit-*` on answers. */
  readonly tellsLimits: boolean
  private readonly bucketConfig: BucketConfig | undefined
  private readonly runtime: Runtime
  private readonly shared: TokenBucket | undefined
  private readonly perConnection: WeakMap<ConnectionInfo, TokenBucket> | undefined

  /** Throws ConfigError. */
  constructor(config: LocalRateLimit, runtime: Runtime) {
    const problems = new Problems()
    problems.refuseUnknown(config, KNOWN, 'local_ratelimit')
    this.statPrefix = config.statPrefix
    const status = config.status?.code ?? 0
    this.status = status >= 400 ? status : TOO_MANY_REQUESTS
    this.grpcStatus = config.rateLimitedAsResourceExhausted ? RESOURCE_EXHAUSTED : UNAVAILABLE
    this.enabled = Fraction.ofRuntime(config.filterEnabled, 0)
    this.enforced = Fraction.ofRuntime(config.filterEnforced, 0)
    const mutation = (options: LocalRateLimit['responseHeadersToAdd'], path: string) =>
      problems.collect(path, () => new HeaderMutation(options, [], runtime)) ?? new HeaderMutation([], [], runtime)
    this.unenforcedHeaders = mutation(
      config.requestHeadersToAddWhenNotEnforced,
      'request_headers_to_add_when_not_enforced',
    )
    this.limitedHeaders = mutation(config.responseHeadersToAdd, 'response_headers_to_add')
    this.tellsLimits = config.enableXRatelimitHeaders === DRAFT_VERSION_03
    this.runtime = runtime
    const bucket = config.tokenBucket
    this.bucketConfig = bucket && problems.collect('', () => bucketConfig(bucket))
    if (config.localRateLimitPerDownstreamConnection) this.perConnection = new WeakMap()
    else this.shared = this.newBucket()
    problems.throwIfAny()
  }

  /** The bucket that a connection's requests take from; undefined without a limit. */
  bucketFor(connection: ConnectionInfo): TokenBucket | undefined {
    if (this.perConnection === undefined) return this.shared
    let own = this.perConnection.get(connection)
    if (own === undefined) {
      own = this.newBucket()
      if (own !== undefined) this.perConnection.set(connection, own)
    }
    return own
  }

  private newBucket(): TokenBucket | undefined {
    return this.bucketConfig && new TokenBucket(this.bucketConfig.maxTokens, this.bucketConfig.rate, this.runtime)
  }
}
