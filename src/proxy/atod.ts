const DECIMAL = /^[ \t\n\v\f\r]*[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:e[+-]?\d+)?[ \t\n\v\f\r]*$/i
const HEXADECIMAL = /^[ \t\n\v\f\r]*([+-]?)0x([0-9a-f]*)(?:\.([0-9a-f]*))?(?:p([+-]?\d+))?[ \t\n\v\f\r]*$/i
const SPECIAL = /^[ \t\n\v\f\r]*([+-]?)(?:(inf(?:inity)?)|nan)[ \t\n\v\f\r]*$/i

/** A number as absl::SimpleAtod reads it; undefined for what is none. */
export function atod(text: string): number | undefined {
  if (DECIMAL.test(text)) return Number(text)
  const hex = HEXADECIMAL.exec(text)
  if (hex !== null) return hexadecimal(hex[1] === '-' ? -1 : 1, hex[2]!, hex[3] ?? '', Number(hex[4] ?? 0))
  const special = SPECIAL.exec(text)
  if (special === null) return undefined
  if (special[2] === undefined) return Number.NaN
  return special[1] === '-' ? Number.NEGATIVE_INFINITY : Number.POSITIVE_INFINITY
}

/** `sign 0x whole.fraction p exponent`. */
function hexadecimal(sign: number, whole: string, fraction: string, exponent: number): number | undefined {
  if (whole === '' && fraction === '') return undefined
  return sign * Number(`0x${whole}${fraction}`) * 2 ** (exponent - 4 * fraction.length)
}
