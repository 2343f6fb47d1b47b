import { z } from 'zod'
import { isDuration } from './duration.ts'

/** The building blocks of the schemas in `kinds/`: protobuf messages as the CRDs of istio/api know them. */

/** A string. */
export const text = z.string()
/** A boolean; a quoted `"true"` is a string, as it is for the API server. */
export const bool = z.boolean()
/** A 32-bit signed integer. */
export const int32 = z.int32()
/** A 32-bit unsigned integer. */
export const uint32 = z.uint32()
/** A 64-bit unsigned integer, as far as a double can hold it. */
export const uint64 = z.int().nonnegative()
/** A 64-bit integer, as far as a double can hold it. */
export const int64 = z.int()
/** A double. */
export const number = z.number()
/** A port number or the name of a port. */
export const intOrString = z.union([z.int(), z.string()])
/** A resource quantity (`500m`, `8Gi`, `2`). */
export const quantity = z.union([z.number(), z.string()])
/** A duration, kept as written (`5s`, `1h30m`); `parseDuration` turns it into milliseconds. */
export const duration = z.string().refine(isDuration, { error: 'expected a duration such as "5s", "100ms" or "1h30m"' })
/** Free-form JSON (`google.protobuf.Struct`). */
export const struct = z.record(z.string(), z.unknown())

/** One of the names of an enum. */
export const oneOf = <const V extends readonly [string, ...string[]]>(...values: V) => z.enum(values)
/** A list; a missing one stays undefined. */
export const list = <T extends z.ZodType>(item: T) => z.array(item)
/** A map with string keys (YAML keys that are numbers arrive as strings). */
export const map = <T extends z.ZodType>(value: T) => z.record(z.string(), value)

/** A shape in which every field is optional, but for the required ones. */
type Fields<S extends z.ZodRawShape, R extends keyof S> = { [K in keyof S]: K extends R ? S[K] : z.ZodOptional<S[K]> }

function fieldsOf<S extends z.ZodRawShape, R extends keyof S & string>(shape: S, required: readonly R[]): Fields<S, R> {
  const fields: Record<string, z.ZodType> = {}
  for (const [name, schema] of Object.entries(shape) as [string, z.ZodType][]) {
    fields[name] = (required as readonly string[]).includes(name) ? schema : z.optional(schema)
  }
  return fields as unknown as Fields<S, R>
}

/**
 * A protobuf message. Every field is optional, but for those in `required` (which the CRD requires); unknown fields
 * are errors. Of the fields in each of `oneofs`, one at most may be set.
 */
export function message<S extends z.ZodRawShape, R extends keyof S & string = never>(
  shape: S,
  required: readonly R[] = [],
  oneofs: readonly (readonly (keyof S & string)[])[] = [],
): z.ZodObject<Fields<S, R>, z.core.$strict> {
  const object = z.strictObject(fieldsOf(shape, required))
  if (oneofs.length === 0) return object
  return object.superRefine((value, context) => {
    for (const names of oneofs) {
      const set = names.filter((name) => (value as Record<string, unknown>)[name] !== undefined)
      if (set.length < 2) continue
      const message = `only one of ${names.join(', ')} may be set`
      context.addIssue({ code: 'custom', message, path: [set[1] as string] })
    }
  })
}

/** The real fields of a part of a Kubernetes object that are not read, to tell them from typing errors. */
const UNREAD = new WeakMap<z.ZodType, readonly string[]>()

/**
 * A part of a Kubernetes object: fields that a mesh does not read are kept as they are, without a type. `unread` names
 * them, where a slip of the pen in a field that is read would have an effect: then it can be told from them.
 */
export function open<S extends z.ZodRawShape, R extends keyof S & string = never>(
  shape: S,
  required: readonly R[] = [],
  unread?: string,
): z.ZodObject<Fields<S, R>, z.core.$strip> {
  const schema = z.looseObject(fieldsOf(shape, required)) as unknown as z.ZodObject<Fields<S, R>, z.core.$strip>
  if (unread !== undefined) UNREAD.set(schema, unread.split(' '))
  return schema
}

/** The fields that are not read, if they are all known. */
export function unreadFields(schema: z.ZodType): readonly string[] | undefined {
  return UNREAD.get(schema)
}
