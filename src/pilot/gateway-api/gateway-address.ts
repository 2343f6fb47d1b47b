import net from 'node:net'
import type { GatewaySpecAddress, KubernetesGateway } from '../../api/kinds/gateway-api/gateway.ts'
import type { GatewayStatus } from '../../api/kinds/gateway-api/status.ts'
import type { ApiObject } from '../../api/objects.ts'
import { NO_ADDRESS, type Service } from '../../registry/model.ts'
import { type ConditionDraft, type ConfigError, humanJoin } from './conditions.ts'
import type { ConversionContext } from './context.ts'

/** Whether a Gateway gets a deployment of its own: unless it names the service of one (gateway_utils.go IsManaged). */
export function isManaged({ addresses = [] }: KubernetesGateway): boolean {
  if (addresses.length !== 1) return addresses.length === 0
  return addressType(addresses[0] as GatewaySpecAddress) === 'IPAddress'
}

/** Without a type in the file the API server has put this one there. */
const addressType = ({ type }: GatewaySpecAddress): string => type ?? 'IPAddress'

/** The name of a Gateway's deployment and service, and of its service account unless it names one. */
export function deploymentName({ metadata, spec }: ApiObject<'KubernetesGateway'>): string {
  return metadata.annotations['gateway.istio.io/name-override'] || `${metadata.name}-${spec.gatewayClassName}`
}

/** The service account of a Gateway's own deployment. */
export function serviceAccountName({ metadata, spec }: ApiObject<'KubernetesGateway'>): string {
  return metadata.annotations['gateway.istio.io/service-account'] || `${metadata.name}-${spec.gatewayClassName}`
}

/** Host names of the services in front of a Gateway's pods (conversion.go extractGatewayServices). */
export function gatewayServices(
  gateway: ApiObject<'KubernetesGateway'>,
  domain: string,
): { services: string[]; error?: ConfigError } {
  const { spec, metadata } = gateway
  if (isManaged(spec)) return { services: [`${deploymentName(gateway)}.${metadata.namespace}.svc.${domain}`] }
  const services: string[] = []
  const skipped: string[] = []
  for (const { type, value = '' } of spec.addresses ?? []) {
    if (type !== undefined && type !== 'Hostname') skipped.push(value)
    else services.push(value.includes('.') ? value : `${value}.${metadata.namespace}.svc.${domain}`)
  }
  if (skipped.length > 0) {
    const message = `only Hostname is supported, ignoring [${skipped.join(' ')}]`
    return { services, error: { reason: 'UnsupportedAddress', message } }
  }
  if (metadata.annotations['networking.istio.io/service-type'] !== undefined) {
    const message = 'annotation networking.istio.io/service-type is deprecated, use Spec.Infrastructure.Routeability'
    return { services, error: { reason: 'DeprecatedField', message } }
  }
  return { services }
}

/** Where a Gateway is reached. */
export interface GatewayInstances {
  /** `host:port`. */
  internal: string[]
  internalIps: string[]
  external: string[]
  /** Services that wait for an address. */
  pending: string[]
  warnings: string[]
  allUsable: boolean
}

/** Finds services and endpoints of a Gateway's ports (gatewaycommon/context.go ResolveGatewayInstances). */
export function resolveInstances(
  context: ConversionContext,
  namespace: string,
  hostnames: readonly string[],
  ports: ReadonlySet<number>,
): GatewayInstances {
  const internal = new Set<string>()
  const internalIps = new Set<string>()
  const external = new Set<string>()
  const pending = new Set<string>()
  const warnings: string[] = []
  let allUsable = true
  for (const hostname of hostnames) {
    const service = context.service(hostname, namespace)
    if (!service) {
      warnings.push(notFound(context, hostname, namespace))
      allUsable = false
      continue
    }
    const outside = externalAddresses(context, service)
    for (const port of ports) {
      if (context.services.endpointsOfPort(service, port).length > 0) {
        internal.add(`${hostname}:${port}`)
        if (service.address !== NO_ADDRESS) internalIps.add(service.address)
        for (const address of outside.addresses) external.add(address)
        if (outside.addresses.length === 0 && outside.expected && !pending.has(hostname)) {
          warnings.push(`address pending for hostname "${hostname}"`)
          pending.add(hostname)
        }
        continue
      }
      const { warning, usable } = portProblem(context, service, hostname, port)
      if (warning) warnings.push(warning)
      allUsable &&= usable
    }
  }
  return {
    internal: [...internal].sort(),
    internalIps: [...internalIps].sort(),
    external: [...external].sort(),
    pending: [...pending].sort(),
    warnings: warnings.sort(),
    allUsable,
  }
}

