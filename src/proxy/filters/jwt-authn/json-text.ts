import type { Json } from './json.ts'

/** What JSON that may end up in a script must not hold as it is, beside what JSON itself forbids. */
const ESCAPED =
  /["\\<>\x00-\x1f\x7f-\x9f\u00ad\u0600-\u0603\u06dd\u070f\u17b4\u17b5\u200b-\u200f\u2028-\u202e\u2060-\u2064\u206a-\u206f\ufeff\ufff9-\ufffb\u{1d173}-\u{1d17a}\u{e0001}\u{e0020}-\u{e007f}]/gu

const SHORT: ReadonlyMap<string, string> = new Map([
  ['"', '\\"'],
  ['\\', '\\\\'],
  ['\b', '\\b'],
  ['\f', '\\f'],
  ['\n', '\\n'],
  ['\r', '\\r'],
  ['\t', '\\t'],
])

/** A value as protobuf's C++ library writes it (MessageToJsonString); the names of an object in the order they came, where it has none. */
export function protoJson(value: Json): string {
  if (value === null) return 'null'
  if (typeof value === 'string') return text(value)
  if (typeof value === 'number') return number(value)
  if (typeof value === 'boolean') return String(value)
  if (Array.isArray(value)) return `[${value.map(protoJson).join(',')}]`
  const fields = Object.entries(value as { readonly [name: string]: Json })
  return `{${fields.map(([name, field]) => `${text(name)}:${protoJson(field)}`).join(',')}}`
}

function text(value: string): string {
  return `"${value.replace(ESCAPED, (c) => SHORT.get(c) ?? unicode(c))}"`
}

function unicode(character: string): string {
  let out = ''
  for (let i = 0; i < character.length; i++) out += `\\u${character.charCodeAt(i).toString(16).padStart(4, '0')}`
  return out
}

/** C's `%.15g`, or `%.17g` where that is not the same number. */
function number(value: number): string {
  const short = general(value, 15)
  return Number(short) === value ? short : general(value, 17)
}

function general(value: number, precision: number): string {
  if (Object.is(value, -0)) return '-0'
  const [mantissa = '', exponent = ''] = value.toExponential(precision - 1).split('e')
  const magnitude = Number(exponent)
  if (magnitude >= -4 && magnitude < precision) return trimmed(value.toFixed(precision - 1 - magnitude))
  return `${trimmed(mantissa)}e${exponent[0]}${exponent.slice(1).padStart(2, '0')}`
}

/** Without zeros at the end of a fraction. */
function trimmed(digits: string): string {
  return digits.includes('.') ? digits.replace(/\.?0+$/, '') : digits
}
