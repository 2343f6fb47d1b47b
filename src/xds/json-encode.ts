import {
  create,
  type DescField,
  type DescMessage,
  getOption,
  hasOption,
  isFieldSet,
  type JsonObject,
  type JsonValue,
  type Message,
  ScalarType,
  toJson,
} from '@bufbuild/protobuf'
import { base64Encode } from '@bufbuild/protobuf/wire'
import type { Any } from '@bufbuild/protobuf/wkt'
import { messageIn, registry, schemaOf, typeNameOf } from './messages.ts'
import { isTypedStruct, resolveTypedConfig } from './typed-config.ts'

/** How `encodeJson` writes. */
export interface EncodeOptions {
  /** Replace secrets as Envoy's dumps do (MessageUtil::redact): strings and bytes by [redacted], the rest dropped. */
  readonly redact?: boolean
}

type Fields = Record<string, unknown>

const REDACTED = '[redacted]'
const PLAIN = /^google\.protobuf\.(Duration|Timestamp|FieldMask|Struct|Value|ListValue|\w+Value)$/

/**
 * Writes a message as proto3 JSON with snake_case names and without default values, as Envoy's admin interface does.
 * An Any of an unknown type is written as its base64 bytes instead of failing.
 */
export function encodeJson(message: Message, options: EncodeOptions = {}): JsonValue {
  return new Encoder(options.redact === true).message(schemaOf(message.$typeName), message, false)
}

class Encoder {
  private readonly redact: boolean

  constructor(redact: boolean) {
    this.redact = redact
  }

  message(schema: DescMessage, message: Message, secret: boolean): JsonValue {
    if (schema.typeName === 'google.protobuf.Any') return this.any(message as Any, secret)
    if (PLAIN.test(schema.typeName)) return toJson(schema, secret ? create(schema) : message)
    const json: JsonObject = {}
    for (const field of schema.fields) {
      if (!isFieldSet(message, field)) continue
      const value = this.field(field, fieldValue(message, field), secret || (this.redact && isSensitive(field)))
      if (value !== undefined) json[field.name] = value
    }
    return json
  }

  private field(field: DescField, value: unknown, secret: boolean): JsonValue | undefined {
    if (field.fieldKind === 'list') {
      const items = (value as unknown[]).map((item) => this.element(field, item, secret))
      return items.filter((item) => item !== undefined)
    }
    if (field.fieldKind === 'map') {
      const json: JsonObject = {}
      for (const [key, item] of Object.entries(value as Fields)) {
        const encoded = this.element(field, item, secret)
        if (encoded !== undefined) json[key] = encoded
      }
      return json
    }
    return this.element(field, value, secret)
  }

  private element(field: DescField, value: unknown, secret: boolean): JsonValue | undefined {
    if (field.message) {
      const { typeName } = field.message
      if (typeof value === 'object' && value !== null && '$typeName' in value)
        return this.message(field.message, value as Message, secret)
      if (typeName === 'google.protobuf.Struct') return secret ? {} : (value as JsonValue)
      return this.scalar(field.message.fields[0]!.scalar!, value, secret) // an unboxed wrapper
    }
    if (field.enum) {
      if (secret) return undefined
      if (field.enum.typeName === 'google.protobuf.NullValue') return null
      return field.enum.value[value as number]?.name ?? (value as number)
    }
    return this.scalar(field.scalar as ScalarType, value, secret)
  }

  private scalar(type: ScalarType, value: unknown, secret: boolean): JsonValue | undefined {
    if (type === ScalarType.STRING) return secret ? REDACTED : (value as string)
    if (type === ScalarType.BYTES) return base64Encode(secret ? Buffer.from(REDACTED) : (value as Uint8Array))
    if (secret) return undefined
    if (typeof value === 'bigint') return value.toString()
    if (typeof value === 'number' && !Number.isFinite(value)) return String(value)
    if (type === ScalarType.FLOAT) return shortestFloat(value as number)
    return value as JsonValue
  }

  private any(any: Any, secret: boolean): JsonValue {
    if (any.typeUrl === '') return {}
    if (!registry().getMessage(typeNameOf(any.typeUrl)))
      return { '@type': any.typeUrl, value: secret ? REDACTED : base64Encode(any.value) }
    const message = messageIn(any)
    const schema = schemaOf(message.$typeName)
    if (PLAIN.test(schema.typeName) || schema.typeName === 'google.protobuf.Any')
      return { '@type': any.typeUrl, value: this.message(schema, message, secret) }
    const json = this.message(schema, message, secret) as JsonObject
    if (this.redact && isTypedStruct(any)) {
      const inner = resolveTypedConfig(any)
      // What cannot be resolved cannot be told apart from a secret.
      json.value = inner.message ? this.message(schemaOf(inner.message.$typeName), inner.message, secret) : REDACTED
    }
    return { '@type': any.typeUrl, ...json }
  }
}

function fieldValue(message: Message, field: DescField): unknown {
  const fields = message as unknown as Fields
  return field.oneof ? (fields[field.oneof.localName] as { value: unknown }).value : fields[field.localName]
}

/** The shortest decimal that reads back as the same 32-bit float. */
function shortestFloat(value: number): number {
  for (let digits = 6; digits < 9; digits++) {
    const rounded = Number(value.toPrecision(digits))
    if (Math.fround(rounded) === Math.fround(value)) return rounded
  }
  return value
}

const sensitive = new WeakMap<DescField, boolean>()

function isSensitive(field: DescField): boolean {
  let found = sensitive.get(field)
  if (found === undefined) {
    const option = registry().getExtension('udpa.annotations.sensitive')!
    found = hasOption(field, option) && getOption(field, option) === true
    sensitive.set(field, found)
  }
  return found
}
