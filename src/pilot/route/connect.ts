import type { RouteDestination } from '../../api/kinds/virtual-service.ts'
import { hostsOverlap } from '../../registry/host.ts'
import type { Port, Service } from '../../registry/model.ts'
import type { Init } from '../../xds/messages.ts'
import { applies } from '../listener/layer4-chains.ts'
import { hostPort, outboundCluster } from '../names.ts'
import { ZERO } from '../proto.ts'
import type { ProxyNode } from '../proxy.ts'
import type { PushContext } from '../scope/push-context.ts'
import type { EgressScope } from '../scope/sidecar-scope.ts'
import { destinationCluster } from './destination.ts'
import { serviceDomains } from './domains.ts'
import type { VirtualHostInit } from './virtual-hosts.ts'

type Route = Init<'envoy.config.route.v3.Route'>
type RouteAction = Init<'envoy.config.route.v3.RouteAction'>

/**
 * Adds what an HTTP proxy needs for `CONNECT host:port`: for each service and port a route that makes bytes of the
 * request's body. istiod has no such thing: its HTTP proxy port refuses CONNECT, and with it every program that goes to a
 * TCP service, or to HTTPS, by `http_proxy`.
 */
export function withConnectRoutes(
  push: PushContext,
  proxy: ProxyNode,
  egress: EgressScope,
  hosts: readonly VirtualHostInit[],
): VirtualHostInit[] {
  const out = new Map(hosts.map((host) => [host.name, host]))
  for (const service of egress.services) {
    // Where the client's own destination is kept there is none: that is the proxy itself.
    if (service.resolution === 'ALIAS' || service.resolution === 'PASSTHROUGH') continue
    for (const port of service.ports) {
      if (port.protocol === 'UDP') continue
      const name = hostPort(service.hostname, port.port)
      const route = connectRoute(push, proxy, egress, service, port)
      const known = out.get(name)
      if (known) {
        out.set(name, { ...known, routes: [route, ...(known.routes ?? [])] })
        continue
      }
      const domains = serviceDomains(service, port.port, proxy, push.env).domains.filter((domain) =>
        /:\d+$/.test(domain),
      )
      out.set(name, { name, domains, routes: [route], includeRequestAttemptCount: true })
    }
  }
  return unambiguous([...out.values()])
}

/** A domain may stand in one virtual host only: the first one keeps it. */
function unambiguous(hosts: readonly VirtualHostInit[]): VirtualHostInit[] {
  const taken = new Set<string>()
  return hosts.flatMap((host) => {
    const domains = host.domains.filter((domain) => !taken.has(domain.toLowerCase()))
    for (const domain of domains) taken.add(domain.toLowerCase())
    return domains.length > 0 ? [{ ...host, domains }] : []
  })
}

function connectRoute(push: PushContext, proxy: ProxyNode, egress: EgressScope, service: Service, port: Port): Route {
  return {
    name: 'connect',
    match: { pathSpecifier: { case: 'connectMatcher', value: {} } },
    action: {
      case: 'route',
      value: {
        clusterSpecifier: clusters(push, proxy, egress, service, port),
        timeout: ZERO,
        upgradeConfigs: [{ upgradeType: 'CONNECT', connectConfig: {} }],
      },
    },
  }
}

/** Where a TCP route of a VirtualService sends connections to the port, else the service itself. */
function clusters(
  push: PushContext,
  proxy: ProxyNode,
  egress: EgressScope,
  service: Service,
  port: Port,
): RouteAction['clusterSpecifier'] {
  const routes = tcpRoutes(proxy, egress, service, port)
  const known = push.scopeOf(proxy).byHostname
  const cluster = ({ destination }: RouteDestination): string =>
    destinationCluster(destination, known.get(destination.host), port.port)
  if (!routes) return { case: 'cluster', value: outboundCluster(service.hostname, port.port) }
  if (routes.length === 1) return { case: 'cluster', value: cluster(routes[0] as RouteDestination) }
  const weighted = routes
    .filter(({ weight }) => (weight ?? 0) > 0)
    .map((route) => ({ name: cluster(route), weight: route.weight }))
  return { case: 'weightedClusters', value: { clusters: weighted } }
}

function tcpRoutes(
  proxy: ProxyNode,
  egress: EgressScope,
  service: Service,
  port: Port,
): readonly RouteDestination[] | undefined {
  for (const config of egress.virtualServices) {
    if (!config.hosts.some((host) => hostsOverlap(host, service.hostname))) continue
    for (const { match, route } of config.tcp) {
      if (!route?.length) continue
      // The address that the client would have gone to is not known here.
      const fits = match?.some((one) => !one.destinationSubnets?.length && applies(one, proxy, port.port))
      if (!match?.length || fits) return route
    }
  }
  return undefined
}
