import { X509Certificate } from 'node:crypto'
import type { CertificateInfo, TlsInfo } from '../../listener/connection.ts'
import type { StreamInfo } from '../../stream-info.ts'
import { toByteString } from './bytes.ts'
import { type OperatorSpec, type OperatorTable, plainText } from './operator.ts'

type Side = (info: StreamInfo) => TlsInfo | undefined
type Fact = (tls: TlsInfo) => string | undefined
type CertificateFact = (cert: CertificateInfo) => string | undefined

/** Empty facts count as absent. */
function fact(side: Side, of: Fact): OperatorSpec {
  return plainText((info) => {
    const tls = side(info)
    const text = tls && of(tls)
    return text ? toByteString(text) : undefined
  })
}

/** PEM with the characters escaped that would break a header (source/common/tls/connection_info_impl_base.cc). */
function urlEncoded(pem: string): string {
  return pem.replace(/[\n +/=]/g, (c) => `%${c.charCodeAt(0).toString(16).toUpperCase().padStart(2, '0')}`)
}

const parsedChains = new WeakMap<CertificateInfo, readonly X509Certificate[]>()

function chainOf(cert: CertificateInfo): readonly X509Certificate[] {
  let chain = parsedChains.get(cert)
  if (chain === undefined) {
    const pems = cert.chainPem.match(/-----BEGIN CERTIFICATE-----[\s\S]+?-----END CERTIFICATE-----/g) ?? []
    chain = pems.map((pem) => new X509Certificate(pem))
    parsedChains.set(cert, chain)
  }
  return chain
}

const hex = (fingerprint: string): string => fingerprint.replaceAll(':', '').toLowerCase()

/** Facts that both sides have, of the peer's or the own certificate. */
const certificateFacts = {
  URI_SAN: (cert) => cert.uriSans.join(','),
  DNS_SAN: (cert) => cert.dnsSans.join(','),
  IP_SAN: (cert) => cert.ipSans.join(','),
  EMAIL_SAN: (cert) => cert.emailSans.join(','),
  OTHERNAME_SAN: (cert) => cert.otherNameSans?.join(','),
  SUBJECT: (cert) => cert.subject,
  ISSUER: (cert) => cert.issuer,
  CERT: (cert) => urlEncoded(cert.pem),
  SERIAL: (cert) => cert.serial,
  FINGERPRINT_256: (cert) => cert.sha256,
  FINGERPRINT_1: (cert) => cert.sha1,
  CHAIN_FINGERPRINTS_256: (cert) =>
    chainOf(cert)
      .map((c) => hex(c.fingerprint256))
      .join(','),
  CHAIN_FINGERPRINTS_1: (cert) =>
    chainOf(cert)
      .map((c) => hex(c.fingerprint))
      .join(','),
  CHAIN_SERIALS: (cert) =>
    chainOf(cert)
      .map((c) => c.serialNumber.toLowerCase())
      .join(','),
  ISSUER_FINGERPRINT_256: (cert) => hex(chainOf(cert)[1]?.fingerprint256 ?? ''),
  ISSUER_SERIAL: (cert) => chainOf(cert)[1]?.serialNumber.toLowerCase(),
} satisfies Record<string, CertificateFact>

type CertificateFactName = keyof typeof certificateFacts

function certificates(
  prefix: string,
  side: Side,
  whose: 'peer' | 'local',
  names: CertificateFactName[],
): OperatorTable {
  const table: Record<string, OperatorSpec> = {}
  for (const name of names) {
    const of: CertificateFact = certificateFacts[name]
    table[`${prefix}_${name}`] = fact(side, (tls) => {
      const cert = tls[whose]
      return cert && of(cert)
    })
  }
  return table
}

const downstream: Side = (info) => info.downstream.tls
const upstream: Side = (info) => info.upstream?.tls

function session(prefix: string, side: Side): OperatorTable {
  return {
    [`${prefix}_TLS_SESSION_ID`]: fact(side, (tls) => tls.sessionId),
    [`${prefix}_TLS_CIPHER`]: fact(side, (tls) => tls.cipher),
    [`${prefix}_TLS_VERSION`]: fact(side, (tls) => tls.version),
    [`${prefix}_TLS_GROUP`]: fact(side, (tls) => tls.group),
  }
}

/** TLS sessions and certificates of both connections (source/common/formatter/stream_info_formatter.cc). */
export const tls: OperatorTable = {
  ...session('DOWNSTREAM', downstream),
  ...session('UPSTREAM', upstream),
  ...certificates('DOWNSTREAM_PEER', downstream, 'peer', [
    'URI_SAN',
    'DNS_SAN',
    'IP_SAN',
    'EMAIL_SAN',
    'OTHERNAME_SAN',
    'SUBJECT',
    'ISSUER',
    'CERT',
    'SERIAL',
    'FINGERPRINT_256',
    'FINGERPRINT_1',
    'CHAIN_FINGERPRINTS_256',
    'CHAIN_FINGERPRINTS_1',
    'CHAIN_SERIALS',
    'ISSUER_FINGERPRINT_256',
    'ISSUER_SERIAL',
  ]),
  ...certificates('DOWNSTREAM_LOCAL', downstream, 'local', [
    'URI_SAN',
    'DNS_SAN',
    'IP_SAN',
    'EMAIL_SAN',
    'OTHERNAME_SAN',
    'SUBJECT',
  ]),
  ...certificates('UPSTREAM_PEER', upstream, 'peer', ['URI_SAN', 'DNS_SAN', 'IP_SAN', 'SUBJECT', 'ISSUER', 'CERT']),
  ...certificates('UPSTREAM_LOCAL', upstream, 'local', ['URI_SAN', 'DNS_SAN', 'IP_SAN']),
  UPSTREAM_SERVER_NAME: plainText((info) => info.upstream?.sni || undefined),
  TLS_JA3_FINGERPRINT: plainText((info) => info.downstream.ja3 || undefined),
  TLS_JA4_FINGERPRINT: plainText((info) => info.downstream.ja4 || undefined),
}
