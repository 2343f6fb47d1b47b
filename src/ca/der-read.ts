/** What node:crypto does not tell of a certificate, read from its DER. */
export interface CertificateFacts {
  /** The whole DER of the subject's name: what certificates that it signs have as their issuer. */
  readonly subject: Uint8Array
  /** Undefined when there is no such extension. */
  readonly subjectKeyId: Uint8Array | undefined
  /** Whether its basic constraints say that it is a CA. */
  readonly isCa: boolean
  /** How many CAs may follow below it; undefined for any number. */
  readonly pathLength: number | undefined
  /** Whether its key usage, if it has one, lets it sign certificates. */
  readonly maySign: boolean
  /** Dotted ids of its extended key usage; undefined when there is no such extension. */
  readonly extendedUsage: readonly string[] | undefined
}

interface Element {
  readonly tag: number
  /** The contents. */
  readonly body: Uint8Array
  /** With tag and length. */
  readonly whole: Uint8Array
}

const SUBJECT_KEY_ID = '2.5.29.14'
const KEY_USAGE = '2.5.29.15'
const BASIC_CONSTRAINTS = '2.5.29.19'
const EXTENDED_KEY_USAGE = '2.5.29.37'
const KEY_CERT_SIGN = 0x04

/** Reads a certificate that has been parsed before (by X509Certificate). Throws a RangeError on bytes that are none. */
export function certificateFacts(der: Uint8Array): CertificateFacts {
  const [certificate] = elements(der)
  const [body] = elements(must(certificate).body)
  const parts = elements(must(body).body)
  // The version is absent in version 1 certificates; then come serial, algorithm, issuer, validity, subject.
  const first = must(parts[0]).tag === 0xa0 ? 1 : 0
  const extensions = new Map<string, Uint8Array>()
  const wrapped = parts.find(({ tag }) => tag === 0xa3)
  for (const extension of wrapped ? elements(must(elements(wrapped.body)[0]).body) : []) {
    const fields = elements(extension.body)
    extensions.set(dotted(must(fields[0]).body), must(fields.at(-1)).body)
  }
  const usage = extensions.get(KEY_USAGE)
  const constraints = extensions.get(BASIC_CONSTRAINTS)
  const keyId = extensions.get(SUBJECT_KEY_ID)
  const extended = extensions.get(EXTENDED_KEY_USAGE)
  const limits = constraints ? elements(must(elements(constraints)[0]).body) : []
  const pathLength = limits.find(({ tag }) => tag === 0x02)
  return {
    subject: must(parts[first + 4]).whole,
    subjectKeyId: keyId && must(elements(keyId)[0]).body,
    isCa: limits.some(({ tag, body: flag }) => tag === 0x01 && flag[0] !== 0),
    pathLength: pathLength && Number(BigInt(`0x${Buffer.from(pathLength.body).toString('hex')}`)),
    // The first byte of a bit string says how many bits of the last one are unused.
    maySign: usage === undefined || ((must(elements(usage)[0]).body[1] ?? 0) & KEY_CERT_SIGN) !== 0,
    extendedUsage: extended && elements(must(elements(extended)[0]).body).map(({ body: id }) => dotted(id)),
  }
}

/** DER of the name of the CA that a revocation list is of. Throws a RangeError on bytes that are none. */
export function listIssuer(der: Uint8Array): Uint8Array {
  const parts = elements(must(elements(must(elements(der)[0]).body)[0]).body)
  // Lists of version 1 do not say so.
  return must(parts[must(parts[0]).tag === 0x02 ? 2 : 1]).whole
}

function elements(bytes: Uint8Array): Element[] {
  const out: Element[] = []
  for (let at = 0; at < bytes.length; ) {
    const start = at
    const tag = bytes[at++] ?? 0
    let length = bytes[at++] ?? 0
    if (length >= 0x80) {
      const count = length & 0x7f
      length = 0
      for (let i = 0; i < count; i++) length = length * 256 + (bytes[at++] ?? 0)
    }
    const end = at + length
    if (end > bytes.length) throw new RangeError('not DER')
    out.push({ tag, body: bytes.subarray(at, end), whole: bytes.subarray(start, end) })
    at = end
  }
  return out
}

function dotted(body: Uint8Array): string {
  const arcs: number[] = []
  let arc = 0
  for (const byte of body) {
    arc = arc * 128 + (byte & 0x7f)
    if (byte < 0x80) {
      arcs.push(arc)
      arc = 0
    }
  }
  const [first = 0, ...rest] = arcs
  const top = Math.min(2, Math.floor(first / 40))
  return [top, first - top * 40, ...rest].join('.')
}

function must(element: Element | undefined): Element
function must(bytes: Uint8Array | undefined): Uint8Array
function must<T>(value: T | undefined): T {
  if (value === undefined) throw new RangeError('not a certificate')
  return value
}
