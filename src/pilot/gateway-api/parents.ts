import type { Server } from '../../api/kinds/gateway.ts'
import { GATEWAY_API_GROUP, type ParentReference } from '../../api/kinds/gateway-api/common.ts'
import type { Listener } from '../../api/kinds/gateway-api/gateway.ts'
import type { RouteGroupKind } from '../../api/kinds/gateway-api/status.ts'
import type { ApiObject } from '../../api/objects.ts'
import { hostsOverlap, hostWithin, isWildcard } from '../../registry/host.ts'
import type { ConfigError } from './conditions.ts'
import { GATEWAY_CONTROLLER, MESH_CONTROLLER, quoted, REFERENT, referent } from './constants.ts'
import type { ConversionContext } from './context.ts'
import { supportedKinds } from './listener.ts'
import type { RouteObject } from './made-objects.ts'

/** Something that routes attach to: a listener, or the mesh (conversion.go parentInfo). */
export interface Parent {
  /** `group/Kind namespace/name` of the Gateway or ListenerSet. */
  key: string
  /** Istio's Gateway as `namespace/name`; `mesh`. */
  internalName: string
  allowedKinds: RouteGroupKind[]
  /** `namespace/host`: which routes may attach. */
  hosts: string[]
  hostname: string
  section: string
  port: number
  protocol: string
}

/** One reference of a route to a parent, and why it was denied if it was (conversion.go routeParentReference). */
export interface AttachedParent {
  /** The reference as it is written. */
  reference: ParentReference
  parent: Parent
  /** `group/Kind` of the referent. */
  kind: string
  name: string
  namespace: string
  denied?: ConfigError
  /** Host names of other listeners of the same port and protocol: where they fit better, routes are theirs. */
  banned: ReadonlySet<string>
}

const MESH: Parent = {
  key: 'mesh',
  internalName: 'mesh',
  allowedKinds: ['HTTPRoute', 'GRPCRoute', 'TCPRoute', 'TLSRoute'].map((kind) => ({ group: GATEWAY_API_GROUP, kind })),
  hosts: [],
  hostname: '',
  section: '',
  port: 0,
  protocol: '',
}

/** Whether it is the mesh, for which Services are the parents. */
export const isMesh = ({ parent }: AttachedParent): boolean => parent === MESH

/** The parent that a listener is. */
export function parentOf(
  owner: ApiObject<'KubernetesGateway' | 'ListenerSet'>,
  listener: Listener,
  config: ApiObject<'Gateway'>,
  server: Server,
): Parent {
  const { namespace, name } = owner.metadata
  return {
    key: `${owner.kind === 'ListenerSet' ? REFERENT.listenerSet : REFERENT.gateway} ${namespace}/${name}`,
    internalName: `${namespace}/${config.metadata.name}`,
    allowedKinds: supportedKinds(listener).kinds,
    hosts: server.hosts,
    hostname: listener.hostname ?? '',
    section: listener.name,
    port: listener.port,
    protocol: listener.protocol,
  }
}

const REFERENTS: readonly string[] = [REFERENT.gateway, REFERENT.listenerSet, REFERENT.service, REFERENT.serviceEntry]

/**
 * The parents that a route refers to, also those that deny it; references to what is no parent of Istio's are left out
 * (conversion.go extractParentReferenceInfo).
 */
export function attachedParents(
  context: ConversionContext,
  parents: readonly Parent[],
  route: RouteObject,
): AttachedParent[] {
  const out: AttachedParent[] = []
  const own = route.metadata.namespace
  for (const reference of route.spec.parentRefs ?? []) {
    const kind = referent(reference.group, reference.kind, REFERENT.gateway)
    if (!REFERENTS.includes(kind)) continue
    const namespace = reference.namespace ?? own
    const mesh = kind === REFERENT.service || kind === REFERENT.serviceEntry
    if (mesh && isForeignWaypoint(context, kind, namespace, reference.name)) continue
    const key = `${kind} ${namespace}/${reference.name}`
    const candidates = mesh ? [MESH] : parents.filter((parent) => parent.key === key)
    for (const parent of candidates) {
      const banned = new Set(
        candidates
          .filter((other) => other !== parent && other.port === parent.port && other.protocol === parent.protocol)
          .map((other) => other.hostname),
      )
      banned.delete(parent.hostname)
      const found = { reference, parent, kind, namespace, name: reference.name, banned }
      const denied = denial(context, found, route)
      out.push(denied ? { ...found, denied } : found)
    }
  }
  const order = new Map(out.map((item) => [item, referenceKey(item.reference, own)]))
  const by = (item: AttachedParent): string => order.get(item) as string
  return out.sort((a, b) => (by(a) < by(b) ? -1 : by(a) > by(b) ? 1 : 0))
}

