import type { Runtime } from '../../../runtime.ts'
import { ConfigError } from '../../context.ts'
import { addresses } from './addresses.ts'
import { jsonString, toByteString, truncate } from './bytes.ts'
import { celOperators } from './cel.ts'
import { durations } from './durations.ts'
import { grpc } from './grpc.ts'
import { headers, requestWithoutQuery } from './headers.ts'
import { metadata } from './metadata.ts'
import type { Operator, OperatorSpec, OperatorTable } from './operator.ts'
import { request } from './request.ts'
import { stream } from './stream.ts'
import { times } from './times.ts'
import { tls } from './tls.ts'

/** `%COMMAND(PARAM):LENGTH%` (source/common/formatter/substitution_formatter.cc). */
const COMMAND = /%([A-Z0-9_]+)(?:\((.*?)\))?(?::([0-9]+))?%/y

const TABLE: OperatorTable = {
  ...headers,
  ...request,
  ...grpc,
  ...times,
  ...durations,
  ...addresses,
  ...tls,
  ...stream,
  ...metadata,
  ...celOperators,
  COALESCE: {
    params: 'required',
    length: true,
    make: (param, max, runtime) => coalesce(param, max, runtime),
  },
}

/** Operators of formatter extensions, which a format has to list under `formatters`. */
export type FormatterExtension = 'envoy.formatter.req_without_query'

/** One piece of a format: literal text (a byte string) or an operator. */
export type Segment = string | Operator

function compile(
  spec: OperatorSpec,
  command: string,
  param: string,
  max: number | undefined,
  runtime: Runtime,
): Operator {
  if (spec.params === 'none' && !spec.length && (param !== '' || max !== undefined)) {
    throw new Error(`${command} does not take any parameters or length`)
  }
  if (spec.params === 'required' && param === '') throw new Error(`${command} requires parameters`)
  if (!spec.length && max !== undefined) throw new Error(`${command} does not allow length to be specified.`)
  return spec.make(param, max, runtime)
}

function lookup(command: string, extensions: ReadonlySet<FormatterExtension>): OperatorSpec | undefined {
  if (command === 'REQ_WITHOUT_QUERY' && extensions.has('envoy.formatter.req_without_query')) return requestWithoutQuery
  return Object.hasOwn(TABLE, command) ? TABLE[command] : undefined
}

const NO_EXTENSIONS: ReadonlySet<FormatterExtension> = new Set()

/** Splits a format into segments. Throws ConfigError with Envoy's words. */
export function parseFormat(format: string, runtime: Runtime, extensions = NO_EXTENSIONS): Segment[] {
  const segments: Segment[] = []
  let literal = ''
  for (let at = 0; at < format.length; ) {
    if (format[at] !== '%') {
      literal += format[at]
      at++
      continue
    }
    if (format[at + 1] === '%') {
      literal += '%'
      at += 2
      continue
    }
    if (literal !== '') segments.push(toByteString(literal))
    literal = ''
    COMMAND.lastIndex = at
    const found = COMMAND.exec(format)
    if (!found) {
      const position = Buffer.byteLength(format.slice(0, at))
      throw new ConfigError([`Incorrect configuration: ${format}. Couldn't find valid command at position ${position}`])
    }
    const [all, command, param = '', length] = found
    const spec = lookup(command!, extensions)
    if (!spec) throw new ConfigError([`Not supported field in StreamInfo: ${command}`])
    try {
      segments.push(compile(spec, command!, param, length === undefined ? undefined : Number(length), runtime))
    } catch (error) {
      throw error instanceof ConfigError ? error : new ConfigError([(error as Error).message])
    }
    at += all.length
  }
  if (literal !== '' || format === '') segments.push(toByteString(literal))
  return segments
}

function coalesceEntry(entry: unknown, runtime: Runtime): Operator {
  if (typeof entry !== 'string' && (entry === null || typeof entry !== 'object' || Array.isArray(entry))) {
    throw new Error("operator entry must be either a string (command name) or an object with 'command' field")
  }
  const object = typeof entry === 'string' ? { command: entry } : (entry as Record<string, unknown>)
  const { command, param = '', max_length: max } = object
  if (typeof command !== 'string') throw new Error("operator object must have 'command' field")
  if (typeof param !== 'string') throw new Error("'param' field must be a string")
  if (max !== undefined && !Number.isInteger(max)) throw new Error("'max_length' field must be an integer")
  if (max !== undefined && (max as number) <= 0) throw new Error("'max_length' must be a positive integer")
  const spec = lookup(command, NO_EXTENSIONS)
  if (!spec) throw new Error(`unknown command: '${command}'`)
  return compile(spec, command, param, max as number | undefined, runtime)
}

/** %COALESCE({"operators":[…]})%: the first operator that has a value, be it empty. */
function coalesce(param: string, max: number | undefined, runtime: Runtime): Operator {
  let config: unknown
  try {
    config = JSON.parse(param)
  } catch (error) {
    throw new Error(`COALESCE: failed to parse JSON configuration: ${(error as Error).message}`)
  }
  const listed = config !== null && typeof config === 'object' && Object.hasOwn(config, 'operators')
  if (!listed) throw new Error("COALESCE: JSON configuration must contain 'operators' array")
  const { operators } = config as { operators: unknown }
  if (!Array.isArray(operators)) throw new Error("COALESCE: 'operators' must be an array")
  if (operators.length === 0) throw new Error("COALESCE: 'operators' array must not be empty")
  const compiled = operators.map((entry, index) => {
    try {
      return coalesceEntry(entry, runtime)
    } catch (error) {
      throw new Error(`COALESCE: failed to parse operator at index ${index}: ${(error as Error).message}`)
    }
  })
  const first: Operator['text'] = (info) => {
    for (const operator of compiled) {
      const text = operator.text(info)
      if (text !== undefined) return truncate(text, max)
    }
    return undefined
  }
  const json: Operator['json'] = (info) => {
    const operator = compiled.find((o) => o.text(info) !== undefined)
    if (operator === undefined) return 'null'
    const whole = operator.json(info)
    return max !== undefined && whole.startsWith('"') ? jsonString(truncate(operator.text(info)!, max)) : whole
  }
  return { text: first, json }
}
