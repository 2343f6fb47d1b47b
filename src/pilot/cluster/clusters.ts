import type { Cluster } from '#gen/envoy/config/cluster/v3/cluster_pb.js'
import { clientSide, withClusterPatches } from '../envoyfilter/apply.ts'
import type { ProxyNode } from '../proxy.ts'
import { memoized, type PushContext } from '../scope/push-context.ts'
import { inboundClusters } from './inbound.ts'
import { outboundClusters } from './outbound.ts'
import { sniDnatClusters } from './sni-dnat.ts'
import { blackHole, dynamicDns, inboundPassthrough, passthrough } from './special.ts'

/**
 * All clusters of a proxy. Of several with one name the first counts
 * (networking/core/cluster.go BuildClusters, normalizeClusters).
 */
export function clustersOf(push: PushContext, proxy: ProxyNode): Cluster[] {
  const once = (name: string, make: () => Cluster): Cluster =>
    memoized(
      push.clusterMemo,
      `cds\n${name}\n${JSON.stringify(proxy.proxyConfig ?? null)}\n${proxy.ips[0]?.includes(':')}`,
      make,
    )
  const outbound = outboundClusters(push, proxy)
  outbound.push(once('blackHole', () => blackHole(push)))
  if (push.gateways.of(proxy)?.autoPassthrough) outbound.push(...sniDnatClusters(push, proxy))
  const inbound: Cluster[] = []
  if (proxy.type === 'sidecar') {
    outbound.push(once('passthrough', () => passthrough(push, proxy)))
    if (push.scopeOf(proxy).outbound.mode === 'ALLOW_ANY_DYNAMIC_DNS') outbound.push(dynamicDns(push, proxy))
    inbound.push(...inboundClusters(push, proxy))
    inbound.push(once('inboundPassthrough', () => inboundPassthrough(push, proxy)))
  }
  const all = withClusterPatches(push, proxy, clientSide(proxy), outbound)
  if (proxy.type === 'sidecar') all.push(...withClusterPatches(push, proxy, 'SIDECAR_INBOUND', inbound))
  const seen = new Set<string>()
  return all.filter((cluster) => !seen.has(cluster.name) && seen.add(cluster.name))
}
