import { decodeBase64Url } from './base64.ts'
import { type JsonObject, parseStruct } from './json.ts'
import { STATUS, type Status } from './status.ts'

const ALGORITHMS = new Set([
  'ES256',
  'ES384',
  'ES512',
  'HS256',
  'HS384',
  'HS512',
  'RS256',
  'RS384',
  'RS512',
  'PS256',
  'PS384',
  'PS512',
  'EdDSA',
])

/** A token that is well formed. Nothing of it is verified. Times are seconds since the epoch; 0: not said. */
export interface Token {
  readonly header: JsonObject
  readonly payload: JsonObject
  /** The payload with lists where its provider wants them, once somebody has asked for it (claims.ts withLists). */
  listed?: JsonObject
  /** The payload as it was in the token. */
  readonly payloadText: string
  /** What the signature signs. */
  readonly signed: string
  readonly signature: Buffer
  readonly alg: string
  /** '' when the token names no key. */
  readonly kid: string
  readonly issuer: string
  readonly subject: string
  readonly audiences: readonly string[]
  readonly notBefore: number
  readonly expires: number
}

/** Parses a compact JWS, a character per byte, checking in Envoy's order (source/common/jwt/jwt.cc); a status tells what is wrong. */
export function parseToken(text: string): Token | Status {
  const parts = threeParts(text)
  if (parts === undefined) return STATUS.badFormat
  const [headerText, payloadText, signatureText] = parts
  const headerBytes = decodeBase64Url(headerText)
  if (headerBytes === undefined) return STATUS.headerBadBase64
  const header = parseStruct(headerBytes)
  if (header === undefined) return STATUS.headerBadJson
  const { alg, kid = '' } = header
  if (typeof alg !== 'string') return STATUS.headerBadAlg
  if (!ALGORITHMS.has(alg)) return STATUS.headerUnknownAlg
  if (typeof kid !== 'string') return STATUS.headerBadKid

  const payloadBytes = decodeBase64Url(payloadText)
  if (payloadBytes === undefined) return STATUS.payloadBadBase64
  const payload = parseStruct(payloadBytes)
  if (payload === undefined) return STATUS.payloadBadJson
  const { iss = '', sub = '', jti = '', aud = [] } = payload
  if (typeof iss !== 'string') return STATUS.issNotString
  if (typeof sub !== 'string') return STATUS.subNotString
  const times = timesOf(payload)
  if ('code' in times) return times
  if (typeof jti !== 'string') return STATUS.jtiNotString
  const audiences = typeof aud === 'string' ? [aud] : aud
  if (!Array.isArray(audiences) || !audiences.every((a) => typeof a === 'string')) return STATUS.audNotString
  const signature = decodeBase64Url(signatureText)
  if (signature === undefined) return STATUS.signatureBadBase64
  return {
    header,
    payload,
    payloadText,
    signed: `${headerText}.${payloadText}`,
    signature,
    alg,
    kid,
    issuer: iss,
    subject: sub,
    audiences,
    notBefore: times.nbf,
    expires: times.exp,
  }
}

/** The parts between the dots. Dots too many at the ends or in a row do not matter, as they do not to Envoy. */
function threeParts(text: string): [string, string, string] | undefined {
  const parts: string[] = []
  let at = 0
  while (at < text.length) {
    const dot = text.indexOf('.', at)
    const end = dot < 0 ? text.length : dot
    if (end > at && parts.push(text.slice(at, end)) > 3) return undefined
    at = end + 1
  }
  return parts.length === 3 ? (parts as [string, string, string]) : undefined
}

const TIMES = [
  ['iat', STATUS.iatNotInteger, STATUS.iatOutOfRange],
  ['nbf', STATUS.nbfNotInteger, STATUS.nbfOutOfRange],
  ['exp', STATUS.expNotInteger, STATUS.expOutOfRange],
] as const

function timesOf(payload: JsonObject): { iat: number; nbf: number; exp: number } | Status {
  const out = { iat: 0, nbf: 0, exp: 0 }
  for (const [claim, notInteger, outOfRange] of TIMES) {
    const value = payload[claim]
    if (value === undefined) continue
    if (typeof value !== 'number') return notInteger
    if (value < 0 || value >= 2 ** 64) return outOfRange
    out[claim] = Math.trunc(value)
  }
  return out
}

/** What the times in a token say at `now`, in seconds (jwt.cc verifyTimeConstraint). */
export function timeStatus(token: Token, now: number, clockSkew: number): Status {
  if (now + clockSkew < token.notBefore) return STATUS.notYetValid
  if (token.expires !== 0 && now > token.expires + clockSkew) return STATUS.expired
  return STATUS.ok
}
