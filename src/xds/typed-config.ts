import type { JsonObject, Message } from '@bufbuild/protobuf'
import type { Any } from '@bufbuild/protobuf/wkt'
import { decodeJson } from './json-decode.ts'
import { messageIn, registry, typeNameOf } from './messages.ts'
import type { Problem } from './problem.ts'

/** What a typed config holds, or why it holds nothing usable. */
export interface TypedConfig {
  /** Undefined when the type is unknown or its bytes are broken; otherwise what could be read. */
  readonly message: Message | undefined
  /** Paths are relative to the Any. */
  readonly problems: readonly Problem[]
}

const TYPED_STRUCTS = new Set(['xds.type.v3.TypedStruct', 'udpa.type.v1.TypedStruct'])

/** Whether an Any holds one of the two TypedStruct types. */
export function isTypedStruct(any: Any): boolean {
  return TYPED_STRUCTS.has(typeNameOf(any.typeUrl))
}

/** The full name of the type that a typed config configures: the inner one of a TypedStruct. */
export function configTypeName(any: Any): string {
  if (!isTypedStruct(any)) return typeNameOf(any.typeUrl)
  return typeNameOf((messageIn(any) as unknown as { typeUrl: string }).typeUrl)
}

const resolved = new WeakMap<Any, TypedConfig>()

/**
 * Opens a typed config as Envoy does (source/common/config/utility.cc, translateOpaqueConfig): the Any's own message,
 * or, for a TypedStruct, the message named inside it, read from its value as JSON with unknown fields refused.
 * The answer is the same object each time for the same Any.
 */
export function resolveTypedConfig(any: Any): TypedConfig {
  let answer = resolved.get(any)
  if (!answer) {
    answer = resolve(any)
    resolved.set(any, answer)
  }
  return answer
}

function resolve(any: Any): TypedConfig {
  const name = typeNameOf(any.typeUrl)
  if (!registry().getMessage(name)) return refused(`unknown type "${any.typeUrl}"`, '@type')
  let message: Message
  try {
    message = messageIn(any)
  } catch (error) {
    return refused(`unable to read ${name}: ${error instanceof Error ? error.message : String(error)}`)
  }
  if (!TYPED_STRUCTS.has(name)) return { message, problems: [] }
  const { typeUrl, value } = message as unknown as { typeUrl: string; value?: JsonObject }
  const schema = registry().getMessage(typeNameOf(typeUrl))
  if (!schema) return refused(`unknown type "${typeUrl}"`, 'type_url')
  const { message: inner, problems } = decodeJson(schema, value ?? {})
  return { message: inner, problems: problems.map((p) => ({ ...p, path: ['value', ...p.path] })) }
}

function refused(message: string, ...path: string[]): TypedConfig {
  return { message: undefined, problems: [{ path, message }] }
}
