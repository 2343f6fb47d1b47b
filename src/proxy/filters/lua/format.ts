import type { LuaApi, LuaState } from './engine.ts'
import { exponential, general, numberText } from './number.ts'

const SPEC = /^([-+ #0]*)(\d{0,2})(?:\.(\d{0,2}))?/

/** `string.format`, with C's conversions: fengari's own are those of a JavaScript library, which differ for `%g` and `%e`. */
export function stringFormat(api: LuaApi, L: LuaState): number {
  const format = api.stringArg(L, 1)
  let out = ''
  let arg = 1
  let from = 0
  for (;;) {
    const at = format.indexOf('%', from)
    if (at < 0) break
    out += format.slice(from, at)
    if (format[at + 1] === '%') {
      out += '%'
      from = at + 2
      continue
    }
    const spec = SPEC.exec(format.slice(at + 1))!
    const kind = format[at + 1 + spec[0].length] ?? ''
    from = at + 2 + spec[0].length
    arg++
    out += pad(convert(api, L, arg, kind, spec[1]!, spec[3], format.slice(at, from)), spec[1]!, Number(spec[2]), kind)
  }
  api.string(L, out + format.slice(from))
  return 1
}

function convert(
  api: LuaApi,
  L: LuaState,
  arg: number,
  kind: string,
  flags: string,
  precision: string | undefined,
  whole: string,
): string {
  const number = (): number => api.aux.luaL_checknumber(L, arg)
  const digits = precision === undefined ? 6 : Number(precision)
  switch (kind) {
    case 'd':
    case 'i':
      return signed(integer(number(), precision), flags)
    case 'u':
    case 'x':
    case 'X':
    case 'o': {
      const n = BigInt.asUintN(64, BigInt(Math.trunc(number()) || 0))
      const text = n.toString(kind === 'o' ? 8 : kind === 'u' ? 10 : 16).padStart(Number(precision ?? 1), '0')
      const prefix = flags.includes('#') && n !== 0n ? (kind === 'o' ? '0' : kind === 'u' ? '' : '0x') : ''
      return kind === 'X' ? (prefix + text).toUpperCase() : prefix + text
    }
    case 'c':
      return String.fromCharCode(number() & 255)
    case 'e':
    case 'E': {
      const text = signed(exponential(number(), digits), flags)
      return kind === 'E' ? text.toUpperCase() : text
    }
    case 'f':
    case 'F': {
      const n = number()
      return signed(Number.isFinite(n) ? fixed(n, digits) : numberText(n), flags)
    }
    case 'g':
    case 'G': {
      const text = signed(general(number(), digits, flags.includes('#')), flags)
      return kind === 'G' ? text.toUpperCase() : text
    }
    case 'q':
      return quoted(api.stringArg(L, arg))
    case 's': {
      if (api.lua.lua_gettop(L) < arg) api.aux.luaL_argerror(L, arg, NO_VALUE)
      const text = api.toText(L, arg)
      return precision === undefined ? text : text.slice(0, Number(precision))
    }
    default:
      return api.fail(L, `invalid option '${whole}' to 'format'`)
  }
}

const NO_VALUE = Uint8Array.from(Buffer.from('string expected, got no value'))

function integer(n: number, precision: string | undefined): string {
  const value = Number.isFinite(n) ? BigInt.asIntN(64, BigInt(Math.trunc(n))) : -(2n ** 63n)
  const text = (value < 0n ? -value : value).toString().padStart(Number(precision ?? 1), '0')
  return value < 0n ? `-${text}` : text
}

const fixed = (n: number, digits: number): string => {
  if (Math.abs(n) < 1e21) return (Object.is(n, -0) ? '-' : '') + n.toFixed(digits)
  const text = BigInt(n).toString()
  return digits === 0 ? text : `${text}.${'0'.repeat(digits)}`
}

const signed = (text: string, flags: string): string => {
  if (text.startsWith('-')) return text
  return flags.includes('+') ? `+${text}` : flags.includes(' ') ? ` ${text}` : text
}

function pad(text: string, flags: string, width: number, kind: string): string {
  if (text.length >= width) return text
  if (flags.includes('-')) return text.padEnd(width)
  if (!flags.includes('0') || kind === 's' || kind === 'c' || kind === 'q') return text.padStart(width)
  const lead = /^[-+ ]?(0[xX])?/.exec(text)![0]
  return lead + text.slice(lead.length).padStart(width - lead.length, '0')
}

const quoted = (text: string): string =>
  `"${text.replace(/["\\\n\r\0]/g, (c) => (c === '\r' ? '\\r' : c === '\0' ? '\\0' : `\\${c}`))}"`
