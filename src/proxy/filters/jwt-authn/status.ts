/** What became of a token, or of a set of keys: Envoy's number, its words, and the details that logs show. */
export interface Status {
  readonly code: number
  readonly text: string
  readonly details: string
}

/** `jwt_authn_access_denied{…}`, without blanks (source/extensions/filters/http/jwt_authn/filter.cc). */
export function denialDetails(text: string): string {
  return `jwt_authn_access_denied{${text.replace(/\s/g, '_')}}`
}

/** Names and words in the order of the enum: the place is the code (source/common/jwt/status.h and status.cc). */
const WORDS = {
  ok: 'OK',
  missed: 'Jwt is missing',
  notYetValid: 'Jwt not yet valid',
  expired: 'Jwt is expired',
  badFormat: 'Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections',
  headerBadBase64: 'Jwt header is an invalid Base64url encoded',
  headerBadJson: 'Jwt header is an invalid JSON',
  headerBadAlg: 'Jwt header [alg] field is required and must be a string',
  headerUnknownAlg: 'Jwt header [alg] is not supported',
  headerBadKid: 'Jwt header [kid] field is not a string',
  payloadBadBase64: 'Jwt payload is an invalid Base64url encoded',
  payloadBadJson: 'Jwt payload is an invalid JSON',
  issNotString: 'Jwt payload [iss] field is not a string',
  subNotString: 'Jwt payload [sub] field is not a string',
  iatNotInteger: 'Jwt payload [iat] field is not an integer',
  iatOutOfRange: 'Jwt payload [iat] field is not a positive 64 bit integer',
  nbfNotInteger: 'Jwt payload [nbf] field is not an integer',
  nbfOutOfRange: 'Jwt payload [nbf] field is not a positive 64 bit integer',
  expNotInteger: 'Jwt payload [exp] field is not an integer',
  expOutOfRange: 'Jwt payload [exp] field is not a positive 64 bit integer',
  jtiNotString: 'Jwt payload [jti] field is not a string',
  audNotString: 'Jwt payload [aud] field is not a string or string list',
  signatureBadBase64: 'Jwt signature is an invalid Base64url encoded',
  ed25519WrongLength: 'Jwt ED25519 signature is wrong length',
  unknownIssuer: 'Jwt issuer is not configured',
  audienceNotAllowed: 'Audiences in Jwt are not allowed',
  verificationFails: 'Jwt verification fails',
  multipleTokens: 'Found multiple Jwt tokens',
  jwksBadJson: 'Jwks is an invalid JSON',
  jwksNoKeys: 'Jwks does not have [keys] field',
  jwksBadKeys: '[keys] in Jwks is not an array',
  jwksNoValidKeys: "Jwks doesn't have any valid public key",
  jwksMismatch: "Jwks doesn't have key to match kid or alg from Jwt",
  rsaParseError: 'Jwks RSA [n] or [e] field is missing or has a parse error',
  ecCreateFails: 'Jwks EC create key fail',
  ecBadBase64: 'Jwks EC [x] or [y] field is an invalid Base64.',
  ecParseError: 'Jwks EC [x] and [y] fields have a parse error.',
  octBadBase64: 'Jwks Oct key is an invalid Base64',
  okpBadBase64: 'Jwks OKP [x] field is an invalid Base64.',
  okpWrongLength: 'Jwks OKP [x] field is wrong length.',
  fetchFails: 'Jwks remote fetch is failed',
  missingKty: '[kty] is missing in [keys]',
  badKty: '[kty] is bad in [keys]',
  unknownKty: '[kty] is not supported in [keys]',
  rsaBadAlg: '[alg] is not started with [RS] or [PS] for an RSA key',
  rsaMissingN: '[n] field is missing for a RSA key',
  rsaBadN: '[n] field is not string for a RSA key',
  rsaMissingE: '[e] field is missing for a RSA key',
  rsaBadE: '[e] field is not string for a RSA key',
  ecBadAlg: '[alg] is not started with [ES] for an EC key',
  ecBadCrv: '[crv] field is not string for an EC key',
  ecUnsupported: '[crv] or [alg] field is not supported for an EC key',
  ecIncompatible: '[crv] field specified is not compatible with [alg] for an EC key',
  ecMissingX: '[x] field is missing for an EC key',
  ecBadX: '[x] field is not string for an EC key',
  ecMissingY: '[y] field is missing for an EC key',
  ecBadY: '[y] field is not string for an EC key',
  hmacBadAlg: '[alg] does not start with [HS] for an HMAC key',
  hmacMissingK: '[k] field is missing for an HMAC key',
  hmacBadK: '[k] field is not string for an HMAC key',
  okpBadAlg: '[alg] is not [EdDSA] for an OKP key',
  okpMissingCrv: '[crv] field is missing for an OKP key',
  okpBadCrv: '[crv] field is not string for an OKP key',
  okpUnsupported: '[crv] field is not supported for an OKP key',
  okpMissingX: '[x] field is missing for an OKP key',
  okpBadX: '[x] field is not string for an OKP key',
  x509WriteError: 'X509 parse pubkey internal fails: memory allocation',
  x509ParseError: 'X509 parse pubkey fails',
  x509GetKeyError: 'X509 parse pubkey internal fails: get pubkey',
} as const

/** Every status by name. */
export const STATUS = Object.fromEntries(
  Object.entries(WORDS).map(([name, text], code) => [name, { code, text, details: denialDetails(text) }]),
) as Readonly<Record<keyof typeof WORDS, Status>>
