import { parseDuration } from '../duration.ts'
import type { BackendObjectReference, ParentReference, SessionPersistence } from '../kinds/gateway-api/common.ts'
import type { GRPCRoute } from '../kinds/gateway-api/grpc-route.ts'
import type { HTTPRoute, HTTPRouteFilter, HTTPRouteMatch, HTTPRouteRule } from '../kinds/gateway-api/http-route.ts'
import type { Layer4RouteRule, TCPRoute, TLSRoute } from '../kinds/gateway-api/layer4-routes.ts'
import { each, type Scope } from './scope.ts'

type Route = HTTPRoute | GRPCRoute | TCPRoute | TLSRoute

/** What all routes have: parents that differ, and what Istio does not look at. */
export function checkRoute(scope: Scope, spec: Route): void {
  each(scope.at('parentRefs'), spec.parentRefs, (at, ref, index) => {
    const others = spec.parentRefs?.slice(0, index).filter((other) => sameParent(other, ref)) ?? []
    if (others.length === 0) return
    const mixed = others.some((other) => !other.sectionName !== !ref.sectionName || !other.port !== !ref.port)
    const twice = others.some((other) => other.sectionName === ref.sectionName && other.port === ref.port)
    if (twice)
      at.error('sectionName or port must be unique when parentRefs includes 2 or more references to the same parent')
    else if (mixed) {
      at.error('sectionName or port must be specified when parentRefs includes 2 or more references to the same parent')
    }
  })
  if (spec.useDefaultGateways === 'All') {
    scope.at('useDefaultGateways').warnAtKey('has no effect: Istio attaches no routes to Gateways by default')
  }
  if (!spec.parentRefs?.length) scope.warn('has no parentRefs, so it has no effect')
  const rules = scope.at('rules')
  const names = new Set<string>()
  each(rules, spec.rules as readonly (HTTPRouteRule | Layer4RouteRule)[] | undefined, (at, { name, backendRefs }) => {
    if (name !== undefined && names.has(name)) at.at('name').error(`"${name}" is the name of another rule`)
    if (name !== undefined) names.add(name)
    each(at.at('backendRefs'), backendRefs, checkBackendRef)
  })
}

function sameParent(a: ParentReference, b: ParentReference): boolean {
  return a.group === b.group && a.kind === b.kind && a.name === b.name && a.namespace === b.namespace
}

function checkBackendRef(scope: Scope, { group, kind, port }: BackendObjectReference): void {
  if (!group && kind === 'Service' && port === undefined) scope.error('must have a port, for a Service')
}

const MAX_MATCHES = 128

/** An HTTPRoute. */
export function checkHTTPRoute(scope: Scope, spec: HTTPRoute): void {
  checkRoute(scope, spec)
  const rules = scope.at('rules')
  const matches = (spec.rules ?? []).reduce((sum, rule) => sum + (rule.matches?.length ?? 0), 0)
  if (matches > MAX_MATCHES)
    rules.error(
      `while 16 rules and 64 matches per rule are allowed, there must be at most ${MAX_MATCHES} matches in all, not ${matches}`,
    )
  each(rules, spec.rules, (at, rule) => {
    each(at.at('matches'), rule.matches, checkMatch)
    checkFilters(at.at('filters'), rule.filters)
    checkReplacement(at, rule, rule.filters, '')
    each(at.at('backendRefs'), rule.backendRefs, (place, backend) => {
      checkFilters(place.at('filters'), backend.filters)
      checkReplacement(place, rule, backend.filters, 'within backendRefs, ')
    })
    if (rule.backendRefs?.length && rule.filters?.some((filter) => filter.requestRedirect)) {
      at.error('a RequestRedirect filter must not be used together with backendRefs')
    }
    const { request, backendRequest } = rule.timeouts ?? {}
    if (request !== undefined && backendRequest !== undefined) {
      const whole = parseDuration(request)
      if (whole > 0 && parseDuration(backendRequest) > whole) {
        at.at('timeouts', 'backendRequest').error('cannot be longer than the request timeout')
      }
    }
    checkSession(at.at('sessionPersistence'), rule.sessionPersistence)
  })
}

