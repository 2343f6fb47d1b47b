import type { Registry } from '../registry/registry.ts'

const HTTP = new Set(['HTTP', 'HTTP2', 'GRPC', 'GRPCWeb', 'Unsupported'])

/**
 * The URL of a service that has endpoints and speaks HTTP, for people to try; the one that others route to first, and
 * rather not that of the caller (its pod's address) itself.
 */
export function exampleUrl(registry: Registry, caller?: string): string | undefined {
  const gateways = new Set(registry.workloads.filter((workload) => workload.gateway).map((workload) => workload.ip))
  const inside = registry.services.filter(
    (service) => !registry.endpoints(service).some((endpoint) => gateways.has(endpoint.address)),
  )
  const candidates = inside.flatMap((service) =>
    service.ports
      .filter((port) => HTTP.has(port.protocol) && registry.endpointsOfPort(service, port.port).length > 0)
      .map((port) => {
        const endpoints = registry.endpointsOfPort(service, port.port)
        return { service, port, versions: endpoints.length, own: endpoints.some(({ address }) => address === caller) }
      }),
  )
  const best = candidates.sort((a, b) => Number(a.own) - Number(b.own) || b.versions - a.versions)[0]
  if (!best) return undefined
  const { service, port } = best
  const host =
    service.registry === 'External'
      ? service.hostname
      : service.namespace === 'default'
        ? service.name
        : `${service.name}.${service.namespace}`
  return `http://${host}${port.port === 80 ? '' : `:${port.port}`}/`
}
