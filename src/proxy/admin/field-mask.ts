import type { JsonObject, JsonValue } from '@bufbuild/protobuf'

/** Keeps what a field mask names (`listeners.name,version_info`), `@type` included; undefined when nothing matches. */
export function maskJson(value: JsonObject, mask: string): JsonObject | undefined {
  const paths = mask
    .split(',')
    .map((p) => p.trim())
    .filter((p) => p !== '')
    .map((p) => p.split('.'))
  const kept = keep(value, paths)
  return Object.keys(kept).length > 0 ? kept : undefined
}

function keep(value: JsonObject, paths: readonly (readonly string[])[]): JsonObject {
  const out: JsonObject = {}
  for (const [key, field] of Object.entries(value)) {
    if (key === '@type') {
      out[key] = field
      continue
    }
    const below = paths.filter((p) => p[0] === key).map((p) => p.slice(1))
    if (below.length === 0) continue
    out[key] = below.some((p) => p.length === 0) ? field : keepInside(field, below)
  }
  return Object.keys(out).some((key) => key !== '@type') ? out : {}
}

/** A list cannot be indexed by a mask: it is taken whole. */
function keepInside(field: JsonValue, paths: readonly (readonly string[])[]): JsonValue {
  return typeof field === 'object' && field !== null && !Array.isArray(field) ? keep(field, paths) : field
}