function notFound(context: ConversionContext, hostname: string, namespace: string): string {
  const others = [...(context.services.byHostname(hostname)?.keys() ?? [])].map((name) => `"${name}"`).sort()
  if (others.length === 0) return `hostname "${hostname}" not found`
  return `hostname "${hostname}" not found in namespace "${namespace}", but it was found in namespace(s) ${others.join(', ')}`
}

function portProblem(
  context: ConversionContext,
  service: Service,
  hostname: string,
  port: number,
): { warning?: string; usable: boolean } {
  const endpoints = context.services.endpoints(service)
  if (endpoints.length === 0) return { warning: `no instances found for hostname "${hostname}"`, usable: true }
  const hints = service.ports
    .filter(({ name }) => endpoints.some((endpoint) => endpoint.servicePortName === name && endpoint.port === port))
    .map((known) => String(known.port))
    .sort()
  if (hints.length > 0) {
    const hint = `hint: the service port should be specified, not the workload port. Did you mean one of these ports: [${hints.join(' ')}]?`
    return { warning: `port ${port} not found for hostname "${hostname}" (${hint})`, usable: false }
  }
  const managed = service.labels['gateway.istio.io/managed'] !== undefined
  if (managed && service.ports.some((known) => known.port === port)) return { usable: true }
  return { warning: `port ${port} not found for hostname "${hostname}"`, usable: false }
}

/**
 * Addresses outside the cluster: those of the service's status, or stated in its spec. Where no load balancer has
 * written one, the mesh itself is the load balancer: the cluster IP can be reached from outside as well.
 */
function externalAddresses(
  context: ConversionContext,
  service: Service,
): { addresses: readonly string[]; expected: boolean } {
  const object =
    service.registry === 'Kubernetes' ? context.snapshot.get('Service', service.namespace, service.name) : undefined
  if (!object) return { addresses: [], expected: false }
  const { spec, status } = object
  const expected = spec.type === 'LoadBalancer'
  const given = (status?.loadBalancer?.ingress ?? []).flatMap((entry) => entry.ip ?? entry.hostname ?? [])
  const addresses = [...(expected ? given : []), ...(spec.externalIPs ?? [])]
  if (addresses.length > 0 || !expected || service.address === NO_ADDRESS) return { addresses, expected }
  return { addresses: [service.address], expected }
}

/** Whether a Gateway is programmed, and in which services (conversion.go SetProgrammedCondition). */
export function programmedCondition(instances: GatewayInstances, services: readonly string[]): ConditionDraft {
  const { internal, warnings, allUsable } = instances
  const assigned = humanJoin(internal)
  const message =
    internal.length > 0 ? `Resource programmed, assigned to service(s) ${assigned}` : 'Resource programmed'
  const draft: ConditionDraft = { reason: 'Programmed', message }
  if (services.length === 0) {
    draft.error = { reason: 'UnsupportedAddress', message: 'Failed to assign to any requested addresses' }
  } else if (warnings.length > 0) {
    const all = warnings.join('; ')
    draft.error = {
      reason: allUsable ? 'AddressNotAssigned' : 'AddressNotUsable',
      message:
        internal.length > 0
          ? `Assigned to service(s) ${assigned}, but failed to assign to all requested addresses: ${all}`
          : `Failed to assign to any requested addresses: ${all}`,
    }
  }
  return draft
}

/** The addresses to report: those outside, else inside as host names or, if asked for, IPs. */
export function reportedAddresses(
  gateway: ApiObject<'KubernetesGateway'>,
  instances: GatewayInstances,
): GatewayStatus['addresses'] {
  let values = instances.external
  if (values.length === 0) {
    const wanted = gateway.metadata.annotations['networking.istio.io/address-type'] ?? 'Hostname'
    values = wanted === 'Hostname' ? [] : [...instances.internalIps]
    if (wanted !== 'IPAddress') {
      const names = instances.internal.map((at) => at.slice(0, at.lastIndexOf(':')))
      values.push(...names.filter((name) => !instances.pending.includes(name) && !values.includes(name)))
      values = [...new Set(values)]
    }
  }
  if (values.length === 0) return undefined
  return values.map((value) => ({ type: net.isIP(value) ? 'IPAddress' : 'Hostname', value }))
}
