import type { RouteDestination, TCPRoute, TLSRoute } from '../../api/kinds/virtual-service.ts'
import type { ApiObject } from '../../api/objects.ts'
import { hostsOverlap } from '../../registry/host.ts'
import { intersection } from '../gateway/hosts.ts'
import type { ConversionContext } from './context.ts'
import { layer4Destinations, weightSum } from './destinations.ts'
import { convertBoth, hostsAt, numberedName } from './http-routes.ts'
import type { ConvertedRules } from './http-rules.ts'
import { routeService } from './made-objects.ts'
import { type AttachedParent, acceptedParents, hostnamesOf, isMesh } from './parents.ts'
import type { RouteErrors } from './route-status.ts'

type Layer4Object = ApiObject<'TCPRoute' | 'TLSRoute'>

/** Where connections go that are to be refused: there is no such cluster. */
const ZERO_WEIGHT: RouteDestination = {
  destination: { host: 'internal.cluster.local', subset: 'zero-weight', port: { number: 65535 } },
}

/** Turns the rules of a route of connections into destinations (convertTCPRoute, convertTLSRoute). */
function layer4Rules(
  context: ConversionContext,
  route: Layer4Object,
  mesh: boolean,
): ConvertedRules<{ route: RouteDestination[]; refused: boolean }> {
  const out: ConvertedRules<{ route: RouteDestination[]; refused: boolean }> = { rules: [] }
  for (const [index, rule] of route.spec.rules.entries()) {
    if (weightSum(rule.backendRefs) === 0) {
      out.rules.push({ route: [ZERO_WEIGHT], refused: true })
      continue
    }
    const built = layer4Destinations(context, rule.backendRefs, { route, mesh, rule: index })
    if (built.fatal) return { rules: [], error: built.fatal }
    out.error = built.error ?? out.error
    out.rules.push({ route: built.route, refused: false })
  }
  return out
}

/** What a route of connections came to. */
export interface ConvertedLayer4 {
  services: ApiObject<'VirtualService'>[]
  errors: RouteErrors
}

/** A TCPRoute as VirtualServices (route_collections.go TCPRouteCollection). */
export function tcpServices(
  context: ConversionContext,
  route: ApiObject<'TCPRoute'>,
  attached: readonly AttachedParent[],
): ConvertedLayer4 {
  const { rules, errors } = convertBoth(attached, (mesh) => layer4Rules(context, route, mesh))
  const services: ApiObject<'VirtualService'>[] = []
  for (const parent of acceptedParents(attached)) {
    const { port } = parent.reference
    const own = isMesh(parent) ? rules.mesh : rules.gateway
    const tcp: TCPRoute[] = own.map((rule) => ({
      ...(isMesh(parent) && port !== undefined ? { match: [{ port }] } : {}),
      route: rule.route,
    }))
    for (const host of hostsAt(context, parent, ['*'])) {
      const spec = { hosts: [host], gateways: [parent.parent.internalName], tcp }
      services.push(routeService(route, numberedName(route.metadata.name, 'tcp', services.length), spec))
    }
  }
  return { services, errors }
}

/** A TLSRoute as VirtualServices (TLSRouteCollection). */
export function tlsServices(
  context: ConversionContext,
  route: ApiObject<'TLSRoute'>,
  attached: readonly AttachedParent[],
): ConvertedLayer4 {
  const { rules, errors } = convertBoth(attached, (mesh) => layer4Rules(context, route, mesh))
  const names = [...hostnamesOf(route)]
  const services: ApiObject<'VirtualService'>[] = []
  for (const parent of acceptedParents(attached)) {
    const mesh = isMesh(parent)
    let tls: TLSRoute[] = (mesh ? rules.mesh : rules.gateway).map((rule) => ({
      match: rule.refused ? [] : [{ sniHosts: names }],
      route: rule.route,
    }))
    let hosts = hostsAt(context, parent, names)
    if (mesh) {
      tls = tls.map((rule) => forMesh(rule, hosts, parent.reference.port))
    } else if (parent.parent.hostname) {
      const { hostname } = parent.parent
      hosts = intersection(hosts, [hostname])
      tls = tls.flatMap((rule) => withinListener(rule, hostname))
    }
    for (const host of hosts) {
      const own = mesh ? tls.map((rule) => compatible(rule, host)) : tls
      const spec = { hosts: [host], gateways: [parent.parent.internalName], tls: own }
      services.push(routeService(route, numberedName(route.metadata.name, 'tls', services.length), spec))
    }
  }
  return { services, errors }
}

/** Without hostnames of its own, a route of the mesh is for those of its parent (augmentTLSPortMatch). */
function forMesh(rule: TLSRoute, hosts: readonly string[], port: number | undefined): TLSRoute {
  const any = rule.match.length === 1 && rule.match[0]?.sniHosts.join() === '*'
  return {
    ...rule,
    match: rule.match.map((match) => ({
      ...match,
      ...(any ? { sniHosts: [...hosts] } : {}),
      ...(port === undefined ? {} : { port }),
    })),
  }
}

/** Of several SNI hosts those that are the parent's (compatibleRoutesForHost). */
function compatible(rule: TLSRoute, host: string): TLSRoute {
  const only = rule.match.length === 1 ? rule.match[0] : undefined
  if (!only || only.sniHosts.length < 2) return rule
  return { ...rule, match: [{ ...only, sniHosts: only.sniHosts.filter((sni) => hostsOverlap(host, sni)) }] }
}

/** Only SNI hosts that the listener has (constrainTLSRoutesToListenerHost). */
function withinListener(rule: TLSRoute, hostname: string): TLSRoute[] {
  const match = rule.match.map((item) => ({ ...item, sniHosts: intersection(item.sniHosts, [hostname]) }))
  return match.length === 0 || match.some(({ sniHosts }) => sniHosts.length > 0) ? [{ ...rule, match }] : []
}
