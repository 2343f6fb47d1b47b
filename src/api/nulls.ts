import type { Path } from './objects.ts'

/** Maps of VirtualService in which an empty condition means: present. */
const PRESENCE = ['headers', 'withoutHeaders', 'queryParams']

/**
 * A copy without the fields that are null: to the API server they are as good as absent. Where a null is a condition of
 * a VirtualService (`x-debug:` under `headers`) it is an empty one; free-form values (EnvoyFilter) keep theirs.
 */
export function withoutNulls(kind: string, value: unknown): unknown {
  return copy(kind, value, [])
}

function copy(kind: string, value: unknown, path: Path): unknown {
  if (Array.isArray(value)) return value.map((item, i) => copy(kind, item, [...path, i]))
  if (typeof value !== 'object' || value === null) return value
  const result: Record<string, unknown> = {}
  for (const [key, part] of Object.entries(value)) {
    if (part === null) {
      const condition = kind === 'VirtualService' && path.includes('match') && PRESENCE.includes(String(path.at(-1)))
      if (condition) result[key] = {}
      continue
    }
    const free = kind === 'EnvoyFilter' && key === 'value' && path.at(-1) === 'patch'
    result[key] = free ? structuredClone(part) : copy(kind, part, [...path, key])
  }
  return result
}
