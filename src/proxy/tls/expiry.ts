import { X509Certificate } from 'node:crypto'

/** A certificate as the admin interface and the statistics speak of it. */
export interface ShownCertificate {
  /** The secret it came by; undefined for one that is written where it is used. */
  readonly secret: string | undefined
  /** One certificate. */
  readonly pem: string
  /** The file that it was read from, else `<inline>`. */
  readonly path: string
}

/** What a TLS context trusts and shows: all roots, and the leaf of each chain. */
export interface ShownCertificates {
  readonly ca: readonly ShownCertificate[]
  readonly chain: readonly ShownCertificate[]
}

const DAY_MS = 86_400_000
/** What Envoy says where there are no certificates at all. */
const NEVER = 0xffff_ffff
/** Envoy hashes a name that certificates written in place do not have (source/common/tls/context_impl.cc). */
const UNNAMED = { ca: 'unnamed_ca_cert_e3b0c442', chain: 'unnamed_cert_e3b0c442' } as const
/** Certificates are shared by many contexts: parsed once, as long as they are spoken of. */
const MOST_KNOWN = 256
const known = new Map<string, number>()

/** When a certificate runs out, in wall-clock milliseconds; 0 for one that cannot be read. */
function expiryOf(pem: string): number {
  let at = known.get(pem)
  if (at === undefined) {
    try {
      at = Date.parse(new X509Certificate(pem).validTo)
    } catch {
      at = 0
    }
    if (known.size >= MOST_KNOWN) known.clear()
    known.set(pem, at)
  }
  return at
}

/** The certificates inside a PEM text, one by one. */
export function splitPem(text: string): string[] {
  return text.match(/-----BEGIN CERTIFICATE-----[\s\S]*?-----END CERTIFICATE-----/g) ?? []
}

/**
 * Sets the gauges `ssl.certificate.<name>.expiration_unix_time_seconds` of a context: of its own certificates, and of its
 * roots the one that runs out first. `gauge` finds one by its name after the scope's.
 */
export function chargeExpiry(shown: ShownCertificates, gauge: (name: string) => { set(n: number): void }): void {
  const first = new Map<string, number>()
  for (const kind of ['ca', 'chain'] as const) {
    for (const { secret, pem } of shown[kind]) {
      const name = secret ?? UNNAMED[kind]
      first.set(name, Math.min(expiryOf(pem), first.get(name) ?? Number.POSITIVE_INFINITY))
    }
  }
  for (const [name, at] of first)
    gauge(`ssl.certificate.${name}.expiration_unix_time_seconds`).set(Math.floor(at / 1000))
}

/** Whole days until the first of them runs out (source/common/tls/context_manager_impl.cc daysUntilFirstCertExpires). */
export function daysUntilFirst(contexts: Iterable<ShownCertificates>, now: number): number {
  let days = NEVER
  for (const { ca, chain } of contexts)
    for (const { pem } of [...ca, ...chain]) days = Math.min(days, daysUntil(expiryOf(pem), now))
  return days
}

/** Whole days that are left, never less than none. */
export function daysUntil(at: number, now: number): number {
  return Math.max(0, Math.floor((at - now) / DAY_MS))
}
