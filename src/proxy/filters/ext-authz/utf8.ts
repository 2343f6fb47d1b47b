import { isUtf8 } from 'node:buffer'

/**
 * Wire bytes (latin1) as text: UTF-8 where they are that, and a `!` for each byte that cannot be
 * (source/common/protobuf/utility.cc sanitizeUtf8String).
 */
export function sanitizedText(wire: string): string {
  return /^[\x00-\x7f]*$/.test(wire) ? wire : sanitizedUtf8(Buffer.from(wire, 'latin1'))
}

/** Wire bytes as text: UTF-8 if all of it is that, else a character for each byte. */
export function textOf(wire: string): string {
  const bytes = Buffer.from(wire, 'latin1')
  return isUtf8(bytes) ? bytes.toString('utf8') : wire
}

/** The same for bytes. */
export function sanitizedUtf8(bytes: Buffer): string {
  const out: number[] = []
  for (let i = 0; i < bytes.length; ) {
    const n = sequenceAt(bytes, i)
    if (n === 0) {
      out.push(0x21)
      i++
    }
    for (let k = 0; k < n; k++) out.push(bytes[i++]!)
  }
  return Buffer.from(out).toString('utf8')
}

/** Length of the well-formed sequence that begins there; 0: none does. */
function sequenceAt(bytes: Buffer, at: number): number {
  const first = bytes[at]!
  if (first < 0x80) return 1
  const length = first < 0xc2 ? 0 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : first < 0xf5 ? 4 : 0
  if (length === 0 || at + length > bytes.length) return 0
  for (let k = 1; k < length; k++) if ((bytes[at + k]! & 0xc0) !== 0x80) return 0
  const second = bytes[at + 1]!
  // Too long a form for a small code point, a surrogate, or beyond Unicode.
  if ((first === 0xe0 && second < 0xa0) || (first === 0xed && second > 0x9f)) return 0
  if ((first === 0xf0 && second < 0x90) || (first === 0xf4 && second > 0x8f)) return 0
  return length
}
