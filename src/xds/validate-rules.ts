import type { DescField, Message } from '@bufbuild/protobuf'
import type { Duration } from '@bufbuild/protobuf/wkt'
import type { AnyRules, BytesRules, EnumRules, FieldRules, MapRules, RepeatedRules } from '#gen/validate/validate_pb.js'
import { typeNameOf } from './messages.ts'
import { all, given, type Rule, sizeRule } from './validate-rule.ts'
import { stringRule } from './validate-strings.ts'

type Bounds = { [key in 'const' | 'lt' | 'lte' | 'gt' | 'gte']?: unknown } & { in?: unknown[]; notIn?: unknown[] }

/** What the rules of a field say of its presence, of a list or map as a whole, and of its items and keys. */
export function collectionRules(field: DescField, rules: FieldRules | undefined) {
  const type = rules?.type
  const required =
    rules?.message?.required === true ||
    ((type?.case === 'any' || type?.case === 'duration' || type?.case === 'timestamp') && type.value.required === true)
  const skip = rules?.message?.skip === true
  if (type?.case === 'repeated') {
    const items = type.value.items
    const itemsSkip = items?.message?.skip === true
    return {
      required,
      skip: skip || itemsSkip,
      whole: repeatedRule(type.value),
      item: valueRules(field, items),
      key: undefined,
    }
  }
  if (type?.case === 'map') {
    const { keys, values } = type.value
    const key = keys && keyRule(keys)
    return { required, skip, whole: mapRule(type.value), item: valueRules(field, values), key }
  }
  return { required, skip, whole: undefined, item: undefined, key: undefined }
}

/** The rule for one value of a field's element type. */
export function valueRules(field: DescField, rules: FieldRules | undefined): Rule | undefined {
  const type = rules?.type
  if (!type) return undefined
  switch (type.case) {
    case undefined:
    case 'repeated':
    case 'map':
    case 'timestamp':
      return undefined
    case 'string':
      return unlessEmpty(type.value.ignoreEmpty, stringRule(type.value))
    case 'bytes':
      return unlessEmpty(type.value.ignoreEmpty, bytesRule(type.value))
    case 'bool':
      return given(type.value, 'const') ? constant(type.value.const) : undefined
    case 'enum':
      return enumRule(field, type.value)
    case 'any':
      return anyRule(type.value)
    case 'duration':
      return durationRule(type.value as unknown as Bounds)
    default:
      return unlessEmpty(type.value.ignoreEmpty, numberRule(type.value as unknown as Bounds))
  }
}

function keyRule(rules: FieldRules): Rule | undefined {
  // Map keys are held as strings, whatever their type.
  return rules.type.case === 'string' ? stringRule(rules.type.value) : undefined
}

function unlessEmpty(ignoreEmpty: boolean, rule: Rule | undefined): Rule | undefined {
  if (!ignoreEmpty || !rule) return rule
  return (value) => {
    const empty = value === 0 || value === 0n || value === '' || (value instanceof Uint8Array && value.length === 0)
    return empty ? undefined : rule(value)
  }
}

function constant(expected: unknown, show: (value: unknown) => string = String): Rule {
  return (value) => (value === expected ? undefined : `value must equal ${show(expected)}`)
}

/** Bounds of a value that compares with < and equals by ===. */
function numberRule(rules: Bounds, show: (value: unknown) => string = String): Rule | undefined {
  const list = (values: unknown[]) => `[${values.map(show).join(', ')}]`
  return all([
    given(rules, 'const') && constant(rules.const, show),
    rangeRule(rules, show),
    !!rules.in?.length && ((v) => (rules.in!.includes(v) ? undefined : `value must be in list ${list(rules.in!)}`)),
    !!rules.notIn?.length &&
      ((v) => (rules.notIn!.includes(v) ? `value must not be in list ${list(rules.notIn!)}` : undefined)),
  ])
}

function rangeRule(rules: Bounds, show: (value: unknown) => string): Rule | undefined {
  type Comparable = number
  const lower = given(rules, 'gt') ? 'gt' : given(rules, 'gte') ? 'gte' : undefined
  const upper = given(rules, 'lt') ? 'lt' : given(rules, 'lte') ? 'lte' : undefined
  const low = lower && (rules[lower] as Comparable)
  const high = upper && (rules[upper] as Comparable)
  const above = (v: unknown) => (lower === 'gt' ? (v as Comparable) > low! : (v as Comparable) >= low!)
  const below = (v: unknown) => (upper === 'lt' ? (v as Comparable) < high! : (v as Comparable) <= high!)
  if (lower && upper) {
    if (high! > low!) {
      const range = `${lower === 'gt' ? '(' : '['}${show(low)}, ${show(high)}${upper === 'lt' ? ')' : ']'}`
      return (v) => (above(v) && below(v) ? undefined : `value must be inside range ${range}`)
    }
    const range = `${upper === 'lt' ? '[' : '('}${show(high)}, ${show(low)}${lower === 'gt' ? ']' : ')'}`
    return (v) => (above(v) || below(v) ? undefined : `value must be outside range ${range}`)
  }
  if (lower) {
    const words = lower === 'gt' ? 'greater than' : 'greater than or equal to'
    return (v) => (above(v) ? undefined : `value must be ${words} ${show(low)}`)
  }
  if (upper) {
    const words = upper === 'lt' ? 'less than' : 'less than or equal to'
    return (v) => (below(v) ? undefined : `value must be ${words} ${show(high)}`)
  }
  return undefined
}

