import type { ConnectionInfo } from '../../listener/connection.ts'
import type { StreamInfo } from '../../stream-info.ts'
import type { Metadata } from '../../upstream/host.ts'
import type { RequestHead } from '../headers.ts'

/** One key and value of a descriptor, as byte strings (see observe/format/bytes.ts). */
export interface DescriptorEntry {
  readonly key: string
  readonly value: string
}

/** A limit that a request brings along, to go before the one that the service knows. */
export interface LimitOverride {
  readonly requestsPerUnit: number
  /** Number of envoy.type.v3.RateLimitUnit. */
  readonly unit: number
}

/** Whether a descriptor's limit is told in `x-ratelimit-*` headers: the filter's word, or its own (RateLimit.XRateLimitOption). */
export const XRateLimitOption = { UNSPECIFIED: 0, OFF: 1, DRAFT_VERSION_03: 2 } as const
export type XRateLimitOption = (typeof XRateLimitOption)[keyof typeof XRateLimitOption]

/** What a request is counted as (envoy/ratelimit/ratelimit.h). */
export interface Descriptor {
  readonly entries: readonly DescriptorEntry[]
  readonly limit: LimitOverride | undefined
  /** How many hits it stands for; undefined: as many as the whole request says, or one. */
  readonly hitsAddend: number | undefined
  /** The hits are given back instead of taken. */
  readonly negativeHits: boolean
  readonly xRateLimitOption: XRateLimitOption
}

/** What descriptors are made from: a request and what is known of it. */
export interface DescriptorSubject {
  readonly request: RequestHead
  readonly info: StreamInfo
  readonly connection: ConnectionInfo
  /** Cluster of this proxy's own node (`--service-cluster`). */
  readonly localCluster: string
  /** Cluster that the route names; undefined: the request goes nowhere. */
  readonly routeCluster: string | undefined
  /** Metadata of that cluster. */
  readonly clusterMetadata: Metadata | undefined
  readonly routeMetadata: ReadonlyMap<string, Record<string, unknown>> | undefined
}
