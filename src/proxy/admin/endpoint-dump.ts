import type { JsonObject } from '@bufbuild/protobuf'
import { TYPE_URL_PREFIX } from '../../xds/messages.ts'
import type { ClusterDescription } from '../upstream/describe.ts'
import { type Host, HostHealth } from '../upstream/host.ts'
import type { DumpSection } from './dump-section.ts'
import { socketAddress } from './listeners.ts'

/** Envoy's overprovisioning factor, percent. */
const OVERPROVISIONING = 140
const UNHEALTHY =
  HostHealth.FAILED_ACTIVE_HC |
  HostHealth.FAILED_OUTLIER_CHECK |
  HostHealth.FAILED_EDS_HEALTH |
  HostHealth.EDS_STATUS_DRAINING
const DEGRADED = HostHealth.DEGRADED_ACTIVE_HC | HostHealth.DEGRADED_EDS_HEALTH

/** The hosts in use, as ClusterLoadAssignments (config_dump_handler.cc, dumpEndpointConfigs). */
export function endpointSections(
  clusters: readonly ClusterDescription[],
  test: (name: string) => boolean,
): DumpSection {
  const fields: { static_endpoint_configs?: JsonObject[]; dynamic_endpoint_configs?: JsonObject[] } = {}
  for (const cluster of clusters) {
    const name = cluster.edsServiceName || cluster.name
    if (!test(name)) continue
    const kind = cluster.addedViaApi ? 'dynamic_endpoint_configs' : 'static_endpoint_configs'
    fields[kind] ??= []
    fields[kind].push({
      endpoint_config: assignment(
        name,
        cluster.hosts.map((h) => h.host),
      ),
    })
  }
  return {
    type: 'EndpointsConfigDump',
    fields: { ...fields },
    elements: { static_endpoint_configs: 'StaticEndpointConfig', dynamic_endpoint_configs: 'DynamicEndpointConfig' },
  }
}

function assignment(name: string, hosts: readonly Host[]): JsonObject {
  const groups = new Map<string, Host[]>()
  for (const host of hosts) {
    const { region, zone, subZone } = host.locality
    const key = JSON.stringify([host.priority, region, zone, subZone])
    const group = groups.get(key)
    if (group) group.push(host)
    else groups.set(key, [host])
  }
  return {
    '@type': `${TYPE_URL_PREFIX}envoy.config.endpoint.v3.ClusterLoadAssignment`,
    cluster_name: name,
    endpoints: [...groups.values()].map((group) => ({
      locality: localityOf(group[0]!),
      lb_endpoints: group.map(endpointOf),
      ...(group[0]!.priority ? { priority: group[0]!.priority } : {}),
    })),
    policy: { overprovisioning_factor: OVERPROVISIONING },
  }
}

function localityOf(host: Host): JsonObject {
  const { region, zone, subZone } = host.locality
  return { ...(region ? { region } : {}), ...(zone ? { zone } : {}), ...(subZone ? { sub_zone: subZone } : {}) }
}

function endpointOf(host: Host): JsonObject {
  const metadata = Object.fromEntries(host.metadata) as JsonObject
  return {
    endpoint: {
      address: (host.pipe === undefined ? socketAddress(host.address) : { pipe: { path: host.pipe } }) as JsonObject,
      health_check_config: {},
      ...(host.hostname ? { hostname: host.hostname } : {}),
    },
    health_status: host.health & UNHEALTHY ? 'UNHEALTHY' : host.health & DEGRADED ? 'DEGRADED' : 'HEALTHY',
    ...(Object.keys(metadata).length > 0 ? { metadata: { filter_metadata: metadata } } : {}),
    load_balancing_weight: host.weight,
  }
}
