import crypto, { type KeyObject } from 'node:crypto'
import { decodeBase64Url } from './base64.ts'
import { isObject } from './claims.ts'
import { type Json, type JsonObject, parseStruct } from './json.ts'
import { STATUS, type Status } from './status.ts'

/** A key that signatures can be checked with. '' for what the key does not say. */
export type Jwk = { readonly kid: string; readonly alg: string } & (
  | { readonly kind: 'RSA' | 'OKP'; readonly key: KeyObject }
  /** `size`: bytes of a coordinate. */
  | { readonly kind: 'EC'; readonly key: KeyObject; readonly size: number }
  | { readonly kind: 'oct'; readonly secret: Buffer }
)

/** A set of keys. Its identity stands for its content: another fetch makes another set. */
export interface Jwks {
  readonly keys: readonly Jwk[]
}

interface Curve {
  readonly alg: string
  readonly crv: string
  readonly size: number
}

const CURVES: readonly Curve[] = [
  { alg: 'ES256', crv: 'P-256', size: 32 },
  { alg: 'ES384', crv: 'P-384', size: 48 },
  { alg: 'ES512', crv: 'P-521', size: 66 },
]

const CERTIFICATE_BEGIN = '-----BEGIN CERTIFICATE-----\n'
const CERTIFICATE_END = '\n-----END CERTIFICATE-----\n'

/**
 * Reads a set of keys: a JWKS, or certificates by key id (source/common/jwt/jwks.cc). Keys that are none are left out;
 * without any other the first one's fault is the status.
 */
export function parseJwks(text: Uint8Array): Jwks | Status {
  const document = parseStruct(text)
  if (document === undefined) return STATUS.jwksBadJson
  if (!Object.hasOwn(document, 'keys')) return certificates(document)
  const list = document.keys!
  if (!Array.isArray(list)) return STATUS.jwksBadKeys
  const keys: Jwk[] = []
  let fault: Status = STATUS.jwksNoValidKeys
  for (const entry of list as readonly Json[]) {
    if (!isObject(entry)) continue
    const key = readKey(entry)
    if ('code' in key) fault = fault === STATUS.jwksNoValidKeys ? key : fault
    else keys.push(key)
  }
  return keys.length > 0 ? { keys } : fault
}

function readKey(jwk: JsonObject): Jwk | Status {
  const { kty } = jwk
  if (kty === undefined) return STATUS.missingKty
  if (typeof kty !== 'string') return STATUS.badKty
  const named = { kid: textOf(jwk.kid), alg: textOf(jwk.alg) }
  switch (kty) {
    case 'EC':
      return ecKey(jwk, named)
    case 'RSA':
      return rsaKey(jwk, named)
    case 'oct':
      return octKey(jwk, named)
    case 'OKP':
      return okpKey(jwk, named)
    default:
      return STATUS.unknownKty
  }
}

type Named = Pick<Jwk, 'kid' | 'alg'>

function textOf(value: Json | undefined): string {
  return typeof value === 'string' ? value : ''
}

function rsaKey({ n, e }: JsonObject, named: Named): Jwk | Status {
  if (named.alg !== '' && !/^[RP]S/.test(named.alg)) return STATUS.rsaBadAlg
  if (n === undefined) return STATUS.rsaMissingN
  if (typeof n !== 'string') return STATUS.rsaBadN
  if (e === undefined) return STATUS.rsaMissingE
  if (typeof e !== 'string') return STATUS.rsaBadE
  const modulus = positive(n)
  const exponent = positive(e)?.toString('hex')
  // Envoy takes no other exponents, and BoringSSL neither even nor tiny nor huge moduli.
  const usual = exponent === '03' || exponent === '010001'
  if (modulus === undefined || !usual || !goodModulus(modulus)) return STATUS.rsaParseError
  const key = publicKey({ kty: 'RSA', n: modulus.toString('base64url'), e: exponent === '03' ? 'Aw' : 'AQAB' })
  return key === undefined ? STATUS.rsaParseError : { ...named, kind: 'RSA', key }
}

function goodModulus(modulus: Buffer): boolean {
  const bits = modulus.length * 8 - (modulus.length === 0 ? 0 : Math.clz32(modulus[0]!) - 24)
  return bits >= 512 && bits <= 16_384 && (modulus[modulus.length - 1]! & 1) === 1
}

