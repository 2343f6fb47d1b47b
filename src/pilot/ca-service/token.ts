import { createHash } from 'node:crypto'
import type { Runtime } from '../../runtime.ts'
import type { SigningKey } from './signing-key.ts'

/** Who issues tokens, and their audience unless another is asked for: as in an ordinary cluster, its API server. */
export const ISSUER = 'https://kubernetes.default.svc.cluster.local'
/** Kubernetes' bounds of a token's life (TokenRequest spec.expirationSeconds), and what kubectl's are given; seconds. */
const MIN_SECONDS = 600
const MAX_SECONDS = 2 ** 32
const DEFAULT_SECONDS = 3600
/** No token of ours comes near it. */
const MAX_LENGTH = 16 * 1024

/** A service account by namespace and name. */
export interface ServiceAccountName {
  readonly namespace: string
  readonly name: string
}

/** A token to issue. */
export interface TokenRequest extends ServiceAccountName {
  /** Default: the API server. */
  readonly audiences?: readonly string[] | undefined
  /** Default one hour; 10 minutes at least. */
  readonly seconds?: number | undefined
}

/** What a token that was found good says. */
export interface TokenClaims extends ServiceAccountName {
  /** Seconds since the epoch. */
  readonly issuedAt: number
}

/** A token that is not issued, or not taken. */
export class TokenError extends Error {}

/** Issues a token with the claims that Kubernetes' have (pkg/serviceaccount/claims.go). Throws TokenError. */
export function issueToken(request: TokenRequest, key: SigningKey, runtime: Pick<Runtime, 'wallNow' | 'uuid'>): string {
  const { namespace, name, audiences = [], seconds = DEFAULT_SECONDS } = request
  if (seconds < MIN_SECONDS) throw new TokenError('may not specify a duration less than 10 minutes')
  if (seconds > MAX_SECONDS) throw new TokenError('may not specify a duration larger than 2^32 seconds')
  const now = Math.floor(runtime.wallNow() / 1000)
  const head = encode({ alg: key.alg, kid: key.kid })
  const body = encode({
    aud: audiences.length > 0 ? audiences : [ISSUER],
    exp: now + Math.floor(seconds),
    iat: now,
    iss: ISSUER,
    jti: runtime.uuid(),
    'kubernetes.io': { namespace, serviceaccount: { name, uid: uidOf({ namespace, name }) } },
    nbf: now,
    sub: subjectOf({ namespace, name }),
  })
  return `${head}.${body}.${key.sign(`${head}.${body}`).toString('base64url')}`
}

/**
 * Reads a token that has to be of this key and this issuer, for one of the audiences, and good at the time (ms since the
 * epoch). Throws TokenError; its words never have the token in them.
 */
export function readToken(token: string, key: SigningKey, audiences: readonly string[], now: number): TokenClaims {
  const parts = token.split('.')
  const [head = '', body = '', signature = ''] = parts
  if (parts.length !== 3 || token.length > MAX_LENGTH || !parts.every((part) => /^[A-Za-z0-9_-]+$/.test(part)))
    throw new TokenError('it is no signed JWT')
  const { alg, kid, crit } = decode(head)
  // The key says which algorithm it is for; what the token says is only compared.
  if (alg !== key.alg || kid !== key.kid || crit !== undefined) throw new TokenError('it was not signed by this mesh')
  if (!key.verify(`${head}.${body}`, Buffer.from(signature, 'base64url')))
    throw new TokenError('its signature is wrong')
  const claims = decode(body)
  const { iss, aud, exp, nbf, iat, sub } = claims
  if (iss !== ISSUER) throw new TokenError('it has another issuer')
  const seconds = now / 1000
  if (typeof exp !== 'number' || seconds >= exp) throw new TokenError('it has expired')
  if (typeof nbf !== 'number' || seconds < nbf) throw new TokenError('it is not valid yet')
  const list: unknown[] = Array.isArray(aud) ? aud : [aud]
  if (!list.some((one) => typeof one === 'string' && audiences.includes(one)))
    throw new TokenError(`it is for another audience than ${audiences.join(', ')}`)
  const kubernetes = record(claims['kubernetes.io'])
  const account = record(kubernetes.serviceaccount)
  const found = { namespace: String(kubernetes.namespace), name: String(account.name) }
  if (sub !== subjectOf(found) || account.uid !== uidOf(found)) throw new TokenError('it names no service account')
  return { ...found, issuedAt: typeof iat === 'number' ? iat : nbf }
}

function subjectOf({ namespace, name }: ServiceAccountName): string {
  return `system:serviceaccount:${namespace}:${name}`
}

/**
 * The uid of an account in tokens: always the same for one name, so that a token outlives a restart of the control plane,
 * and can be made from the key alone.
 */
function uidOf({ namespace, name }: ServiceAccountName): string {
  const hex = createHash('sha256').update(`${namespace}/${name}`).digest('hex')
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-8${hex.slice(13, 16)}-8${hex.slice(17, 20)}-${hex.slice(20, 32)}`
}

function encode(value: unknown): string {
  return Buffer.from(JSON.stringify(value)).toString('base64url')
}

function decode(part: string): Record<string, unknown> {
  try {
    return record(JSON.parse(Buffer.from(part, 'base64url').toString('utf8')))
  } catch {
    throw new TokenError('it is no signed JWT')
  }
}

function record(value: unknown): Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Record<string, unknown>) : {}
}
