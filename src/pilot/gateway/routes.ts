import type { Route } from '#gen/envoy/config/route/v3/route_components_pb.js'
import type { RouteConfiguration } from '#gen/envoy/config/route/v3/route_pb.js'
import { type Init, make } from '../../xds/messages.ts'
import { hostPort } from '../names.ts'
import { originMetadata } from '../provenance.ts'
import type { ProxyNode } from '../proxy.ts'
import { proxyConfigOf, proxyHeaders } from '../proxy-config.ts'
import { isCatchAll, semanticsOf } from '../route/match.ts'
import { virtualServiceRoutes } from '../route/translate.ts'
import type { PushContext } from '../scope/push-context.ts'
import type { VirtualServiceConfig } from '../scope/virtual-services.ts'
import { bySpecificity, hostsForNamespace, intersection } from './hosts.ts'
import type { GatewayServer } from './servers.ts'

type VirtualHost = Init<'envoy.config.route.v3.VirtualHost'> & { name: string; domains: string[]; routes: Route[] }

const ONE_MEGABYTE = 1024 * 1024
/** Value of VirtualHost.TlsRequirementType. */
const ALL = 2

/**
 * The route configuration of a gateway: `http.<port>` for all plain HTTP servers of a port, `https.…` for one HTTPS
 * server; empty for a name that is not, or no longer, in use (networking/core/gateway.go buildGatewayHTTPRouteConfig).
 */
export function gatewayRouteConfiguration(push: PushContext, proxy: ProxyNode, name: string): RouteConfiguration {
  const servers = push.gateways.of(proxy)?.byRoute.get(name)
  if (!servers?.length) return make('envoy.config.route.v3.RouteConfiguration', { name, validateClusters: false })
  return make('envoy.config.route.v3.RouteConfiguration', {
    name,
    virtualHosts: virtualHosts(push, proxy, servers),
    validateClusters: false,
    ignorePortInHostMatching: true,
    maxDirectResponseBodySizeBytes: ONE_MEGABYTE,
  })
}

function virtualHosts(push: PushContext, proxy: ProxyNode, servers: readonly GatewayServer[]): VirtualHost[] {
  const byHost = new Map<string, VirtualHost>()
  const routesOf = routeCache(push, proxy)
  const { attemptCount } = proxyHeaders(proxyConfigOf(push, proxy), false)
  const vhost = (host: string, port: number, routes: Route[], origin: GatewayServer['origin']): VirtualHost => ({
    name: hostPort(host, port),
    domains: [host],
    routes,
    includeRequestAttemptCount: attemptCount,
    metadata: originMetadata(origin),
  })
  for (const entry of servers) {
    const { server, gateway, origin } = entry
    const port = server.port.number
    for (const config of push.virtualServices.visible(proxy.namespace, gateway)) {
      const hosts = intersection(hostsForNamespace(entry.hosts, config.namespace), config.hosts)
      const routes = hosts.length ? routesOf(entry, config) : []
      if (routes.length === 0) continue
      for (const written of hosts) {
        const host = written.toLowerCase()
        const known = byHost.get(host)
        if (known) known.routes = [...known.routes, ...routes]
        else byHost.set(host, vhost(host, port, routes, config.origin))
        if (server.tls?.httpsRedirect) (byHost.get(host) as VirtualHost).requireTls = ALL
      }
    }
    if (!server.tls?.httpsRedirect) continue
    for (const written of entry.hosts) {
      const host = written.toLowerCase()
      if (!byHost.has(host)) byHost.set(host, vhost(host, port, [], origin))
      ;(byHost.get(host) as VirtualHost).requireTls = ALL
    }
  }
  if (byHost.size === 0) {
    const { server, origin } = servers[0] as GatewayServer
    return [
      {
        ...vhost('*', 0, [], origin),
        name: hostPort('blackhole', server.port.number),
        includeRequestAttemptCount: false,
      },
    ]
  }
  const out = collapse(byHost)
  for (const host of out) host.routes = catchAllsLast(host.routes)
  return out.sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0))
}

/** The routes of a VirtualService at a Gateway, translated once: for the first of the servers that it applies to. */
function routeCache(
  push: PushContext,
  proxy: ProxyNode,
): (entry: GatewayServer, config: VirtualServiceConfig) => Route[] {
  const cache = new Map<string, Route[]>()
  return (entry, config) => {
    const key = `${entry.gateway}\0${config.namespace}/${config.name}`
    const known = cache.get(key)
    if (known) return known
    const routes = translate(push, proxy, entry, config)
    if (routes.length) cache.set(key, routes)
    return routes
  }
}

function translate(
  push: PushContext,
  proxy: ProxyNode,
  { server, gateway }: GatewayServer,
  config: VirtualServiceConfig,
): Route[] {
  const scope = push.scopeOf(proxy)
  return virtualServiceRoutes(config, {
    listenerPort: server.port.number,
    gateways: new Set([gateway]),
    labels: proxy.labels,
    namespace: proxy.namespace,
    semantics: semanticsOf(config.object.metadata.annotations),
    isTls: server.tls !== undefined,
    proxyless: false,
    xForwardedHost: proxyHeaders(proxyConfigOf(push, proxy), false).xForwardedHost,
    disableShadowHostSuffix: push.env.disableShadowHostSuffix,
    env: push.env,
    defaultRetry: push.mesh.defaultHttpRetryPolicy,
    service: (hostname) => {
      // A service of the VirtualService's own namespace comes first.
      const own = push.registry.byHostname(hostname)?.get(config.namespace)
      return own && push.isVisible(own, proxy.namespace) ? own : scope.byHostname.get(hostname)
    },
    ruleFor: (hostname) => {
      const service = scope.byHostname.get(hostname)
      return service && push.ruleFor(proxy, service)
    },
  })
}

/** Hosts with the very same routes share a virtual host, under the name of the most specific (collapseDuplicateRoutes). */
function collapse(byHost: ReadonlyMap<string, VirtualHost>): VirtualHost[] {
  const out: VirtualHost[] = []
  for (const host of [...byHost.keys()].sort(bySpecificity)) {
    const next = byHost.get(host) as VirtualHost
    const same = out.findLast((known) => sameRoutes(known.routes, next.routes))
    if (same && (same.requireTls ?? 0) === (next.requireTls ?? 0)) same.domains.push(...next.domains)
    else out.push(next)
  }
  return out
}

const sameRoutes = (a: readonly Route[], b: readonly Route[]): boolean =>
  a.length === b.length && a.every((route, index) => route === b[index])

/** Routes that take everything come after those of other VirtualServices (SortVHostRoutes). */
function catchAllsLast(routes: readonly Route[]): Route[] {
  const takesAll = (route: Route): boolean => route.match !== undefined && isCatchAll(route.match)
  return [...routes.filter((route) => !takesAll(route)), ...routes.filter(takesAll)]
}
