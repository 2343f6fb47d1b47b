import type { CelValue } from '@bufbuild/cel'
import { cel, compileCel } from '../../cel/expression.ts'
import { celText } from '../../cel/text.ts'
import type { StreamInfo } from '../../stream-info.ts'
import { jsonNumber, jsonString, truncate } from './bytes.ts'
import type { Operator, OperatorTable } from './operator.ts'

/** A value as JSON; undefined where only its text will do. */
function jsonOf(value: CelValue): string | undefined {
  const { isCelUint, isCelList, isCelMap } = cel()
  if (value === null || typeof value === 'boolean' || typeof value === 'bigint') return String(value)
  if (typeof value === 'number') return jsonNumber(value)
  if (typeof value === 'string') return jsonString(value)
  if (isCelUint(value)) return String(value.value)
  const inner = (item: CelValue) => jsonOf(item) ?? jsonString(celText(item))
  if (isCelList(value)) return `[${[...value].map(inner).join(',')}]`
  if (!isCelMap(value)) return undefined
  return `{${[...value].map(([key, item]) => `${jsonString(String(key))}:${inner(item)}`).join(',')}}`
}

function operator(param: string, max: number | undefined, typed: boolean): Operator {
  const expression = compileCel(param)
  const text = (info: StreamInfo) => {
    const value = expression(info)
    return value === undefined ? undefined : truncate(celText(value), max)
  }
  if (!typed) return { text, json: (info) => jsonString(text(info)) }
  const json = (info: StreamInfo) => {
    const value = expression(info)
    if (value === undefined) return 'null'
    return (typeof value === 'string' ? undefined : jsonOf(value)) ?? jsonString(truncate(celText(value), max))
  }
  return { text, json }
}

/** `%CEL(expression)%`, and `%TYPED_CEL(expression)%` whose numbers and booleans stay such in JSON (source/extensions/formatter/cel). */
export const celOperators: OperatorTable = {
  CEL: { params: 'required', length: true, make: (param, max) => operator(param, max, false) },
  TYPED_CEL: { params: 'required', length: true, make: (param, max) => operator(param, max, true) },
}
