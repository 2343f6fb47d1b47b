import type { ProxyContext } from '../../context.ts'
import type { FilterSlot } from '../filter-slot.ts'
import type { Route } from '../router/route.ts'
import type { DescriptorSubject } from './descriptor.ts'

/** A request at a filter, on its way along a route, as descriptors are made from it. */
export function descriptorSubject(
  slot: FilterSlot,
  route: Route,
  { node, clusters }: Pick<ProxyContext, 'node' | 'clusters'>,
): DescriptorSubject {
  const { request, info, connection } = slot
  const { forward, metadata } = route
  const routeCluster = forward && (forward.clusterHeader?.first(request) ?? forward.cluster)
  return {
    request,
    info,
    connection,
    localCluster: node.cluster,
    routeCluster,
    clusterMetadata: routeCluster === undefined ? undefined : clusters.get(routeCluster)?.metadata,
    routeMetadata: metadata,
  }
}
