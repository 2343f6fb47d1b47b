import { RE2JS } from 're2js'
import { general } from '../observe/stats-query.ts'
import type { BreakerDescription, ClusterDescription, HostDescription } from '../upstream/describe.ts'
import { HostHealth } from '../upstream/host.ts'
import { type AdminHandler, json, text } from './handler.ts'
import { socketAddress } from './listeners.ts'

/** `/clusters` (source/server/admin/clusters_handler.cc). */
export const clusters: AdminHandler = {
  path: '/clusters',
  help: 'upstream cluster status',
  params: [
    { name: 'filter', help: 'Regular expression (Google re2) for filtering clusters by name' },
    { name: 'format', help: 'File format to use', oneOf: ['text', 'json'] },
  ],
  run(view, query) {
    let all = view.clusters()
    const filter = query.get('filter')
    if (filter) {
      try {
        const regex = RE2JS.compile(filter)
        all = all.filter(({ name }) => regex.matcher(name).find())
      } catch {
        return { status: 400, body: 'Invalid re2 regex' }
      }
    }
    if (query.get('format') === 'json') return json({ cluster_statuses: all.map(statusOf) })
    return text(all.map(linesOf).join(''))
  },
}

function linesOf(cluster: ClusterDescription): string {
  const { name, outlier } = cluster
  let out = `${name}::observability_name::${cluster.observabilityName}\n`
  if (outlier) {
    const at = `${name}::outlier::`
    out += `${at}success_rate_average::${general(outlier.success)}\n`
    out += `${at}success_rate_ejection_threshold::${general(outlier.threshold)}\n`
    out += `${at}local_origin_success_rate_average::${general(outlier.localSuccess)}\n`
    out += `${at}local_origin_success_rate_ejection_threshold::${general(outlier.localThreshold)}\n`
  }
  out += breakerLines(`${name}::default_priority::`, cluster.default)
  out += breakerLines(`${name}::high_priority::`, cluster.high)
  out += `${name}::added_via_api::${cluster.addedViaApi}\n`
  if (cluster.edsServiceName) out += `${name}::eds_service_name::${cluster.edsServiceName}\n`
  for (const host of cluster.hosts) out += hostLines(name, host)
  return out
}

/** Envoy's numbers are 32 bits wide: the largest stands for no limit. */
const NO_LIMIT = 0xffff_ffff

function limit(value: number): number {
  return Math.min(value, NO_LIMIT)
}

function breakerLines(at: string, breaker: BreakerDescription): string {
  return (
    `${at}max_connections::${limit(breaker.maxConnections)}\n` +
    `${at}max_pending_requests::${limit(breaker.maxPendingRequests)}\n` +
    `${at}max_requests::${limit(breaker.maxRequests)}\n${at}max_retries::${limit(breaker.maxRetries)}\n`
  )
}

function hostLines(cluster: string, host: HostDescription): string {
  const at = `${cluster}::${host.address}::`
  const lines: (readonly [string, string | number | boolean])[] = [
    ...host.stats,
    ['hostname', host.hostname],
    ['health_flags', host.healthFlags],
    ['weight', host.weight],
    ['region', host.region],
    ['zone', host.zone],
    ['sub_zone', host.subZone],
    ['canary', host.canary],
    ['priority', host.priority],
    ['success_rate', host.successRate],
    ['local_origin_success_rate', host.localOriginSuccessRate],
  ]
  return lines.map(([key, value]) => `${at}${key}::${value}\n`).join('')
}

function statusOf(cluster: ClusterDescription): object {
  return {
    name: cluster.name,
    ...(cluster.addedViaApi ? { added_via_api: true } : {}),
    ...threshold('success_rate_ejection_threshold', cluster.outlier?.threshold),
    host_statuses: cluster.hosts.map(hostStatus),
    ...threshold('local_origin_success_rate_ejection_threshold', cluster.outlier?.localThreshold),
    circuit_breakers: {
      thresholds: [thresholds(cluster.default), { priority: 'HIGH', ...thresholds(cluster.high) }],
    },
    observability_name: cluster.observabilityName,
    ...(cluster.edsServiceName ? { eds_service_name: cluster.edsServiceName } : {}),
  }
}

/** An ejection threshold, told once there is one above 0. */
function threshold(name: string, value: number | undefined): object {
  return value !== undefined && value > 0 ? { [name]: { value } } : {}
}

function thresholds(breaker: BreakerDescription): object {
  return {
    max_connections: limit(breaker.maxConnections),
    max_pending_requests: limit(breaker.maxPendingRequests),
    max_requests: limit(breaker.maxRequests),
    max_retries: limit(breaker.maxRetries),
  }
}

const GAUGES = ['cx_active', 'rq_active', 'rq_pending_active']

function hostStatus(described: HostDescription): object {
  const { host, region, zone, subZone } = described
  const counters = described.stats.filter(([name]) => !GAUGES.includes(name))
  const gauges = described.stats.filter(([name]) => GAUGES.includes(name))
  const metric = ([name, value]: readonly [string, number]) => ({ ...(value ? { value: String(value) } : {}), name })
  return {
    address: host.pipe === undefined ? socketAddress(host.address) : { pipe: { path: host.pipe } },
    stats: [...counters.map(metric), ...gauges.map((g) => ({ type: 'GAUGE', ...metric(g) }))],
    health_status: healthStatus(host.health),
    ...(described.successRate >= 0 ? { success_rate: { value: described.successRate } } : {}),
    weight: described.weight,
    ...(described.hostname ? { hostname: described.hostname } : {}),
    ...(described.priority ? { priority: described.priority } : {}),
    ...(described.localOriginSuccessRate >= 0
      ? { local_origin_success_rate: { value: described.localOriginSuccessRate } }
      : {}),
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
    ...(health & HostHealth.PENDING_DYNAMIC_REMOVAL ? { pending_dynamic_removal: true } : {}),
    ...(health & HostHealth.PENDING_ACTIVE_HC ? { pending_active_hc: true } : {}),
    ...(health & HostHealth.EXCLUDED_VIA_IMMEDIATE_HC_FAIL ? { excluded_via_immediate_hc_fail: true } : {}),
    eds_health_status: eds,
    ...(health & HostHealth.ACTIVE_HC_TIMEOUT ? { active_hc_timeout: true } : {}),
  }
}
