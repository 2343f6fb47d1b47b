import { parseDuration } from '../../api/duration.ts'
import type { HTTPRequestMirrorFilter } from '../../api/kinds/gateway-api/common.ts'
import type { GRPCRouteFilter, GRPCRouteRule } from '../../api/kinds/gateway-api/grpc-route.ts'
import type { HTTPRouteFilter, HTTPRouteRule } from '../../api/kinds/gateway-api/http-route.ts'
import type { HTTPMatchRequest, HTTPMirrorPolicy, HTTPRetry, HTTPRoute } from '../../api/kinds/virtual-service.ts'
import type { ApiObject } from '../../api/objects.ts'
import { type ConfigError, joinErrors } from './conditions.ts'
import { quoted } from './constants.ts'
import type { ConversionContext } from './context.ts'
import { buildDestination, httpDestinations, type RouteScope, weightSum } from './destinations.ts'
import { cors, headerOperations, mirrorPercentage, redirect, rewrite } from './filters.ts'
import type { MadeRule } from './made-objects.ts'
import { grpcMatch, httpMatch } from './matches.ts'

/** What rules came to: those made, and an error that some of their references have. Without `rules`, none can be used. */
export interface ConvertedRules<R> {
  rules: R[]
  error?: ConfigError
}

/** The routes whose rules are HTTP rules. */
export type HttpRouteObject = ApiObject<'HTTPRoute' | 'GRPCRoute'>

/** Turns the rules of an HTTPRoute or GRPCRoute into those of a VirtualService, one per match (convertHTTPRoute, convertGRPCRoute). */
export function httpRules(context: ConversionContext, route: HttpRouteObject, mesh: boolean): ConvertedRules<MadeRule> {
  const out: ConvertedRules<MadeRule> = { rules: [] }
  for (const [index, rule] of (route.spec.rules ?? []).entries()) {
    const matches: (HTTPMatchRequest | undefined)[] =
      route.kind === 'HTTPRoute'
        ? ((rule as HTTPRouteRule).matches ?? []).map(httpMatch)
        : ((rule as GRPCRouteRule).matches ?? []).map(grpcMatch)
    for (const match of matches.length > 0 ? matches : [undefined]) {
      const made = httpRule(context, { route, mesh, rule: index }, rule, match)
      if (made.fatal) return { rules: [], error: made.fatal }
      out.error = made.error ?? out.error
      out.rules.push({ rule: made.rule, object: route, index })
    }
  }
  return out
}

type MadeHttp = { rule: HTTPRoute; error?: ConfigError | undefined; fatal?: undefined } | { fatal: ConfigError }

function httpRule(
  context: ConversionContext,
  scope: RouteScope,
  rule: HTTPRouteRule | GRPCRouteRule,
  match: HTTPMatchRequest | undefined,
): MadeHttp {
  const { namespace, name } = scope.route.metadata
  const out: HTTPRoute = { name: rule.name ?? `${namespace}.${name}.${scope.rule}` }
  if (match) out.match = [match]
  const filtered = applyFilters(context, scope, rule.filters ?? [], out)
  if (filtered.fatal) return { fatal: filtered.fatal }
  if ('retry' in rule || 'timeouts' in rule) applyTimeouts(rule as HTTPRouteRule, out)
  if (weightSum(rule.backendRefs) === 0 && !out.redirect) {
    out.directResponse = { status: 500 }
    return { rule: out, error: filtered.error }
  }
  const built = httpDestinations(context, rule.backendRefs ?? [], scope)
  if (built.fatal) return { fatal: built.fatal }
  if (rule.backendRefs) out.route = built.route
  return { rule: out, error: joinErrors(built.error, filtered.error) }
}

/** Puts filters into a rule. A mirror that does not work only tells, unless the route is a GRPCRoute. */
function applyFilters(
  context: ConversionContext,
  scope: RouteScope,
  filters: readonly (HTTPRouteFilter | GRPCRouteFilter)[],
  out: HTTPRoute,
): { error?: ConfigError | undefined; fatal?: ConfigError } {
  let error: ConfigError | undefined
  for (const [index, filter] of (filters as readonly HTTPRouteFilter[]).entries()) {
    const path = ['spec', 'rules', scope.rule, 'filters', index]
    switch (filter.type) {
      case 'RequestHeaderModifier':
      case 'ResponseHeaderModifier': {
        const request = filter.type === 'RequestHeaderModifier'
        const written = request ? filter.requestHeaderModifier : filter.responseHeaderModifier
        if (!written) break
        const made = headerOperations(written)
        if ('reason' in made) return { fatal: { ...made, path } }
        out.headers = { ...out.headers, [request ? 'request' : 'response']: made }
        break
      }
      case 'RequestMirror': {
        if (!filter.requestMirror) break
        const { mirror, error: problem } = mirrorOf(context, scope, filter.requestMirror)
        if (mirror) out.mirrors = [...(out.mirrors ?? []), mirror]
        else if (scope.route.kind === 'GRPCRoute') return { fatal: { ...(problem as ConfigError), path } }
        else error = problem && { ...problem, path }
        break
      }
      case 'RequestRedirect':
        out.redirect = filter.requestRedirect && redirect(filter.requestRedirect)
        break
      case 'URLRewrite':
        out.rewrite = filter.urlRewrite && rewrite(filter.urlRewrite)
        break
      case 'CORS':
        out.corsPolicy = filter.cors && cors(filter.cors)
        break
      default:
        return { fatal: { reason: 'InvalidFilter', message: `unsupported filter type ${quoted(filter.type)}`, path } }
    }
  }
  return { error }
}

function mirrorOf(
  context: ConversionContext,
  scope: RouteScope,
  filter: HTTPRequestMirrorFilter,
): { mirror?: HTTPMirrorPolicy; error?: ConfigError } {
  const { destination, error } = buildDestination(context, filter.backendRef, scope)
  if (error || !destination) return error ? { error } : {}
  const percentage = mirrorPercentage(filter)
  return { mirror: { destination, ...(percentage ? { percentage } : {}) } }
}

function applyTimeouts({ retry, timeouts }: HTTPRouteRule, out: HTTPRoute): void {
  if (retry) {
    const attempts = retry.attempts ?? 2
    const retryOn = ['connect-failure', 'refused-stream', 'unavailable', 'cancelled', ...(retry.codes ?? [])]
    const retries: HTTPRetry = { attempts }
    if (attempts !== 0) retries.retryOn = retryOn.join(',')
    if (retry.backoff !== undefined) retries.backoff = retry.backoff
    out.retries = retries
  }
  const { request, backendRequest } = timeouts ?? {}
  if (request !== undefined && parseDuration(request) !== 0) out.timeout = request
  if (backendRequest === undefined || parseDuration(backendRequest) === 0) return
  if (out.retries) out.retries.perTryTimeout = backendRequest
  else out.timeout = backendRequest
}
