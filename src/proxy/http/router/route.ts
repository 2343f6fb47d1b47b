import type { ConnectionInfo } from '../../listener/connection.ts'
import type { StreamInfo } from '../../stream-info.ts'
import type { RoutingPriority } from '../../upstream/cluster.ts'
import type { RequestHead } from '../headers.ts'
import type { RateLimitPolicies } from '../rate-limit/policies.ts'
import type { DirectResponse } from './direct-response.ts'
import type { HashPolicies } from './hash-policy.ts'
import type { HeaderReader } from './header-matcher.ts'
import type { HeaderMutation } from './header-mutation.ts'
import type { InternalRedirectPolicy } from './internal-redirect.ts'
import type { MirrorPolicy } from './mirror-policy.ts'
import type { Redirect } from './redirect.ts'
import type { RetryPolicy } from './retry-policy.ts'
import type { HostRewrite, PathRewrite } from './rewrite.ts'
import type { RouteMatch } from './route-match.ts'
import type { RouteStats } from './route-stats.ts'
import type { ConnectTermination } from './tcp-upstream.ts'
import type { VirtualClusters } from './virtual-cluster.ts'

/** What routing looks at. The exchange is one. */
export interface RouteInput {
  readonly request: RequestHead
  readonly info: StreamInfo
  readonly connection: ConnectionInfo
  /** The stream's random number, unsigned 32 bit, the same however often it is asked for. */
  random(): number
}

/** The config of one filter at one level of the route table. */
export interface PerRouteFilter {
  readonly disabled: boolean
  /** Compiled by the filter's factory; undefined when the level only switches the filter on or off. */
  readonly config: unknown
}

/** Per-filter configs of route, virtual host and so on, most specific first. Keys are filter names of the HTTP connection manager. */
export class FilterConfigs {
  private readonly levels: readonly ReadonlyMap<string, PerRouteFilter>[]
  private readonly merged = new Map<string, PerRouteFilter>()

  constructor(levels: readonly ReadonlyMap<string, PerRouteFilter>[]) {
    this.levels = levels.filter((level) => level.size > 0)
    for (const level of this.levels.toReversed()) for (const [name, entry] of level) this.merged.set(name, entry)
  }

  /** The most specific entry. */
  get(name: string): PerRouteFilter | undefined {
    return this.merged.get(name)
  }

  /** Every level's config, most specific first: for filters that merge them. */
  all(name: string): unknown[] {
    const out: unknown[] = []
    for (const level of this.levels) {
      const config = level.get(name)?.config
      if (config !== undefined) out.push(config)
    }
    return out
  }

  get empty(): boolean {
    return this.merged.size === 0
  }
}

/** Metadata by filter namespace. Istio's and Dinghy's provenance are in it. */
export type RouteMetadata = ReadonlyMap<string, Record<string, unknown>>

/** A compiled virtual host. */
export interface VirtualHost {
  readonly name: string
  readonly metadata: RouteMetadata
  /** 'external' redirects what came in the clear from outside, 'all' everything in the clear. */
  readonly requireTls: 'none' | 'external' | 'all'
  readonly routes: readonly Route[]
  /** Classes of requests that are counted apart; undefined: none. */
  readonly virtualClusters: VirtualClusters | undefined
  /** What its requests are counted as by rate limits. */
  readonly rateLimits: RateLimitPolicies
}

