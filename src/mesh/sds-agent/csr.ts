import { createPublicKey, type KeyObject, sign } from 'node:crypto'
import { bits, explicit, integer, oid, sequence } from '../../ca/der.ts'
import { pem } from '../../ca/pem.ts'

const ECDSA_SHA256 = '1.2.840.10045.4.3.2'

/**
 * A certificate signing request (PKCS #10) for a P-256 key, in PEM. It asks for no name: the CA gives the one that the caller
 * proves to have.
 */
export function signingRequest(key: KeyObject): string {
  const spki = createPublicKey(key).export({ type: 'spki', format: 'der' })
  const info = sequence(integer(Buffer.of(0)), sequence(), spki, explicit(0))
  return pem('CERTIFICATE REQUEST', sequence(info, sequence(oid(ECDSA_SHA256)), bits(sign('sha256', info, key))))
}