function ecKey(jwk: JsonObject, named: Named): Jwk | Status {
  const { alg } = named
  const { crv = '', x, y } = jwk
  if (alg !== '' && !alg.startsWith('ES')) return STATUS.ecBadAlg
  if (typeof crv !== 'string') return STATUS.ecBadCrv
  const curve = CURVES.find((c) => (alg === '' && crv === '' ? c.size === 32 : c.alg === alg || c.crv === crv))
  if (alg !== '' && crv !== '' && (curve?.alg !== alg || curve.crv !== crv)) return STATUS.ecIncompatible
  if (curve === undefined) return STATUS.ecUnsupported
  if (x === undefined) return STATUS.ecMissingX
  if (typeof x !== 'string') return STATUS.ecBadX
  if (y === undefined) return STATUS.ecMissingY
  if (typeof y !== 'string') return STATUS.ecBadY
  const { size } = curve
  const px = positive(x)
  const py = positive(y)
  if (px === undefined || py === undefined) return STATUS.ecBadBase64
  if (px.length > size || py.length > size) return STATUS.ecParseError
  const at = (point: Buffer): string => Buffer.concat([Buffer.alloc(size - point.length), point]).toString('base64url')
  const key = publicKey({ kty: 'EC', crv: curve.crv, x: at(px), y: at(py) })
  return key === undefined ? STATUS.ecParseError : { ...named, kind: 'EC', key, size }
}

function octKey({ k }: JsonObject, named: Named): Jwk | Status {
  if (named.alg !== '' && !/^HS(256|384|512)$/.test(named.alg)) return STATUS.hmacBadAlg
  if (k === undefined) return STATUS.hmacMissingK
  if (typeof k !== 'string') return STATUS.hmacBadK
  const secret = decodeBase64Url(k)
  return secret === undefined || secret.length === 0 ? STATUS.octBadBase64 : { ...named, kind: 'oct', secret }
}

function okpKey({ crv, x }: JsonObject, named: Named): Jwk | Status {
  if (named.alg !== '' && named.alg !== 'EdDSA') return STATUS.okpBadAlg
  if (crv === undefined) return STATUS.okpMissingCrv
  if (typeof crv !== 'string') return STATUS.okpBadCrv
  if (crv !== 'Ed25519') return STATUS.okpUnsupported
  if (x === undefined) return STATUS.okpMissingX
  if (typeof x !== 'string') return STATUS.okpBadX
  const point = decodeBase64Url(x)
  if (point === undefined) return STATUS.okpBadBase64
  if (point.length !== 32) return STATUS.okpWrongLength
  const key = publicKey({ kty: 'OKP', crv, x: point.toString('base64url') })
  return key === undefined ? STATUS.okpBadX : { ...named, kind: 'OKP', key }
}

/** The bytes of a number without leading zeros; undefined for what is no base64url. */
function positive(text: string): Buffer | undefined {
  const bytes = decodeBase64Url(text)
  if (bytes === undefined) return undefined
  const first = bytes.findIndex((byte) => byte !== 0)
  return bytes.subarray(first < 0 ? bytes.length : first)
}

function publicKey(jwk: crypto.JsonWebKey): KeyObject | undefined {
  try {
    return crypto.createPublicKey({ key: jwk, format: 'jwk' })
  } catch {
    return undefined
  }
}

/** `{"<key id>": "<certificate in PEM>", …}`, as Google publishes keys. */
function certificates(document: JsonObject): Jwks | Status {
  const entries = Object.entries(document)
  const isOne = ([kid, pem]: [string, Json]): boolean =>
    kid !== '' && typeof pem === 'string' && pem.startsWith(CERTIFICATE_BEGIN) && pem.endsWith(CERTIFICATE_END)
  if (entries.length === 0 || !entries.every(isOne)) return STATUS.jwksNoKeys
  const keys: Jwk[] = []
  for (const [kid, pem] of entries) {
    const key = certificateKey(pem as string)
    if (key === undefined) return STATUS.x509ParseError
    if (key.asymmetricKeyType !== 'rsa') return STATUS.x509GetKeyError
    keys.push({ kid, alg: '', kind: 'RSA', key })
  }
  return { keys }
}

function certificateKey(pem: string): KeyObject | undefined {
  try {
    return new crypto.X509Certificate(pem).publicKey
  } catch {
    return undefined
  }
}
