/**
 * The few DER (X.690) forms that an X.509 certificate needs. Loading a general X.509 library costs more than
 * everything else that `up` does at start, and only two shapes of certificate are ever written here.
 */

/** One tag-length-value. */
function tlv(tag: number, ...parts: Uint8Array[]): Uint8Array {
  const body = Buffer.concat(parts)
  if (body.length < 0x80) return Buffer.concat([Buffer.of(tag, body.length), body])
  const length: number[] = []
  for (let n = body.length; n > 0; n >>>= 8) length.unshift(n & 0xff)
  return Buffer.concat([Buffer.of(tag, 0x80 | length.length, ...length), body])
}

/** SEQUENCE. */
export const sequence = (...parts: Uint8Array[]): Uint8Array => tlv(0x30, ...parts)

/** SET. */
export const set = (...parts: Uint8Array[]): Uint8Array => tlv(0x31, ...parts)

/** OCTET STRING. */
export const octets = (body: Uint8Array): Uint8Array => tlv(0x04, body)

/** BIT STRING; `unused` is the number of unused low bits in the last byte. */
export const bits = (body: Uint8Array, unused = 0): Uint8Array => tlv(0x03, Buffer.of(unused), body)

/** BOOLEAN true, as DER wants it. */
export const derTrue: Uint8Array = Buffer.of(0x01, 0x01, 0xff)

/**
 * A directory string as Go writes it: PrintableString when it can be, else UTF8String. (Go's own rule for the former
 * leaves out `*` and `&`, which some writers allow.)
 */
export const directoryString = (text: string): Uint8Array =>
  /^[A-Za-z0-9 '()+,\-./:=?]*$/.test(text)
    ? tlv(0x13, Buffer.from(text, 'latin1'))
    : tlv(0x0c, Buffer.from(text, 'utf8'))

/** Context-specific, constructed: `[n] EXPLICIT`. */
export const explicit = (n: number, ...parts: Uint8Array[]): Uint8Array => tlv(0xa0 | n, ...parts)

/** Context-specific, primitive: `[n] IMPLICIT` of a string type. */
export const implicit = (n: number, body: Uint8Array): Uint8Array => tlv(0x80 | n, body)

/** INTEGER from big-endian magnitude bytes; always positive. */
export function integer(magnitude: Uint8Array): Uint8Array {
  let from = 0
  while (from < magnitude.length - 1 && magnitude[from] === 0) from++
  const body = magnitude.subarray(from)
  return (body[0] ?? 0) & 0x80 ? tlv(0x02, Buffer.of(0), body) : tlv(0x02, body)
}

/** OBJECT IDENTIFIER from its dotted form. */
export function oid(dotted: string): Uint8Array {
  const arcs = dotted.split('.').map(Number)
  const out = [(arcs[0] ?? 0) * 40 + (arcs[1] ?? 0)]
  for (const arc of arcs.slice(2)) {
    const groups = [arc & 0x7f]
    for (let n = arc >>> 7; n > 0; n >>>= 7) groups.unshift(0x80 | (n & 0x7f))
    out.push(...groups)
  }
  return tlv(0x06, Buffer.from(out))
}

/** Time as RFC 5280 wants it: UTCTime before 2050, GeneralizedTime from then on. Whole seconds. */
export function time(ms: number): Uint8Array {
  const digits = new Date(ms).toISOString().replace(/[-:T]/g, '').slice(0, 14)
  return new Date(ms).getUTCFullYear() < 2050
    ? tlv(0x17, Buffer.from(`${digits.slice(2)}Z`, 'latin1'))
    : tlv(0x18, Buffer.from(`${digits}Z`, 'latin1'))
}
