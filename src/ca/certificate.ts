import { createHash, type KeyObject, sign } from 'node:crypto'
import { bits, derTrue, directoryString, explicit, implicit, integer, octets, oid, sequence, set, time } from './der.ts'
import { pem } from './pem.ts'

/** Who signs: what goes into certificates from the signer's own. */
export interface Signer {
  /** DER of its subject, as it stands in its certificate. */
  readonly subject: Uint8Array
  /** Undefined when its certificate has none: then those that it signs do not name it. */
  readonly subjectKeyId: Uint8Array | undefined
  readonly key: KeyObject
}

/** What distinguishes one certificate from another. Times are wall-clock milliseconds. */
export interface CertificateRequest {
  readonly publicKey: KeyObject
  readonly notBefore: number
  readonly notAfter: number
  /** 16 random bytes. */
  readonly serial: Uint8Array
}

/** What a server is called by those who connect to it. */
export interface ServerNames {
  readonly dnsNames: readonly string[]
  /** IPv4 addresses. */
  readonly ips: readonly string[]
}

/**
 * From when on a certificate that is made at `now` is valid. Where a test has moved the clock ahead, that is when it would
 * be on the machine's: OpenSSL, which judges certificates, looks there.
 */
export function validFrom(now: number): number {
  return Math.min(now, Date.now())
}

const RSA_SHA256 = '1.2.840.113549.1.1.11'
const ORGANIZATION = '2.5.4.10'
/** The hash that goes with a curve (Go's x509.signingParamsForKey), and the id of both. */
const ECDSA: Record<string, readonly [hash: string, id: string]> = {
  secp384r1: ['sha384', '1.2.840.10045.4.3.3'],
  secp521r1: ['sha512', '1.2.840.10045.4.3.4'],
}
const ECDSA_SHA256 = ['sha256', '1.2.840.10045.4.3.2'] as const

/**
 * A workload's certificate, in the form that istiod's CA gives it: an empty subject, therefore critical names, for
 * server and client. After security/pkg/pki/util/generate_cert.go genCertTemplateFromCSR. Returns PEM.
 */
export function issueWorkload(request: CertificateRequest, uris: readonly string[], signer: Signer): string {
  return issueLeaf(
    request,
    uris.map((uri) => implicit(6, Buffer.from(uri, 'latin1'))),
    signer,
  )
}

/** The certificate of a server of the control plane, by DNS names and IPv4 addresses; else the same. Returns PEM. */
export function issueServer(request: CertificateRequest, names: ServerNames, signer: Signer): string {
  const dns = names.dnsNames.map((name) => implicit(2, Buffer.from(name, 'latin1')))
  const ips = names.ips.map((ip) => implicit(7, Buffer.from(ip.split('.').map(Number))))
  return issueLeaf(request, [...dns, ...ips], signer)
}

function issueLeaf(request: CertificateRequest, names: Uint8Array[], signer: Signer): string {
  const extensions = [
    extension(KEY_USAGE, true, bits(Buffer.of(0xa0), 5)), // digitalSignature, keyEncipherment
    extension('2.5.29.37', false, sequence(oid('1.3.6.1.5.5.7.3.1'), oid('1.3.6.1.5.5.7.3.2'))),
    extension(BASIC_CONSTRAINTS, true, sequence()),
    ...(signer.subjectKeyId ? [extension('2.5.29.35', false, sequence(implicit(0, signer.subjectKeyId)))] : []),
    extension('2.5.29.17', true, sequence(...names)),
  ]
  return issue(request, sequence(), extensions, signer)
}

/**
 * A root that signs itself, as istiod's: for signing certificates, without a limit to the path.
 * After genCertTemplateFromOptions of the same file. Returns PEM.
 */
export function issueRoot(request: CertificateRequest, organization: string, key: KeyObject): string {
  const subject = sequence(set(sequence(oid(ORGANIZATION), directoryString(organization))))
  const extensions = [
    extension(KEY_USAGE, true, bits(Buffer.of(0x04), 2)), // keyCertSign
    extension(BASIC_CONSTRAINTS, true, sequence(derTrue)),
    extension('2.5.29.14', false, octets(keyId(request.publicKey))),
  ]
  return issue(request, subject, extensions, { subject, subjectKeyId: undefined, key })
}

const KEY_USAGE = '2.5.29.15'
const BASIC_CONSTRAINTS = '2.5.29.19'

function issue(request: CertificateRequest, subject: Uint8Array, extensions: Uint8Array[], signer: Signer): string {
  const rsa = signer.key.asymmetricKeyType === 'rsa'
  const [hash, id] = ECDSA[signer.key.asymmetricKeyDetails?.namedCurve ?? ''] ?? ECDSA_SHA256
  const algorithm = rsa ? sequence(oid(RSA_SHA256), Buffer.of(5, 0)) : sequence(oid(id))
  const body = sequence(
    explicit(0, integer(Buffer.of(2))),
    integer(positive(request.serial)),
    algorithm,
    signer.subject,
    sequence(time(request.notBefore), time(request.notAfter)),
    subject,
    request.publicKey.export({ type: 'spki', format: 'der' }),
    explicit(3, sequence(...extensions)),
  )
  return pem('CERTIFICATE', sequence(body, algorithm, bits(sign(rsa ? 'sha256' : hash, body, signer.key))))
}

function extension(id: string, critical: boolean, value: Uint8Array): Uint8Array {
  return critical ? sequence(oid(id), derTrue, octets(value)) : sequence(oid(id), octets(value))
}

// RFC 5280 4.2.1.2 leaves the method open; a hash over the whole key info serves as well as one over its bit string.
function keyId(key: KeyObject): Uint8Array {
  return createHash('sha1')
    .update(key.export({ type: 'spki', format: 'der' }))
    .digest()
}

function positive(serial: Uint8Array): Uint8Array {
  const copy = Uint8Array.from(serial)
  copy[0] = ((copy[0] ?? 0) & 0x7f) | 0x01
  return copy
}
