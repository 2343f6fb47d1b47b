import type { CelValue } from '@bufbuild/cel'
import { cel } from './expression.ts'

/** A value as text (source/extensions/filters/common/expr/evaluator.cc print). */
export function celText(value: CelValue): string {
  switch (typeof value) {
    case 'string':
      return value
    case 'boolean':
    case 'bigint':
      return String(value)
    case 'number':
      return sixDigits(value)
    default:
  }
  if (value === null) return 'NULL'
  if (value instanceof Uint8Array) return Buffer.from(value).toString('latin1')
  const { isCelUint, isCelList, isCelMap, isCelType } = cel()
  if (isCelUint(value)) return String(value.value)
  if (isCelList(value)) return 'CelList value'
  if (isCelMap(value)) return 'CelMap value'
  if (isCelType(value)) return 'CelType value'
  return messageText(value)
}

/** Durations as Go writes them, timestamps in RFC 3339. */
function messageText(value: CelValue): string {
  const message = (value as { message?: { $typeName?: string; seconds?: bigint; nanos?: number } }).message
  if (message?.seconds === undefined) return 'message value'
  const { seconds, nanos = 0 } = message
  if (message.$typeName === 'google.protobuf.Timestamp') {
    const whole = new Date(Number(seconds) * 1000).toISOString().slice(0, 19)
    const fraction = nanos === 0 ? '' : `.${String(nanos).padStart(9, '0').replace(/0+$/, '')}`
    return `${whole}${fraction}+00:00`
  }
  return durationText(Number(seconds) * 1000 + nanos / 1e6)
}

/** `1h2m3.5s`, or milliseconds below a second. */
function durationText(ms: number): string {
  if (ms < 0) return `-${durationText(-ms)}`
  if (ms === 0) return '0'
  if (ms < 1000) return `${ms}ms`
  const hours = Math.floor(ms / 3_600_000)
  const minutes = Math.floor(ms / 60_000) % 60
  const rest = (ms % 60_000) / 1000
  return `${hours > 0 ? `${hours}h` : ''}${minutes > 0 ? `${minutes}m` : ''}${rest > 0 ? `${rest}s` : ''}`
}

/** A number as printf's `%g` writes it. */
function sixDigits(n: number): string {
  if (!Number.isFinite(n)) return Number.isNaN(n) ? 'nan' : n > 0 ? 'inf' : '-inf'
  if (n === 0) return Object.is(n, -0) ? '-0' : '0'
  const [mantissa = '', exponent = ''] = n.toExponential(5).split('e')
  const power = Number(exponent)
  if (power >= -4 && power < 6) return String(Number(n.toPrecision(6)))
  return `${Number(mantissa)}e${exponent[0]}${exponent.slice(1).padStart(2, '0')}`
}
