import type { ApiObject } from '../../api/objects.ts'
import type { Problem } from '../../api/problems.ts'
import { EnvoyFilters } from './patches.ts'

/** Adds to what is wrong what comes of it. */
export const leftOut = (what: string, text: string): string =>
  text.endsWith('?') ? `${text} ${what[0]!.toUpperCase()}${what.slice(1)} is left out` : `${text}; ${what} is left out`

/**
 * Values of patches that are none of Envoy's messages, as istiod's webhook judges them
 * (envoyfilter.ValidateEnvoyFilter): an error is refused, a field that nobody knows is a warning.
 */
export function envoyFilterProblems(objects: readonly ApiObject[]): Problem[] {
  const filters = objects.filter((object) => object.kind === 'EnvoyFilter') as ApiObject<'EnvoyFilter'>[]
  return new EnvoyFilters(filters, '').flaws.map(({ object, path, text, field }) => ({
    severity: field ? 'warning' : 'error',
    message: `spec.configPatches[${path[2]}].${field ? leftOut('it', text) : text}`,
    ...object.origin.locate(path),
    path,
  }))
}
