import { writtenKind } from '../api/kinds-table.ts'
import type { ApiObject } from '../api/objects.ts'
import type { Change } from '../store/store.ts'

/** The most names in one line. */
const MAX_NAMES = 6

/** `updated VirtualService default/reviews; deleted Service default/old`; '' when nothing but places changed. */
export function describeChange(change: Change): string {
  return [
    part('added', change.added),
    part(
      'updated',
      change.updated.map((u) => u.after),
    ),
    part('deleted', change.deleted),
  ]
    .filter(Boolean)
    .join('; ')
}

function part(verb: string, objects: readonly ApiObject[]): string {
  if (objects.length === 0) return ''
  const names = objects
    .slice(0, MAX_NAMES)
    .map(({ kind, metadata: { namespace, name } }) => `${writtenKind(kind)} ${namespace ? `${namespace}/` : ''}${name}`)
  const more = objects.length - names.length
  return `${verb} ${names.join(', ')}${more > 0 ? ` and ${more} more` : ''}`
}
