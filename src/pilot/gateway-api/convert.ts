import type { ConditionStatus, GatewayStatus, PolicyStatus, RouteStatus } from '../../api/kinds/gateway-api/status.ts'
import type { ApiObject, Kind } from '../../api/objects.ts'
import type { Snapshot } from '../../store/snapshot.ts'
import { convertBackendTls } from './backend-tls.ts'
import { setConditions } from './conditions.ts'
import { ConversionContext, controllerOf, type ServiceIndex } from './context.ts'
import { convertGateways } from './gateways.ts'
import { type HostRules, hostRules, mergeHostRules } from './http-routes.ts'
import { tcpServices, tlsServices } from './layer4-routes.ts'
import type { RouteObject } from './made-objects.ts'
import { type AttachedParent, acceptedParents, attachedParents, isMesh, type Parent } from './parents.ts'
import { type RouteErrors, routeParents } from './route-status.ts'

/** Objects that have a status of istiod's. */
export type StatusObject = ApiObject<
  | 'GatewayClass'
  | 'KubernetesGateway'
  | 'ListenerSet'
  | 'HTTPRoute'
  | 'GRPCRoute'
  | 'TCPRoute'
  | 'TLSRoute'
  | 'BackendTLSPolicy'
>
/** The status of any of them. */
export type ObjectStatus = ConditionStatus | GatewayStatus | RouteStatus | PolicyStatus

/** What the objects of the Gateway API came to. */
export interface Conversion {
  /** Istio's own objects that do what they say. */
  gateways: ApiObject<'Gateway'>[]
  virtualServices: ApiObject<'VirtualService'>[]
  destinationRules: ApiObject<'DestinationRule'>[]
  statuses: ReadonlyMap<StatusObject, ObjectStatus>
  /** What is wrong with the references of routes. */
  errors: ReadonlyMap<RouteObject, RouteErrors>
}

/** The kinds that a conversion reads, beside the services of the mesh. */
export const CONVERTED_KINDS = [
  'GatewayClass',
  'KubernetesGateway',
  'ListenerSet',
  'HTTPRoute',
  'GRPCRoute',
  'TCPRoute',
  'TLSRoute',
  'ReferenceGrant',
  'BackendTLSPolicy',
] as const satisfies readonly Kind[]

/** Converts all objects of the Gateway API (pilot/pkg/config/kube/gateway/controller.go). */
export function convertGatewayApi(snapshot: Snapshot, domain: string, services: ServiceIndex): Conversion {
  const context = new ConversionContext(snapshot, domain, services)
  const { gateways, parents, statuses: gatewayStatuses } = convertGateways(context)
  const statuses = new Map<StatusObject, ObjectStatus>(gatewayStatuses)
  for (const object of snapshot.list('GatewayClass')) {
    if (controllerOf(snapshot, object.metadata.name)) statuses.set(object, classStatus(object))
  }
  const attachments = new Map<string, number>()
  const hosts: HostRules[] = []
  const services4: ApiObject<'VirtualService'>[] = []
  const allErrors = new Map<RouteObject, RouteErrors>()
  const finish = (route: RouteObject, attached: readonly AttachedParent[], errors: RouteErrors): void => {
    if (errors.gateway || errors.mesh) allErrors.set(route, errors)
    statuses.set(route, { ...route.status, parents: routeParents(route, attached, errors) })
    for (const parent of acceptedParents(attached)) {
      if (!isMesh(parent))
        attachments.set(listenerKey(parent.parent), (attachments.get(listenerKey(parent.parent)) ?? 0) + 1)
    }
  }
  for (const route of [...snapshot.list('TCPRoute'), ...snapshot.list('TLSRoute')]) {
    const attached = attachedParents(context, parents, route)
    const made =
      route.kind === 'TCPRoute' ? tcpServices(context, route, attached) : tlsServices(context, route, attached)
    services4.push(...made.services)
    finish(route, attached, made.errors)
  }
  for (const route of [...snapshot.list('HTTPRoute'), ...snapshot.list('GRPCRoute')]) {
    const attached = attachedParents(context, parents, route)
    const { made, errors } = hostRules(context, route, attached)
    hosts.push(...made)
    finish(route, attached, errors)
  }
  for (const [object, status] of gatewayStatuses) countRoutes(object, status, parents, attachments)
  const policies = convertBackendTls(context)
  for (const [policy, status] of policies.statuses) statuses.set(policy, status)
  const virtualServices = [...services4, ...mergeHostRules(hosts)]
  return { gateways, virtualServices, destinationRules: policies.destinationRules, statuses, errors: allErrors }
}

const listenerKey = ({ key, section }: Parent): string => `${key} ${section}`

/** How many routes are attached to each listener (FinalGatewayStatusCollection). */
function countRoutes(
  object: ApiObject<'KubernetesGateway' | 'ListenerSet'>,
  status: GatewayStatus,
  parents: readonly Parent[],
  attachments: ReadonlyMap<string, number>,
): void {
  const { namespace, name } = object.metadata
  const kind = object.kind === 'ListenerSet' ? 'ListenerSet' : 'Gateway'
  const suffix = `/${kind} ${namespace}/${name}`
  for (const listener of status.listeners ?? []) {
    const parent = parents.find(({ key, section }) => section === listener.name && key.endsWith(suffix))
    listener.attachedRoutes = parent ? (attachments.get(listenerKey(parent)) ?? 0) : 0
  }
}

function classStatus({ status, metadata }: ApiObject<'GatewayClass'>): ConditionStatus {
  const accepted = { reason: 'Accepted', message: 'Handled by Istio controller' }
  return { ...status, conditions: setConditions(metadata.generation, status?.conditions, { Accepted: accepted }) }
}
