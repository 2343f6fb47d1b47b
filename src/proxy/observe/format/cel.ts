import type { CelValue } from '@bufbuild/cel'
import { cel, compileCel } from '../../cel/expression.ts'
import type { StreamInfo } from '../../stream-info.ts'
import { jsonNumber, jsonString, truncate } from './bytes.ts'
import type { Operator, OperatorTable } from './operator.ts'

function textOf(value: CelValue): string {
  switch (typeof value) {
    case 'string':
      return value
    case 'boolean':
    case 'bigint':
    case 'number':
      return String(value)
    default:
  }
  if (value === null) return 'NULL'
  if (value instanceof Uint8Array) return Buffer.from(value).toString('latin1')
  const { isCelUint, isCelList, isCelMap } = cel()
  if (isCelUint(value)) return String(value.value)
  if (isCelList(value)) return 'CelList value'
  if (isCelMap(value)) return 'CelMap value'
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

/** A value as JSON; undefined where only its text will do. */
function jsonOf(value: CelValue): string | undefined {
  const { isCelUint, isCelList, isCelMap } = cel()
  if (value === null || typeof value === 'boolean' || typeof value === 'bigint') return String(value)
  if (typeof value === 'number') return jsonNumber(value)
  if (typeof value === 'string') return jsonString(value)
  if (isCelUint(value)) return String(value.value)
  const inner = (item: CelValue) => jsonOf(item) ?? jsonString(textOf(item))
  if (isCelList(value)) return `[${[...value].map(inner).join(',')}]`
  if (!isCelMap(value)) return undefined
  return `{${[...value].map(([key, item]) => `${jsonString(String(key))}:${inner(item)}`).join(',')}}`
}

function operator(param: string, max: number | undefined, typed: boolean): Operator {
  const expression = compileCel(param)
  const text = (info: StreamInfo) => {
    const value = expression(info)
    return value === undefined ? undefined : truncate(textOf(value), max)
  }
  if (!typed) return { text, json: (info) => jsonString(text(info)) }
  const json = (info: StreamInfo) => {
    const value = expression(info)
    if (value === undefined) return 'null'
    return (typeof value === 'string' ? undefined : jsonOf(value)) ?? jsonString(truncate(textOf(value), max))
  }
  return { text, json }
}

/** `%CEL(expression)%`, and `%TYPED_CEL(expression)%` whose numbers and booleans stay such in JSON (source/extensions/formatter/cel). */
export const celOperators: OperatorTable = {
  CEL: { params: 'required', length: true, make: (param, max) => operator(param, max, false) },
  TYPED_CEL: { params: 'required', length: true, make: (param, max) => operator(param, max, true) },
}
