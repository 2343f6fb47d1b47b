import type { Cluster } from '#gen/envoy/config/cluster/v3/cluster_pb.js'
import type { ProxyNode } from '../proxy.ts'
import type { PushContext } from '../scope/push-context.ts'
import { buildOutbound } from './outbound.ts'

/**
 * The clusters that AUTO_PASSTHROUGH servers forward to: those of every service of the mesh under the names that its
 * clients ask for, without TLS of their own (networking/core/cluster.go buildOutboundSniDnatClusters).
 */
export function sniDnatClusters(push: PushContext, proxy: ProxyNode): Cluster[] {
  return push.scopeOf(proxy).services.flatMap((service) => {
    if (service.meshExternal || service.resolution === 'ALIAS') return []
    const rule = push.ruleFor(proxy, service)
    return service.ports
      .filter((port) => port.protocol !== 'UDP')
      .flatMap((port) =>
        [undefined, ...(rule?.subsets ?? [])].flatMap(
          (subset) => buildOutbound(push, proxy, service, port, rule, subset, true) ?? [],
        ),
      )
  })
}
