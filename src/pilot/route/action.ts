import type {
  HTTPDirectResponse,
  HTTPRedirect,
  HTTPRoute,
  HTTPRouteDestination,
} from '../../api/kinds/virtual-service.ts'
import type { Init } from '../../xds/messages.ts'
import { duration, ZERO } from '../proto.ts'
import { destinationCluster } from './destination.ts'
import { fraction, wholeFraction } from './filters.ts'
import { destinationHash, hashPolicy } from './hash.ts'
import { type HeaderChanges, headerChanges, joinChanges } from './headers.ts'
import { retryPolicy } from './retry.ts'
import type { RouteOptions } from './translate.ts'

type Route = Init<'envoy.config.route.v3.Route'>
type RouteAction = Init<'envoy.config.route.v3.RouteAction'>

const REDIRECT_CODES: Record<number, 0 | 1 | 2 | 3 | 4> = { 0: 0, 301: 0, 302: 1, 303: 2, 307: 3, 308: 4 }

/**
 * Answers with a redirect. A code that Envoy does not know leaves the route without action, which Envoy refuses;
 * so does istiod (networking/core/route ApplyRedirect).
 */
export function redirectAction(redirect: HTTPRedirect, listenerPort: number, isTls: boolean): Route['action'] {
  const responseCode = REDIRECT_CODES[redirect.redirectCode ?? 0]
  if (responseCode === undefined) return undefined
  let port = redirect.derivePort === 'FROM_REQUEST_PORT' ? listenerPort : (redirect.port ?? 0)
  const scheme = redirect.scheme || (isTls ? 'https' : 'http')
  if ((port === 80 && scheme === 'http') || (port === 443 && scheme === 'https')) port = 0
  return {
    case: 'redirect',
    value: {
      hostRedirect: redirect.authority,
      pathRewriteSpecifier: redirect.prefixRewrite
        ? { case: 'prefixRewrite', value: redirect.prefixRewrite }
        : { case: 'pathRedirect', value: redirect.uri ?? '' },
      schemeRewriteSpecifier: redirect.scheme ? { case: 'schemeRedirect', value: redirect.scheme } : undefined,
      portRedirect: port,
      responseCode,
    },
  }
}

/** Answers by itself. */
export function directResponseAction(response: HTTPDirectResponse): Route['action'] {
  const { body } = response
  const specifier =
    body?.string !== undefined
      ? ({ case: 'inlineString', value: body.string } as const)
      : body?.bytes !== undefined
        ? ({ case: 'inlineBytes', value: Uint8Array.from(Buffer.from(body.bytes, 'base64')) } as const)
        : undefined
  return { case: 'directResponse', value: { status: response.status, body: specifier && { specifier } } }
}

/** Forwards: to one cluster or several by weight (applyHTTPRouteDestination). Header operations may come with it. */
export function forwardAction(
  rule: HTTPRoute,
  match: Route['match'],
  above: { changes: HeaderChanges; authority: string },
  options: RouteOptions,
): { action: RouteAction; changes: HeaderChanges } {
  const action: RouteAction = { ...timeouts(rule.timeout, options.proxyless) }
  let { changes } = above
  let authority = above.authority
  if (options.semantics === 'gateway') action.clusterNotFoundResponseCode = 2
  if (rule.rewrite) {
    applyRewrite(action, rule.rewrite, match, options)
    authority = rule.rewrite.authority || authority
  }
  if (authority) action.hostRewriteSpecifier = { case: 'hostRewriteLiteral', value: authority }
  action.requestMirrorPolicies = mirrors(rule, options)
  const routes = rule.route ?? []
  const single = routes.length === 1 ? routes[0] : undefined
  if (single) {
    action.clusterSpecifier = { case: 'cluster', value: clusterOf(single, options) }
    const own = headerChanges(single.headers)
    changes = joinChanges(changes, own.changes)
    if (own.authority && !action.hostRewriteSpecifier) {
      action.hostRewriteSpecifier = { case: 'hostRewriteLiteral', value: own.authority }
    }
  } else {
    const clusters = routes.filter((route) => route.weight).map((route) => weighted(route, options))
    action.clusterSpecifier = { case: 'weightedClusters', value: { clusters } }
  }
  const counted = single ? [single] : routes.filter((route) => route.weight)
  const hashes = counted.map((route) => destinationHash(options.ruleFor(route.destination.host), route.destination))
  action.hashPolicy = hashes.flatMap((hash) => hashPolicy(hash) ?? [])
  action.retryPolicy = retryPolicy(
    rule.retries ?? options.defaultRetry,
    single !== undefined && hashes[0] !== undefined,
  )
  return { action, changes }
}

/** No timeout, unless one is stated; and the same for what a gRPC client asks for. */
export function timeouts(stated: string | undefined, proxyless = false): RouteAction {
  const timeout = stated === undefined ? ZERO : duration(stated)
  return proxyless
    ? { timeout, maxStreamDuration: { maxStreamDuration: timeout } }
    : { timeout, maxGrpcTimeout: timeout }
}

const clusterOf = (route: HTTPRouteDestination, options: RouteOptions): string =>
  destinationCluster(route.destination, options.service(route.destination.host), options.listenerPort)

function weighted(
  route: HTTPRouteDestination,
  options: RouteOptions,
): Init<'envoy.config.route.v3.WeightedCluster.ClusterWeight'> {
  const { changes, authority } = headerChanges(route.headers)
  return {
    name: clusterOf(route, options),
    weight: route.weight,
    ...changes,
    hostRewriteSpecifier: authority ? { case: 'hostRewriteLiteral', value: authority } : undefined,
  }
}

function applyRewrite(
  action: RouteAction,
  rewrite: NonNullable<HTTPRoute['rewrite']>,
  match: Route['match'],
  options: RouteOptions,
): void {
  action.appendXForwardedHost = options.xForwardedHost
  const regex = rewrite.uriRegexRewrite
  if (regex) {
    action.regexRewrite = { pattern: { regex: regex.match }, substitution: regex.rewrite }
  } else if (
    rewrite.uri === '/' &&
    options.semantics === 'gateway' &&
    match?.pathSpecifier?.case === 'pathSeparatedPrefix'
  ) {
    // The prefix goes, and a slash stays when nothing else does.
    const prefix = match.pathSpecifier.value.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')
    action.regexRewrite = { pattern: { regex: `^${prefix}(/?)(.*)` }, substitution: '/\\2' }
  } else if (rewrite.uri) {
    action.prefixRewrite = rewrite.uri
  }
}

function mirrors(rule: HTTPRoute, options: RouteOptions): RouteAction['requestMirrorPolicies'] {
  const wanted = [...(rule.mirrors ?? [])].map((mirror) => ({ to: mirror.destination, percent: mirror.percentage }))
  if (rule.mirror) {
    const percent =
      rule.mirrorPercentage ?? (rule.mirrorPercent === undefined ? undefined : { value: rule.mirrorPercent })
    wanted.unshift({ to: rule.mirror, percent })
  }
  return wanted.flatMap(({ to, percent }) => {
    if (percent && !((percent.value ?? 0) > 0)) return []
    const legacy = to === rule.mirror && !rule.mirrorPercentage && rule.mirrorPercent !== undefined
    const share = !percent ? wholeFraction(100) : legacy ? wholeFraction(percent.value ?? 0) : fraction(percent)
    return [
      {
        cluster: destinationCluster(to, options.service(to.host), options.listenerPort),
        runtimeFraction: { defaultValue: share },
        traceSampled: false,
        disableShadowHostSuffixAppend: options.disableShadowHostSuffix,
      },
    ]
  })
}
