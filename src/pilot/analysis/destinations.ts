import type { Destination } from '../../api/kinds/virtual-service.ts'
import type { ApiObject, Path } from '../../api/objects.ts'

/** A destination of a VirtualService: where it stands, and whether requests are only mirrored there. */
export interface NamedDestination {
  readonly destination: Destination
  readonly path: Path
  readonly mirror: boolean
}

/** Everything that a VirtualService sends traffic to. */
export function destinationsOf({ spec }: ApiObject<'VirtualService'>): NamedDestination[] {
  const out: NamedDestination[] = []
  const add = (destination: Destination | undefined, path: Path, mirror: boolean): void => {
    if (destination) out.push({ destination, path: ['spec', ...path], mirror })
  }
  for (const kind of ['http', 'tls', 'tcp'] as const)
    for (const [i, rule] of (spec[kind] ?? []).entries())
      for (const [j, { destination }] of (rule.route ?? []).entries())
        add(destination, [kind, i, 'route', j, 'destination'], false)
  for (const [i, { mirror, mirrors }] of (spec.http ?? []).entries()) {
    add(mirror, ['http', i, 'mirror'], true)
    for (const [j, { destination }] of (mirrors ?? []).entries())
      add(destination, ['http', i, 'mirrors', j, 'destination'], true)
  }
  return out
}
