import { createHash, X509Certificate } from 'node:crypto'
import { isIP } from 'node:net'
import { RE2JS } from 're2js'
import type { CertificateValidationContext } from '#gen/envoy/extensions/transport_sockets/tls/v3/common_pb.js'
import type { StringMatcher } from '#gen/envoy/type/matcher/v3/string_pb.js'
import type { CertificateInfo } from '../listener/connection.ts'

/** SubjectAltNameMatcher.SanType. */
const SAN = { EMAIL: 1, DNS: 2, URI: 3, IP: 4 } as const

type NameTest = (name: string) => boolean

/** Why a certificate was refused, for statistics. */
export type VerifyFailure = 'san' | 'hash'

/**
 * The checks of a peer certificate beyond its chain: SANs, hash and public key
 * (source/common/tls/cert_validator/default_validator.cc). Undefined accepts; else the words for the log.
 */
export interface PeerVerifier {
  verify(peer: CertificateInfo | undefined, failed: (why: VerifyFailure) => void): string | undefined
}

/** Compiles the checks; undefined when there are none. Problems are added with their path. */
export function compilePeerVerifier(
  config: CertificateValidationContext,
  path: string,
  errors: string[],
): PeerVerifier | undefined {
  const sans: { type: number; test: NameTest }[] = []
  config.matchTypedSubjectAltNames.forEach((m, i) => {
    const at = `${path}.match_typed_subject_alt_names[${i}]`
    if (!Object.values<number>(SAN).includes(m.sanType)) errors.push(`${at}.san_type: not supported`)
    const test = compileName(m.matcher, m.sanType === SAN.DNS, `${at}.matcher`, errors)
    if (test) sans.push({ type: m.sanType, test })
  })
  config.matchSubjectAltNames.forEach((m, i) => {
    for (const type of Object.values(SAN)) {
      const test = compileName(m, type === SAN.DNS, `${path}.match_subject_alt_names[${i}]`, errors)
      if (test) sans.push({ type, test })
    }
  })
  const hashes = new Set(config.verifyCertificateHash.map((h) => h.replaceAll(':', '').toLowerCase()))
  const spkis = new Set(config.verifyCertificateSpki)
  if (sans.length === 0 && hashes.size === 0 && spkis.size === 0) return undefined
  return {
    verify(peer, failed) {
      if (peer === undefined) return undefined
      if (sans.length > 0 && !sans.some((m) => namesOf(peer, m.type).some(m.test))) {
        failed('san')
        return `verify cert failed: SAN matcher, certificate SANs are [${allNames(peer).join(', ')}]`
      }
      if (hashes.size + spkis.size > 0 && !hashes.has(peer.sha256) && !(spkis.size > 0 && spkis.has(spkiOf(peer)))) {
        failed('hash')
        return 'verify cert failed: cert hash and spki'
      }
      return undefined
    },
  }
}

/** Checks a certificate for a name that the request asked for (auto_san_validation). */
export function verifySanList(peer: CertificateInfo | undefined, names: readonly string[]): string | undefined {
  if (peer === undefined) return undefined
  const found = names.some((name) =>
    isIP(name)
      ? peer.ipSans.includes(name)
      : peer.dnsSans.some((san) => dnsNameMatch(name, san)) || peer.uriSans.includes(name),
  )
  return found ? undefined : 'verify cert failed: verify SAN list'
}

function namesOf(peer: CertificateInfo, type: number): readonly string[] {
  if (type === SAN.URI) return peer.uriSans
  if (type === SAN.DNS) return peer.dnsSans
  return type === SAN.IP ? peer.ipSans : peer.emailSans
}

function allNames(peer: CertificateInfo): string[] {
  return [...peer.uriSans, ...peer.dnsSans, ...peer.emailSans, ...peer.ipSans]
}

function spkiOf(peer: CertificateInfo): string {
  const der = new X509Certificate(peer.pem).publicKey.export({ type: 'spki', format: 'der' })
  return createHash('sha256').update(der).digest('base64')
}

/** A DNS name against a certificate's, whose first label may be `*` (source/common/tls/utility.cc dnsNameMatch). */
export function dnsNameMatch(name: string, pattern: string): boolean {
  const a = name.toLowerCase()
  const b = pattern.toLowerCase()
  if (a === b) return true
  if (!b.startsWith('*.')) return false
  const dot = a.indexOf('.')
  return dot > 0 && a.slice(dot) === b.slice(1)
}

function compileName(m: StringMatcher | undefined, dns: boolean, path: string, errors: string[]): NameTest | undefined {
  const fold = m?.ignoreCase ? (s: string) => s.toLowerCase() : (s: string) => s
  const pattern = m?.matchPattern
  switch (pattern?.case) {
    case 'exact': {
      const { value } = pattern
      if (dns) return (name) => dnsNameMatch(value, name)
      const wanted = fold(value)
      return (name) => fold(name) === wanted
    }
    case 'prefix': {
      const wanted = fold(pattern.value)
      return (name) => fold(name).startsWith(wanted)
    }
    case 'suffix': {
      const wanted = fold(pattern.value)
      return (name) => fold(name).endsWith(wanted)
    }
    case 'contains': {
      const wanted = fold(pattern.value)
      return (name) => fold(name).includes(wanted)
    }
    case 'safeRegex':
      try {
        const regex = RE2JS.compile(pattern.value.regex)
        return (name) => regex.matches(name)
      } catch (error) {
        errors.push(`${path}.safe_regex: ${(error as Error).message}`)
        return undefined
      }
    default:
      errors.push(`${path}: ${pattern?.case === 'custom' ? 'custom matchers are not supported' : 'value is required'}`)
      return undefined
  }
}