/** A parent reference as a string: `group/kind/name/section/port.namespace`. */
export function referenceKey(reference: ParentReference, namespace: string): string {
  const { group = GATEWAY_API_GROUP, kind = 'Gateway', name, sectionName = '', port = 0 } = reference
  return `${group}/${kind}/${name}/${sectionName}/${port}.${reference.namespace ?? namespace}`
}

/** Why a parent does not take a route; undefined if it does (conversion.go referenceAllowed). */
function denial(context: ConversionContext, attached: AttachedParent, route: RouteObject): ConfigError | undefined {
  const { reference, parent, kind, namespace, name } = attached
  if (kind === REFERENT.service || kind === REFERENT.serviceEntry) {
    const what = kind === REFERENT.service ? 'Service' : 'ServiceEntry'
    if (!context.snapshot.get(what, namespace, name)) {
      const words = what === 'Service' ? 'service' : 'service entry'
      return { reason: 'NoMatchingParent', message: `parent ${words}: "${name}" not found` }
    }
  } else {
    if (reference.port && reference.port !== parent.port) {
      return { reason: 'NoMatchingParent', message: `port ${reference.port} not found` }
    }
    if (reference.sectionName && reference.sectionName !== parent.section) {
      return { reason: 'NoMatchingParent', message: `sectionName "${reference.sectionName}" not found` }
    }
    const problem = hostProblem(parent, route)
    if (problem) return problem
  }
  if (parent.allowedKinds.some((allowed) => allowed.kind === route.kind)) return undefined
  const message = `kind ${GATEWAY_API_GROUP}/v1/${route.kind} is not allowed`
  return { reason: 'NotAllowedByListeners', message }
}

function hostProblem(parent: Parent, route: RouteObject): ConfigError | undefined {
  const { namespace } = route.metadata
  let hostMatched = false
  for (const routeHost of hostnamesOf(route)) {
    for (const allowed of parent.hosts) {
      const slash = allowed.indexOf('/')
      if (!hostsOverlap(allowed.slice(slash + 1), routeHost)) continue
      const owner = slash < 0 ? '*' : allowed.slice(0, slash)
      if (owner === '*' || owner === namespace) return undefined
      hostMatched = true
    }
  }
  const of = `parent hostname ${quoted(parent.hostname)}`
  if (hostMatched) {
    const message = `hostnames matched ${of}, but namespace "${namespace}" is not allowed by the parent`
    return { reason: 'NotAllowedByListeners', message }
  }
  return { reason: 'NoMatchingListenerHostname', message: `no hostnames matched ${of}` }
}

/** The host names of a route; `*` when it names none. */
export function hostnamesOf(route: RouteObject): readonly string[] {
  const hostnames = route.kind === 'TCPRoute' ? undefined : route.spec.hostnames
  return hostnames?.length ? hostnames : ['*']
}

/** Whether a host name of a route is this listener's: not where another listener fits it better (hostnameAllowedByIsolation). */
export function isolated({ parent, banned }: AttachedParent, routeHost: string): boolean {
  const own = parent.hostname
  if (own && !isWildcard(own)) return true
  if (own && !hostsOverlap(routeHost, own)) return false
  for (const other of banned) {
    if (own.length <= other.length && hostWithin(routeHost, other)) return false
  }
  return true
}

/** The parents that took the route, in the order of their names (filteredReferences). */
export function acceptedParents(attached: readonly AttachedParent[]): AttachedParent[] {
  const name = ({ parent }: AttachedParent): string => parent.internalName
  return attached.filter(({ denied }) => !denied).sort((a, b) => (name(a) < name(b) ? -1 : name(a) > name(b) ? 1 : 0))
}

const WAYPOINT = 'istio.io/use-waypoint'

/** Whether the waypoint of a Service is of another implementation: then its routes are that one's (waypointManagedByAnotherController). */
function isForeignWaypoint(context: ConversionContext, kind: string, namespace: string, name: string): boolean {
  const object = context.snapshot.get(kind === REFERENT.service ? 'Service' : 'ServiceEntry', namespace, name)
  if (!object) return false
  const labels =
    object.metadata.labels[WAYPOINT] === undefined
      ? (context.snapshot.get('Namespace', '', namespace)?.metadata.labels ?? {})
      : object.metadata.labels
  const waypoint = labels[WAYPOINT]
  if (!waypoint || waypoint.toLowerCase() === 'none') return false
  const home = labels['istio.io/use-waypoint-namespace'] || namespace
  const gateway = context.snapshot.get('KubernetesGateway', home, waypoint)
  const written = gateway && context.snapshot.get('GatewayClass', '', gateway.spec.gatewayClassName)
  if (!written) return false
  return ![MESH_CONTROLLER, GATEWAY_CONTROLLER].includes(written.spec.controllerName)
}
