import type { Address } from '../listener/connection.ts'
import type { Counter, Gauge } from '../observe/stats.ts'

/** Health bits of a host (source/common/upstream/upstream_impl.h). 0 is healthy. */
export const HostHealth = {
  FAILED_ACTIVE_HC: 1,
  FAILED_OUTLIER_CHECK: 2,
  FAILED_EDS_HEALTH: 4,
  DEGRADED_ACTIVE_HC: 8,
  DEGRADED_EDS_HEALTH: 16,
  PENDING_ACTIVE_HC: 32,
  EXCLUDED_VIA_IMMEDIATE_HC_FAIL: 64,
  EDS_STATUS_DRAINING: 128,
  /** Gone from discovery, but kept while its checks pass. */
  PENDING_DYNAMIC_REMOVAL: 256,
  ACTIVE_HC_TIMEOUT: 512,
} as const

/** Plain-object metadata by filter namespace (`envoy.lb`, `envoy.transport_socket_match`, `istio`…). */
export type Metadata = ReadonlyMap<string, Readonly<Record<string, unknown>>>

/** One endpoint of a cluster. Identity is kept over updates that keep its address. */
export interface Host {
  readonly address: Address
  /** A unix-domain path instead of an address. */
  readonly pipe: string | undefined
  readonly hostname: string
  readonly metadata: Metadata
  readonly locality: { readonly region: string; readonly zone: string; readonly subZone: string }
  /** Metadata of its locality; undefined: none. */
  readonly localityMetadata?: Metadata | undefined
  readonly priority: number
  weight: number
  /** Bits of HostHealth. */
  health: number
  readonly canary: boolean
  readonly stats: HostStats
}

/** What `/clusters` shows per host. */
export interface HostStats {
  readonly cxActive: Gauge
  readonly cxConnectFail: Counter
  readonly cxTotal: Counter
  readonly rqActive: Gauge
  readonly rqError: Counter
  readonly rqSuccess: Counter
  readonly rqTimeout: Counter
  readonly rqTotal: Counter
}
