import type { X509Certificate } from 'node:crypto'
import type { CertificateInfo } from '../listener/connection.ts'

/**
 * Facts of a certificate, each computed when first asked for
 * (source/common/tls/utility.cc, connection_info_impl_base.cc).
 */
export class LazyCertificate implements CertificateInfo {
  private readonly certificate: X509Certificate
  private sans: ReadonlyMap<string, readonly string[]> | undefined = undefined

  constructor(certificate: X509Certificate) {
    this.certificate = certificate
  }

  get uriSans(): readonly string[] {
    return this.names('URI')
  }

  get dnsSans(): readonly string[] {
    return this.names('DNS')
  }

  get ipSans(): readonly string[] {
    return this.names('IP Address')
  }

  get emailSans(): readonly string[] {
    return this.names('email')
  }

  get otherNameSans(): readonly string[] {
    return this.names('othername')
  }

  get subject(): string {
    return rfc2253(this.certificate.subject)
  }

  get issuer(): string {
    return rfc2253(this.certificate.issuer)
  }

  get serial(): string {
    return this.certificate.serialNumber.toLowerCase()
  }

  get sha256(): string {
    return hex(this.certificate.fingerprint256)
  }

  get sha1(): string {
    return hex(this.certificate.fingerprint)
  }

  get pem(): string {
    return this.certificate.toString()
  }

  get chainPem(): string {
    let out = ''
    const seen = new Set<string>()
    for (let c: X509Certificate | undefined = this.certificate; c !== undefined; c = c.issuerCertificate) {
      if (seen.has(c.fingerprint256)) break
      seen.add(c.fingerprint256)
      out += c.toString()
    }
    return out
  }

  get validFrom(): Date {
    return new Date(this.certificate.validFrom)
  }

  get validTo(): Date {
    return new Date(this.certificate.validTo)
  }

  /** The certificate in DER, for pinning by key or hash. */
  get raw(): Buffer {
    return this.certificate.raw
  }

  private names(kind: string): readonly string[] {
    this.sans ??= parseSans(this.certificate.subjectAltName)
    return this.sans.get(kind) ?? []
  }
}

const hex = (fingerprint: string): string => fingerprint.replaceAll(':', '').toLowerCase()

/** Node prints one attribute a line, first one first, values escaped already; RFC 2253 wants the last one first. */
function rfc2253(lines: string | undefined): string {
  if (!lines) return ''
  return lines
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => line.replaceAll(' + ', '+'))
    .reverse()
    .join(',')
}

/** Splits `URI:spiffe://a, DNS:"b, c"`: a name that could be mistaken for two is printed as a JSON string. */
export function parseSans(text: string | undefined): ReadonlyMap<string, readonly string[]> {
  const out = new Map<string, string[]>()
  const entry = /\s*([A-Za-z ]+):("(?:[^"\\]|\\.)*"|[^,]*)(?:,|$)/y
  let at = 0
  while (text !== undefined && at < text.length) {
    entry.lastIndex = at
    const match = entry.exec(text)
    if (match === null) break
    at = entry.lastIndex
    const value = match[2]!
    const list = out.get(match[1]!)
    const name = value.startsWith('"') ? (JSON.parse(value) as string) : value
    if (list === undefined) out.set(match[1]!, [name])
    else list.push(name)
  }
  return out
}
