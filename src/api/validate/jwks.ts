import type { Scope } from './scope.ts'

/** What a key of each type cannot do without (RFC 7518, 8037). */
const NEEDED: Readonly<Record<string, readonly string[]>> = {
  RSA: ['e', 'n'],
  EC: ['crv', 'x', 'y'],
  OKP: ['crv', 'x'],
  oct: ['k'],
}

/** Fields that hold bytes. */
const BASE64 = ['n', 'e', 'd', 'p', 'q', 'dp', 'dq', 'qi', 'x', 'y', 'k']
/** Fields that hold text. */
const TEXTS = ['kty', 'crv', 'kid', 'alg', 'use', 'x5u', 'x5t', 'x5t#S256', ...BASE64]

/**
 * A JWK set, or a single key, as istiod reads it (jwk.Parse of lestrrat-go/jwx), with a warning where it takes what Envoy
 * then refuses; private parts are worth one too, since everybody who may read the object has them.
 */
export function checkJwks(scope: Scope, text: string): void {
  let parsed: unknown
  try {
    parsed = JSON.parse(text)
  } catch (error) {
    scope.error(`no JSON: ${(error as Error).message.replace(/ \(line.*\)$/, '')}`)
    return
  }
  if (typeof parsed !== 'object' || parsed === null || Array.isArray(parsed)) {
    scope.error('a set of keys is {"keys": [{"kty": …}]}')
    return
  }
  const keys: unknown = 'keys' in parsed ? (parsed.keys ?? []) : [parsed]
  if (!Array.isArray(keys)) {
    scope.error('"keys" is no list')
    return
  }
  const unread = 'keys' in parsed && parsed.keys !== null ? unreadSet(keys) : 'Envoy reads sets of keys only'
  for (const [i, key] of keys.entries()) {
    const fault = keyFault(key)
    if (fault !== undefined) scope.error(`key ${i} ${fault}`)
    else if (isPrivate(key)) scope.warn(`key ${i} has private parts, and only public ones are needed`)
  }
  if (unread !== undefined && !keys.some(keyFault)) scope.loose(`${unread}. ${CONSEQUENCE}`)
}

/** What becomes of proxies (seen with a real Envoy: "has invalid local jwks"). */
const CONSEQUENCE =
  'Envoy refuses a listener with this rule: a sidecar that starts has no inbound listener (its callers get 503), and one that runs keeps its old one. A good set is {"keys": [{"kty": …}]}'

/** Why Envoy finds no key in a set; undefined when it finds one (source/common/jwt/jwks.cc). */
function unreadSet(keys: readonly unknown[]): string | undefined {
  if (keys.length === 0) return 'there are no keys'
  return keys.some(isRead) ? undefined : 'Envoy reads none of these keys: their "alg" or "crv" are not supported'
}

/** The algorithms of the curves that Envoy reads. */
const CURVES: Readonly<Record<string, string>> = { 'P-256': 'ES256', 'P-384': 'ES384', 'P-521': 'ES512' }

function isRead(key: unknown): boolean {
  const { kty, alg = '', crv = '' } = key as { kty?: string; alg?: string; crv?: string }
  switch (kty) {
    case 'RSA':
      return alg === '' || /^[RP]S/.test(alg)
    case 'EC':
      return crv === ''
        ? Object.values(CURVES).includes(alg || 'ES256')
        : (CURVES[crv] ?? false) === (alg || CURVES[crv])
    case 'OKP':
      return crv === 'Ed25519' && (alg === '' || alg === 'EdDSA')
    default:
      return alg === '' || /^HS(?:256|384|512)$/.test(alg)
  }
}

function keyFault(key: unknown): string | undefined {
  if (typeof key !== 'object' || key === null) return 'is no object'
  const fields = key as Record<string, unknown>
  const { kty } = fields
  if (kty === undefined || kty === '') return 'has no kty: a set of keys is {"keys": [{"kty": …}]}'
  const needed = typeof kty === 'string' && Object.hasOwn(NEEDED, kty) ? NEEDED[kty] : undefined
  if (!needed) return `has the kty ${JSON.stringify(kty)}, which is none of ${Object.keys(NEEDED).join(', ')}`
  const missing = needed.find((name) => fields[name] === undefined)
  if (missing !== undefined) return `is of type ${kty}, and has no "${missing}"`
  const odd = TEXTS.find((name) => fields[name] !== undefined && typeof fields[name] !== 'string')
  if (odd !== undefined) return `has a "${odd}" that is no text`
  const broken = BASE64.find((name) => !/^[-\w+/]*={0,2}$/.test((fields[name] as string | undefined) ?? ''))
  return broken === undefined ? undefined : `has a "${broken}" that is not base64url`
}

const isPrivate = (key: { kty?: unknown; d?: unknown }): boolean => key.d !== undefined || key.kty === 'oct'
