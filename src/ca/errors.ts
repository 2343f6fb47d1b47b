/** Why a certificate was not signed, in istiod's words (security/pkg/pki/error/error.go). */
export type CaErrorReason = 'CA_NOT_READY' | 'CSR_ERROR' | 'TTL_ERROR' | 'CERT_GEN_ERROR'

/** A certificate that is not signed. */
export class CaError extends Error {
  readonly reason: CaErrorReason
  constructor(reason: CaErrorReason, message: string) {
    super(message)
    this.reason = reason
  }
}

/** A CA that cannot be used as it was given; the message names the file or Secret, and what is wrong with it. */
export class CaConfigError extends Error {}
