import type { Message } from '@bufbuild/protobuf'
import { TYPE_URL_PREFIX } from './messages.ts'

/** Type URLs of the resources that ADS carries. */
export const CLUSTER_TYPE = `${TYPE_URL_PREFIX}envoy.config.cluster.v3.Cluster`
export const ENDPOINT_TYPE = `${TYPE_URL_PREFIX}envoy.config.endpoint.v3.ClusterLoadAssignment`
export const LISTENER_TYPE = `${TYPE_URL_PREFIX}envoy.config.listener.v3.Listener`
export const ROUTE_TYPE = `${TYPE_URL_PREFIX}envoy.config.route.v3.RouteConfiguration`
export const SECRET_TYPE = `${TYPE_URL_PREFIX}envoy.extensions.transport_sockets.tls.v3.Secret`
export const EXTENSION_TYPE = `${TYPE_URL_PREFIX}envoy.config.core.v3.TypedExtensionConfig`
export const NAME_TABLE_TYPE = `${TYPE_URL_PREFIX}istio.networking.nds.v1.NameTable`

/**
 * The order in which a push sends its types, so that nothing refers to what has not come yet (istio/istio,
 * pilot/pkg/xds/ads.go, PushOrder).
 */
export const PUSH_ORDER: readonly string[] = [
  CLUSTER_TYPE,
  ENDPOINT_TYPE,
  LISTENER_TYPE,
  ROUTE_TYPE,
  SECRET_TYPE,
  EXTENSION_TYPE,
  NAME_TABLE_TYPE,
]

/** Types of which a state-of-the-world response is the whole state: what is absent from it is gone. */
export function isWholeState(typeUrl: string): boolean {
  return typeUrl === CLUSTER_TYPE || typeUrl === LISTENER_TYPE
}

/** Types that are only ever asked for by name: an empty list of names asks for none of them. */
export function isNamedOnly(typeUrl: string): boolean {
  return typeUrl === ENDPOINT_TYPE || typeUrl === ROUTE_TYPE || typeUrl === SECRET_TYPE || typeUrl === EXTENSION_TYPE
}

/**
 * Types of which a control plane never says that one is gone: listeners that still name it go on with it until they change
 * (istio/istio, pilot/pkg/xds/delta.go, neverRemoveDelta).
 */
export function isNeverRemoved(typeUrl: string): boolean {
  return typeUrl === EXTENSION_TYPE
}

/** A resource's own name, by which state-of-the-world responses identify it. */
export function resourceName(message: Message): string {
  const fields = message as Message & { name?: unknown; clusterName?: unknown }
  if (typeof fields.name === 'string') return fields.name
  return typeof fields.clusterName === 'string' ? fields.clusterName : ''
}