/** Where a route sends requests, and with which policies. Times in ms; 0 is none. */
export interface Forward {
  readonly cluster: string
  readonly clusterHeader: HeaderReader | undefined
  readonly notFoundCode: number
  readonly timeout: number
  readonly maxGrpcTimeout: number | undefined
  readonly grpcTimeoutOffset: number
  /** Route's stream idle timeout; undefined keeps the connection manager's. */
  readonly idleTimeout: number | undefined
  /** Set: the route uses max_stream_duration instead of `timeout`. */
  readonly maxStreamDuration: number | undefined
  readonly grpcTimeoutHeaderMax: number | undefined
  readonly grpcTimeoutHeaderOffset: number
  readonly usesStreamDuration: boolean
  readonly retryPolicy: RetryPolicy
  /** A try that takes too long goes on beside the next one (hedge_policy). */
  readonly hedgeOnTimeout: boolean
  /** Redirects of upstreams that the proxy follows; undefined: none. */
  readonly redirectPolicy: InternalRedirectPolicy | undefined
  readonly pathRewrite: PathRewrite | undefined
  readonly hostRewrite: HostRewrite
  readonly appendForwardedHost: boolean
  readonly priority: RoutingPriority
  readonly hashPolicies: HashPolicies | undefined
  readonly mirrors: readonly MirrorPolicy[]
  /** Upgrade type in lower case to enabled. */
  readonly upgrades: ReadonlyMap<string, boolean>
  /** CONNECT ends at this proxy. */
  readonly connect: ConnectTermination | undefined
  /** Route metadata under `envoy.lb`. */
  readonly metadataMatch: Readonly<Record<string, unknown>> | undefined
  /** Most bytes kept for retries, 0 is none at all; undefined: the listener's limit. */
  readonly bufferLimit: number | undefined
  readonly attemptCountInRequest: boolean
  readonly attemptCountInResponse: boolean
  readonly timeoutRetryHeader: boolean
  /** What its requests are counted as by rate limits. */
  readonly rateLimits: RateLimitPolicies
  /** The virtual host's rate limits count, too. */
  readonly includeVhRateLimits: boolean
}

/** A share of a weighted route. */
export interface WeightedEntry {
  readonly weight: number
  readonly route: Route
}

/** Picks among weighted clusters (source/common/router/weighted_cluster_specifier.cc). */
export class WeightedClusters {
  readonly entries: readonly WeightedEntry[]
  readonly total: number
  private readonly randomHeader: HeaderReader | undefined
  private readonly hashPolicies: HashPolicies | undefined

  /** `hashPolicies`: the route's, where its hash decides (use_hash_policy). */
  constructor(
    entries: readonly WeightedEntry[],
    randomHeader: HeaderReader | undefined,
    hashPolicies: HashPolicies | undefined,
  ) {
    this.entries = entries
    this.total = entries.reduce((sum, e) => sum + e.weight, 0)
    this.randomHeader = randomHeader
    this.hashPolicies = hashPolicies
  }

  pick(input: RouteInput): Route {
    let value = input.random() % this.total
    if (this.randomHeader !== undefined) {
      const given = this.randomHeader.all(input.request)
      if (given.length === 1 && /^\d+$/.test(given[0]!)) value = Number(BigInt(given[0]!) % BigInt(this.total))
    }
    const hash = this.hashPolicies?.compute(input.request, input.connection, input.info).hash
    if (hash !== undefined) value = Number(hash % BigInt(this.total))
    let end = 0
    for (const entry of this.entries) {
      end += entry.weight
      if (value < end) return entry.route
    }
    return this.entries[this.entries.length - 1]!.route
  }

  toString(): string {
    return this.entries.map((e) => `${e.route.forward?.cluster ?? '?'} ${e.weight}/${this.total}`).join(', ')
  }
}

/** One compiled route: exactly one of the actions is set, or none for a non-forwarding route. */
export interface Route {
  readonly name: string
  readonly match: RouteMatch
  readonly virtualHost: VirtualHost
  readonly metadata: RouteMetadata
  readonly filters: FilterConfigs
  /** In the order of application; levels that do nothing are left out. */
  readonly requestMutations: readonly HeaderMutation[]
  readonly responseMutations: readonly HeaderMutation[]
  readonly forward: Forward | undefined
  readonly weighted: WeightedClusters | undefined
  readonly redirect: Redirect | undefined
  readonly direct: DirectResponse | undefined
  /** Counts what goes this way (stat_prefix). */
  readonly stats: RouteStats | undefined
  /** The route or a virtual cluster counts its requests. */
  readonly watched: boolean
  readonly decorator: { readonly operation: string; readonly propagate: boolean } | undefined
}

/** What a route does, in words. */
export function describeAction(route: Route): string {
  if (route.redirect) return String(route.redirect)
  if (route.direct) return String(route.direct)
  if (route.weighted) return `split ${route.weighted}`
  if (route.forward) return `cluster ${route.forward.clusterHeader?.name ?? route.forward.cluster}`
  return 'non-forwarding'
}
