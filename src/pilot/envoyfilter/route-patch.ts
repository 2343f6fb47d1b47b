import type { Route, VirtualHost } from '#gen/envoy/config/route/v3/route_components_pb.js'
import type { RouteConfiguration } from '#gen/envoy/config/route/v3/route_pb.js'
import { ROUTE_TYPE } from '../../xds/resource-types.ts'
import { edited } from './lists.ts'
import { copyOf, TypeMismatch } from './merge.ts'
import { mergePatch } from './merge-patch.ts'
import { merges, type Patch, type PatchContext } from './patch.ts'
import type { PatchSet } from './patch-set.ts'

/** The service ports that a port on which a gateway listens stands for. */
export type PortMap = ReadonlyMap<number, ReadonlySet<number>>

type RoutePatch = Patch<'ROUTE_CONFIGURATION' | 'VIRTUAL_HOST' | 'HTTP_ROUTE'>

/** A route configuration after its patches; the same object when there are none for it (networking/core/envoyfilter/rc_patch.go). */
export function patchRouteConfiguration(
  context: PatchContext,
  patches: PatchSet,
  original: RouteConfiguration,
  ports: PortMap,
): RouteConfiguration {
  if (!patches.has('ROUTE_CONFIGURATION', 'VIRTUAL_HOST', 'HTTP_ROUTE')) return original
  return patches.during(ROUTE_TYPE, original.name, () => patched(context, patches, original, ports))
}

function patched(
  context: PatchContext,
  patches: PatchSet,
  original: RouteConfiguration,
  ports: PortMap,
): RouteConfiguration {
  const config = copyOf(original)
  const fits = (patch: RoutePatch): boolean => configurationMatches(context, config, patch, ports)
  try {
    for (const patch of patches.of('ROUTE_CONFIGURATION', context)) {
      if (!merges(patch.operation) || !fits(patch)) continue
      patch.hits++
      mergePatch(config, patch)
    }
    patchVirtualHosts(
      config,
      patches.of('VIRTUAL_HOST', context).filter(fits),
      patches.of('HTTP_ROUTE', context).filter(fits),
    )
  } catch (error) {
    // The patch tells of it; what was done before it stays.
    if (!(error instanceof TypeMismatch)) throw error
  }
  return config
}

function patchVirtualHosts(
  config: RouteConfiguration,
  patches: readonly Patch<'VIRTUAL_HOST'>[],
  routePatches: readonly Patch<'HTTP_ROUTE'>[],
): void {
  const removed = new Set<string>()
  config.virtualHosts = config.virtualHosts.map((original) => {
    let host = original
    for (const patch of patches) {
      if (!virtualHostMatches(host, patch)) continue
      if (patch.operation === 'REMOVE') {
        patch.hits++
        removed.add(host.name)
        return host
      }
      if (merges(patch.operation)) {
        patch.hits++
        mergePatch(host, patch)
      } else if (patch.operation === 'REPLACE') {
        patch.hits++
        host = copyOf(patch.value)
      }
    }
    patchRoutes(host, routePatches)
    return host
  })
  for (const patch of patches) {
    if (patch.operation !== 'ADD') continue
    patch.hits++
    config.virtualHosts.push(copyOf(patch.value))
  }
  config.virtualHosts = config.virtualHosts.filter((host) => !removed.has(host.name))
}

function patchRoutes(host: VirtualHost, patches: readonly Patch<'HTTP_ROUTE'>[]): void {
  const here = patches.filter((patch) => virtualHostMatches(host, patch))
  host.routes = host.routes.filter((route) => patchRoute(route, here))
  for (const patch of here) {
    const named = patch.match.routeConfiguration?.vhost?.route !== undefined
    const matches = (route: Route): boolean => routeMatches(route, patch)
    if (patch.operation === 'REMOVE' || patch.operation === 'REPLACE') continue
    // The first place is taken for the sake of a route, which must be there.
    if (patch.operation === 'INSERT_FIRST' && named && !host.routes.some(matches)) {
      patch.sought.missed('route', host.routes.map(routeName))
      continue
    }
    host.routes = edited(host.routes, patch, { part: 'route', named, matches })
  }
}

/** Merges into a route; false when it is to go. */
function patchRoute(route: Route, patches: readonly Patch<'HTTP_ROUTE'>[]): boolean {
  for (const patch of patches) {
    if (!routeMatches(route, patch)) {
      patch.sought.missed('route', [routeName(route)])
      continue
    }
    if (patch.operation === 'REMOVE') {
      patch.hits++
      return false
    }
    if (!merges(patch.operation)) continue
    patch.hits++
    mergePatch(route, patch)
  }
  return true
}

const routeName = ({ name }: Route): string => name || '(unnamed)'

function configurationMatches(
  context: PatchContext,
  config: RouteConfiguration,
  patch: RoutePatch,
  ports: PortMap,
): boolean {
  const matches = isConfiguration(context, config, patch, ports)
  if (!matches) patch.sought.missed('route configuration', [config.name])
  return matches
}

function isConfiguration(
  context: PatchContext,
  config: RouteConfiguration,
  { match }: RoutePatch,
  ports: PortMap,
): boolean {
  const wanted = match.routeConfiguration
  if (!wanted) return true
  if (wanted.name && wanted.name !== config.name) return false
  if (context !== 'GATEWAY') return !wanted.portNumber || wanted.portNumber === portOf(config.name)
  const { port, portName, gateway } = gatewayRoute(config.name)
  if (wanted.portName && wanted.portName !== portName) return false
  if (wanted.gateway && wanted.gateway !== gateway) return false
  if (!wanted.portNumber) return true
  return ports.get(port)?.has(wanted.portNumber) ?? port === wanted.portNumber
}

/** The port in the name of a sidecar's route configuration; 0 for one with a host. */
function portOf(name: string): number {
  const inbound = /^inbound\|(\d+)\|/.exec(name)?.[1]
  return Number(inbound ?? (/^\d+$/.test(name) ? name : 0))
}

/** What the name of a gateway's route configuration says (pilot/pkg/model/gateway.go ParseGatewayRDSRouteName). */
function gatewayRoute(name: string): { port: number; portName: string; gateway: string } {
  const [kind, port = '', portName = '', gateway = '', namespace = ''] = name.split('.')
  if (kind === 'http') return { port: Number(port) || 0, portName: '', gateway: '' }
  if (kind !== 'https') return { port: 0, portName: '', gateway: '' }
  return { port: Number(port) || 0, portName, gateway: `${namespace}/${gateway}` }
}

function virtualHostMatches(host: VirtualHost, { match, sought }: RoutePatch): boolean {
  const { name, domainName } = match.routeConfiguration?.vhost ?? {}
  const matches = (!name || name === host.name) && (!domainName || host.domains.includes(domainName))
  if (!matches) sought.missed('virtual host', [host.name])
  return matches
}

const ACTIONS: Readonly<Record<string, string>> = {
  ROUTE: 'route',
  REDIRECT: 'redirect',
  DIRECT_RESPONSE: 'directResponse',
}

function routeMatches(route: Route, { match }: RoutePatch): boolean {
  const { name, action = 'ANY' } = match.routeConfiguration?.vhost?.route ?? {}
  if (name && name !== route.name) return false
  const kind = route.action.case
  return action === 'ANY' || !Object.values(ACTIONS).includes(kind ?? '') || ACTIONS[action] === kind
}
