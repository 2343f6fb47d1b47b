import type { ApiObject } from '../../api/objects.ts'
import { hostWithin, isWildcard, resolveShortName } from '../../registry/host.ts'
import type { Service } from '../../registry/model.ts'
import { gatewayName } from '../scope/short-names.ts'
import { MESH_GATEWAY } from '../scope/virtual-services.ts'
import type { Analyzer } from './analyzer.ts'
import {
  DESTINATION_PORT_REQUIRED,
  HOST_NOT_IN_GATEWAY,
  REFERENCED_RESOURCE_NOT_FOUND,
  ROUTES_NOT_AFFECTED,
} from './catalogue.ts'
import type { AnalysisContext } from './context.ts'
import { destinationsOf } from './destinations.ts'

/** Hosts and ports of routes that are not there (analyzers/virtualservice/destinationhosts.go). */
export const destinationHosts: Analyzer = {
  name: 'virtualservice.DestinationHostAnalyzer',
  description: 'Checks the destination hosts associated with each virtual service',
  types: [REFERENCED_RESOURCE_NOT_FOUND, DESTINATION_PORT_REQUIRED, ROUTES_NOT_AFFECTED],
  analyze(context) {
    for (const route of context.push.snapshot.list('VirtualService')) {
      unaffected(context, route)
      for (const { destination, path, mirror } of destinationsOf(route)) {
        const { host, port } = destination
        if (!host) continue
        const service = serviceOf(context, host, route)
        const at = [...path, 'host']
        if (!service) context.report(REFERENCED_RESOURCE_NOT_FOUND, route, at, mirror ? 'mirror host' : 'host', host)
        else if (port?.number === undefined) {
          if (service.ports.length > 1)
            context.report(
              DESTINATION_PORT_REQUIRED,
              route,
              at,
              host,
              service.ports.map((known) => known.port),
            )
        } else if (!service.ports.some((known) => known.port === port.number))
          context.report(REFERENCED_RESOURCE_NOT_FOUND, route, [...path, 'port'], 'host:port', `${host}:${port.number}`)
      }
    }
  },
}

/** The service of a host as a route means it, by its own name or within a wildcard, if those who see the route see it. */
function serviceOf(
  { push }: AnalysisContext,
  host: string,
  { metadata: { namespace }, spec }: ApiObject<'VirtualService'>,
): Service | undefined {
  const viewers = spec.exportTo?.length ? spec.exportTo.map((name) => (name === '.' ? namespace : name)) : [namespace]
  const isSeen = (service: Service): boolean => viewers.some((viewer) => push.isVisible(service, viewer))
  const name = resolveShortName(host, namespace, push.env.domain)
  const known = [...(push.registry.byHostname(name)?.values() ?? [])].find(isSeen)
  return (
    known ??
    push.registry.services.find(
      (service) => isWildcard(service.hostname) && hostWithin(name, service.hostname) && isSeen(service),
    )
  )
}

/** Routes for the mesh with subsets, which those of a gateway to the same host pass by (destinationhosts.go analyzeSubset). */
function unaffected(context: AnalysisContext, route: ApiObject<'VirtualService'>): void {
  if (!route.spec.gateways?.length) return
  const { env, snapshot } = context.push
  const hostOf = (host: string, object: ApiObject<'VirtualService'>): string =>
    resolveShortName(host, object.metadata.namespace, env.domain)
  for (const { destination, path, mirror } of destinationsOf(route)) {
    if (mirror || destination.subset || path[1] !== 'http') continue
    for (const other of snapshot.list('VirtualService')) {
      const subsets = destinationsOf(other).filter((known) => known.path[1] === 'http' && known.destination.subset)
      const target = hostOf(destination.host, route)
      const owns = other.spec.hosts?.some((host) => hostOf(host, other) === target)
      if (owns && subsets.some((known) => hostOf(known.destination.host, other) === target))
        context.report(ROUTES_NOT_AFFECTED, route, path, fullName(other), fullName(route))
    }
  }
}

const fullName = ({ metadata }: ApiObject<'VirtualService'>): string => `${metadata.namespace}/${metadata.name}`

/** Subsets of routes that no DestinationRule defines (analyzers/virtualservice/destinationrules.go). */
export const destinationSubsets: Analyzer = {
  name: 'virtualservice.DestinationRuleAnalyzer',
  description: 'Checks the destination rules associated with each virtual service',
  types: [REFERENCED_RESOURCE_NOT_FOUND],
  analyze(context) {
    const { snapshot, env } = context.push
    const known = new Set(
      snapshot.list('DestinationRule').flatMap(({ metadata, spec }) => {
        const host = resolveShortName(spec.host ?? '', metadata.namespace, env.domain)
        return (spec.subsets ?? []).map(({ name }) => `${host} ${name}`)
      }),
    )
    for (const route of snapshot.list('VirtualService'))
      for (const { destination, path, mirror } of destinationsOf(route)) {
        const { host, subset } = destination
        if (!subset || known.has(`${resolveShortName(host, route.metadata.namespace, env.domain)} ${subset}`)) continue
        const what = `${mirror ? 'mirror' : 'host'}+subset in destinationrule`
        context.report(REFERENCED_RESOURCE_NOT_FOUND, route, [...path, 'subset'], what, `${host}+${subset}`)
      }
  },
}

/** Gateways of routes that are not there, or take none of their hosts (analyzers/virtualservice/gateways.go). */
export const routeGateways: Analyzer = {
  name: 'virtualservice.GatewayAnalyzer',
  description: 'Checks the gateways associated with each virtual service',
  types: [REFERENCED_RESOURCE_NOT_FOUND, HOST_NOT_IN_GATEWAY],
  analyze(context) {
    for (const route of context.push.snapshot.list('VirtualService')) {
      const { namespace, name } = route.metadata
      const { gateways = [], hosts = [] } = route.spec
      for (const [i, written] of gateways.entries()) {
        const path = ['spec', 'gateways', i]
        const full = gatewayName(written, namespace)
        if (full === MESH_GATEWAY) continue
        const taken = gatewayHosts(context, full, namespace)
        if (!taken) context.report(REFERENCED_RESOURCE_NOT_FOUND, route, path, 'gateway', written)
        if (!taken?.some((host) => hosts.some((wanted) => overlaps(host, wanted))))
          context.report(HOST_NOT_IN_GATEWAY, route, path, hosts, `${namespace}/${name}`, full)
      }
    }
  },
}

/** The hosts that a Gateway, of Istio's kind or the Gateway API's, takes for a namespace; undefined when there is none. */
function gatewayHosts(
  { push: { snapshot } }: AnalysisContext,
  full: string,
  forNamespace: string,
): string[] | undefined {
  const [namespace = '', name = ''] = full.split('/')
  const gateway = snapshot.get('Gateway', namespace, name)
  if (gateway)
    return (gateway.spec.servers ?? []).flatMap(({ hosts }) =>
      hosts.flatMap((host) => {
        const [owner, inside] = host.includes('/') ? host.split('/', 2) : ['*', host]
        const wanted = owner === '.' ? namespace : owner
        return inside !== undefined && (wanted === '*' || wanted === forNamespace) ? [inside] : []
      }),
    )
  const kubernetes = snapshot.get('KubernetesGateway', namespace, name)
  return kubernetes?.spec.listeners.map(({ hostname }) => hostname || '*')
}

/** Whether two hosts have a name in common (pkg/config/host Name.Matches). */
const overlaps = (a: string, b: string): boolean => a === '*' || b === '*' || hostWithin(a, b) || hostWithin(b, a)
