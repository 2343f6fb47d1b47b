const DECIMAL = /^[ \t-\r]*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)[ \t-\r]*$/
const HEXADECIMAL = /^[ \t-\r]*([-+]?)0[xX]([0-9a-fA-F]*)(?:\.([0-9a-fA-F]*))?(?:[pP]([-+]?\d+))?[ \t-\r]*$/

/** Reads a number as Lua's lexer and `tonumber` do; undefined for what is none. */
export function parseNumber(text: string): number | undefined {
  const decimal = DECIMAL.exec(text)
  if (decimal !== null) return Number(decimal[1])
  const hex = HEXADECIMAL.exec(text)
  if (hex === null) return undefined
  const [, sign, whole = '', part = '', exponent = '0'] = hex
  if (whole === '' && part === '') return undefined
  let value = 0
  for (const digit of whole + part) value = value * 16 + Number.parseInt(digit, 16)
  value *= 2 ** (Number(exponent) - 4 * part.length)
  return sign === '-' ? -value : value
}

/** A number as text, in C's `%.14g`. */
export function numberText(n: number): string {
  if (Number.isInteger(n) && Math.abs(n) < 1e14) return Object.is(n, -0) ? '-0' : String(n)
  return general(n, 14, false)
}

/** C's `%g` with a precision; `keep` keeps zeros at the end (the `#` flag). */
export function general(n: number, precision: number, keep: boolean): string {
  if (!Number.isFinite(n)) return special(n)
  const digits = precision === 0 ? 1 : precision
  const [mantissa, exponent] = n.toExponential(digits - 1).split('e') as [string, string]
  const power = Number(exponent)
  const strip = (text: string): string => (keep || !text.includes('.') ? text : text.replace(/\.?0+$/, ''))
  if (power < -4 || power >= digits) return `${strip(mantissa)}${exponentText(power)}`
  return strip((Object.is(n, -0) ? '-' : '') + n.toFixed(Math.max(0, digits - 1 - power)))
}

/** C's `%e` with a precision. */
export function exponential(n: number, precision: number): string {
  if (!Number.isFinite(n)) return special(n)
  const [mantissa, exponent] = n.toExponential(precision).split('e') as [string, string]
  return `${Object.is(n, -0) ? '-' : ''}${mantissa}${exponentText(Number(exponent))}`
}

const special = (n: number): string => (Number.isNaN(n) ? 'nan' : n > 0 ? 'inf' : '-inf')

const exponentText = (power: number): string => `e${power < 0 ? '-' : '+'}${String(Math.abs(power)).padStart(2, '0')}`