const NANOS = 1_000_000_000n

function durationRule(rules: Bounds): Rule | undefined {
  const nanos = (value: unknown) => (value as Duration).seconds * NANOS + BigInt((value as Duration).nanos)
  const inNanos: Bounds = {}
  for (const name of ['const', 'lt', 'lte', 'gt', 'gte'] as const)
    if (given(rules, name)) inNanos[name] = nanos(rules[name])
  if (rules.in?.length) inNanos.in = rules.in.map(nanos)
  if (rules.notIn?.length) inNanos.notIn = rules.notIn.map(nanos)
  const rule = numberRule(inNanos, (value) => durationText(value as bigint))
  return rule && ((value) => rule(nanos(value)))
}

/** As Go prints a duration, for the round values that rules have. */
function durationText(nanos: bigint): string {
  if (nanos === 0n || nanos >= NANOS) return `${Number(nanos) / 1e9}s`
  return nanos >= 1_000_000n ? `${Number(nanos) / 1e6}ms` : `${Number(nanos) / 1e3}µs`
}

function enumRule(field: DescField, rules: EnumRules): Rule | undefined {
  const desc = field.enum
  return all([
    rules.definedOnly &&
      !!desc &&
      ((v) => (desc.value[v as number] ? undefined : 'value must be one of the defined enum values')),
    numberRule(rules as unknown as Bounds),
  ])
}

function anyRule(rules: AnyRules): Rule | undefined {
  const urlOf = (value: unknown) => (value as Message & { typeUrl: string }).typeUrl
  const listed = (list: string[], url: string) => list.some((allowed) => typeNameOf(allowed) === typeNameOf(url))
  return all([
    rules.in.length > 0 &&
      ((v) => (listed(rules.in, urlOf(v)) ? undefined : `type URL must be in list [${rules.in.join(', ')}]`)),
    rules.notIn.length > 0 &&
      ((v) => (listed(rules.notIn, urlOf(v)) ? `type URL must not be in list [${rules.notIn.join(', ')}]` : undefined)),
  ])
}

function bytesRule(rules: BytesRules): Rule | undefined {
  const length = (v: unknown) => BigInt((v as Uint8Array).length)
  return all([
    given(rules, 'len') && ((v) => (length(v) === rules.len ? undefined : `value length must be ${rules.len} bytes`)),
    sizeRule(
      'value length must be',
      'bytes',
      given(rules, 'minLen') ? rules.minLen : undefined,
      given(rules, 'maxLen') ? rules.maxLen : undefined,
      length,
    ),
  ])
}

function repeatedRule(rules: RepeatedRules): Rule | undefined {
  const bound = (name: 'minItems' | 'maxItems') => (given(rules, name) ? rules[name] : undefined)
  const size = (v: unknown) => BigInt((v as unknown[]).length)
  const several = given(rules, 'minItems') && given(rules, 'maxItems') && rules.minItems !== rules.maxItems
  const items = sizeRule(
    'value must contain',
    several ? 'items' : 'item(s)',
    bound('minItems'),
    bound('maxItems'),
    size,
  )
  const unique: Rule = (v) =>
    new Set(v as unknown[]).size === (v as unknown[]).length ? undefined : 'repeated value must contain unique items'
  const rule = all([items, rules.unique && unique])
  return rules.ignoreEmpty && rule ? (v) => ((v as unknown[]).length ? rule(v) : undefined) : rule
}

function mapRule(rules: MapRules): Rule | undefined {
  const bound = (name: 'minPairs' | 'maxPairs') => (given(rules, name) ? rules[name] : undefined)
  const size = (v: unknown) => BigInt(Object.keys(v as object).length)
  const several = given(rules, 'minPairs') && given(rules, 'maxPairs') && rules.minPairs !== rules.maxPairs
  const rule = sizeRule('value must contain', several ? 'pairs' : 'pair(s)', bound('minPairs'), bound('maxPairs'), size)
  return rules.ignoreEmpty && rule ? (v) => (size(v) ? rule(v) : undefined) : rule
}
