import type {
  RetryPolicy as RetryPolicyProto,
  RouteAction,
  Route as RouteProto,
  VirtualHost as VirtualHostProto,
} from '#gen/envoy/config/route/v3/route_components_pb.js'
import type { RouteConfiguration } from '#gen/envoy/config/route/v3/route_pb.js'
import { make } from '../../../xds/messages.ts'
import { durationMs, type Problems } from '../config.ts'
import type { RateLimitContext } from '../rate-limit/context.ts'
import { compileRateLimits } from '../rate-limit/policies.ts'
import { HashPolicies } from './hash-policy.ts'
import { HeaderReader } from './header-matcher.ts'
import { InternalRedirectPolicy } from './internal-redirect.ts'
import { MirrorPolicy } from './mirror-policy.ts'
import type { PathMatcher } from './path-matcher.ts'
import { RetryPolicy } from './retry-policy.ts'
import { HostRewrite, PathRewrite } from './rewrite.ts'
import type { Forward } from './route.ts'
import type { ConnectTermination } from './tcp-upstream.ts'

const DEFAULT_TIMEOUT = 15_000
const NOT_FOUND_CODES = [503, 404, 500]

const KNOWN = new Set([
  'cluster',
  'clusterHeader',
  'weightedClusters',
  'clusterNotFoundResponseCode',
  'metadataMatch',
  'prefixRewrite',
  'regexRewrite',
  'pathRewritePolicy',
  'hostRewriteLiteral',
  'autoHostRewrite',
  'hostRewriteHeader',
  'hostRewritePathRegex',
  'appendXForwardedHost',
  'timeout',
  'idleTimeout',
  'retryPolicy',
  'requestMirrorPolicies',
  'priority',
  'hashPolicy',
  'maxGrpcTimeout',
  'grpcTimeoutOffset',
  'upgradeConfigs',
  'maxStreamDuration',
  'hedgePolicy',
  'cors',
  'pathRewrite',
  'hostRewrite',
  'flushTimeout',
  'earlyDataPolicy',
  'internalRedirectPolicy',
  'internalRedirectAction',
  'maxInternalRedirects',
  'rateLimits',
  'includeVhRateLimits',
])

/** No retries unless a request's own headers ask for them. */
const noRetries = (): RetryPolicy => new RetryPolicy(make('envoy.config.route.v3.RetryPolicy', {}) as RetryPolicyProto)

/** Compiles what a `route` action says, with what it inherits from virtual host and route configuration. */
export function compileForward(
  action: RouteAction,
  match: PathMatcher,
  route: RouteProto,
  host: VirtualHostProto,
  config: RouteConfiguration,
  problems: Problems,
  path: string,
  limits: RateLimitContext,
): Forward {
  const { runtime } = limits
  problems.refuseUnknown(action, KNOWN, path)
  const spec = action.clusterSpecifier
  if (spec.case === undefined) problems.add(path, 'cluster_specifier: is required')
  const retryConfig = action.retryPolicy ?? host.retryPolicy
  const mirrorConfigs = [action.requestMirrorPolicies, host.requestMirrorPolicies, config.requestMirrorPolicies].find(
    (list) => list.length > 0,
  )
  const mirrors: MirrorPolicy[] = []
  for (const mirror of mirrorConfigs ?? []) {
    const policy = problems.collect(path, () => new MirrorPolicy(mirror, runtime))
    if (policy) mirrors.push(policy)
  }
  const upgrades = new Map<string, boolean>()
  let connect: ConnectTermination | undefined
  for (const upgrade of action.upgradeConfigs) {
    const terminated = upgrade.connectConfig
    if (terminated !== undefined) {
      if (upgrade.upgradeType.toLowerCase() !== 'connect') {
        problems.add(`${path}.upgrade_configs`, `Non-CONNECT upgrade type ${upgrade.upgradeType} has ConnectConfig`)
      }
      if (terminated.proxyProtocolConfig !== undefined) {
        problems.add(`${path}.upgrade_configs.connect_config.proxy_protocol_config`, 'not supported')
      }
      connect = { allowPost: terminated.allowPost }
    }
    if (upgrades.has(upgrade.upgradeType.toLowerCase())) {
      problems.add(`${path}.upgrade_configs`, `Duplicate upgrade ${upgrade.upgradeType}`)
    }
    upgrades.set(upgrade.upgradeType.toLowerCase(), upgrade.enabled ?? true)
  }
  const duration = action.maxStreamDuration
  const lb = action.metadataMatch?.filterMetadata['envoy.lb']
  return {
    cluster: spec.case === 'cluster' ? spec.value : '',
    clusterHeader: spec.case === 'clusterHeader' ? new HeaderReader(spec.value) : undefined,
    notFoundCode: NOT_FOUND_CODES[action.clusterNotFoundResponseCode] ?? 503,
    timeout: durationMs(action.timeout) ?? DEFAULT_TIMEOUT,
    maxGrpcTimeout: durationMs(action.maxGrpcTimeout),
    grpcTimeoutOffset: durationMs(action.grpcTimeoutOffset) ?? 0,
    idleTimeout: durationMs(action.idleTimeout),
    maxStreamDuration: durationMs(duration?.maxStreamDuration),
    grpcTimeoutHeaderMax: durationMs(duration?.grpcTimeoutHeaderMax),
    grpcTimeoutHeaderOffset: durationMs(duration?.grpcTimeoutHeaderOffset) ?? 0,
    usesStreamDuration: duration !== undefined,
    retryPolicy: (retryConfig && problems.collect(path, () => new RetryPolicy(retryConfig))) ?? noRetries(),
    hedgeOnTimeout: (action.hedgePolicy ?? host.hedgePolicy)?.hedgeOnPerTryTimeout ?? false,
    redirectPolicy: problems.collect(path, () => InternalRedirectPolicy.of(action, route.name)),
    pathRewrite: problems.collect(path, () => PathRewrite.of(action, match, runtime)),
    hostRewrite: problems.collect(path, () => new HostRewrite(action, runtime)) as HostRewrite,
    appendForwardedHost: action.appendXForwardedHost,
    priority: action.priority === 1 ? 'high' : 'default',
    hashPolicies:
      action.hashPolicy.length === 0
        ? undefined
        : problems.collect(`${path}.hash_policy`, () => new HashPolicies(action.hashPolicy)),
    mirrors,
    upgrades,
    connect,
    metadataMatch: lb as Readonly<Record<string, unknown>> | undefined,
    bufferLimit: bufferLimit(route, host),
    attemptCountInRequest: host.includeRequestAttemptCount,
    attemptCountInResponse: host.includeAttemptCountInResponse,
    timeoutRetryHeader: host.includeIsTimeoutRetryHeader,
    rateLimits: compileRateLimits(action.rateLimits, 'route', limits, problems, `${path}.rate_limits`),
    includeVhRateLimits: action.includeVhRateLimits ?? false,
  }
}

/** Most body bytes kept for another attempt: the new fields go before the old ones, each with the route's first. */
function bufferLimit(route: RouteProto, host: VirtualHostProto): number | undefined {
  const limit = route.requestBodyBufferLimit ?? host.requestBodyBufferLimit
  return limit !== undefined ? Number(limit) : (route.perRequestBufferLimitBytes ?? host.perRequestBufferLimitBytes)
}
