import type { Cluster } from '#gen/envoy/config/cluster/v3/cluster_pb.js'
import type { Listener } from '#gen/envoy/config/listener/v3/listener_pb.js'
import type { RouteConfiguration } from '#gen/envoy/config/route/v3/route_pb.js'
import { CLUSTER_TYPE } from '../../xds/resource-types.ts'
import { VIRTUAL_OUTBOUND } from '../names.ts'
import type { ProxyNode } from '../proxy.ts'
import type { PushContext } from '../scope/push-context.ts'
import { addedClusters, patchCluster } from './cluster-patch.ts'
import { patchListeners } from './listener-patch.ts'
import { noteRenaming, type PatchContext } from './patch.ts'
import { type PortMap, patchRouteConfiguration } from './route-patch.ts'

/** The side of a proxy that its clients' traffic leaves by. */
export const clientSide = (proxy: ProxyNode): PatchContext => (proxy.type === 'router' ? 'GATEWAY' : 'SIDECAR_OUTBOUND')

/** Listeners of one side of a proxy after the EnvoyFilters that concern it. */
export function withPatches(
  push: PushContext,
  proxy: ProxyNode,
  context: PatchContext,
  listeners: readonly Listener[],
): Listener[] {
  const patches = push.envoyFilters.forProxy(proxy)
  if (!patches) return [...listeners]
  const ports = servicePorts(proxy)
  // The catch-all is patched for itself: what fails elsewhere does not keep patches from it.
  const apart = (listener: Listener): boolean => listener.name === VIRTUAL_OUTBOUND
  const others = listeners.filter((listener) => !apart(listener))
  return [
    ...patchListeners(context, patches, others, ports),
    ...patchListeners(context, patches, listeners.filter(apart), ports, { adds: false }),
  ]
}

/** A route configuration that a proxy asks for, likewise. */
export function withRoutePatches(push: PushContext, proxy: ProxyNode, config: RouteConfiguration): RouteConfiguration {
  const patches = push.envoyFilters.forProxy(proxy)
  return patches ? patchRouteConfiguration(clientSide(proxy), patches, config, servicePorts(proxy)) : config
}

/** Clusters of one side of a proxy, likewise, with those that are added. */
export function withClusterPatches(
  push: PushContext,
  proxy: ProxyNode,
  context: PatchContext,
  clusters: readonly Cluster[],
): Cluster[] {
  const patches = push.envoyFilters.forProxy(proxy)
  if (!patches?.has('CLUSTER')) return [...clusters]
  const patched = (cluster: Cluster) =>
    patches.during(CLUSTER_TYPE, cluster.name, () =>
      patchCluster(context, patches, cluster, servicesOf(proxy, cluster)),
    )
  const kept = clusters.flatMap((cluster) => patched(cluster) ?? [])
  const names = new Set<string>()
  for (const { name } of kept) {
    if (names.has(name)) noteRenaming(patches.of('CLUSTER', context), 'cluster', name)
    names.add(name)
  }
  return [...kept, ...addedClusters(context, patches, kept)]
}

/** The host names of the services behind an inbound cluster. */
function servicesOf(proxy: ProxyNode, { name }: Cluster): string[] {
  const port = /^inbound\|(\d+)\|/.exec(name)?.[1]
  if (port === undefined) return []
  return proxy.targets.filter((target) => target.targetPort === Number(port)).map(({ service }) => service.hostname)
}

function servicePorts(proxy: ProxyNode): PortMap {
  const out = new Map<number, Set<number>>()
  for (const { targetPort, port } of proxy.targets)
    out.set(targetPort, (out.get(targetPort) ?? new Set()).add(port.port))
  return out
}
