import { isUtf8 } from 'node:buffer'

/**
 * Formatted text travels as a byte string: one char per byte, like header values. Log files and header
 * codecs write it as latin1, so what came in as raw bytes leaves unchanged, and configured text in UTF-8.
 */
export function toByteString(text: string): string {
  for (let i = 0; i < text.length; i++) {
    if (text.charCodeAt(i) > 0x7f) return Buffer.from(text, 'utf8').toString('latin1')
  }
  return text
}

/** First `max` bytes of a byte string; all of it when there is no limit. */
export function truncate(bytes: string, max: number | undefined): string {
  return max === undefined || bytes.length <= max ? bytes : bytes.slice(0, max)
}

const NEEDS_ESCAPE = /[\x00-\x1f"\\\x7f-\xff]/
const NEEDS_ESCAPE_ALL = /[\x00-\x1f"\\\x7f-\xff]/g

/** The inside of a JSON string for a byte string, as source/common/json/json_sanitizer.cc writes it: UTF-8 stays, broken UTF-8 is escaped byte by byte. */
export function jsonEscape(bytes: string): string {
  if (!NEEDS_ESCAPE.test(bytes)) return bytes
  const raw = Buffer.from(bytes, 'latin1')
  if (isUtf8(raw)) return toByteString(JSON.stringify(raw.toString('utf8')).slice(1, -1))
  return bytes.replace(NEEDS_ESCAPE_ALL, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`)
}

/** A JSON string literal, or `null`. */
export function jsonString(bytes: string | undefined): string {
  return bytes === undefined ? 'null' : `"${jsonEscape(bytes)}"`
}

/** Bytes order, which is how Envoy sorts keys. */
function byBytes(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0
}

/** The keys of an object in the order of their UTF-8 bytes. */
export function sortedKeys(object: Readonly<Record<string, unknown>>): string[] {
  return Object.keys(object).sort((a, b) => byBytes(toByteString(a), toByteString(b)))
}

/**
 * A number as Envoy serialises a double in JSON (source/common/buffer/buffer_util.cc serializeDouble, which is
 * std::to_chars): with or without an exponent, whichever is shorter, so 1700000000 is `1.7e+09`.
 */
export function jsonNumber(n: number): string {
  if (Number.isNaN(n)) return 'null'
  if (!Number.isFinite(n)) return n > 0 ? 'inf' : '-inf'
  if (Number.isInteger(n) && Math.abs(n) < 100_000) return Object.is(n, -0) ? '-0' : String(n)
  const [mantissa = '', exponent = ''] = n.toExponential().split('e')
  const short = `${mantissa}e${exponent[0]}${exponent.slice(1).padStart(2, '0')}`
  // Beyond these the one with an exponent is always shorter.
  if (Math.abs(n) >= 1e23 || Math.abs(n) < 1e-4) return short
  const plain = Number.isInteger(n) ? BigInt(n).toString() : String(n)
  return plain.length <= short.length ? plain : short
}

/** A `google.protobuf.Value` (plain JSON, Unicode strings) as compact JSON with sorted keys, as a byte string. */
export function jsonValue(value: unknown): string {
  if (typeof value === 'string') return toByteString(JSON.stringify(value))
  if (typeof value === 'number') return jsonNumber(value)
  if (typeof value === 'boolean' || typeof value === 'bigint') return String(value)
  if (Array.isArray(value)) return `[${value.map(jsonValue).join(',')}]`
  if (value !== null && typeof value === 'object') {
    const object = value as Record<string, unknown>
    return `{${sortedKeys(object)
      .map((key) => `${toByteString(JSON.stringify(key))}:${jsonValue(object[key])}`)
      .join(',')}}`
  }
  return 'null'
}
