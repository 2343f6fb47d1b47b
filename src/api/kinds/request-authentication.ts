import type { z } from 'zod'
import { bool, duration, list, message, text } from '../schema.ts'
import { PolicySelector, PolicyTargetReference } from './selector.ts'

/** A header that holds a token, after a prefix. */
export const JWTHeader = message(
  {
    name: text,
    prefix: text,
  },
  ['name'],
)
export type JWTHeader = z.infer<typeof JWTHeader>

/** A claim to hand to the application in a header. */
export const ClaimToHeader = message(
  {
    header: text,
    claim: text,
  },
  ['header', 'claim'],
)
export type ClaimToHeader = z.infer<typeof ClaimToHeader>

/** One issuer. */
export const JWTRule = message({
  issuer: text,
  audiences: list(text),
  jwksUri: text,
  jwks: text,
  fromHeaders: list(JWTHeader),
  fromParams: list(text),
  outputPayloadToHeader: text,
  fromCookies: list(text),
  forwardOriginalToken: bool,
  outputClaimToHeaders: list(ClaimToHeader),
  /** For fetching the keys; 5s when unset. */
  timeout: duration,
  spaceDelimitedClaims: list(text),
})
export type JWTRule = z.infer<typeof JWTRule>

/** Which JWTs a workload accepts (security/v1beta1/request_authentication.proto). */
export const RequestAuthentication = message({
  selector: PolicySelector,
  targetRef: PolicyTargetReference,
  targetRefs: list(PolicyTargetReference),
  jwtRules: list(JWTRule),
})
export type RequestAuthentication = z.infer<typeof RequestAuthentication>
