import type { PeerAuthentication } from '../kinds/peer-authentication.ts'
import type { JWTRule, RequestAuthentication } from '../kinds/request-authentication.ts'
import { checkSelector } from './names.ts'
import type { Scope } from './scope.ts'
import { each, eachEntry } from './scope.ts'
import { checkDuration, checkTargets } from './values.ts'

/** PeerAuthentication (ValidatePeerAuthentication). */
export function checkPeerAuthentication(scope: Scope, spec: PeerAuthentication): void {
  const { selector, portLevelMtls } = spec
  checkSelector(scope.at('selector'), selector)
  if (!portLevelMtls) return
  const at = scope.at('portLevelMtls')
  if (Object.keys(selector?.matchLabels ?? {}).length === 0)
    at.errorAtKey('needs a selector: ports are those of a workload')
  if (Object.keys(portLevelMtls).length === 0) at.errorAtKey('must not be empty')
  eachEntry(at, portLevelMtls, (place, port) => {
    if (!/^\d+$/.test(port) || Number(port) < 1 || Number(port) > 65535)
      place.errorAtKey(`a port is a number from 1 to 65535, not ${port}`)
  })
}

/** RequestAuthentication (ValidateRequestAuthentication). */
export function checkRequestAuthentication(scope: Scope, spec: RequestAuthentication): void {
  checkTargets(scope, spec)
  checkSelector(scope.at('selector'), spec.selector)
  each(scope.at('jwtRules'), spec.jwtRules, checkJwtRule)
}

function checkJwtRule(scope: Scope, rule: JWTRule): void {
  const notEmpty = (at: Scope, value: string): void => {
    if (value === '') at.error('must not be empty')
  }
  each(scope.at('audiences'), rule.audiences, notEmpty)
  each(scope.at('fromParams'), rule.fromParams, notEmpty)
  each(scope.at('fromCookies'), rule.fromCookies, notEmpty)
  each(scope.at('spaceDelimitedClaims'), rule.spaceDelimitedClaims, notEmpty)
  each(scope.at('fromHeaders'), rule.fromHeaders, (at, { name }) => {
    notEmpty(at.at('name'), name)
  })
  if (!rule.issuer && !rule.jwksUri) scope.error('issuer or jwksUri is needed')
  if (rule.jwksUri && !/^https?:\/\/[^/]/.test(rule.jwksUri))
    scope.at('jwksUri').error(`"${rule.jwksUri}" is no http or https URL`)
  if (rule.jwksUri && rule.jwks) scope.at('jwks').errorAtKey('excludes jwksUri')
  if (rule.jwks) checkJwks(scope.at('jwks'), rule.jwks)
  each(scope.at('outputClaimToHeaders'), rule.outputClaimToHeaders, (at, { header, claim }) => {
    notEmpty(at.at('claim'), claim)
    if (!/^[-_A-Za-z0-9]+$/.test(header))
      at.at('header').error(`"${header}" is no header name (letters, digits, "-" and "_")`)
  })
  checkDuration(scope.at('timeout'), rule.timeout)
}

function checkJwks(scope: Scope, text: string): void {
  let parsed: unknown
  try {
    parsed = JSON.parse(text)
  } catch (error) {
    scope.error(`no JSON: ${(error as Error).message.replace(/ \(line.*\)$/, '')}`)
    return
  }
  const holder = parsed as { keys?: unknown; kty?: unknown } | null
  const keys: unknown = Array.isArray(holder?.keys) ? holder.keys : [parsed]
  ;(keys as ({ kty?: unknown; d?: unknown } | null)[]).forEach((key, i) => {
    if (typeof key?.kty !== 'string') scope.error(`key ${i} has no kty: a set of keys is {"keys": [{"kty": …}]}`)
    else if (key.d !== undefined || key.kty === 'oct')
      scope.warn(`key ${i} has private parts, and only public ones are needed`)
  })
}
