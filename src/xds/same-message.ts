import type { Any } from '@bufbuild/protobuf/wkt'
import { messageIn, registry, typeNameOf } from './messages.ts'

/**
 * Whether two messages, or two values in them, say the same. Typed configs are compared by what they hold, so that
 * nothing has to be serialised for it; those of an unknown type by their bytes.
 */
export function sameMessage(a: unknown, b: unknown): boolean {
  if (a === b) return true
  if (typeof a !== 'object' || typeof b !== 'object' || a === null || b === null) return Object.is(a, b)
  if (a instanceof Uint8Array) return b instanceof Uint8Array && Buffer.compare(a, b) === 0
  if (Array.isArray(a)) {
    if (!Array.isArray(b) || a.length !== b.length) return false
    return a.every((item, index) => sameMessage(item, b[index]))
  }
  if (Array.isArray(b)) return false
  if (isAny(a) && isAny(b)) {
    if (a.typeUrl !== b.typeUrl) return false
    if (!registry().getMessage(typeNameOf(a.typeUrl))) return sameMessage(a.value, b.value)
    return sameMessage(messageIn(a), messageIn(b))
  }
  const left = a as Record<string, unknown>
  const right = b as Record<string, unknown>
  // A field that is set to nothing is as one that is absent.
  for (const key of Object.keys(left)) if (!sameMessage(left[key], right[key])) return false
  for (const key of Object.keys(right)) if (right[key] !== undefined && !(key in left)) return false
  return true
}

function isAny(value: object): value is Any {
  return (value as Partial<Any>).$typeName === 'google.protobuf.Any'
}
