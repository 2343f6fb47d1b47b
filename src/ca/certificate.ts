import { createHash, type KeyObject, sign } from 'node:crypto'
import { bits, derTrue, explicit, implicit, integer, octets, oid, pem, sequence, set, time, utf8 } from './der.ts'

/** What distinguishes one certificate from another. Times are wall-clock milliseconds. */
export interface CertificateRequest {
  /** Organisation in the subject; '' leaves the subject empty, as Istio's workload certificates do. */
  organization: string
  /** The signer's own subject organisation. */
  issuer: string
  publicKey: KeyObject
  notBefore: number
  notAfter: number
  /** 16 random bytes. */
  serial: Uint8Array
  /** URI subject alternative names (SPIFFE ids). */
  uris?: string[]
  isCa: boolean
}

const ECDSA_SHA256 = '1.2.840.10045.4.3.2'
const RSA_SHA256 = '1.2.840.113549.1.1.11'
const ORGANIZATION = '2.5.4.10'

/**
 * Writes and signs a v3 certificate, with the extensions that istiod's CA writes: key usage, extended key usage,
 * basic constraints, subject alternative names (critical when the subject is empty), key identifiers.
 * After security/pkg/pki/util/generate_cert.go. Returns PEM.
 */
export function issue(request: CertificateRequest, signerKey: KeyObject, signerPublicKey: KeyObject): string {
  const algorithm =
    signerKey.asymmetricKeyType === 'rsa' ? sequence(oid(RSA_SHA256), Buffer.of(5, 0)) : sequence(oid(ECDSA_SHA256))
  const body = sequence(
    explicit(0, integer(Buffer.of(2))),
    integer(positive(request.serial)),
    algorithm,
    name(request.issuer),
    sequence(time(request.notBefore), time(request.notAfter)),
    name(request.organization),
    spki(request.publicKey),
    explicit(3, sequence(...extensions(request, signerPublicKey))),
  )
  return pem('CERTIFICATE', sequence(body, algorithm, bits(sign('sha256', body, signerKey))))
}

function extensions(request: CertificateRequest, signerPublicKey: KeyObject): Uint8Array[] {
  const out: Uint8Array[] = []
  if (request.isCa) {
    out.push(extension('2.5.29.15', true, bits(Buffer.of(0x04), 2))) // keyCertSign
    out.push(extension('2.5.29.19', true, sequence(derTrue)))
  } else {
    out.push(extension('2.5.29.15', true, bits(Buffer.of(0xa0), 5))) // digitalSignature, keyEncipherment
    out.push(extension('2.5.29.37', false, sequence(oid('1.3.6.1.5.5.7.3.1'), oid('1.3.6.1.5.5.7.3.2'))))
    out.push(extension('2.5.29.19', true, sequence()))
  }
  if (request.isCa) out.push(extension('2.5.29.14', false, octets(keyId(request.publicKey))))
  else out.push(extension('2.5.29.35', false, sequence(implicit(0, keyId(signerPublicKey)))))
  if (request.uris?.length) {
    const names = request.uris.map((uri) => implicit(6, Buffer.from(uri, 'latin1')))
    out.push(extension('2.5.29.17', request.organization === '', sequence(...names)))
  }
  return out
}

function extension(id: string, critical: boolean, value: Uint8Array): Uint8Array {
  return critical ? sequence(oid(id), derTrue, octets(value)) : sequence(oid(id), octets(value))
}

function name(organization: string): Uint8Array {
  return organization === '' ? sequence() : sequence(set(sequence(oid(ORGANIZATION), utf8(organization))))
}

function spki(key: KeyObject): Uint8Array {
  return key.export({ type: 'spki', format: 'der' })
}

// RFC 5280 4.2.1.2 leaves the method open; a hash over the whole key info serves as well as one over its bit string.
function keyId(key: KeyObject): Uint8Array {
  return createHash('sha1').update(spki(key)).digest()
}

function positive(serial: Uint8Array): Uint8Array {
  const copy = Uint8Array.from(serial)
  copy[0] = ((copy[0] ?? 0) & 0x7f) | 0x01
  return copy
}
