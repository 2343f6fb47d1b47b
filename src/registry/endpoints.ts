import type { ApiObject } from '../api/objects.ts'
import type { EndpointBase } from './kube-services.ts'
import type { Endpoint, Health, Service } from './model.ts'

/** Finds what is known about the workload behind an address; undefined for an address outside the mesh. */
export type WorkloadByIp = (ip: string) => EndpointBase | undefined

/** The endpoints that an Endpoints object states, for a service without selector. */
export function endpointsOf(object: ApiObject<'Endpoints'>, service: Service, byIp: WorkloadByIp): Endpoint[] {
  return (object.subsets ?? []).flatMap((subset) => {
    const addresses = [
      ...(subset.addresses ?? []).map((address) => ({ ...address, health: 'HEALTHY' as Health })),
      ...(subset.notReadyAddresses ?? []).map((address) => ({ ...address, health: 'UNHEALTHY' as Health })),
    ]
    return addresses.flatMap((address) =>
      (subset.ports ?? []).map((port) =>
        endpoint(address.ip, port, address.health, address.nodeName ?? '', service, byIp),
      ),
    )
  })
}

/** The endpoints that an EndpointSlice states (serviceregistry/kube/controller/endpointslice.go). */
export function sliceEndpoints(object: ApiObject<'EndpointSlice'>, service: Service, byIp: WorkloadByIp): Endpoint[] {
  return object.endpoints.flatMap((stated) => {
    const conditions = stated.conditions
    const health: Health =
      conditions?.ready !== false ? 'HEALTHY' : conditions?.terminating ? 'TERMINATING' : 'UNHEALTHY'
    return stated.addresses.flatMap((address) =>
      (object.ports ?? []).map((port) => endpoint(address, port, health, stated.nodeName ?? '', service, byIp)),
    )
  })
}

function endpoint(
  address: string,
  port: { name?: string; port?: number },
  health: Health,
  nodeName: string,
  service: Service,
  byIp: WorkloadByIp,
): Endpoint {
  const known = byIp(address)
  const base: EndpointBase = known ?? {
    labels: {},
    serviceAccount: '',
    tlsMode: 'disabled',
    locality: '',
    network: '',
    namespace: service.namespace,
    workloadName: '',
    nodeName,
    health,
  }
  return {
    ...base,
    health: service.publishNotReady ? 'HEALTHY' : health,
    address,
    port: port.port ?? 0,
    servicePortName: port.name ?? '',
  }
}
