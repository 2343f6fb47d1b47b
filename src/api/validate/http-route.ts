import { parseDuration } from '../duration.ts'
import type {
  CorsPolicy,
  Headers,
  HTTPFaultInjection,
  HTTPMatchRequest,
  HTTPRedirect,
  HTTPRetry,
  HTTPRoute,
  StringMatch,
} from '../kinds/virtual-service.ts'
import { checkDestination, checkWeights } from './destination.ts'
import { checkHeaderValue } from './header-value.ts'
import { checkLabels, checkPort, isLabel } from './names.ts'
import type { Scope } from './scope.ts'
import { each, eachEntry } from './scope.ts'
import {
  checkCorsHeader,
  checkDuration,
  checkGatewayNames,
  checkMatchedHeader,
  checkRegex,
  isAuthority,
} from './values.ts'

/** HTTP routes, by the rules of pkg/config/validation/virtualservice.go. */

/** One entry of `http`; `delegated` in a VirtualService without hosts. */
export function checkHttpRoute(scope: Scope, route: HTTPRoute, delegated: boolean): void {
  checkAction(scope, route, delegated)
  each(scope.at('match'), route.match, checkMatch)
  checkHeaders(scope.at('headers'), route.headers)
  if (route.corsPolicy) checkCors(scope.at('corsPolicy'), route.corsPolicy)
  if (route.fault) checkFault(scope.at('fault'), route.fault)
  checkMirrors(scope, route)
  if (route.redirect) checkRedirect(scope.at('redirect'), route.redirect, route.match)
  checkDirectResponse(scope.at('directResponse'), route)
  checkRetry(scope.at('retries'), route.retries)
  checkRewrite(scope.at('rewrite'), route)
  checkAuthorityOnce(scope, route)
  each(scope.at('route'), route.route, (at, { destination, headers }) => {
    checkDestination(at.at('destination'), destination)
    checkHeaders(at.at('headers'), headers)
  })
  checkWeights(scope.at('route'), route.route)
  checkDuration(scope.at('timeout'), route.timeout)
}

function checkAction(scope: Scope, route: HTTPRoute, delegated: boolean): void {
  if (route.delegate) {
    if (delegated) {
      scope.at('delegate').errorAtKey('a VirtualService without hosts is a delegate itself, and cannot delegate on')
      return
    }
    if (route.redirect) scope.at('redirect').errorAtKey('a route with a delegate has no redirect')
    if (route.route) scope.at('route').errorAtKey('a route with a delegate has no route')
    return
  }
  const action = route.redirect ? 'redirect' : route.directResponse ? 'directResponse' : undefined
  if (action === undefined) {
    if (!route.route?.length) scope.error('one of route, redirect, directResponse and delegate is needed')
  } else {
    if (route.route?.length) scope.at('route').errorAtKey(`excludes ${action}`)
    if (route.fault) scope.at('fault').errorAtKey(`excludes ${action}`)
    if (route.rewrite) scope.at('rewrite').errorAtKey(`excludes ${action}`)
    if (route.redirect && route.directResponse) scope.at('directResponse').errorAtKey('excludes redirect')
  }
}

function checkMatch(scope: Scope, match: HTTPMatchRequest): void {
  eachEntry(scope.at('headers'), match.headers, (at, name, value) => {
    checkMatchedHeader(at, name)
    checkStringMatch(at, value)
  })
  eachEntry(scope.at('withoutHeaders'), match.withoutHeaders, (at, name, value) => {
    checkMatchedHeader(at, name)
    // Not a regular expression, but the way to say "present".
    if (value.regex !== '*') checkStringMatch(at, value)
  })
  if (match.uri?.regex !== undefined) checkRegex(scope.at('uri', 'regex'), match.uri.regex)
  for (const field of ['scheme', 'method', 'authority'] as const) {
    const value = match[field]
    if (value) checkStringMatch(scope.at(field), value)
  }
  eachEntry(scope.at('queryParams'), match.queryParams, (at, _, value) => {
    checkStringMatch(at, value)
  })
  if (match.port) checkPort(scope.at('port'), match.port)
  checkLabels(scope.at('sourceLabels'), match.sourceLabels)
  checkGatewayNames(scope.at('gateways'), match.gateways)
  if (match.sourceNamespace && !isLabel(match.sourceNamespace)) {
    scope.at('sourceNamespace').error(`"${match.sourceNamespace}" is no namespace`)
  }
}

function checkStringMatch(scope: Scope, match: StringMatch): void {
  if (match.prefix === '') scope.at('prefix').error('must not be empty')
  if (match.regex !== undefined) checkRegex(scope.at('regex'), match.regex)
}

/** Header operations, of a route or of one destination. */
export function checkHeaders(scope: Scope, headers: Headers | undefined): void {
  for (const side of ['request', 'response'] as const) {
    const operations = headers?.[side]
    for (const verb of ['add', 'set'] as const) {
      eachEntry(scope.at(side, verb), operations?.[verb], (at, name, value) => {
        if (side === 'response' || !isAuthority(name)) checkChangedHeader(at, name)
        checkHeaderValue(at, value)
      })
    }
    each(scope.at(side, 'remove'), operations?.remove, checkChangedHeader)
  }
}

