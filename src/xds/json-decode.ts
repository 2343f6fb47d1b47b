import {
  create,
  type DescEnum,
  type DescField,
  type DescMessage,
  fromJson,
  type JsonValue,
  type Message,
  type ScalarType,
} from '@bufbuild/protobuf'
import { decodeScalar, Refusal } from './json-scalar.ts'
import { pack, registry, TYPE_URL_PREFIX, typeNameOf } from './messages.ts'
import { nearest, type PathStep, type Problem } from './problem.ts'

type JsonObject = { [key: string]: JsonValue }
type Fields = Record<string, unknown>

/**
 * Reads a message from proto3 JSON, as Envoy does (Protobuf::util::JsonStringToMessage, strict): field names in
 * snake_case or camelCase, unknown fields refused, Anys resolved by their `@type`. Unlike the library's reader it
 * goes on after an error, so that all of them can be reported; the message then holds what was readable.
 */
export function decodeJson(schema: DescMessage, json: unknown): { message: Message; problems: Problem[] } {
  const decoder = new Decoder()
  return { message: decoder.message(schema, json as JsonValue, []), problems: decoder.problems }
}

/** Well-known types whose JSON is not an object of their fields; the library reads these. */
const SPECIAL = new Set(
  ['Duration', 'Timestamp', 'FieldMask', 'Struct', 'Value', 'ListValue'].map((name) => `google.protobuf.${name}`),
)
const WRAPPER = /^google\.protobuf\.(Bool|Bytes|Double|Float|Int32|Int64|String|UInt32|UInt64)Value$/

class Decoder {
  readonly problems: Problem[] = []

  message(schema: DescMessage, json: JsonValue, path: PathStep[]): Message {
    if (schema.typeName === 'google.protobuf.Any') return this.any(json, path)
    if (SPECIAL.has(schema.typeName)) return this.special(schema, json, path)
    const message = create(schema)
    if (WRAPPER.test(schema.typeName)) {
      const value = this.scalar(schema.fields[0]!.scalar!, json, path)
      if (value !== undefined) (message as unknown as Fields)[schema.fields[0]!.localName] = value
      return message
    }
    if (!isObject(json)) {
      this.refuse(path, `expected an object for ${schema.typeName}, got ${kindOf(json)}`)
      return message
    }
    this.fields(schema, message, json, path)
    return message
  }

  private fields(schema: DescMessage, message: Message, json: JsonObject, path: PathStep[], skip?: string): void {
    const names = fieldsByName(schema)
    const seen = new Set<DescField>()
    for (const [key, value] of Object.entries(json)) {
      if (key === skip) continue
      const at = [...path, key]
      const field = names.get(key)
      if (!field) {
        const near = nearest(key, new Set(schema.fields.map((f) => f.name)))
        this.refuse(at, `unknown field "${key}"${near ? `: did you mean "${near}"?` : ` in ${schema.typeName}`}`)
        continue
      }
      if (seen.has(field)) {
        this.refuse(at, `field "${field.name}" is given twice`)
        continue
      }
      seen.add(field)
      // null means unset, except for a field that can hold null.
      if (value === null && field.message?.typeName !== 'google.protobuf.Value') continue
      this.field(field, message as unknown as Fields, value, at)
    }
  }

  private field(field: DescField, message: Fields, json: JsonValue, path: PathStep[]): void {
    const decoded = this.fieldValue(field, json, path)
    if (decoded === undefined) return
    if (!field.oneof) {
      message[field.localName] = decoded
      return
    }
    const current = message[field.oneof.localName] as { case?: string }
    if (current.case !== undefined) {
      const other = field.oneof.fields.find((f) => f.localName === current.case)?.name
      this.refuse(path, `"${field.name}" cannot be given together with "${other}": both are ${field.oneof.name}`)
      return
    }
    message[field.oneof.localName] = { case: field.localName, value: decoded }
  }

  private fieldValue(field: DescField, json: JsonValue, path: PathStep[]): unknown {
    if (field.fieldKind === 'list') {
      if (!Array.isArray(json)) return this.refuse(path, `expected a list, got ${kindOf(json)}`)
      const items: unknown[] = []
      json.forEach((item, index) => {
        const value = this.element(field, item, [...path, index])
        if (value !== undefined) items.push(value)
      })
      return items
    }
    if (field.fieldKind === 'map') {
      if (!isObject(json)) return this.refuse(path, `expected a map, got ${kindOf(json)}`)
      const map: Fields = {}
      for (const [key, item] of Object.entries(json)) {
        const value = this.element(field, item, [...path, key])
        if (value !== undefined) map[key] = value
      }
      return map
    }
    return this.element(field, json, path)
  }

