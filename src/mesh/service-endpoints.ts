import type { Address } from '../proxy/listener/connection.ts'
import { isFit } from '../registry/model.ts'
import type { Registry } from '../registry/registry.ts'

/** The ready endpoints behind a service's address and port: where kube-proxy would send a connection. */
export function endpointsAt(registry: Registry, ip: string, port: number): Address[] {
  const service = registry.services.find((s) => s.address === ip || s.autoAddress === ip)
  if (!service) return []
  return registry
    .endpointsOfPort(service, port)
    .filter((endpoint) => isFit(endpoint))
    .map((endpoint) => ({ ip: endpoint.address, port: endpoint.port }))
}
