/**
 * How Envoy words a TLS failure: `TLS_error:|<code>:SSL routines:OPENSSL_internal:<REASON>:TLS_error_end`
 * (source/common/tls/ssl_socket.cc drainErrorQueue). Codes are BoringSSL's: library 16, then the reason.
 */
export function tlsErrorText(reason: string, extra = ''): string {
  const code = 0x10000000 + (reasonCodes[reason] ?? 0)
  return `TLS_error:|${code}:SSL routines:OPENSSL_internal:${reason}${extra === '' ? '' : `:${extra}`}:TLS_error_end`
}

/** A system's error amid TLS (library 2), such as a reset. */
export function tlsSystemErrorText(errno: number, text: string): string {
  return `TLS_error:|${0x2000000 + errno}:system library:OPENSSL_internal:${text}:TLS_error_end`
}

/** A failed check of the peer's certificate. */
export function verifyErrorText(why: string): string {
  return tlsErrorText('CERTIFICATE_VERIFY_FAILED', why)
}

/** Words for what a TLS socket reported; undefined if it is not about TLS (`ECONNRESET`). */
export function tlsErrorOf(error: NodeJS.ErrnoException & { reason?: string }): string | undefined {
  const code = error.code ?? ''
  if (!code.startsWith('ERR_SSL_')) return undefined
  const name = code.slice('ERR_SSL_'.length)
  return tlsErrorText(sameReasons[name] ?? name)
}

/** What X509_verify_cert says for the code Node gives. */
export function chainErrorText(code: string): string {
  return `X509_verify_cert: certificate verification error at depth 0: ${chainTexts[code] ?? code.toLowerCase().replaceAll('_', ' ')}`
}

const reasonCodes: Readonly<Record<string, number>> = {
  CERTIFICATE_VERIFY_FAILED: 125,
  HTTP_REQUEST: 156,
  NO_SHARED_CIPHER: 184,
  PEER_DID_NOT_RETURN_A_CERTIFICATE: 192,
  UNEXPECTED_MESSAGE: 223,
  UNSUPPORTED_PROTOCOL: 240,
  WRONG_VERSION_NUMBER: 247,
  SSLV3_ALERT_HANDSHAKE_FAILURE: 1040,
  SSLV3_ALERT_BAD_CERTIFICATE: 1042,
  SSLV3_ALERT_CERTIFICATE_EXPIRED: 1045,
  SSLV3_ALERT_CERTIFICATE_UNKNOWN: 1046,
  TLSV1_ALERT_UNKNOWN_CA: 1048,
  TLSV1_ALERT_PROTOCOL_VERSION: 1070,
  TLSV1_ALERT_CERTIFICATE_REQUIRED: 1116,
}

/** OpenSSL's names where BoringSSL has others. */
const sameReasons: Readonly<Record<string, string>> = {
  TLSV13_ALERT_CERTIFICATE_REQUIRED: 'TLSV1_ALERT_CERTIFICATE_REQUIRED',
  NO_SUITABLE_SIGNATURE_ALGORITHM: 'NO_COMMON_SIGNATURE_ALGORITHMS',
  PACKET_LENGTH_TOO_LONG: 'WRONG_VERSION_NUMBER',
  BAD_RECORD_TYPE: 'WRONG_VERSION_NUMBER',
}

const chainTexts: Readonly<Record<string, string>> = {
  UNABLE_TO_GET_ISSUER_CERT: 'unable to get issuer certificate',
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: 'unable to get local issuer certificate',
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: 'unable to get local issuer certificate',
  DEPTH_ZERO_SELF_SIGNED_CERT: 'self signed certificate',
  SELF_SIGNED_CERT_IN_CHAIN: 'self signed certificate in certificate chain',
  CERT_HAS_EXPIRED: 'certificate has expired',
  CERT_NOT_YET_VALID: 'certificate is not yet valid',
  CERT_SIGNATURE_FAILURE: 'certificate signature failure',
  CERT_REVOKED: 'certificate revoked',
  INVALID_PURPOSE: 'unsuitable certificate purpose',
  INVALID_CA: 'invalid CA certificate',
}
