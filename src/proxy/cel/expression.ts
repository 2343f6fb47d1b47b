import { createRequire } from 'node:module'
import type { CelEnv, CelFunc, CelInput, CelValue, plan } from '@bufbuild/cel'
import { RE2JS } from 're2js'
import type { CelExpressionConfig } from '#gen/envoy/config/core/v3/cel_pb.js'
import type { Expr } from '#gen/google/api/expr/v1alpha1/syntax_pb.js'
import { ConfigError } from '../context.ts'
import type { StreamInfo } from '../stream-info.ts'
import { ATTRIBUTES } from './attributes.ts'

const require = createRequire(import.meta.url)
let library: typeof import('@bufbuild/cel') | undefined

/** The evaluator, loaded when the first expression comes: most proxies have none. */
export function cel(): typeof import('@bufbuild/cel') {
  library ??= require('@bufbuild/cel') as typeof import('@bufbuild/cel')
  return library
}

/** A compiled CEL expression over a stream. Undefined: it has no value, such as when it asks for what is not there. */
export type CelExpression = (info: StreamInfo) => CelValue | undefined

/** What of CEL is switched on beyond what Envoy takes without being asked. */
export type CelSettings = Partial<
  Pick<CelExpressionConfig, 'enableStringConversion' | 'enableStringConcat' | 'enableStringFunctions'>
>

type Parsed = Parameters<typeof plan>[1]

/** Compiles an expression from its text. Throws ConfigError when it is none, or one that Envoy has switched off. */
export function compileCel(expression: string): CelExpression {
  const { parse } = cel()
  let parsed: Parsed
  try {
    parsed = parse(expression)
  } catch (error) {
    throw new ConfigError([`Not able to parse expression: ${(error as Error).message.replace(/^<input>:/, '')}`])
  }
  return compiled(parsed, {})
}

/**
 * Compiles an expression that came parsed (source/extensions/filters/common/expr/evaluator.cc). Throws ConfigError for
 * one that Envoy would not take.
 */
export function compileCelExpr(expr: Expr, settings: CelSettings = {}): CelExpression {
  return compiled(normalized(expr) as Parsed, settings)
}

/** Whether an expression is true of a stream: no value, and one that is no boolean, is false. */
export const celMatches = (expression: CelExpression, info: StreamInfo): boolean => expression(info) === true

function compiled(parsed: Parsed, settings: CelSettings): CelExpression {
  const { plan, isCelError } = cel()
  const environment = environmentFor(settings)
  const names = new Set<string>()
  check(parsed, environment, settings, names)
  let evaluate: ReturnType<typeof plan>
  try {
    evaluate = plan(environment, parsed)
  } catch (error) {
    throw failed((error as Error).message)
  }
  const wanted = Object.entries(ATTRIBUTES).filter(([name]) => names.has(name))
  return (info) => {
    const variables: Record<string, CelInput> = {}
    for (const [name, of] of wanted) variables[name] = of(info)
    const value = evaluate(variables)
    return isCelError(value) ? undefined : value
  }
}

const failed = (why: string): ConfigError => new ConfigError([`failed to create an expression: ${why}`])

const environments = new Map<string, CelEnv>()

function environmentFor(settings: CelSettings): CelEnv {
  const key = `${settings.enableStringConcat ?? false} ${settings.enableStringFunctions ?? false}`
  let known = environments.get(key)
  if (known === undefined) {
    const { celEnv, celFunc, CelScalar, listType } = cel()
    const refuse = (): never => {
      throw new Error('no such overload')
    }
    const lists = listType(CelScalar.DYN)
    const funcs: CelFunc[] = [celFunc('_+_', [lists, lists], lists, refuse)]
    if (!settings.enableStringConcat) {
      for (const type of [CelScalar.STRING, CelScalar.BYTES] as const)
        funcs.push(celFunc('_+_', [type, type], type, refuse))
    }
    if (settings.enableStringFunctions) {
      funcs.push(...(require('@bufbuild/cel/ext') as typeof import('@bufbuild/cel/ext')).strings)
    }
    known = celEnv({ funcs, re2: { compile: (pattern) => RE2JS.compile(pattern) } })
    environments.set(key, known)
  }
  return known
}

/** Names of calls that are no functions. */
const SPECIAL = new Set(['_[_]', '_?_:_', '_&&_', '_||_', '@not_strictly_false', '__not_strictly_false__'])

interface Node {
  case?: unknown
  value?: unknown
}

/** Refuses what Envoy does not take, and gathers the names that an expression looks at. */
function check(node: unknown, environment: CelEnv, settings: CelSettings, names: Set<string>): void {
  if (node === null || typeof node !== 'object') return
  const { case: kind, value } = node as Node
  if (kind === 'comprehensionExpr') throw failed('Comprehension support is disabled')
  if (kind === 'identExpr') names.add((value as { name: string }).name.replace(/^\./, '').split('.', 1)[0]!)
  if (kind === 'callExpr') checkCall(value as Call, environment, settings)
  for (const part of Object.values(node)) check(part, environment, settings, names)
}

interface Call {
  function: string
  args: { exprKind: Node }[]
}

function checkCall({ function: name, args }: Call, environment: CelEnv, settings: CelSettings): void {
  const known = SPECIAL.has(name) || environment.funcs.find(name) !== undefined
  if (!known || (name === 'string' && !settings.enableStringConversion)) {
    throw failed(`No overload found in reference resolve step for ${name}`)
  }
  if (name !== 'matches') return
  const last = args.at(-1)?.exprKind
  const text = last?.case === 'constExpr' ? (last.value as { constantKind: Node }).constantKind : undefined
  if (text?.case !== 'stringValue') return
  try {
    RE2JS.compile(text.value as string)
  } catch (error) {
    throw failed(`invalid regular expression: ${(error as Error).message}`)
  }
}

/** In older notations of `in`. */
const OLD_IN = new Set(['in', '_in_'])

/** An expression of the older type as the evaluator knows them, which has a field more. */
function normalized(expr: Expr | undefined): unknown {
  const kind = expr?.exprKind
  const as = (value: unknown) => ({ id: expr!.id, exprKind: { case: kind!.case, value } })
  switch (kind?.case) {
    case 'constExpr': {
      const constant = kind.value.constantKind.case
      if (constant === undefined) throw failed('unspecified constant')
      if (constant === 'durationValue' || constant === 'timestampValue') throw failed(`${constant} is not supported`)
      return as(kind.value)
    }
    case 'identExpr':
      if (kind.value.name === '') throw failed("Invalid expression: 'name' must not be empty")
      return as(kind.value)
    case 'comprehensionExpr':
      return as(kind.value)
    case 'selectExpr':
      return as({ ...kind.value, operand: normalized(kind.value.operand) })
    case 'callExpr': {
      const { target, args } = kind.value
      const name = OLD_IN.has(kind.value.function) ? '@in' : kind.value.function
      return as({ function: name, target: target && normalized(target), args: args.map(normalized) })
    }
    case 'listExpr':
      return as({ elements: kind.value.elements.map(normalized), optionalIndices: [] })
    case 'structExpr':
      return as({
        messageName: kind.value.messageName,
        entries: kind.value.entries.map(({ keyKind, value }) => ({
          keyKind: keyKind.case === 'mapKey' ? { case: 'mapKey', value: normalized(keyKind.value) } : keyKind,
          value: normalized(value),
          optionalEntry: false,
        })),
      })
    default:
      throw failed('Invalid empty expression')
  }
}
