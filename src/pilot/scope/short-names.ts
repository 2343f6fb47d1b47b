import type { Destination, VirtualService } from '../../api/kinds/virtual-service.ts'
import { resolveShortName } from '../../registry/host.ts'

/**
 * A VirtualService with every host fully qualified and every gateway as `namespace/name`
 * (pilot/pkg/model/virtualservice.go ResolveVirtualServiceShortnames).
 */
export function resolveNames(spec: VirtualService, namespace: string, domain: string): VirtualService {
  const host = (name: string): string => resolveShortName(name, namespace, domain)
  const to = <T extends Destination>(destination: T): T => ({ ...destination, host: host(destination.host) })
  const route = <T extends { destination: Destination }>(item: T): T => ({ ...item, destination: to(item.destination) })
  const match = <T extends { gateways?: string[] }>(item: T): T =>
    item.gateways ? { ...item, gateways: item.gateways.map((name) => gatewayName(name, namespace)) } : item
  const layer4 = <
    T extends { match?: M[]; route?: R[] },
    M extends { gateways?: string[] },
    R extends { destination: Destination },
  >(
    rule: T,
  ): T => ({ ...rule, match: rule.match?.map(match), route: rule.route?.map(route) })
  return {
    ...spec,
    hosts: spec.hosts?.map(host),
    gateways: spec.gateways?.map((name) => gatewayName(name, namespace)),
    http: spec.http?.map((rule) => ({
      ...rule,
      match: rule.match?.map(match),
      route: rule.route?.map(route),
      mirror: rule.mirror && to(rule.mirror),
      mirrors: rule.mirrors?.map(route),
    })),
    tcp: spec.tcp?.map(layer4),
    tls: spec.tls?.map(layer4),
  }
}

/** `name`, `./name`, `namespace/name` and the old `name.namespace…` as `namespace/name` (model/config.go). */
export function gatewayName(name: string, namespace: string): string {
  if (name === 'mesh') return name
  const slash = name.indexOf('/')
  if (slash >= 0) return name.slice(0, slash) === '.' ? `${namespace}${name.slice(slash)}` : name
  if (!name.includes('.')) return `${namespace}/${name}`
  const [gateway, owner] = name.split('.')
  return `${owner}/${gateway}`
}
