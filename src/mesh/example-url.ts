import type { Registry } from '../registry/registry.ts'

const HTTP = new Set(['HTTP', 'HTTP2', 'GRPC', 'GRPCWeb', 'Unsupported'])

/** The URL of a service that has endpoints and speaks HTTP, for people to try; the one that others route to first. */
export function exampleUrl(registry: Registry): string | undefined {
  const gateways = new Set(registry.workloads.filter((workload) => workload.gateway).map((workload) => workload.ip))
  const inside = registry.services.filter(
    (service) => !registry.endpoints(service).some((endpoint) => gateways.has(endpoint.address)),
  )
  const candidates = inside.flatMap((service) =>
    service.ports
      .filter((port) => HTTP.has(port.protocol) && registry.endpointsOfPort(service, port.port).length > 0)
      .map((port) => ({ service, port, versions: registry.endpointsOfPort(service, port.port).length })),
  )
  const best = candidates.sort((a, b) => b.versions - a.versions)[0]
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
