import crypto from 'node:crypto'
import type { Jwk, Jwks } from './jwks.ts'
import { STATUS, type Status } from './status.ts'
import type { Token } from './token.ts'

const { RSA_PKCS1_PADDING, RSA_PKCS1_PSS_PADDING, RSA_PSS_SALTLEN_DIGEST } = crypto.constants

/**
 * Checks a token's signature with every key that its `kid` and `alg` leave (source/common/jwt/verify.cc). The key's kind
 * decides how; of the token's `alg` counts what the kind leaves open, mostly the hash. At once, never later.
 */
export function verifySignature(token: Token, jwks: Jwks): Status {
  let tried = false
  const data = Buffer.from(token.signed, 'latin1')
  for (const key of jwks.keys) {
    if (token.kid !== '' && key.kid !== '' && key.kid !== token.kid) continue
    if (key.alg !== '' && key.alg !== token.alg) continue
    tried = true
    if (key.kind === 'OKP' && token.signature.length !== 64) return STATUS.ed25519WrongLength
    if (signedBy(key, token, data)) return STATUS.ok
  }
  return tried ? STATUS.verificationFails : STATUS.jwksMismatch
}

function signedBy(key: Jwk, { alg, signature }: Token, data: Buffer): boolean {
  const hash = hashOf(alg, key.kind)
  switch (key.kind) {
    case 'EC': {
      const fixed = fixedPair(signature, key.size)
      return fixed !== undefined && check(hash, data, { key: key.key, dsaEncoding: 'ieee-p1363' }, fixed)
    }
    case 'RSA':
      if (alg.startsWith('RS')) return check(hash, data, { key: key.key, padding: RSA_PKCS1_PADDING }, signature)
      if (!alg.startsWith('PS')) return false
      return check(
        hash,
        data,
        { key: key.key, padding: RSA_PKCS1_PSS_PADDING, saltLength: RSA_PSS_SALTLEN_DIGEST },
        signature,
      )
    case 'oct': {
      const mac = crypto.createHmac(hash, key.secret).update(data).digest()
      return mac.length === signature.length && crypto.timingSafeEqual(mac, signature)
    }
    default:
      return check(undefined, data, { key: key.key }, signature)
  }
}

/** The hash that an algorithm of this kind means; any other name means SHA-256. */
function hashOf(alg: string, kind: Jwk['kind']): string {
  const own = kind === 'EC' ? alg.startsWith('ES') : kind === 'oct' ? alg.startsWith('HS') : /^[RP]S/.test(alg)
  return own ? `sha${alg.slice(2)}` : 'sha256'
}

type VerifyKey = crypto.VerifyKeyObjectInput & { saltLength?: number }

/** OpenSSL throws on what it calls misuse, such as a PSS salt longer than the key: then the signature is none. */
function check(hash: string | undefined, data: Buffer, key: VerifyKey, signature: Buffer): boolean {
  try {
    return crypto.verify(hash, data, key, signature)
  } catch {
    return false
  }
}

/** An ECDSA signature of any length as two numbers of `size` bytes: Envoy takes each half of it as a number. */
function fixedPair(signature: Buffer, size: number): Buffer | undefined {
  const half = signature.length >> 1
  if (half === size && signature.length === 2 * size) return signature
  const out = Buffer.alloc(2 * size)
  for (let i = 0; i < 2; i++) {
    let number = signature.subarray(i * half, (i + 1) * half)
    while (number.length > 0 && number[0] === 0) number = number.subarray(1)
    if (number.length > size) return undefined
    number.copy(out, (i + 1) * size - number.length)
  }
  return out
}
