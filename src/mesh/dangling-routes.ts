import type { Destination } from '../api/kinds/virtual-service.ts'
import type { Path } from '../api/objects.ts'
import type { Problem } from '../api/problems.ts'
import { destinationsOf } from '../pilot/analysis/destinations.ts'
import { INTERNAL } from '../pilot/internal-names.ts'
import type { PushContext } from '../pilot/scope/push-context.ts'
import { gatewayName } from '../pilot/scope/short-names.ts'
import { MESH_GATEWAY } from '../pilot/scope/virtual-services.ts'
import { hostWithin, isWildcard, resolveShortName } from '../registry/host.ts'

/**
 * What VirtualServices name and nothing defines: gateways, services and subsets. The API takes it, since objects may come
 * in any order, and the traffic gets 404 or 503 (istioctl's analyzers call it IST0101).
 */
export function danglingRoutes(context: PushContext): Problem[] {
  const gateways = new Set(context.gateways.objects.map(({ metadata }) => `${metadata.namespace}/${metadata.name}`))
  return context.snapshot.list('VirtualService').flatMap((object) => {
    // Of what is made of Gateway API routes, their status tells.
    if (object.metadata.annotations[INTERNAL.routeSemantics]) return []
    const out: Problem[] = []
    const say = (message: string, path: Path) =>
      out.push({ severity: 'warning', message, ...object.origin.locate(['spec', ...path]) })
    for (const [i, written] of (object.spec.gateways ?? []).entries()) {
      const name = gatewayName(written, object.metadata.namespace)
      if (name !== MESH_GATEWAY && !gateways.has(name))
        say(`there is no Gateway ${name}: no client comes in by it`, ['gateways', i])
    }
    for (const { destination, path } of destinationsOf(object)) {
      const message = missing(context, object.metadata.namespace, destination)
      if (message) say(message, path.slice(1))
    }
    return out
  })
}

/** What is missing of a destination; undefined when it is all there. */
function missing(
  { registry, snapshot, env }: PushContext,
  namespace: string,
  { host, subset }: Destination,
): string | undefined {
  if (host === '' || isWildcard(host)) return undefined
  const name = resolveShortName(host, namespace, env.domain)
  if (!registry.byHostname(name)) {
    if (registry.services.some(({ hostname }) => isWildcard(hostname) && hostWithin(name, hostname))) return undefined
    return `there is no service ${name}: nothing gets there`
  }
  if (!subset) return undefined
  // Of any namespace: whose rule counts depends on who calls.
  const defined = snapshot
    .list('DestinationRule')
    .some(
      ({ metadata, spec }) =>
        spec.subsets?.some((known) => known.name === subset) &&
        hostWithin(name, resolveShortName(spec.host ?? '', metadata.namespace, env.domain)),
    )
  return defined ? undefined : `no DestinationRule for ${name} defines the subset "${subset}": nothing gets there`
}