  private element(field: DescField, json: JsonValue, path: PathStep[]): unknown {
    if (field.enum) return this.enumeration(field.enum, json, path)
    if (!field.message) return this.scalar(field.scalar as ScalarType, json, path)
    if (json === null && field.fieldKind !== 'message') return this.refuse(path, 'null is no element')
    const { typeName } = field.message
    // Fields hold a Struct as a plain object, and a wrapper (unless repeated) as its plain value.
    if (typeName === 'google.protobuf.Struct')
      return isObject(json) ? json : this.refuse(path, `expected an object, got ${kindOf(json)}`)
    if (field.fieldKind === 'message' && !field.oneof && WRAPPER.test(typeName))
      return this.scalar(field.message.fields[0]!.scalar!, json, path)
    return this.message(field.message, json, path)
  }

  private scalar(type: ScalarType, json: JsonValue, path: PathStep[]): unknown {
    try {
      return decodeScalar(type, json)
    } catch (error) {
      if (!(error instanceof Refusal)) throw error
      return this.refuse(path, error.message)
    }
  }

  private enumeration(desc: DescEnum, json: JsonValue, path: PathStep[]): number | undefined {
    if (typeof json === 'number' && Number.isInteger(json)) return json
    if (typeof json !== 'string') return this.refuse(path, `expected a value of ${desc.typeName}, got ${kindOf(json)}`)
    const found = desc.values.find((value) => value.name === json)
    if (found) return found.number
    const names = desc.values.map((value) => value.name)
    const near = nearest(json, names)
    return this.refuse(
      path,
      near ? `unknown value "${json}": did you mean "${near}"?` : `unknown value "${json}": one of ${names.join(', ')}`,
    )
  }

  private any(json: JsonValue, path: PathStep[]): Message {
    const empty = create(registry().getMessage('google.protobuf.Any')!)
    if (!isObject(json)) {
      this.refuse(path, `expected an object with "@type", got ${kindOf(json)}`)
      return empty
    }
    if (Object.keys(json).length === 0) return empty
    const typeUrl = json['@type']
    if (typeof typeUrl !== 'string' || typeUrl === '') {
      this.refuse(path, 'a typed config needs "@type"')
      return empty
    }
    const schema = registry().getMessage(typeNameOf(typeUrl))
    if (!schema) {
      this.refuse([...path, '@type'], `unknown type "${typeUrl}"`)
      return empty
    }
    let message: Message
    if (SPECIAL.has(schema.typeName) || WRAPPER.test(schema.typeName) || schema.typeName === 'google.protobuf.Any') {
      message = this.message(schema, json.value ?? null, [...path, 'value'])
    } else {
      message = create(schema)
      this.fields(schema, message, json, path, '@type')
    }
    const any = pack(message)
    if (typeUrl !== TYPE_URL_PREFIX + schema.typeName) any.typeUrl = typeUrl
    return any
  }

  private special(schema: DescMessage, json: JsonValue, path: PathStep[]): Message {
    try {
      return fromJson(schema, json)
    } catch {
      const hint = schema.typeName === 'google.protobuf.Duration' ? ' such as "0.25s"' : ''
      this.refuse(path, `${JSON.stringify(json)} is no ${schema.typeName.slice('google.protobuf.'.length)}${hint}`)
      return create(schema)
    }
  }

  private refuse(path: PathStep[], message: string): undefined {
    this.problems.push({ path, message })
    return undefined
  }
}

const nameMaps = new WeakMap<DescMessage, Map<string, DescField>>()

function fieldsByName(schema: DescMessage): Map<string, DescField> {
  let map = nameMaps.get(schema)
  if (!map) {
    map = new Map()
    for (const field of schema.fields) {
      map.set(field.name, field)
      map.set(field.jsonName, field)
    }
    nameMaps.set(schema, map)
  }
  return map
}

function isObject(json: JsonValue): json is JsonObject {
  return typeof json === 'object' && json !== null && !Array.isArray(json)
}

function kindOf(json: JsonValue): string {
  if (json === null) return 'null'
  if (Array.isArray(json)) return 'a list'
  if (typeof json === 'object') return 'an object'
  return JSON.stringify(json)
}
