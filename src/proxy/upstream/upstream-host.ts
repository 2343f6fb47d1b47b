import { type Address, formatAddress } from '../listener/connection.ts'
import { Counter, Gauge } from '../observe/stats.ts'
import { type Host, HostHealth, type HostStats, type Metadata } from './host.ts'

/** What an endpoint's config says of its health checks. */
export interface HostCheck {
  /** Where to ask; undefined: at the host's own address. */
  readonly address: Address | undefined
  /** The authority of requests; empty: the check's. */
  readonly hostname: string
  /** This host is not checked, and counts as healthy. */
  readonly disabled: boolean
}

/** What an endpoint's config says of a host; everything but the address may change while it lives. */
export interface HostConfig {
  readonly address: Address
  readonly pipe: string | undefined
  readonly hostname: string
  readonly metadata: Metadata
  readonly locality: Host['locality']
  readonly localityMetadata?: Metadata | undefined
  readonly priority: number
  readonly weight: number
  /** Only the EDS bits. */
  readonly health: number
  /** Number of the configured `HealthStatus`; default UNKNOWN. */
  readonly edsStatus?: number
  readonly check?: HostCheck | undefined
  /** What identifies the host instead of its address, which then may change. */
  readonly key?: string | undefined
  /** Further bits of a host that is new: it has not been checked yet. */
  readonly initialHealth?: number | undefined
}

const UNHEALTHY_STATUS = 2
const DEGRADED_STATUS = 5
const EDS_BITS = HostHealth.FAILED_EDS_HEALTH | HostHealth.DEGRADED_EDS_HEALTH | HostHealth.EDS_STATUS_DRAINING
const UNHEALTHY =
  HostHealth.FAILED_ACTIVE_HC |
  HostHealth.FAILED_OUTLIER_CHECK |
  HostHealth.FAILED_EDS_HEALTH |
  HostHealth.EDS_STATUS_DRAINING
const DEGRADED = HostHealth.DEGRADED_ACTIVE_HC | HostHealth.DEGRADED_EDS_HEALTH
const EXCLUDED =
  HostHealth.PENDING_ACTIVE_HC | HostHealth.EXCLUDED_VIA_IMMEDIATE_HC_FAIL | HostHealth.EDS_STATUS_DRAINING

/** One endpoint (source/common/upstream/upstream_impl.h HostImpl). */
export class UpstreamHost implements Host {
  address: Address
  readonly pipe: string | undefined
  /** `ip:port`, the path of a pipe, or the name of a host whose address may change: what identifies it within its cluster. */
  readonly key: string
  hostname: string
  metadata: Metadata
  locality: Host['locality']
  localityMetadata: Metadata | undefined
  priority: number
  weight: number
  health: number
  readonly check: HostCheck | undefined
  canary = false
  private edsStatus: number
  readonly stats: HostStats = {
    cxActive: new Gauge('cx_active'),
    cxConnectFail: new Counter('cx_connect_fail'),
    cxTotal: new Counter('cx_total'),
    rqActive: new Gauge('rq_active'),
    rqError: new Counter('rq_error'),
    rqSuccess: new Counter('rq_success'),
    rqTimeout: new Counter('rq_timeout'),
    rqTotal: new Counter('rq_total'),
  }
  /** Runtime.now() when it joined the cluster; slow start counts from here. */
  readonly since: number
  /** Success rates of the last interval, -1 when there were too few requests. */
  successRate = -1
  localOriginSuccessRate = -1

  constructor(config: HostConfig, now: number) {
    this.address = config.address
    this.pipe = config.pipe
    this.key = hostKey(config)
    this.hostname = config.hostname
    this.metadata = config.metadata
    this.locality = config.locality
    this.localityMetadata = config.localityMetadata
    this.priority = config.priority
    this.weight = config.weight
    this.health = config.health | (config.initialHealth ?? 0)
    this.edsStatus = config.edsStatus ?? 0
    this.check = config.check
    this.canary = isCanary(config.metadata)
    this.since = now
  }

  /** Takes over what an update changed, keeping statistics and the health that Dinghy found itself. */
  update(config: HostConfig): void {
    this.address = config.address
    this.hostname = config.hostname
    this.metadata = config.metadata
    this.locality = config.locality
    this.localityMetadata = config.localityMetadata
    this.priority = config.priority
    this.weight = config.weight
    this.health = (this.health & ~EDS_BITS) | config.health
    this.edsStatus = config.edsStatus ?? 0
    this.canary = isCanary(config.metadata)
  }

  /** Its state as a number of `HealthStatus` (upstream_impl.h healthStatus). */
  get healthStatus(): number {
    if (this.health & (HostHealth.FAILED_ACTIVE_HC | HostHealth.FAILED_OUTLIER_CHECK)) return UNHEALTHY_STATUS
    if (this.health & (HostHealth.FAILED_EDS_HEALTH | HostHealth.EDS_STATUS_DRAINING)) return this.edsStatus
    return this.health & HostHealth.DEGRADED_ACTIVE_HC ? DEGRADED_STATUS : this.edsStatus
  }
  get healthy(): boolean {
    return (this.health & (UNHEALTHY | DEGRADED)) === 0
  }
  get degraded(): boolean {
    return (this.health & UNHEALTHY) === 0 && (this.health & DEGRADED) !== 0
  }
  /** Left out of the arithmetic of panic and priorities. */
  get excluded(): boolean {
    return (this.health & EXCLUDED) !== 0
  }
}

/** What identifies a host within its cluster. */
export function hostKey(config: Pick<HostConfig, 'address' | 'pipe' | 'key'>): string {
  return config.key ?? config.pipe ?? formatAddress(config.address)
}

function isCanary(metadata: Metadata): boolean {
  return metadata.get('envoy.lb')?.canary === true
}
