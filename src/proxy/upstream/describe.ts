import { formatAddress } from '../listener/connection.ts'
import { HostHealth } from './host.ts'
import type { PriorityResources } from './resources.ts'
import type { RuntimeCluster } from './runtime-cluster.ts'
import type { UpstreamHost } from './upstream-host.ts'

/** Limits of one priority. Unlimited pools and the like are Infinity. */
export interface BreakerDescription {
  readonly maxConnections: number
  readonly maxPendingRequests: number
  readonly maxRequests: number
  readonly maxRetries: number
}

/** One host as `/clusters` shows it. */
export interface HostDescription {
  /** `ip:port` or a path. */
  readonly address: string
  readonly host: UpstreamHost
  /** Sorted by name, as the text shows them. */
  readonly stats: readonly (readonly [name: string, value: number])[]
  readonly hostname: string
  /** `healthy` or `/failed_outlier_check/…`. */
  readonly healthFlags: string
  readonly weight: number
  readonly region: string
  readonly zone: string
  readonly subZone: string
  readonly canary: boolean
  readonly priority: number
  /** Percent of the last interval; -1 = too few requests. */
  readonly successRate: number
  readonly localOriginSuccessRate: number
}

/** One cluster as `/clusters` shows it (source/server/admin/clusters_handler.cc). */
export interface ClusterDescription {
  readonly name: string
  readonly observabilityName: string
  readonly addedViaApi: boolean
  readonly edsServiceName: string
  readonly outlier: { success: number; threshold: number; localSuccess: number; localThreshold: number } | undefined
  readonly default: BreakerDescription
  readonly high: BreakerDescription
  readonly hosts: readonly HostDescription[]
}

/** The flags in Envoy's order (source/common/upstream/health_flag.h). */
const FLAGS: readonly (readonly [bit: number, name: string])[] = [
  [HostHealth.FAILED_ACTIVE_HC, 'failed_active_hc'],
  [HostHealth.FAILED_OUTLIER_CHECK, 'failed_outlier_check'],
  [HostHealth.FAILED_EDS_HEALTH, 'failed_eds_health'],
  [HostHealth.DEGRADED_ACTIVE_HC, 'degraded_active_hc'],
  [HostHealth.DEGRADED_EDS_HEALTH, 'degraded_eds_health'],
  [HostHealth.PENDING_DYNAMIC_REMOVAL, 'pending_dynamic_removal'],
  [HostHealth.PENDING_ACTIVE_HC, 'pending_active_hc'],
  [HostHealth.EXCLUDED_VIA_IMMEDIATE_HC_FAIL, 'excluded_via_immediate_hc_fail'],
  [HostHealth.ACTIVE_HC_TIMEOUT, 'active_hc_timeout'],
  [HostHealth.EDS_STATUS_DRAINING, 'eds_status_draining'],
]

/** Health bits in words. */
export function healthFlags(health: number): string {
  const names = FLAGS.filter(([bit]) => health & bit).map(([, name]) => `/${name}`)
  return names.length === 0 ? 'healthy' : names.join('')
}

/** Describes a cluster as it is now. */
export function describeCluster(cluster: RuntimeCluster): ClusterDescription {
  const averages = cluster.outlier?.averages
  const { discovery } = cluster.settings
  return {
    name: cluster.name,
    observabilityName: cluster.observabilityName,
    addedViaApi: cluster.addedViaApi,
    edsServiceName: discovery.type === 'eds' && discovery.serviceName !== cluster.name ? discovery.serviceName : '',
    outlier: averages && {
      success: averages.external,
      threshold: averages.externalThreshold,
      localSuccess: averages.local,
      localThreshold: averages.localThreshold,
    },
    default: breakers(cluster.resources.default),
    high: breakers(cluster.resources.high),
    hosts: cluster.hosts.all.map((host) => describeHost(cluster, host)),
  }
}

function breakers(r: PriorityResources): BreakerDescription {
  return {
    maxConnections: r.connections.max,
    maxPendingRequests: r.pending.max,
    maxRequests: r.requests.max,
    maxRetries: r.retries.max,
  }
}

/** Kinds of clusters whose hosts have names that are shown. */
const NAMED: ReadonlySet<string> = new Set(['strict-dns', 'logical-dns', 'eds', 'dynamic-forward-proxy'])

function describeHost(cluster: RuntimeCluster, host: UpstreamHost): HostDescription {
  const { stats } = host
  return {
    address: host.pipe ?? formatAddress(host.address),
    host,
    stats: [
      ['cx_active', stats.cxActive.value],
      ['cx_connect_fail', stats.cxConnectFail.value],
      ['cx_total', stats.cxTotal.value],
      ['rq_active', stats.rqActive.value],
      ['rq_error', stats.rqError.value],
      ['rq_pending_active', cluster.pendingOf(host)],
      ['rq_success', stats.rqSuccess.value],
      ['rq_timeout', stats.rqTimeout.value],
      ['rq_total', stats.rqTotal.value],
    ],
    hostname: NAMED.has(cluster.settings.discovery.type) ? host.hostname : '',
    healthFlags: healthFlags(host.health),
    weight: host.weight,
    ...host.locality,
    canary: host.canary,
    priority: host.priority,
    successRate: host.successRate,
    localOriginSuccessRate: host.localOriginSuccessRate,
  }
}
