import type { Cluster as ClusterProto } from '#gen/envoy/config/cluster/v3/cluster_pb.js'
import { formatAddress } from '../listener/connection.ts'
import { type Host, HostHealth } from '../upstream/host.ts'
import { type AdminHandler, json, text } from './handler.ts'
import { socketAddress } from './listeners.ts'
import type { ClusterView } from './view.ts'

/** `/clusters` (source/server/admin/clusters_handler.cc). */
export const clusters: AdminHandler = {
  path: '/clusters',
  help: 'upstream cluster status',
  params: [{ name: 'format', help: 'File format to use', oneOf: ['text', 'json'] }],
  run(view, query) {
    const active = view.clusters().filter((c) => c.active)
    if (query.get('format') === 'json') return json({ cluster_statuses: active.map(statusOf) })
    return text(active.map(linesOf).join(''))
  },
}

/** RoutingPriority. */
const PRIORITIES = [
  { name: 'default', value: 0 },
  { name: 'high', value: 1 },
]

interface Limits {
  readonly maxConnections: number
  readonly maxPendingRequests: number
  readonly maxRequests: number
  readonly maxRetries: number
}

/** The circuit breakers of a cluster (source/common/upstream/upstream_impl.cc). */
function limitsOf(cluster: ClusterView, priority: number): Limits {
  const proto = cluster.active!.message as ClusterProto
  const own = proto.circuitBreakers?.thresholds.find((t) => t.priority === priority)
  return {
    maxConnections: own?.maxConnections ?? 1024,
    maxPendingRequests: own?.maxPendingRequests ?? 1024,
    maxRequests: own?.maxRequests ?? 1024,
    maxRetries: own?.maxRetries ?? 3,
  }
}

function linesOf(cluster: ClusterView): string {
  const { name } = cluster
  let out = `${name}::observability_name::${cluster.observabilityName}\n`
  if ((cluster.active!.message as ClusterProto).outlierDetection) {
    for (const key of [
      'success_rate_average',
      'success_rate_ejection_threshold',
      'local_origin_success_rate_average',
      'local_origin_success_rate_ejection_threshold',
    ]) {
      out += `${name}::outlier::${key}::-1\n`
    }
  }
  for (const priority of PRIORITIES) {
    const limits = limitsOf(cluster, priority.value)
    const at = `${name}::${priority.name}_priority::`
    out += `${at}max_connections::${limits.maxConnections}\n${at}max_pending_requests::${limits.maxPendingRequests}\n`
    out += `${at}max_requests::${limits.maxRequests}\n${at}max_retries::${limits.maxRetries}\n`
  }
  out += `${name}::added_via_api::${cluster.dynamic}\n`
  if (cluster.edsServiceName) out += `${name}::eds_service_name::${cluster.edsServiceName}\n`
  for (const host of cluster.hosts) out += hostLines(name, host)
  return out
}

function hostLines(cluster: string, host: Host): string {
  const at = `${cluster}::${hostAddress(host)}::`
  const lines: [string, string | number | boolean][] = [
    ...statsOf(host).map((s): [string, number] => [s.name, s.value]),
    ['hostname', host.hostname],
    ['health_flags', healthFlags(host.health)],
    ['weight', host.weight],
    ['region', host.locality.region],
    ['zone', host.locality.zone],
    ['sub_zone', host.locality.subZone],
    ['canary', host.canary],
    ['priority', host.priority],
    ['success_rate', -1],
    ['local_origin_success_rate', -1],
  ]
  return lines.map(([key, value]) => `${at}${key}::${value}\n`).join('')
}

function hostAddress(host: Host): string {
  return host.pipe ?? formatAddress(host.address)
}

/** Sorted by name, as the text shows them. */
function statsOf(host: Host): { name: string; value: number; gauge: boolean }[] {
  const { stats } = host
  return [
    { name: 'cx_active', value: stats.cxActive.value, gauge: true },
    { name: 'cx_connect_fail', value: stats.cxConnectFail.value, gauge: false },
    { name: 'cx_total', value: stats.cxTotal.value, gauge: false },
    { name: 'rq_active', value: stats.rqActive.value, gauge: true },
    { name: 'rq_error', value: stats.rqError.value, gauge: false },
    { name: 'rq_success', value: stats.rqSuccess.value, gauge: false },
    { name: 'rq_timeout', value: stats.rqTimeout.value, gauge: false },
    { name: 'rq_total', value: stats.rqTotal.value, gauge: false },
  ]
}

