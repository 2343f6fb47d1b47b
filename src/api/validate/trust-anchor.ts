import { X509Certificate } from 'node:crypto'
import type { CertificateData } from '../kinds/mesh-config.ts'
import type { Scope } from './scope.ts'

const BLOCK = /-----BEGIN CERTIFICATE-----[\s\S]*?-----END CERTIFICATE-----/g

/** Why a text holds no roots that could be trusted; undefined when it does (trustbundle.go verifyTrustAnchor). */
export function anchorFault(pem: string): string | undefined {
  const blocks = pem.match(BLOCK)
  if (!blocks) return 'holds no certificate in PEM'
  for (const block of blocks) {
    let certificate: X509Certificate
    try {
      certificate = new X509Certificate(block)
    } catch {
      return 'holds a certificate that cannot be read'
    }
    if (!certificate.ca) return 'holds a certificate that is not of a CA'
  }
  return undefined
}

/** What surely is not meant: istiod logs it, and goes without all roots that are written out. */
export function checkTrustAnchor(scope: Scope, { pem }: CertificateData): void {
  const fault = pem ? anchorFault(pem) : undefined
  if (fault !== undefined) scope.at('pem').warn(`${fault}; none of the roots in caCertificates is trusted`)
}
