import { clone, type DescField, type DescMessage, isFieldSet, type Message } from '@bufbuild/protobuf'
import type { Any } from '@bufbuild/protobuf/wkt'
import { messageIn, pack, registry, schemaOf, typeNameOf } from '../../xds/messages.ts'

type Fields = Record<string, unknown>

const ANY = 'google.protobuf.Any'

/** Two configs of different types: istiod panics, and leaves off patching there and then. */
export class TypeMismatch extends Error {}

/**
 * Merges `src` into `dst` as istiod does (pkg/proto/merge): scalars overwrite, lists are appended to (or replaced), maps are
 * merged by key, a Duration is taken whole, and a wrapper that holds a zero says nothing where there is a value already.
 */
export function mergeMessage(dst: Message, src: Message, replaceLists = false): void {
  if (dst.$typeName !== src.$typeName) throw new TypeMismatch(`${src.$typeName} does not fit ${dst.$typeName}`)
  mergeFields(schemaOf(dst.$typeName), dst, src, replaceLists)
}

function mergeFields(schema: DescMessage, dst: Message, src: Message, replaceLists: boolean): void {
  for (const field of schema.fields) {
    if (!isFieldSet(src, field as never)) continue
    const to = dst as unknown as Fields
    const value = read(src as unknown as Fields, field)
    if (field.fieldKind === 'list') {
      const added = (value as unknown[]).map((item) => copied(field.message, item))
      to[field.localName] = replaceLists ? added : [...((to[field.localName] as unknown[] | undefined) ?? []), ...added]
    } else if (field.fieldKind === 'map') {
      const added = Object.entries(value as Fields).map(([key, item]) => [key, copied(field.message, item)])
      to[field.localName] = { ...(to[field.localName] as Fields | undefined), ...Object.fromEntries(added) }
    } else if (field.fieldKind === 'message') {
      mergeField(dst, field, value, replaceLists)
    } else {
      write(to, field, value)
    }
  }
}

function mergeField(
  dst: Message,
  field: DescField & { fieldKind: 'message' },
  value: unknown,
  replaceLists: boolean,
): void {
  const to = dst as unknown as Fields
  const old = isFieldSet(dst, field as never) ? read(to, field) : undefined
  const name = field.message.typeName
  if (typeof value !== 'object' || value === null || value instanceof Uint8Array) {
    // A wrapper, which messages hold as the value itself.
    if (old === undefined || !isZero(value)) write(to, field, value)
  } else if (!('$typeName' in value)) {
    write(to, field, { ...(old as Fields | undefined), ...structuredClone(value) }) // a Struct
  } else if (name === ANY && old !== undefined && (value as Any).value.length === 0) {
    // Bytes that are not there say nothing: the old ones stay, of whatever type they now are.
    const { typeUrl } = value as Any
    write(to, field, { $typeName: ANY, typeUrl: typeUrl || (old as Any).typeUrl, value: (old as Any).value })
  } else if (old === undefined || name === 'google.protobuf.Duration' || name === ANY) {
    write(to, field, copied(field.message, value))
  } else {
    mergeFields(field.message, old as Message, value as unknown as Message, replaceLists)
  }
}

const isZero = (value: unknown): boolean =>
  value === 0 || value === 0n || value === false || value === '' || (value instanceof Uint8Array && value.length === 0)

function read(message: Fields, field: DescField): unknown {
  if (!field.oneof) return message[field.localName]
  return (message[field.oneof.localName] as { value?: unknown }).value
}

function write(message: Fields, field: DescField, value: unknown): void {
  if (field.oneof) message[field.oneof.localName] = { case: field.localName, value }
  else message[field.localName] = value
}

function copied(schema: DescMessage | undefined, value: unknown): unknown {
  if (typeof value !== 'object' || value === null) return value
  return schema && '$typeName' in value ? clone(schema, value as Message) : structuredClone(value)
}

/** A deep copy. */
export const copyOf = <T extends { $typeName: string }>(message: T): T =>
  clone(schemaOf(message.$typeName), message as unknown as Message) as unknown as T

/** Both configs merged; the first alone when one is of a type that nobody knows. Throws TypeMismatch. */
export function mergeAny(dst: Any, src: Any): Any {
  if (!registry().getMessage(typeNameOf(dst.typeUrl)) || !registry().getMessage(typeNameOf(src.typeUrl))) return dst
  const merged = copyOf(messageIn(dst))
  mergeMessage(merged, messageIn(src))
  return pack(merged)
}
