import { isIP } from 'node:net'
import type { Address as AddressProto } from '#gen/envoy/config/core/v3/address_pb.js'
import type { Metadata as MetadataProto } from '#gen/envoy/config/core/v3/base_pb.js'
import type { Endpoint_HealthCheckConfig as HealthCheckConfig } from '#gen/envoy/config/endpoint/v3/endpoint_components_pb.js'
import type { ClusterLoadAssignment } from '#gen/envoy/config/endpoint/v3/endpoint_pb.js'
import type { Problems } from '../http/config.ts'
import { HostHealth, type Metadata } from './host.ts'
import { type AssignmentPolicy, localityKey } from './priority-set.ts'
import type { HostCheck, HostConfig } from './upstream-host.ts'

/** A load assignment, checked. The address of a host is what was written: for DNS clusters a name. */
export interface Assignment {
  readonly hosts: readonly HostConfig[]
  readonly policy: AssignmentPolicy
}

const EMPTY: Metadata = new Map()
const HEALTH_BITS: Readonly<Record<number, number>> = {
  2: HostHealth.FAILED_EDS_HEALTH,
  3: HostHealth.EDS_STATUS_DRAINING,
  4: HostHealth.FAILED_EDS_HEALTH,
  5: HostHealth.DEGRADED_EDS_HEALTH,
}

/** Checks a load assignment (source/common/upstream/eds.cc, static_cluster.cc). `names`: addresses may be DNS names. */
export function compileAssignment(
  proto: ClusterLoadAssignment | undefined,
  names: boolean,
  path: string,
  problems: Problems,
): Assignment {
  const hosts: HostConfig[] = []
  const localityWeights = new Map<string, number>()
  const policy = proto?.policy
  const dropOverload = compileDropOverload(policy?.dropOverloads ?? [], `${path}.policy.drop_overloads`, problems)
  if (policy?.endpointStaleAfter) problems.add(`${path}.policy.endpoint_stale_after`, 'not supported')
  proto?.endpoints.forEach((group, g) => {
    const at = `${path}.endpoints[${g}]`
    if (group.lbConfig.case === 'ledsClusterLocalityConfig')
      problems.add(`${at}.leds_cluster_locality_config`, 'not supported')
    const locality = {
      region: group.locality?.region ?? '',
      zone: group.locality?.zone ?? '',
      subZone: group.locality?.subZone ?? '',
    }
    const localityMetadata = group.metadata && compileMetadata(group.metadata)
    if (group.loadBalancingWeight !== undefined)
      localityWeights.set(localityKey(group.priority, locality), group.loadBalancingWeight)
    const endpoints =
      group.lbConfig.case === 'loadBalancerEndpoints' ? group.lbConfig.value.lbEndpoints : group.lbEndpoints
    endpoints.forEach((e, i) => {
      const endpointPath = `${at}.lb_endpoints[${i}]`
      const endpoint =
        e.hostIdentifier.case === 'endpointName' ? proto.namedEndpoints[e.hostIdentifier.value] : e.hostIdentifier.value
      const where = endpoint?.address?.address
      if (endpoint === undefined || where?.case === undefined) {
        problems.add(`${endpointPath}.endpoint.address`, 'value is required')
        return
      }
      if (endpoint.additionalAddresses.length > 0)
        problems.add(`${endpointPath}.endpoint.additional_addresses`, 'not supported')
      const common = {
        hostname: endpoint.hostname,
        metadata: compileMetadata(e.metadata),
        locality,
        localityMetadata,
        priority: group.priority,
        weight: e.loadBalancingWeight ?? 1,
        health: HEALTH_BITS[e.healthStatus as number] ?? 0,
        edsStatus: e.healthStatus as number,
        ...(endpoint.healthCheckConfig && {
          check: compileHostCheck(endpoint.healthCheckConfig, where, `${endpointPath}.endpoint`, problems),
        }),
      }
      if (where.case === 'envoyInternalAddress') {
        problems.add(`${endpointPath}.endpoint.address.envoy_internal_address`, 'not supported')
      } else if (where.case === 'pipe') {
        hosts.push({ ...common, address: { ip: where.value.path, port: 0 }, pipe: where.value.path })
      } else {
        const { address, portSpecifier } = where.value
        if (!names && isIP(address) === 0)
          problems.add(
            `${endpointPath}.endpoint.address`,
            `malformed IP address: ${address}. Consider setting resolver_name or setting cluster type to 'STRICT_DNS' or 'LOGICAL_DNS'`,
          )
        if (portSpecifier.case === 'namedPort')
          problems.add(`${endpointPath}.endpoint.address.named_port`, 'not supported')
        const port = portSpecifier.case === 'portValue' ? portSpecifier.value : 0
        hosts.push({ ...common, address: { ip: address, port }, pipe: undefined })
      }
    })
  })
  return {
    hosts,
    policy: {
      overprovisioningFactor: policy?.overprovisioningFactor ?? 140,
      weightedPriorityHealth: policy?.weightedPriorityHealth ?? false,
      localityWeights,
      ...(dropOverload > 0 ? { dropOverload } : {}),
    },
  }
}

const DENOMINATORS = [100, 10_000, 1_000_000]

/** Share of requests to refuse (source/common/upstream/upstream_impl.cc parseDropOverloadConfig). */
function compileDropOverload(
  overloads: readonly { dropPercentage?: { numerator: number; denominator: number } | undefined }[],
  path: string,
  problems: Problems,
): number {
  if (overloads.length > 1)
    problems.add(path, `Cluster drop_overloads config has ${overloads.length} categories. Envoy only support one.`)
  const share = overloads[0]?.dropPercentage
  if (share === undefined) return 0
  const denominator = DENOMINATORS[share.denominator] ?? 100
  const ratio = share.numerator / denominator
  if (ratio > 1)
    problems.add(
      path,
      `Cluster drop_overloads config is invalid. drop_ratio=${ratio}(Numerator ${share.numerator} / Denominator ${denominator}). The valid range is 0~1.`,
    )
  return ratio
}

/** Where an endpoint is checked: at another port, or another address (resolveHealthCheckAddress). */
function compileHostCheck(
  config: HealthCheckConfig,
  where: AddressProto['address'],
  path: string,
  problems: Problems,
): HostCheck {
  const { portValue, hostname, disableActiveHealthCheck: disabled } = config
  if (portValue > 0 && where.case !== 'socketAddress')
    problems.add(path, 'Invalid host configuration: non-zero port for non-IP address')
  const own = config.address?.address
  if (own !== undefined && own.case !== undefined && own.case !== 'socketAddress')
    problems.add(`${path}.health_check_config.address.${own.case}`, 'not supported')
  let address: HostCheck['address']
  if (own?.case === 'socketAddress') {
    const { portSpecifier } = own.value
    if (isIP(own.value.address) === 0)
      problems.add(`${path}.health_check_config.address`, `malformed IP address: ${own.value.address}`)
    const port = portSpecifier.case === 'portValue' ? portSpecifier.value : 0
    address = { ip: own.value.address, port: portValue > 0 ? portValue : port }
  } else if (portValue > 0 && where.case === 'socketAddress') address = { ip: where.value.address, port: portValue }
  return { address, hostname, disabled }
}

/** Metadata as plain objects by namespace. */
export function compileMetadata(proto: MetadataProto | undefined): Metadata {
  if (proto === undefined) return EMPTY
  const entries = Object.entries(proto.filterMetadata)
  return entries.length === 0 ? EMPTY : new Map(entries)
}
