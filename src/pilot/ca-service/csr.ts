import { createPublicKey, type KeyObject } from 'node:crypto'

/** A certificate signing request that is not signed for. */
export class CsrError extends Error {}

/** Bytes that a request may have; one with an RSA key of 16,384 bits has 6,000. */
const MAX_LENGTH = 64 * 1024
const MIN_RSA_BITS = 2048
const MAX_RSA_BITS = 16_384
const CURVES = ['prime256v1', 'secp384r1']
const PEM =
  /-----BEGIN (?:NEW )?CERTIFICATE REQUEST-----\s+([A-Za-z0-9+/=\s]+?)-----END (?:NEW )?CERTIFICATE REQUEST-----/

/**
 * The public key of a signing request in PEM, whose holder it was that signed it. Nothing else in it counts: names that it asks
 * for are not read. Throws CsrError, in the words of security/pkg/pki/util/crypto.go where there are such.
 */
export async function publicKeyOf(csr: string): Promise<KeyObject> {
  const base64 = csr.length > MAX_LENGTH ? undefined : PEM.exec(csr)?.[1]
  if (base64 === undefined) throw new CsrError('certificate signing request is not properly encoded')
  const request = await parse(Buffer.from(base64, 'base64'))
  let key: KeyObject
  try {
    key = createPublicKey({ key: Buffer.from(request.publicKey.rawData), format: 'der', type: 'spki' })
  } catch {
    throw new CsrError('failed to parse X.509 certificate signing request')
  }
  check(key)
  const good = await request.verify().catch(() => false)
  if (!good) throw new CsrError('x509: the signature of the certificate signing request is wrong')
  return key
}

async function parse(der: Buffer) {
  // The library is loaded by the first request: it takes longer than all else that a control plane does at its start.
  await import('reflect-metadata')
  const { Pkcs10CertificateRequest } = await import('@peculiar/x509')
  try {
    return new Pkcs10CertificateRequest(der)
  } catch {
    throw new CsrError('failed to parse X.509 certificate signing request')
  }
}

function check(key: KeyObject): void {
  const { asymmetricKeyType: type, asymmetricKeyDetails: details } = key
  if (type === 'rsa') {
    const bits = details?.modulusLength ?? 0
    if (bits < MIN_RSA_BITS)
      throw new CsrError(
        `requested key size does not meet the minimum required size of ${MIN_RSA_BITS} (requested: ${bits})`,
      )
    if (bits > MAX_RSA_BITS) throw new CsrError(`requested key size ${bits} is above ${MAX_RSA_BITS}`)
  } else if (type !== 'ec' || !CURVES.includes(details?.namedCurve ?? '')) {
    throw new CsrError(`keys of the kind ${details?.namedCurve ?? type} are not signed for: RSA, P-256 and P-384 are`)
  }
}
