import crypto, { type JsonWebKey, type KeyObject } from 'node:crypto'
import { httpFilter } from './http.ts'

/** A pair of keys, or a secret, with the JWK that a verifier gets. */
export interface SigningKey {
  readonly jwk: JsonWebKey & Record<string, unknown>
  sign(alg: string, data: string): Buffer
}

function pair(privateKey: KeyObject): SigningKey {
  const jwk = crypto.createPublicKey(privateKey).export({ format: 'jwk' })
  return {
    jwk,
    sign(alg, data) {
      const hash = alg === 'EdDSA' ? null : `sha${alg.slice(2)}`
      const { RSA_PKCS1_PSS_PADDING: pss, RSA_PSS_SALTLEN_DIGEST: saltLength } = crypto.constants
      const how = alg.startsWith('ES') ? { dsaEncoding: 'ieee-p1363' as const } : {}
      const padding = alg.startsWith('PS') ? { padding: pss, saltLength } : {}
      return crypto.sign(hash, Buffer.from(data), { key: privateKey, ...how, ...padding })
    },
  }
}

/** One key of each kind; `other` is an RSA key that nobody trusts. */
export const KEYS = {
  rsa: pair(crypto.generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey),
  other: pair(crypto.generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey),
  p256: pair(crypto.generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey),
  p384: pair(crypto.generateKeyPairSync('ec', { namedCurve: 'P-384' }).privateKey),
  p521: pair(crypto.generateKeyPairSync('ec', { namedCurve: 'P-521' }).privateKey),
  ed: pair(crypto.generateKeyPairSync('ed25519').privateKey),
  secret: {
    jwk: { kty: 'oct', k: Buffer.from('a secret of some length').toString('base64url') },
    sign: (alg: string, data: string) =>
      crypto
        .createHmac(`sha${alg.slice(2)}`, 'a secret of some length')
        .update(data)
        .digest(),
  },
} as const satisfies Record<string, SigningKey>

/** 2100. */
export const FAR = 4102444800

/** A JWKS of these keys. */
export function jwksOf(...keys: readonly (SigningKey | object)[]): string {
  return JSON.stringify({ keys: keys.map((key) => ('sign' in key ? (key as SigningKey).jwk : key)) })
}

/** base64url of a text, or of a value as JSON. */
export function b64(value: unknown): string {
  return Buffer.from(typeof value === 'string' ? value : JSON.stringify(value), 'latin1').toString('base64url')
}

/** A token of issuer `iss1` that lasts; what is undefined is left out. */
export function token(
  claims: object = {},
  { alg = 'RS256', key = KEYS.rsa as SigningKey, header = {} as object } = {},
): string {
  const signed = `${b64({ alg, ...header })}.${b64({ iss: 'iss1', sub: 'me', exp: FAR, ...claims })}`
  return `${signed}.${key.sign(alg, signed).toString('base64url')}`
}

/** A token with these texts as header and payload. */
export function rawToken(header: string, payload: string): string {
  const signed = `${b64(header)}.${b64(payload)}`
  return `${signed}.${KEYS.rsa.sign('RS256', signed).toString('base64url')}`
}

/** A provider of issuer `iss1` that trusts the RSA key, and forwards tokens. */
export function provider(more: object = {}): object {
  return {
    issuer: 'iss1',
    local_jwks: { inline_string: jwksOf(KEYS.rsa) },
    forward: true,
    payload_in_metadata: 'p',
    ...more,
  }
}

/** The filter; by default everything needs a token of provider `a`. */
export function jwtFilter(config: object): object {
  return httpFilter(
    'envoy.filters.http.jwt_authn',
    'envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication',
    config,
  )
}

/** A rule for every request. */
export function forAll(requires: object): object {
  return { match: { prefix: '/' }, requires }
}

/** Headers with the token where it belongs by default. */
export function bearer(text: string, more: Record<string, string> = {}): Record<string, string> {
  return { authorization: `Bearer ${text}`, ...more }
}
