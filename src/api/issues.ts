import type { z } from 'zod'
import type { Path } from './objects.ts'
import { pathText } from './problems.ts'
import { closest, didYouMean } from './suggest.ts'

/** What is wrong at a path, before it has a place in a file. */
export interface Finding {
  path: Path
  message: string
  /** The place is the key of the field, not its value. */
  atKey?: boolean
  /** Nothing is wrong but that a required field is missing. */
  missing?: boolean
}

/**
 * The findings of a failed parse, in words: where zod says "invalid type", this says what was expected and what is
 * there; unknown fields come with the field that was surely meant.
 */
export function findingsOf(schema: z.ZodType, value: unknown, error: z.ZodError): Finding[] {
  return error.issues.flatMap((issue) => describe(schema, value, issue))
}

function describe(schema: z.ZodType, value: unknown, issue: z.core.$ZodIssue): Finding[] {
  const path = issue.path as Path
  const at = path.length === 0 ? '' : `${pathText(path)}: `
  const found = valueAt(value, path)
  switch (issue.code) {
    case 'unrecognized_keys': {
      const known = fieldNames(schema, path)
      return issue.keys.map((key) => ({
        path: [...path, key],
        atKey: true,
        message: `${at}unknown field "${key}"${didYouMean(key, known)}`,
      }))
    }
    case 'invalid_type':
      if (found === undefined) {
        const parent = path.slice(0, -1)
        const where = parent.length === 0 ? '' : `${pathText(parent)}: `
        return [{ path: parent, missing: true, message: `${where}required field "${String(path.at(-1))}" is missing` }]
      }
      return [
        { path, message: `${at}expected ${expected(issue.expected)}, got ${shown(found)}${quoteHint(issue, found)}` },
      ]
    case 'invalid_value': {
      const values = issue.values.map(String)
      if (found === undefined) {
        const parent = path.slice(0, -1)
        return [
          {
            path: parent,
            missing: true,
            message: `${pathText(parent)}: required field "${String(path.at(-1))}" is missing`,
          },
        ]
      }
      const near = typeof found === 'string' ? closest(found, values) : undefined
      const hint = near === undefined ? `: one of ${values.join(', ')}` : `: did you mean "${near}"?`
      return [{ path, message: `${at}${shown(found)} is not allowed${hint}` }]
    }
    case 'too_small':
      return [{ path, message: `${at}must be at least ${String(issue.minimum)}, is ${shown(found)}` }]
    case 'too_big':
      return [{ path, message: `${at}must be at most ${String(issue.maximum)}, is ${shown(found)}` }]
    case 'invalid_union':
      return [{ path, message: `${at}expected a number or a string, got ${shown(found)}` }]
    default:
      return [
        {
          path,
          message: `${at}${issue.message}${found === undefined || !issue.message.startsWith('expected') ? '' : suffix(found)}`,
        },
      ]
  }
}

function suffix(found: unknown): string {
  return typeof found === 'string' ? `, got ${shown(found)}` : ''
}

const NAMES: Record<string, string> = {
  string: 'a string',
  number: 'a number',
  int: 'an integer',
  boolean: 'true or false',
  array: 'a list',
  object: 'a map',
  record: 'a map',
}

function expected(type: string): string {
  return NAMES[type] ?? type
}

function quoteHint(issue: z.core.$ZodIssueInvalidType, found: unknown): string {
  if (issue.expected === 'string' && (typeof found === 'number' || typeof found === 'boolean'))
    return `: write "${String(found)}"`
  const numeric = issue.expected === 'number' || (issue.expected as string) === 'int'
  if (numeric && typeof found === 'string' && /^-?\d+(\.\d+)?$/.test(found)) return ': write it without quotes'
  if (issue.expected === 'boolean' && (found === 'true' || found === 'false')) return ': write it without quotes'
  return ''
}

/** A value in an error message, with its type. */
export function shown(value: unknown): string {
  if (value === null) return 'null'
  if (Array.isArray(value)) return 'a list'
  if (typeof value === 'object') return 'a map'
  const text = JSON.stringify(value) ?? String(value)
  return `the ${typeof value} ${text.length > 80 ? `${text.slice(0, 80)}…` : text}`
}

function valueAt(value: unknown, path: Path): unknown {
  let at: unknown = value
  for (const part of path) {
    if (typeof at !== 'object' || at === null) return undefined
    at = (at as Record<string | number, unknown>)[part]
  }
  return at
}

/** The names of the fields that a schema has at a path. */
export function fieldNames(schema: z.ZodType, path: Path): string[] {
  let at = inner(schema)
  for (const part of path) {
    const def = at._zod.def as unknown as Record<string, unknown>
    let next: unknown
    if (def.type === 'object') next = (def.shape as Record<string, unknown>)[String(part)]
    else if (def.type === 'array') next = def.element
    else if (def.type === 'record') next = def.valueType
    if (next === undefined) return []
    at = inner(next as z.ZodType)
  }
  const def = at._zod.def as unknown as Record<string, unknown>
  return def.type === 'object' ? Object.keys(def.shape as object) : []
}

function inner(schema: z.ZodType): z.ZodType {
  let at = schema
  while (true) {
    const next = (at._zod.def as unknown as { innerType?: z.ZodType }).innerType
    if (next === undefined) return at
    at = next
  }
}
