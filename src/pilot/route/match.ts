import type { HTTPMatchRequest, StringMatch } from '../../api/kinds/virtual-service.ts'
import type { Init } from '../../xds/messages.ts'
import { INTERNAL } from '../internal-names.ts'

type RouteMatch = Init<'envoy.config.route.v3.RouteMatch'>
type HeaderMatcher = Init<'envoy.config.route.v3.HeaderMatcher'>
type MetadataMatcher = Init<'envoy.type.matcher.v3.MetadataMatcher'>
type StringMatcher = Init<'envoy.type.matcher.v3.StringMatcher'>

/** How the paths of a VirtualService are meant: those made from Ingress and HTTPRoute match whole segments. */
export type RouteSemantics = 'virtual-service' | 'ingress' | 'gateway'

/** The semantics of an object, from the annotation that conversions leave. */
export function semanticsOf(annotations: Readonly<Record<string, string>>): RouteSemantics {
  const written = annotations[INTERNAL.routeSemantics]
  return written === 'ingress' || written === 'gateway' ? written : 'virtual-service'
}

/** Translates the conditions of a match block; none match everything (networking/core/route TranslateRouteMatch). */
export function routeMatch(match: HTTPMatchRequest | undefined, semantics: RouteSemantics): RouteMatch {
  const out: RouteMatch = { pathSpecifier: { case: 'prefix', value: '/' } }
  if (!match) return out
  const headers: HeaderMatcher[] = []
  const dynamicMetadata: MetadataMatcher[] = []
  for (const [name, value] of Object.entries(match.headers ?? {})) {
    const claims = claimPath(name)
    if (claims) dynamicMetadata.push(claimMatcher(claims, value, false))
    else headers.push(headerMatcher(name, value))
  }
  for (const [name, value] of Object.entries(match.withoutHeaders ?? {})) {
    const claims = claimPath(name)
    if (claims) dynamicMetadata.push(claimMatcher(claims, value, true))
    // An absent header counts as an empty one, which does not match: so the route is taken.
    else
      headers.push({ ...headerMatcher(name, value), invertMatch: true, treatMissingHeaderAsEmpty: !isPresence(value) })
  }
  headers.sort((a, b) => ((a.name ?? '') < (b.name ?? '') ? -1 : (a.name ?? '') > (b.name ?? '') ? 1 : 0))
  if (match.method) headers.push(headerMatcher(':method', match.method))
  if (match.authority) headers.push(headerMatcher(':authority', match.authority))
  if (match.scheme) headers.push(headerMatcher(':scheme', match.scheme))
  out.headers = headers
  out.dynamicMetadata = dynamicMetadata
  out.caseSensitive = !match.ignoreUriCase
  if (match.uri) out.pathSpecifier = pathOf(match.uri, semantics) ?? out.pathSpecifier
  out.queryParameters = Object.entries(match.queryParams ?? {}).map(([name, value]) => ({
    name,
    queryParameterMatchSpecifier: isPresence(value)
      ? ({ case: 'presentMatch', value: true } as const)
      : ({ case: 'stringMatch', value: stringMatcher(value) as StringMatcher } as const),
  }))
  return out
}

function pathOf(uri: StringMatch, semantics: RouteSemantics): RouteMatch['pathSpecifier'] | undefined {
  if (uri.exact !== undefined) return { case: 'path', value: uri.exact }
  if (uri.regex !== undefined) return { case: 'safeRegex', value: { regex: uri.regex } }
  if (uri.prefix === undefined) return undefined
  if (semantics === 'virtual-service' || uri.prefix === '/') return { case: 'prefix', value: uri.prefix }
  return { case: 'pathSeparatedPrefix', value: uri.prefix.replace(/\/$/, '') }
}

/** Whether only presence is asked for: an empty match, or the regex `*`, which is none. */
function isPresence(match: StringMatch): boolean {
  return match.regex === '*' || (match.exact === undefined && match.prefix === undefined && match.regex === undefined)
}

/** exact, prefix or regex; undefined for an empty match. */
export function stringMatcher(match: StringMatch): StringMatcher | undefined {
  if (match.exact !== undefined) return { matchPattern: { case: 'exact', value: match.exact } }
  if (match.prefix !== undefined) return { matchPattern: { case: 'prefix', value: match.prefix } }
  if (match.regex !== undefined) return { matchPattern: { case: 'safeRegex', value: { regex: match.regex } } }
  return undefined
}

function headerMatcher(name: string, match: StringMatch): HeaderMatcher {
  if (isPresence(match)) return { name, headerMatchSpecifier: { case: 'presentMatch', value: true } }
  return { name, headerMatchSpecifier: { case: 'stringMatch', value: stringMatcher(match) as StringMatcher } }
}

const CLAIMS = '@request.auth.claims'

/** The path of a claim in `@request.auth.claims.a.b` or `@request.auth.claims[a][b]` (pkg/jwt ToRoutingClaim). */
function claimPath(name: string): string[] | undefined {
  if (name.slice(0, CLAIMS.length).toLowerCase() !== CLAIMS) return undefined
  const rest = name.slice(CLAIMS.length)
  if (rest.length > 1 && rest.startsWith('.')) return rest.slice(1).split('.')
  if (rest.length > 2 && rest.startsWith('[') && rest.endsWith(']')) return rest.slice(1, -1).split('][')
  return undefined
}

/** A claim that is the string, or a list that holds it, in what the JWT filter has verified. */
function claimMatcher(claims: string[], match: StringMatch, invert: boolean): MetadataMatcher {
  const string = { matchPattern: { case: 'stringMatch', value: stringMatcher(match) ?? {} } } as const
  const list = {
    matchPattern: { case: 'listMatch', value: { matchPattern: { case: 'oneOf', value: string } } },
  } as const
  return {
    filter: 'envoy.filters.http.jwt_authn',
    path: ['payload', ...claims].map((key) => ({ segment: { case: 'key', value: key } }) as const),
    value: { matchPattern: { case: 'orMatch', value: { valueMatchers: [list, string] } } },
    invert,
  }
}

/** Whether a route takes everything, so that nothing after it is ever reached. */
export function isCatchAll(match: RouteMatch): boolean {
  const { pathSpecifier: path } = match
  const all =
    ((path?.case === 'prefix' || path?.case === 'pathSeparatedPrefix') && path.value === '/') ||
    (path?.case === 'safeRegex' && path.value.regex === '.*')
  return all && !match.headers?.length && !match.queryParameters?.length && !match.dynamicMetadata?.length
}
