import type { RouteConfiguration } from '#gen/envoy/config/route/v3/route_pb.js'
import { type Init, make } from '../../xds/messages.ts'
import { gatewayRouteConfiguration } from '../gateway/routes.ts'
import { DYNAMIC_DNS_CLUSTER, HTTP_PROXY_ROUTE, PASSTHROUGH_CLUSTER } from '../names.ts'
import { ZERO } from '../proto.ts'
import { isIpv6Only, type ProxyNode } from '../proxy.ts'
import { proxyConfigOf, proxyHeaders } from '../proxy-config.ts'
import { memoized, type PushContext } from '../scope/push-context.ts'
import { egressFor } from '../scope/sidecar-scope.ts'
import { withConnectRoutes } from './connect.ts'
import { destinationCluster } from './destination.ts'
import { outboundVirtualHosts, type VirtualHostInit } from './virtual-hosts.ts'

const ONE_MEGABYTE = 1024 * 1024

/**
 * A route configuration by name: `9080` (all services of the port), `host:9080` (one sniffed service), `http_proxy`, or
 * the path of a unix socket; empty for a name that means nothing (networking/core/httproute.go BuildHTTPRoutes).
 */
export function routeConfiguration(push: PushContext, proxy: ProxyNode, name: string): RouteConfiguration {
  if (proxy.type === 'router') {
    const targets = proxy.targets.map(({ service, port, targetPort }) => [service.hostname, port.port, targetPort])
    const settings = JSON.stringify([proxy.namespace, proxy.labels, proxy.proxyConfig, targets])
    return memoized(push.routeMemo, `gateway\n${name}\n${settings}`, () => gatewayRouteConfiguration(push, proxy, name))
  }
  const scope = push.scopeOf(proxy)
  const labels = push.virtualServices.usesLabels || push.destinationRules.usesLabels
  const key = [
    'rds',
    scope.id,
    name,
    proxy.dnsDomain,
    proxy.dnsCapture,
    proxy.proxyless,
    labels ? JSON.stringify(proxy.labels) : '',
    JSON.stringify(proxy.proxyConfig ?? null),
    isIpv6Only(proxy),
  ]
  return memoized(push.routeMemo, key.join('\n'), () => build(push, proxy, name))
}

function build(push: PushContext, proxy: ProxyNode, name: string): RouteConfiguration {
  const scope = push.scopeOf(proxy)
  const unix = name.startsWith('unix://')
  const colon = name.lastIndexOf(':')
  const sniffed = !unix && colon >= 0
  const port = unix || name === HTTP_PROXY_ROUTE ? 0 : Number(sniffed ? name.slice(colon + 1) : name)
  const egress = Number.isInteger(port) ? egressFor(scope, port, name) : undefined
  if (!egress) return make('envoy.config.route.v3.RouteConfiguration', { name, validateClusters: false })
  const proxyPort = egress.listener?.port?.protocol?.toUpperCase() === 'HTTP_PROXY' ? 0 : port
  let virtualHosts = outboundVirtualHosts(push, proxy, egress, proxyPort)
  if (name === HTTP_PROXY_ROUTE) virtualHosts = withConnectRoutes(push, proxy, egress, virtualHosts)
  if (sniffed) {
    virtualHosts = ofHost(virtualHosts, name, name.slice(0, colon))
  } else {
    virtualHosts.sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0))
    virtualHosts.push(catchAll(push, proxy))
  }
  return make('envoy.config.route.v3.RouteConfiguration', {
    name,
    virtualHosts,
    validateClusters: false,
    maxDirectResponseBodySizeBytes: ONE_MEGABYTE,
    // The domains for an HTTP proxy have ports, since all ports share the configuration; with the port ignored, as
    // istiod has it, none of those could ever match.
    ignorePortInHostMatching: proxyPort !== 0,
  })
}

/** Only the host of a sniffed service, for every Host header. */
function ofHost(hosts: readonly VirtualHostInit[], name: string, host: string): VirtualHostInit[] {
  const found = hosts.filter(({ domains }) => domains.includes(name) || domains.includes(host))
  return found.length === 1 ? [{ ...(found[0] as VirtualHostInit), domains: ['*'] }] : found
}

/** What unknown hosts get: let through, resolved by name, or 502. */
export function catchAll(push: PushContext, proxy: ProxyNode): VirtualHostInit {
  const { mode, egressProxy } = push.scopeOf(proxy).outbound
  const headers = proxyHeaders(proxyConfigOf(push, proxy), true)
  const names = { ALLOW_ANY: 'allow_any', REGISTRY_ONLY: 'block_all', ALLOW_ANY_DYNAMIC_DNS: 'allow_any_dynamic_dns' }
  const name = names[mode]
  const forward = (cluster: string): Init<'envoy.config.route.v3.Route'>['action'] => ({
    case: 'route',
    value: {
      clusterSpecifier: { case: 'cluster', value: cluster },
      timeout: ZERO,
      maxGrpcTimeout: ZERO,
      appendXForwardedHost: headers.xForwardedHost,
    },
  })
  const action: Init<'envoy.config.route.v3.Route'>['action'] =
    mode === 'REGISTRY_ONLY'
      ? { case: 'directResponse', value: { status: 502 } }
      : mode === 'ALLOW_ANY'
        ? forward(egressProxy ? destinationCluster(egressProxy, undefined, 0) : PASSTHROUGH_CLUSTER)
        : forward(DYNAMIC_DNS_CLUSTER)
  return {
    name,
    domains: ['*'],
    routes: [{ name, match: { pathSpecifier: { case: 'prefix', value: '/' } }, action }],
    includeRequestAttemptCount: headers.attemptCount,
  }
}
