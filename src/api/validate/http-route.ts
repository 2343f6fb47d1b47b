import type { Headers, HTTPMatchRequest, HTTPRoute, StringMatch } from '../kinds/virtual-service.ts'
import { checkDestination, checkWeights } from './destination.ts'
import { checkHeaderValue } from './header-value.ts'
import { checkDirectResponse, checkRedirect, checkRetry, checkRewrite } from './http-action.ts'
import { checkCors, checkFault, checkMirrors } from './http-fault.ts'
import { checkLabels, checkPort, isLabel } from './names.ts'
import type { Scope } from './scope.ts'
import { each, eachEntry } from './scope.ts'
import { checkDuration, checkGatewayNames, checkMatchedHeader, checkRegex, isAuthority } from './values.ts'

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
