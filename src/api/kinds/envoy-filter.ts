import type { z } from 'zod'
import { int32, list, map, message, oneOf, struct, text, uint32 } from '../schema.ts'
import { PolicyTargetReference, WorkloadSelector } from './selector.ts'

/** Conditions on the proxy. */
export const ProxyMatch = message({
  /** A regular expression over ISTIO_VERSION. */
  proxyVersion: text,
  metadata: map(text),
})
export type ProxyMatch = z.infer<typeof ProxyMatch>

/** An HTTP filter in it. */
export const SubFilterMatch = message({
  name: text,
})
export type SubFilterMatch = z.infer<typeof SubFilterMatch>

/** A network filter. */
export const FilterMatch = message({
  name: text,
  subFilter: SubFilterMatch,
})
export type FilterMatch = z.infer<typeof FilterMatch>

/** A filter chain. */
export const FilterChainMatch = message({
  name: text,
  sni: text,
  transportProtocol: text,
  /** Comma-separated; all must be present. */
  applicationProtocols: text,
  filter: FilterMatch,
  destinationPort: uint32,
})
export type FilterChainMatch = z.infer<typeof FilterChainMatch>

/** A listener, and what is in it. */
export const ListenerMatch = message({
  portNumber: uint32,
  portName: text,
  filterChain: FilterChainMatch,
  listenerFilter: text,
  name: text,
})
export type ListenerMatch = z.infer<typeof ListenerMatch>

/** A route. */
export const RouteMatch = message({
  name: text,
  action: oneOf('ANY', 'ROUTE', 'REDIRECT', 'DIRECT_RESPONSE'),
})
export type RouteMatch = z.infer<typeof RouteMatch>

/** A virtual host. */
export const VirtualHostMatch = message({
  name: text,
  domainName: text,
  route: RouteMatch,
})
export type VirtualHostMatch = z.infer<typeof VirtualHostMatch>

/** A route configuration, and what is in it. */
export const RouteConfigurationMatch = message({
  portNumber: uint32,
  portName: text,
  gateway: text,
  vhost: VirtualHostMatch,
  name: text,
})
export type RouteConfigurationMatch = z.infer<typeof RouteConfigurationMatch>

/** A cluster, by name or by its parts. */
export const ClusterMatch = message({
  portNumber: uint32,
  service: text,
  subset: text,
  name: text,
})
export type ClusterMatch = z.infer<typeof ClusterMatch>

/** A route of a waypoint. */
export const WaypointRouteMatch = message({
  name: text,
})
export type WaypointRouteMatch = z.infer<typeof WaypointRouteMatch>

/** An HTTP filter in it. */
export const WaypointSubFilterMatch = message({
  name: text,
})
export type WaypointSubFilterMatch = z.infer<typeof WaypointSubFilterMatch>

/** A network filter of a waypoint. */
export const WaypointFilterMatch = message({
  name: text,
  subFilter: WaypointSubFilterMatch,
})
export type WaypointFilterMatch = z.infer<typeof WaypointFilterMatch>

/** A part of a waypoint. */
export const WaypointMatch = message({
  portNumber: uint32,
  route: WaypointRouteMatch,
  filter: WaypointFilterMatch,
})
export type WaypointMatch = z.infer<typeof WaypointMatch>

/** What a patch is applied to; everything of its kind when unset. */
export const EnvoyConfigObjectMatch = message(
  {
    context: oneOf('ANY', 'SIDECAR_INBOUND', 'SIDECAR_OUTBOUND', 'GATEWAY', 'WAYPOINT'),
    proxy: ProxyMatch,
    listener: ListenerMatch,
    routeConfiguration: RouteConfigurationMatch,
    cluster: ClusterMatch,
    waypoint: WaypointMatch,
  },
  [],
  [['listener', 'routeConfiguration', 'cluster', 'waypoint']],
)
export type EnvoyConfigObjectMatch = z.infer<typeof EnvoyConfigObjectMatch>

/** What to do with it. */
export const EnvoyFilterPatch = message({
  operation: oneOf(
    'INVALID',
    'MERGE',
    'ADD',
    'REMOVE',
    'INSERT_BEFORE',
    'INSERT_AFTER',
    'INSERT_FIRST',
    'REPLACE',
    'MERGE_AND_REPLACE_LIST',
  ),
  value: struct,
  filterClass: oneOf('UNSPECIFIED', 'AUTHN', 'AUTHZ', 'STATS'),
})
export type EnvoyFilterPatch = z.infer<typeof EnvoyFilterPatch>

/** One patch. */
export const EnvoyConfigObjectPatch = message({
  applyTo: oneOf(
    'INVALID',
    'LISTENER',
    'FILTER_CHAIN',
    'NETWORK_FILTER',
    'HTTP_FILTER',
    'ROUTE_CONFIGURATION',
    'VIRTUAL_HOST',
    'HTTP_ROUTE',
    'CLUSTER',
    'EXTENSION_CONFIG',
    'BOOTSTRAP',
    'LISTENER_FILTER',
  ),
  match: EnvoyConfigObjectMatch,
  patch: EnvoyFilterPatch,
})
export type EnvoyConfigObjectPatch = z.infer<typeof EnvoyConfigObjectPatch>

/** Patches to the Envoy resources that the control plane makes (networking/v1alpha3/envoy_filter.proto). */
export const EnvoyFilter = message({
  workloadSelector: WorkloadSelector,
  targetRefs: list(PolicyTargetReference),
  configPatches: list(EnvoyConfigObjectPatch),
  /** Lower ones are applied first. */
  priority: int32,
})
export type EnvoyFilter = z.infer<typeof EnvoyFilter>
