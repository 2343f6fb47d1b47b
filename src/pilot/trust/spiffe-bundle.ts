import { X509Certificate } from 'node:crypto'
import { pem } from '../../ca/pem.ts'

interface Key {
  readonly use?: unknown
  readonly x5c?: unknown
}

/**
 * The roots of a SPIFFE bundle, each in PEM: those of its keys for `x509-svid`, of which each has one certificate
 * (pkg/spiffe/spiffe.go RetrieveSpiffeBundleRootCerts). Throws an Error that says what is wrong.
 */
export function rootsOfBundle(text: string): string[] {
  const roots = keysOf(text).flatMap(({ use, x5c }, i) => (use === 'x509-svid' ? [rootOf(x5c, i + 1)] : []))
  if (roots.length === 0) throw new Error('the answer has no key for x509-svid')
  return roots
}

function keysOf(text: string): Key[] {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    throw new Error('the answer is no JSON')
  }
  const keys = typeof value === 'object' && value !== null ? (value as { keys?: unknown }).keys : undefined
  if (!Array.isArray(keys)) throw new Error('the answer is no SPIFFE bundle: it has no list "keys"')
  return keys.filter((key): key is Key => typeof key === 'object' && key !== null)
}

function rootOf(x5c: unknown, number: number): string {
  const certificates: unknown[] = Array.isArray(x5c) ? x5c : []
  const [only] = certificates
  if (typeof only !== 'string' || certificates.length !== 1)
    throw new Error(`key ${number} of the bundle has ${certificates.length} certificates instead of one`)
  let certificate: X509Certificate
  try {
    certificate = new X509Certificate(Buffer.from(only, 'base64'))
  } catch {
    throw new Error(`the certificate of key ${number} of the bundle cannot be read`)
  }
  if (!certificate.ca) throw new Error(`the certificate of key ${number} of the bundle is not of a CA`)
  return pem('CERTIFICATE', certificate.raw)
}
