import type { z } from 'zod'
import type { Finding } from './issues.ts'
import type { Path } from './objects.ts'
import { own } from './own.ts'
import { pathText } from './problems.ts'
import { unreadFields } from './schema.ts'
import { didYouMean } from './suggest.ts'

/**
 * Fields of a Kubernetes object that do not exist, where all that do are known: kubectl refuses them. They have no
 * effect here, and each is worth a warning.
 */
export function unknownFields(schema: z.ZodType, value: unknown, path: Path = []): Finding[] {
  const def = schema._zod.def as unknown as {
    type: string
    innerType?: z.ZodType
    shape?: Record<string, z.ZodType>
    element?: z.ZodType
  }
  if (def.innerType) return unknownFields(def.innerType, value, path)
  if (typeof value !== 'object' || value === null) return []
  if (def.type === 'array' && def.element && Array.isArray(value)) {
    const { element } = def
    return value.flatMap((item, i) => unknownFields(element, item, [...path, i]))
  }
  if (def.type !== 'object' || !def.shape) return []
  const { shape } = def
  const unread = unreadFields(schema)
  return Object.entries(value).flatMap(([key, part]) => {
    const at = [...path, key]
    const field = own(shape, key)
    if (field) return unknownFields(field, part, at)
    if (unread === undefined || unread.includes(key)) return []
    const message = `${pathText(path)}: unknown field "${key}", which has no effect${didYouMean(key, Object.keys(shape))}`
    return [{ path: at, atKey: true, message }]
  })
}
