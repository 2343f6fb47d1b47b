import type { JWTRule, RequestAuthentication } from '../kinds/request-authentication.ts'
import { checkJwks } from './jwks.ts'
import { checkSelector } from './names.ts'
import type { Scope } from './scope.ts'
import { each } from './scope.ts'
import { checkDuration, checkTargets } from './values.ts'

/** Limits of the CRD (istio/api security/v1beta1/request_authentication.proto). */
const MAX_RULES = 4096
const MAX_SPACE_DELIMITED = 64
const MAX_URI = 2048

/** RequestAuthentication (ValidateRequestAuthentication, and the schema of the CRD). */
export function checkRequestAuthentication(scope: Scope, spec: RequestAuthentication): void {
  checkTargets(scope, spec)
  checkSelector(scope.at('selector'), spec.selector)
  if ((spec.jwtRules?.length ?? 0) > MAX_RULES) scope.at('jwtRules').errorAtKey(`at most ${MAX_RULES} rules are taken`)
  each(scope.at('jwtRules'), spec.jwtRules, checkJwtRule)
}

function notEmpty(at: Scope, value: string | undefined): void {
  if (value === '') at.error('must not be empty')
}

function checkJwtRule(scope: Scope, rule: JWTRule): void {
  each(scope.at('audiences'), rule.audiences, notEmpty)
  each(scope.at('fromParams'), rule.fromParams, notEmpty)
  each(scope.at('fromCookies'), rule.fromCookies, notEmpty)
  each(scope.at('spaceDelimitedClaims'), rule.spaceDelimitedClaims, notEmpty)
  if ((rule.spaceDelimitedClaims?.length ?? 0) > MAX_SPACE_DELIMITED)
    scope.at('spaceDelimitedClaims').errorAtKey(`at most ${MAX_SPACE_DELIMITED} claims are taken`)
  each(scope.at('fromHeaders'), rule.fromHeaders, (at, { name }) => {
    notEmpty(at.at('name'), name)
  })
  checkSource(scope, rule)
  each(scope.at('outputClaimToHeaders'), rule.outputClaimToHeaders, (at, { header, claim }) => {
    notEmpty(at.at('claim'), claim)
    if (!/^[-_A-Za-z0-9]+$/.test(header))
      at.at('header').error(`"${header}" is no header name (letters, digits, "-" and "_")`)
  })
  checkDuration(scope.at('timeout'), rule.timeout)
}

const isUrl = (text: string): boolean => /^https?:\/\/[^/]/i.test(text) && URL.canParse(text)

/** Who signs, and with which keys. */
function checkSource(scope: Scope, { issuer, jwksUri, jwks }: JWTRule): void {
  if (!issuer && !jwksUri) scope.error('issuer or jwksUri is needed')
  else notEmpty(scope.at('issuer'), issuer)
  if (jwksUri && !isUrl(jwksUri)) scope.at('jwksUri').error(`"${jwksUri}" is no http or https URL`)
  else if (issuer) notEmpty(scope.at('jwksUri'), jwksUri)
  if ((jwksUri?.length ?? 0) > MAX_URI) scope.at('jwksUri').error(`at most ${MAX_URI} characters are taken`)
  if (jwksUri !== undefined && jwks !== undefined) scope.at('jwks').errorAtKey('excludes jwksUri')
  if (issuer && !jwksUri && !jwks && !isUrl(issuer))
    scope
      .at('issuer')
      .warn(`"${issuer}" is no URL to ask for keys, and neither jwks nor jwksUri is given: no token is good`)
  if (jwks) checkJwks(scope.at('jwks'), jwks)
}