function checkMatch(scope: Scope, { path, headers, queryParams }: HTTPRouteMatch): void {
  unique(scope.at('headers'), headers)
  unique(scope.at('queryParams'), queryParams)
  if (!path || path.type === 'RegularExpression') return
  const at = scope.at('path', 'value')
  const value = path.value ?? '/'
  if (!value.startsWith('/')) at.error(`must be an absolute path, for type ${path.type}`)
  for (const part of ['//', '/./', '/../', '%2f', '%2F', '#']) {
    if (value.includes(part)) at.error(`must not contain "${part}", for type ${path.type}`)
  }
  for (const end of ['/..', '/.'])
    if (value.endsWith(end)) at.error(`must not end with "${end}", for type ${path.type}`)
  if (!/^(?:[-A-Za-z0-9/._~!$&'()*+,;=:@#]|%[0-9a-fA-F]{2})+$/.test(value)) {
    at.error(`must only contain valid characters, for type ${path.type}`)
  }
}

function unique(scope: Scope, items: readonly { name: string }[] | undefined): void {
  each(scope, items, (at, { name }, index) => {
    if (items?.slice(0, index).some((other) => other.name === name)) at.at('name').error(`"${name}" is there twice`)
  })
}

/** The field that goes with each type of filter. */
const FIELDS = {
  RequestHeaderModifier: 'requestHeaderModifier',
  ResponseHeaderModifier: 'responseHeaderModifier',
  RequestMirror: 'requestMirror',
  RequestRedirect: 'requestRedirect',
  URLRewrite: 'urlRewrite',
  CORS: 'cors',
  ExternalAuth: 'externalAuth',
  ExtensionRef: 'extensionRef',
} as const

const ONCE = ['CORS', 'RequestHeaderModifier', 'ResponseHeaderModifier', 'RequestRedirect', 'URLRewrite']

function checkFilters(scope: Scope, filters: readonly HTTPRouteFilter[] | undefined): void {
  const types = (filters ?? []).map(({ type }) => type)
  if (types.includes('RequestRedirect') && types.includes('URLRewrite')) {
    scope.error('may specify either RequestRedirect or URLRewrite, but not both')
  }
  each(scope, filters, (at, filter, index) => {
    const own = FIELDS[filter.type]
    if (filter[own] === undefined) at.error(`${own} must be specified for type ${filter.type}`)
    for (const field of Object.values(FIELDS)) {
      if (field !== own && filter[field] !== undefined)
        at.at(field).errorAtKey(`must not be there for type ${filter.type}`)
    }
    if (ONCE.includes(filter.type) && types.indexOf(filter.type) < index) at.error(`${filter.type} cannot be repeated`)
    checkFilter(at, filter)
  })
}

function checkFilter(
  at: Scope,
  { requestMirror, requestRedirect, urlRewrite, cors, requestHeaderModifier, responseHeaderModifier }: HTTPRouteFilter,
): void {
  if (requestMirror) {
    const place = at.at('requestMirror')
    checkBackendRef(place.at('backendRef'), requestMirror.backendRef)
    const { percent, fraction } = requestMirror
    if (percent !== undefined && fraction) place.error('only one of percent or fraction may be specified')
    if (fraction && fraction.numerator > (fraction.denominator ?? 100)) {
      place.at('fraction').error('numerator must be less than or equal to denominator')
    }
  }
  for (const [field, path] of [
    ['requestRedirect', requestRedirect?.path],
    ['urlRewrite', urlRewrite?.path],
  ] as const) {
    if (!path) continue
    const full = path.type === 'ReplaceFullPath'
    const place = at.at(field, 'path')
    const [wanted, other] = full
      ? (['replaceFullPath', 'replacePrefixMatch'] as const)
      : (['replacePrefixMatch', 'replaceFullPath'] as const)
    if (path[wanted] === undefined) place.error(`${wanted} must be specified when type is ${path.type}`)
    if (path[other] !== undefined) place.at(other).errorAtKey(`must not be there when type is ${path.type}`)
  }
  for (const [field, values] of Object.entries({
    allowHeaders: cors?.allowHeaders,
    allowMethods: cors?.allowMethods,
    allowOrigins: cors?.allowOrigins,
  })) {
    if (values?.includes('*') && values.length > 1) at.at('cors', field).error('cannot contain "*" alongside others')
  }
  for (const [field, operations] of Object.entries({ requestHeaderModifier, responseHeaderModifier })) {
    unique(at.at(field, 'set'), operations?.set)
    unique(at.at(field, 'add'), operations?.add)
  }
}

/** Replacing a prefix needs one prefix to replace. */
function checkReplacement(
  at: Scope,
  { matches }: HTTPRouteRule,
  filters: readonly HTTPRouteFilter[] | undefined,
  where: string,
): void {
  const only = matches?.length === 1 ? matches[0] : undefined
  if (only?.path?.type === 'PathPrefix') return
  for (const { type, requestRedirect, urlRewrite } of filters ?? []) {
    const path = requestRedirect?.path ?? urlRewrite?.path
    if (path?.type !== 'ReplacePrefixMatch' || path.replacePrefixMatch === undefined) continue
    at.error(`${where}when using ${type} with path.replacePrefixMatch, exactly one PathPrefix match must be specified`)
  }
}

function checkSession(at: Scope, session: SessionPersistence | undefined): void {
  if (!session) return
  const { cookieConfig, absoluteTimeout, type } = session
  if (cookieConfig?.lifetimeType === 'Permanent' && absoluteTimeout === undefined) {
    at.error('absoluteTimeout must be specified when cookie lifetimeType is Permanent')
  }
  if (cookieConfig && type !== 'Cookie') at.at('cookieConfig').errorAtKey('can only be set with type Cookie')
  at.warnAtKey('has no effect: Istio does not do sessionPersistence')
}

/** A GRPCRoute. */
export function checkGRPCRoute(scope: Scope, spec: GRPCRoute): void {
  checkRoute(scope, spec)
  each(scope.at('rules'), spec.rules, (at, rule) => {
    each(at.at('matches'), rule.matches, (place, { method, headers }) => {
      unique(place.at('headers'), headers)
      if (!method) return
      const exact = method.type !== 'RegularExpression'
      const inside = place.at('method')
      if (method.service === undefined && method.method === undefined) {
        inside.error("one or both of 'service' or 'method' must be specified")
      }
      if (
        exact &&
        method.service !== undefined &&
        !/^\.?[a-z_][a-z_0-9]*(\.[a-z_][a-z_0-9]*)*$/i.test(method.service)
      ) {
        inside.at('service').error(`"${method.service}" is no service name, such as "foo.v1.Bar"`)
      }
      if (exact && method.method !== undefined && !/^[A-Za-z_][A-Za-z_0-9]*$/.test(method.method)) {
        inside.at('method').error(`"${method.method}" is no method name`)
      }
    })
    checkFilters(at.at('filters'), rule.filters)
    each(at.at('backendRefs'), rule.backendRefs, (place, backend) => checkFilters(place.at('filters'), backend.filters))
    checkSession(at.at('sessionPersistence'), rule.sessionPersistence)
  })
}
