import { hostWithin } from '../../registry/host.ts'
import { statName } from '../cluster/outbound.ts'
import { ALL_ALPN } from '../listener/inbound-matches.ts'
import { singleDestination } from '../listener/network-filters.ts'
import { sniOf } from '../names.ts'
import { originMetadata } from '../provenance.ts'
import type { ProxyNode } from '../proxy.ts'
import type { PushContext } from '../scope/push-context.ts'
import type { GatewayChain } from './listeners.ts'
import type { GatewayServer } from './servers.ts'

/**
 * A chain for every service and subset of the mesh that the hosts of a server take, by the name that Istio's clients ask
 * for; ALPN tells that they do use its mutual TLS, which is passed on as it comes (builtAutoPassthroughFilterChains).
 */
export function autoPassthroughChains(push: PushContext, proxy: ProxyNode, entry: GatewayServer): GatewayChain[] {
  const pattern = push.mesh.outboundClusterStatName
  return push.scopeOf(proxy).services.flatMap((service) => {
    if (service.meshExternal || !entry.sniHosts.some((host) => hostWithin(service.hostname, host))) return []
    const rule = push.ruleFor(proxy, service)
    const subsets = ['', ...(rule?.subsets ?? []).map(({ name }) => name)]
    return service.ports
      .filter((port) => port.protocol !== 'UDP')
      .flatMap((port) =>
        subsets.map((subset): GatewayChain => {
          const cluster = sniOf(service.hostname, port.port, subset)
          const statPrefix = pattern ? statName(pattern, service, port, subset) : cluster
          return {
            sniHosts: [cluster],
            alpn: ALL_ALPN,
            filters: singleDestination(push, proxy, {
              cluster,
              statPrefix,
              subset,
              port,
              rule,
              opaque: true,
            }),
            metadata: originMetadata(entry.origin),
          }
        }),
      )
  })
}
