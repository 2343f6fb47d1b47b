import type { Runtime } from '../../../runtime.ts'
import type { StreamInfo } from '../../stream-info.ts'
import { jsonString } from './bytes.ts'

/** A compiled `%OPERATOR%`. Strings are byte strings (see bytes.ts). */
export interface Operator {
  /** The text, or undefined when the stream has no such fact (logged as `-`). */
  readonly text: (info: StreamInfo) => string | undefined
  /** The same as JSON text: numbers stay numbers, a missing value is `null`. */
  readonly json: (info: StreamInfo) => string
}

/** What an operator's parentheses may hold (source/common/formatter/substitution_format_utility.cc CommandSyntaxChecker). */
export type Params = 'none' | 'required' | 'optional'

/** How one operator is written and compiled. `make` throws Error with Envoy's words. */
export interface OperatorSpec {
  readonly params: Params
  readonly length: boolean
  readonly make: (param: string, max: number | undefined, runtime: Runtime) => Operator
}

/** Operators of one family, by name. */
export type OperatorTable = Readonly<Record<string, OperatorSpec>>

/** An operator whose value is text. */
export function textOperator(text: (info: StreamInfo) => string | undefined): Operator {
  return { text, json: (info) => jsonString(text(info)) }
}

/** An operator whose value is a number. */
export function numberOperator(number: (info: StreamInfo) => number | undefined): Operator {
  return {
    text: (info) => {
      const n = number(info)
      return n === undefined ? undefined : String(n)
    },
    json: (info) => {
      const n = number(info)
      return n === undefined ? 'null' : String(n)
    },
  }
}

/** A name alone, giving text. */
export function plainText(text: (info: StreamInfo) => string | undefined): OperatorSpec {
  const operator = textOperator(text)
  return { params: 'none', length: false, make: () => operator }
}

/** A name alone, giving a number. */
export function plainNumber(number: (info: StreamInfo) => number | undefined): OperatorSpec {
  const operator = numberOperator(number)
  return { params: 'none', length: false, make: () => operator }
}