function checkChangedHeader(scope: Scope, name: string): void {
  if (name === '') scope.errorAtKey('a header name must not be empty')
  else if (name.startsWith(':') || name.toLowerCase() === 'host') scope.errorAtKey(`"${name}" cannot be changed here`)
}

function checkAuthorityOnce(scope: Scope, route: HTTPRoute): void {
  let given = Boolean(route.rewrite?.authority)
  for (const verb of ['set', 'add'] as const) {
    for (const name of Object.keys(route.headers?.request?.[verb] ?? {})) {
      if (!isAuthority(name)) continue
      if (given)
        scope.at('headers', 'request', verb, name).errorAtKey('the authority is set already, and can be set only once')
      given = true
    }
  }
}

const METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'CONNECT', 'OPTIONS', 'TRACE', '*']

function checkCors(scope: Scope, cors: CorsPolicy): void {
  each(scope.at('allowOrigins'), cors.allowOrigins, (at, origin) => {
    if (!(origin.exact || origin.prefix || origin.regex)) at.error('exact, prefix or regex is needed')
    else if (origin.regex) checkRegex(at.at('regex'), origin.regex)
  })
  each(scope.at('allowMethods'), cors.allowMethods, (at, method) => {
    if (!METHODS.includes(method)) at.error(`"${method}" is no method: one of ${METHODS.join(', ')}`)
  })
  each(scope.at('allowHeaders'), cors.allowHeaders, checkCorsHeader)
  each(scope.at('exposeHeaders'), cors.exposeHeaders, checkCorsHeader)
  checkDuration(scope.at('maxAge'), cors.maxAge)
  if (cors.maxAge !== undefined && parseDuration(cors.maxAge) % 1000 !== 0)
    scope.at('maxAge').error('only whole seconds are supported')
}

const GRPC_STATUS =
  'OK CANCELLED UNKNOWN INVALID_ARGUMENT DEADLINE_EXCEEDED NOT_FOUND ALREADY_EXISTS PERMISSION_DENIED RESOURCE_EXHAUSTED FAILED_PRECONDITION ABORTED OUT_OF_RANGE UNIMPLEMENTED INTERNAL UNAVAILABLE DATA_LOSS UNAUTHENTICATED'.split(
    ' ',
  )

function checkFault(scope: Scope, { delay, abort }: HTTPFaultInjection): void {
  if (!delay && !abort) scope.error('delay or abort is needed')
  const never = 'without a percentage it never happens: write "percentage: {value: 100}" for all requests'
  if (abort) {
    const at = scope.at('abort')
    checkFraction(at.at('percentage', 'value'), abort.percentage?.value)
    if (!abort.percentage) at.warnAtKey(never)
    if (abort.http2Error !== undefined) at.at('http2Error').errorAtKey('is not supported by Istio')
    else if (abort.grpcStatus !== undefined) {
      if (!GRPC_STATUS.includes(abort.grpcStatus))
        at.at('grpcStatus').error(`"${abort.grpcStatus}" is no gRPC status: one such as NOT_FOUND`)
    } else if (abort.httpStatus !== undefined) checkStatus(at.at('httpStatus'), abort.httpStatus)
    else at.warnAtKey('has no effect without httpStatus or grpcStatus')
  }
  if (delay) {
    const at = scope.at('delay')
    checkFraction(at.at('percentage', 'value'), delay.percentage?.value)
    if (!delay.percentage && !delay.percent) at.warnAtKey(never)
    checkDuration(at.at('fixedDelay'), delay.fixedDelay)
    if (delay.exponentialDelay !== undefined) at.at('exponentialDelay').errorAtKey('is not supported by Istio')
  }
}

function checkFraction(scope: Scope, value: number | undefined): void {
  if (value === undefined || value === 0) return
  if (value < 0.0001 || value > 100) scope.error(`a percentage is 0, or a number from 0.0001 to 100, not ${value}`)
}

function checkStatus(scope: Scope, status: number): void {
  if (status < 200 || status > 600) scope.error(`a status is a number from 200 to 599, not ${status}`)
}

function checkMirrors(scope: Scope, route: HTTPRoute): void {
  if (route.mirror && route.mirrors?.length) scope.at('mirrors').errorAtKey('excludes mirror')
  if (route.mirrorPercent !== undefined) {
    const at = scope.at('mirrorPercent')
    at.warnAtKey('is deprecated: write "mirrorPercentage: {value: …}"')
    if (route.mirrorPercent > 100) at.error(`a percentage is a number from 0 to 100, not ${route.mirrorPercent}`)
  }
  checkMirrored(scope.at('mirrorPercentage', 'value'), route.mirrorPercentage?.value)
  if (route.mirror) checkDestination(scope.at('mirror'), route.mirror)
  each(scope.at('mirrors'), route.mirrors, (at, { destination, percentage }) => {
    checkDestination(at.at('destination'), destination)
    checkMirrored(at.at('percentage', 'value'), percentage?.value)
  })
}

