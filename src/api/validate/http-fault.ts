import { parseDuration } from '../duration.ts'
import { GRPC_CODES } from '../grpc-codes.ts'
import type { CorsPolicy, HTTPFaultInjection, HTTPRoute } from '../kinds/virtual-service.ts'
import { checkDestination } from './destination.ts'
import type { Scope } from './scope.ts'
import { each } from './scope.ts'
import { checkCorsHeader, checkDuration, checkPercent, checkRegex, checkStatus } from './values.ts'

/** What goes with a route, by the rules of pkg/config/validation/validation.go: CORS, faults, mirrors. */

const METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'CONNECT', 'OPTIONS', 'TRACE', '*']

/** Cross-origin rules (validateCORSPolicy). */
export function checkCors(scope: Scope, cors: CorsPolicy): void {
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

/** Faults (validateHTTPFaultInjection). */
export function checkFault(scope: Scope, { delay, abort }: HTTPFaultInjection): void {
  if (!delay && !abort) scope.error('delay or abort is needed')
  const never = 'without a percentage it never happens: write "percentage: {value: 100}" for all requests'
  if (abort) {
    const at = scope.at('abort')
    checkFraction(at.at('percentage', 'value'), abort.percentage?.value)
    if (!abort.percentage) at.warnAtKey(never)
    if (abort.http2Error !== undefined) at.at('http2Error').errorAtKey('is not supported by Istio')
    else if (abort.grpcStatus !== undefined) {
      if (!GRPC_CODES.includes(abort.grpcStatus))
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

/** Mirrors, in both forms (validateHTTPMirrors). */
export function checkMirrors(scope: Scope, route: HTTPRoute): void {
  if (route.mirror && route.mirrors?.length) scope.at('mirrors').errorAtKey('excludes mirror')
  if (route.mirrorPercent !== undefined) {
    const at = scope.at('mirrorPercent')
    at.warnAtKey('is deprecated: write "mirrorPercentage: {value: …}"')
    if (route.mirrorPercent > 100) at.error(`a percentage is a number from 0 to 100, not ${route.mirrorPercent}`)
  }
  checkPercent(scope.at('mirrorPercentage', 'value'), route.mirrorPercentage?.value)
  if (route.mirror) checkDestination(scope.at('mirror'), route.mirror)
  each(scope.at('mirrors'), route.mirrors, (at, { destination, percentage }) => {
    checkDestination(at.at('destination'), destination)
    checkPercent(at.at('percentage', 'value'), percentage?.value)
  })
}
