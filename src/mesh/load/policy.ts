import type { RetryPolicy } from '#gen/envoy/config/route/v3/route_components_pb.js'
import type { RouteConfiguration } from '#gen/envoy/config/route/v3/route_pb.js'
import type { ProxyServer } from '../../proxy/server.ts'
import type { StreamInfo } from '../../proxy/stream-info.ts'
import type { PolicyFacts } from './failure.ts'

/** What a sidecar's configuration says of retries for the route that a request took; undefined when it took none. */
export function policyOf(proxy: ProxyServer, info: StreamInfo): PolicyFacts | undefined {
  const { clusterName, routeName, virtualHostName } = info
  if (clusterName === undefined) return undefined
  const retryPolicy = retryPolicyOf(proxy, virtualHostName, routeName, clusterName)
  return {
    retryOn: (retryPolicy?.retryOn ?? '').split(',').filter(Boolean),
    retries: retryPolicy === undefined || retryPolicy.retryOn === '' ? 0 : (retryPolicy.numRetries ?? 1),
    retriableStatuses: retryPolicy?.retriableStatusCodes ?? [],
    hosts: proxy.clusters.all().find(({ name }) => name === clusterName)?.hosts.all.length ?? 0,
  }
}

function retryPolicyOf(
  proxy: ProxyServer,
  virtualHostName: string | undefined,
  routeName: string | undefined,
  clusterName: string,
): RetryPolicy | undefined {
  for (const { message } of proxy.routes.resources())
    for (const host of (message as unknown as RouteConfiguration).virtualHosts) {
      if (host.name !== virtualHostName) continue
      for (const { name, action } of host.routes) {
        if (action.case !== 'route' || name !== (routeName ?? '')) continue
        const { clusterSpecifier: to, retryPolicy } = action.value
        const goesThere =
          to.case === 'cluster'
            ? to.value === clusterName
            : to.case === 'weightedClusters' && to.value.clusters.some((cluster) => cluster.name === clusterName)
        if (goesThere) return retryPolicy ?? host.retryPolicy
      }
    }
  return undefined
}
