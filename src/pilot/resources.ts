import type { Message } from '@bufbuild/protobuf'
import type { Ca } from '../ca/ca.ts'
import {
  CLUSTER_TYPE,
  ENDPOINT_TYPE,
  EXTENSION_TYPE,
  LISTENER_TYPE,
  ROUTE_TYPE,
  SECRET_TYPE,
} from '../xds/resource-types.ts'
import { clustersOf } from './cluster/clusters.ts'
import { EDS } from './cluster/draft.ts'
import { loadAssignment } from './endpoint/load-assignment.ts'
import { withRoutePatches } from './envoyfilter/apply.ts'
import { extensionConfigs } from './envoyfilter/extension-config.ts'
import { proxylessClusters, proxylessListeners, proxylessRoutes } from './grpc/proxyless.ts'
import { listenersOf } from './listener/listeners.ts'
import { SDS_DEFAULT, SDS_ROOT } from './names.ts'
import type { ProxyNode } from './proxy.ts'
import { routeConfiguration } from './route/route-configuration.ts'
import type { PushContext } from './scope/push-context.ts'
import { secretOf } from './secrets.ts'

/** Names that a client asks for of a type, beyond those that its other resources imply. */
export type Watched = (typeUrl: string) => Iterable<string>

/** Resources of one proxy: by type URL, by name. */
export type ProxyResources = Map<string, Map<string, Message>>

/**
 * Everything that a proxy may ask for: clusters and listeners, the endpoints and routes that these name, and secrets; those
 * from files of this machine only with `files`. Equal inputs give the same message objects.
 */
export function resourcesOf(
  push: PushContext,
  proxy: ProxyNode,
  options: { ca?: Ca; watched: Watched; files?: boolean },
): ProxyResources {
  const out: ProxyResources = new Map()
  const { watched } = options
  const clusters = proxy.proxyless ? proxylessClusters(push, proxy, watched(CLUSTER_TYPE)) : clustersOf(push, proxy)
  out.set(CLUSTER_TYPE, new Map(clusters.map((cluster) => [cluster.name, cluster])))
  const endpointNames = new Set(watched(ENDPOINT_TYPE))
  for (const cluster of clusters) {
    const { clusterDiscoveryType: kind } = cluster
    if (kind.case === 'type' && kind.value === EDS)
      endpointNames.add(cluster.edsClusterConfig?.serviceName || cluster.name)
  }
  out.set(ENDPOINT_TYPE, new Map([...endpointNames].map((name) => [name, loadAssignment(push, proxy, name)])))
  if (proxy.proxyless) {
    const listeners = proxylessListeners(push, proxy, watched(LISTENER_TYPE))
    const routes = proxylessRoutes(push, proxy, watched(ROUTE_TYPE))
    out.set(LISTENER_TYPE, new Map(listeners.map((listener) => [listener.name, listener])))
    out.set(ROUTE_TYPE, new Map(routes.map((route) => [route.name, route])))
  } else {
    const built = listenersOf(push, proxy)
    const routeNames = new Set(watched(ROUTE_TYPE))
    for (const { routeNames: names } of built) for (const name of names) routeNames.add(name)
    out.set(LISTENER_TYPE, new Map(built.map(({ listener }) => [listener.name, listener])))
    out.set(
      ROUTE_TYPE,
      new Map(
        [...routeNames].map((name) => [name, withRoutePatches(push, proxy, routeConfiguration(push, proxy, name))]),
      ),
    )
  }
  out.set(EXTENSION_TYPE, extensionConfigs(push, proxy, watched(EXTENSION_TYPE)))
  out.set(SECRET_TYPE, secretsFor(push, proxy, options.ca, watched(SECRET_TYPE), options.files))
  return out
}

/** The secrets of a proxy: its own certificate and the roots, and those that it asks for. None without a CA. */
export function secretsFor(
  push: PushContext,
  proxy: ProxyNode,
  ca: Ca | undefined,
  watched: Iterable<string>,
  files = false,
): Map<string, Message> {
  const out = new Map<string, Message>()
  if (!ca) return out
  const names = new Set(proxy.proxyless ? [] : [SDS_DEFAULT, SDS_ROOT])
  for (const name of watched) names.add(name)
  for (const name of names) {
    const made = name.startsWith('file-') && !files ? undefined : secretOf(push, ca, proxy, name)
    if (made) out.set(name, made)
  }
  return out
}