/** Bits and their names in text, in Envoy's order (source/common/upstream/host_utility.cc). */
const FLAGS: readonly (readonly [number, string])[] = [
  [HostHealth.FAILED_ACTIVE_HC, '/failed_active_hc'],
  [HostHealth.FAILED_OUTLIER_CHECK, '/failed_outlier_check'],
  [HostHealth.FAILED_EDS_HEALTH, '/failed_eds_health'],
  [HostHealth.DEGRADED_ACTIVE_HC, '/degraded_active_hc'],
  [HostHealth.DEGRADED_EDS_HEALTH, '/degraded_eds_health'],
  [HostHealth.PENDING_ACTIVE_HC, '/pending_active_hc'],
  [HostHealth.EXCLUDED_VIA_IMMEDIATE_HC_FAIL, '/excluded_via_immediate_hc_fail'],
  [HostHealth.EDS_STATUS_DRAINING, '/eds_status_draining'],
]

function healthFlags(health: number): string {
  const set = FLAGS.filter(([bit]) => health & bit).map(([, name]) => name)
  return set.length > 0 ? set.join('') : 'healthy'
}

function statusOf(cluster: ClusterView): object {
  return {
    name: cluster.name,
    ...(cluster.dynamic ? { added_via_api: true } : {}),
    host_statuses: cluster.hosts.map(hostStatus),
    circuit_breakers: {
      thresholds: PRIORITIES.map(({ value }) => {
        const limits = limitsOf(cluster, value)
        return {
          ...(value === 1 ? { priority: 'HIGH' } : {}),
          max_connections: limits.maxConnections,
          max_pending_requests: limits.maxPendingRequests,
          max_requests: limits.maxRequests,
          max_retries: limits.maxRetries,
        }
      }),
    },
    observability_name: cluster.observabilityName,
    ...(cluster.edsServiceName ? { eds_service_name: cluster.edsServiceName } : {}),
  }
}

function hostStatus(host: Host): object {
  const { region, zone, subZone } = host.locality
  return {
    address: host.pipe === undefined ? socketAddress(host.address) : { pipe: { path: host.pipe } },
    stats: statsOf(host).map(({ name, value, gauge }) => ({
      ...(value === 0 ? {} : { value: String(value) }),
      name,
      ...(gauge ? { type: 'GAUGE' } : {}),
    })),
    health_status: healthStatus(host.health),
    weight: host.weight,
    ...(host.priority ? { priority: host.priority } : {}),
    ...(host.hostname ? { hostname: host.hostname } : {}),
    locality: { ...(region ? { region } : {}), ...(zone ? { zone } : {}), ...(subZone ? { sub_zone: subZone } : {}) },
  }
}

function healthStatus(health: number): object {
  const eds =
    health & HostHealth.EDS_STATUS_DRAINING
      ? 'DRAINING'
      : health & HostHealth.FAILED_EDS_HEALTH
        ? 'UNHEALTHY'
        : health & HostHealth.DEGRADED_EDS_HEALTH
          ? 'DEGRADED'
          : 'HEALTHY'
  return {
    ...(health & HostHealth.FAILED_ACTIVE_HC ? { failed_active_health_check: true } : {}),
    ...(health & HostHealth.FAILED_OUTLIER_CHECK ? { failed_outlier_check: true } : {}),
    ...(health & HostHealth.DEGRADED_ACTIVE_HC ? { failed_active_degraded_check: true } : {}),
    ...(health & HostHealth.PENDING_ACTIVE_HC ? { pending_active_hc: true } : {}),
    ...(health & HostHealth.EXCLUDED_VIA_IMMEDIATE_HC_FAIL ? { excluded_via_immediate_hc_fail: true } : {}),
    eds_health_status: eds,
  }
}
