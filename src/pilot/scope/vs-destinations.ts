import type { Destination } from '../../api/kinds/virtual-service.ts'
import type { VirtualServiceConfig } from './virtual-services.ts'

/**
 * The hosts that a VirtualService sends to, with their ports; 0 stands for «no port named». Rules for other source
 * namespaces do not count (pilot/pkg/model/push_context.go virtualServiceDestinationsFilteredBySourceNamespace).
 */
export function destinationsOf(config: VirtualServiceConfig, namespace: string): Map<string, Set<number>> {
  const out = new Map<string, Set<number>>()
  const add = (destination: Destination | undefined): void => {
    if (!destination) return
    const ports = out.get(destination.host) ?? new Set()
    ports.add(destination.port?.number ?? 0)
    out.set(destination.host, ports)
  }
  for (const { rule } of config.http) {
    const sources = (rule.match ?? []).map((match) => match.sourceNamespace).filter(Boolean)
    if (sources.length && !sources.includes(namespace)) continue
    for (const route of rule.route ?? []) add(route.destination)
    add(rule.mirror)
    for (const mirror of rule.mirrors ?? []) add(mirror.destination)
  }
  for (const rule of [...config.tcp, ...config.tls]) for (const route of rule.route ?? []) add(route.destination)
  return out
}