function checkMirrored(scope: Scope, value: number | undefined): void {
  if (value !== undefined && (value < 0 || value > 100))
    scope.error(`a percentage is a number from 0 to 100, not ${value}`)
}

function checkRedirect(scope: Scope, redirect: HTTPRedirect, matches: HTTPMatchRequest[] = []): void {
  const { uri, prefixRewrite, authority, scheme, port, derivePort, redirectCode } = redirect
  if (uri && prefixRewrite) scope.at('prefixRewrite').errorAtKey('excludes uri')
  if (prefixRewrite && matches.some((match) => match.uri && match.uri.prefix === undefined)) {
    scope.at('prefixRewrite').errorAtKey('goes with a match by uri prefix alone')
  }
  if (!(uri || prefixRewrite || authority || scheme || port !== undefined || derivePort !== undefined)) {
    scope.error('one of uri, authority, scheme, port and derivePort is needed')
  }
  if (redirectCode && (redirectCode < 300 || redirectCode > 399)) {
    scope.at('redirectCode').error(`a redirect has a status from 300 to 399, not ${redirectCode}`)
  } else if (redirectCode && ![301, 302, 303, 307, 308].includes(redirectCode)) {
    scope
      .at('redirectCode')
      .warn(`Envoy knows 301, 302, 303, 307 and 308 alone, and refuses the route with ${redirectCode}`)
  }
  if (scheme && scheme !== 'http' && scheme !== 'https')
    scope.at('scheme').error(`a scheme is http or https, not "${scheme}"`)
  if (port) checkPort(scope.at('port'), port)
}

function checkDirectResponse(scope: Scope, { directResponse }: HTTPRoute): void {
  if (!directResponse) return
  checkStatus(scope.at('status'), directResponse.status)
  const { string, bytes } = directResponse.body ?? {}
  const size = string === undefined ? Buffer.byteLength(bytes ?? '', 'base64') : Buffer.byteLength(string)
  if (size > 1024 * 1024) scope.at('body').errorAtKey('must be smaller than 1 MB')
  else if (size > 100 * 1024) scope.at('body').warnAtKey('is large, which makes the control plane slow')
}

const RETRY_ON =
  '5xx gateway-error reset reset-before-request connect-failure retriable-4xx refused-stream retriable-status-codes retriable-headers envoy-ratelimited http3-post-connect-failure cancelled deadline-exceeded internal resource-exhausted unavailable'.split(
    ' ',
  )
const STATUS_TEXTS = '100-103 200-208 226 300-305 307 308 400-418 421-426 428 429 431 451 500-508 510 511'
  .split(' ')
  .map((range) => range.split('-').map(Number))

function isKnownStatus(text: string): boolean {
  const code = Number(text)
  return /^\d+$/.test(text) && STATUS_TEXTS.some(([from = 0, to = from]) => code >= from && code <= to)
}

/** A retry policy (agent.ValidateHTTPRetry). */
export function checkRetry(scope: Scope, retries: HTTPRetry | undefined): void {
  if (!retries) return
  const { attempts = 0, perTryTimeout, retryOn, retryRemoteLocalities, backoff } = retries
  if (attempts < 0) scope.at('attempts').error('must not be negative')
  if (attempts === 0 && (perTryTimeout !== undefined || retryOn || retryRemoteLocalities !== undefined)) {
    scope.error(
      'with 0 attempts (the value when it is not set) there are no retries: perTryTimeout, retryOn and retryRemoteLocalities have no place',
    )
  }
  checkDuration(scope.at('perTryTimeout'), perTryTimeout)
  checkDuration(scope.at('backoff'), backoff)
  for (const token of retryOn ? retryOn.split(',') : []) {
    if (RETRY_ON.includes(token) || isKnownStatus(token)) continue
    const hint = token !== token.trim() ? ' (no spaces after commas)' : ''
    scope
      .at('retryOn')
      .error(`"${token}" is no retry condition${hint}: a status code, or one of ${RETRY_ON.join(', ')}`)
  }
}

function checkRewrite(scope: Scope, { rewrite }: HTTPRoute): void {
  if (!rewrite) return
  const { uri, authority, uriRegexRewrite } = rewrite
  if (uri && uriRegexRewrite) scope.at('uriRegexRewrite').errorAtKey('excludes uri')
  if (!uri && !authority && !uriRegexRewrite) scope.error('one of uri, uriRegexRewrite and authority is needed')
  if (!uriRegexRewrite) return
  const at = scope.at('uriRegexRewrite')
  if (!uriRegexRewrite.match || !uriRegexRewrite.rewrite) at.error('match and rewrite are needed')
  else checkRegex(at.at('match'), uriRegexRewrite.match)
}
