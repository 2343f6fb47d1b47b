import { type DescField, type DescMessage, getOption, hasOption, type Message } from '@bufbuild/protobuf'
import type { Any } from '@bufbuild/protobuf/wkt'
import type { FieldRules } from '#gen/validate/validate_pb.js'
import { registry, schemaOf, typeNameOf } from './messages.ts'
import type { PathStep, Problem } from './problem.ts'
import { resolveTypedConfig } from './typed-config.ts'
import type { Rule } from './validate-rule.ts'
import { collectionRules, valueRules } from './validate-rules.ts'

/** A broken field constraint. */
export interface Violation extends Problem {
  /** In Envoy's words: `ClusterValidationError.Name: value length must be at least 1 characters`. */
  readonly constraint: string
}

/**
 * Checks a message, and every message inside it, against the field constraints of its .proto files (protoc-gen-validate),
 * the ones that Envoy refuses a config for. Unlike Envoy, which stops at the first, it returns all. Typed configs are
 * opened and checked too; one whose type is unknown is left to whoever uses it, who knows if it is optional.
 */
export function validate(message: Message): Violation[] {
  const run = new Run()
  run.message(schemaOf(message.$typeName), message)
  return run.violations
}

/**
 * What Envoy says when it refuses a message for its constraints (ProtoValidationException), with every violation; what is
 * in several parts of the message, such as in each filter chain of a listener, once.
 */
export function constraintText(violations: readonly Violation[]): string {
  return `Proto constraint validation failed (${[...new Set(violations.map((v) => v.constraint))].join('; ')})`
}

/** The checks of one field, made once per message type. */
interface FieldCheck {
  readonly name: string
  /** As Envoy names it in errors: `ClusterValidationError.LoadAssignment`. */
  readonly label: string
  readonly localName: string
  readonly oneof: string | undefined
  readonly required: boolean
  readonly kind: DescField['fieldKind']
  /** Rules on the list or map as a whole, or on a singular value. */
  readonly whole: Rule | undefined
  readonly item: Rule | undefined
  readonly key: Rule | undefined
  readonly child: DescMessage | undefined
}

interface TypeCheck {
  readonly fields: readonly FieldCheck[]
  readonly oneofs: readonly { readonly localName: string; readonly name: string }[]
}

type Fields = Record<string, unknown>

class Run {
  readonly violations: Violation[] = []
  private readonly path: PathStep[] = []
  private causes: string[] = []

  message(schema: DescMessage, message: Message): void {
    if (schema.typeName === 'google.protobuf.Any') {
      this.any(message as Any)
      return
    }
    const type = checksOf(schema)
    const fields = message as unknown as Fields
    for (const check of type.fields) {
      let value: unknown
      if (check.oneof) {
        const chosen = fields[check.oneof] as { case?: string; value?: unknown }
        if (chosen.case !== check.localName) continue
        value = chosen.value
      } else value = fields[check.localName]
      this.field(check, value)
    }
    for (const oneof of type.oneofs)
      if ((fields[oneof.localName] as { case?: string }).case === undefined) {
        this.path.push(oneof.name)
        this.violate('value is required', `field: "${oneof.name}", reason: is required`)
        this.path.pop()
      }
  }

  private field(check: FieldCheck, value: unknown): void {
    this.path.push(check.name)
    if (value === undefined) {
      if (check.required) this.report(check.label, 'value is required')
    } else if (check.kind === 'list') {
      const items = value as unknown[]
      this.apply(check.whole, items, check.label)
      if (check.item || check.child) for (let i = 0; i < items.length; i++) this.element(check, items[i], i)
    } else if (check.kind === 'map') {
      const map = value as Fields
      this.apply(check.whole, map, check.label)
      if (check.item || check.key || check.child)
        for (const key in map) {
          this.apply(check.key, key, `key for ${check.label}[${key}]`)
          this.element(check, map[key], key)
        }
    } else {
      this.apply(check.whole, value, check.label)
      if (check.child && typeof value === 'object') this.inside(check.child, value as Message, check.label)
    }
    this.path.pop()
  }

  private element(check: FieldCheck, value: unknown, at: PathStep): void {
    this.path.push(at)
    if (check.item) this.apply(check.item, value, `${check.label}[${at}]`)
    if (check.child) this.inside(check.child, value as Message, check.label, at)
    this.path.pop()
  }

  private inside(schema: DescMessage, message: Message, label: string, at?: PathStep): void {
    this.causes.push(at === undefined ? label : `${label}[${at}]`)
    this.message(schema, message)
    this.causes.pop()
  }

  private any(any: Any): void {
    if (any.typeUrl === '' || !registry().getMessage(typeNameOf(any.typeUrl))) return
    const outer = this.causes
    this.causes = []
    const { message, problems } = resolveTypedConfig(any)
    for (const problem of problems) {
      if (problem.path[0] === 'type_url') continue
      const path = [...this.path, ...problem.path]
      this.violations.push({ path, message: problem.message, constraint: problem.message })
    }
    // What was not readable is not worth checking.
    if (message && problems.length === 0) this.message(schemaOf(message.$typeName), message)
    this.causes = outer
  }

  private apply(rule: Rule | undefined, value: unknown, label: string): void {
    const broken = rule?.(value)
    if (broken) this.report(label, broken)
  }

  private report(label: string, message: string): void {
    this.violate(message, `${label}: ${message}`)
  }

  private violate(message: string, words: string): void {
    const chain = this.causes.map((cause) => `${cause}: embedded message failed validation | caused by `).join('')
    this.violations.push({ path: [...this.path], message, constraint: chain + words })
  }
}

const compiled = new WeakMap<DescMessage, TypeCheck>()

function checksOf(schema: DescMessage): TypeCheck {
  let checks = compiled.get(schema)
  if (!checks) {
    checks = compile(schema)
    compiled.set(schema, checks)
  }
  return checks
}

function compile(schema: DescMessage): TypeCheck {
  const fieldOption = registry().getExtension('validate.rules')!
  const oneofOption = registry().getExtension('validate.required')!
  const fields: FieldCheck[] = []
  for (const field of schema.fields) {
    const rules = hasOption(field, fieldOption) ? (getOption(field, fieldOption) as unknown as FieldRules) : undefined
    const check = compileField(schema, field, rules)
    if (check.required || check.whole || check.item || check.key || check.child) fields.push(check)
  }
  const oneofs = schema.oneofs
    .filter((oneof) => hasOption(oneof, oneofOption) && getOption(oneof, oneofOption) === true)
    .map(({ localName, name }) => ({ localName, name }))
  return { fields, oneofs }
}

function compileField(schema: DescMessage, field: DescField, rules: FieldRules | undefined): FieldCheck {
  const { required, whole, item, key, skip } = collectionRules(field, rules)
  const message = field.message
  const plain = message && /^google\.protobuf\.(?!Any$)/.test(message.typeName)
  return {
    name: field.name,
    label: label(schema, field.name),
    localName: field.localName,
    oneof: field.oneof?.localName,
    required,
    kind: field.fieldKind,
    whole: field.fieldKind === 'list' || field.fieldKind === 'map' ? whole : valueRules(field, rules),
    item,
    key,
    child: message && !plain && !skip ? message : undefined,
  }
}

function label(schema: DescMessage, name: string): string {
  const camel = name.replace(/(^|_)([a-z0-9])/g, (_, _bar, letter: string) => letter.toUpperCase())
  return `${schema.name}ValidationError.${camel}`
}
