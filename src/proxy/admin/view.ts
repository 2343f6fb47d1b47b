import type { Message } from '@bufbuild/protobuf'
import type { Node } from '#gen/envoy/config/core/v3/base_pb.js'
import type { Runtime } from '../../runtime.ts'
import type { Address } from '../listener/connection.ts'
import type { StatsStore } from '../observe/stats.ts'
import type { TagProducer } from '../observe/tags.ts'
import type { ShownCertificates } from '../tls/expiry.ts'
import type { SecretEntry } from '../tls/secrets.ts'
import type { ClusterEntry } from '../upstream/cluster-manager.ts'
import type { ClusterDescription } from '../upstream/describe.ts'

/** ServerInfo.State. */
export type ServerState = 'LIVE' | 'DRAINING' | 'PRE_INITIALIZING' | 'INITIALIZING'

/** A resource with the version that brought it; `version` is empty for a static one. */
export interface VersionedResource {
  readonly name: string
  readonly message: Message
  readonly version: string
  /** Wall clock, ms. */
  readonly updated: number
}

/** A resource that was refused. */
export interface RefusedResource {
  readonly message: Message | undefined
  readonly details: string
  /** Wall clock, ms. */
  readonly attempted: number
  readonly version: string
}

/** All that is known of one listener. */
export interface ListenerView {
  readonly name: string
  readonly dynamic: boolean
  readonly active: VersionedResource | undefined
  readonly warming: VersionedResource | undefined
  readonly draining: VersionedResource | undefined
  readonly error: RefusedResource | undefined
  /** What it listens on, as the config's addresses are seen; empty when it binds nothing. */
  readonly addresses: readonly Address[]
}

/** A cluster that was refused, by name. */
export interface RefusedCluster extends RefusedResource {
  readonly name: string
}

/** Configs of filters of one kind that came by ECDS. */
export interface ExtensionConfigs {
  readonly kind: string
  readonly configs: readonly {
    readonly name: string
    readonly config: { readonly message: Message; readonly version: string; readonly updated: number }
  }[]
}

/** What the admin interface sees of the proxy, and may do to it. */
export interface AdminView {
  readonly runtime: Runtime
  readonly stats: StatsStore
  readonly node: Node | undefined
  readonly version: string
  /** Wall clock at start, ms. */
  readonly started: number
  readonly commandLineOptions: Readonly<Record<string, unknown>>
  readonly bootstrap: VersionedResource
  readonly tags: TagProducer
  state(): ServerState
  /** Active clusters with their hosts, by name. */
  clusters(): readonly ClusterDescription[]
  /** Configs of all clusters, warming ones too. */
  clusterEntries(): readonly ClusterEntry[]
  refusedClusters(): readonly RefusedCluster[]
  /** The version of the last CDS or LDS response that was taken; empty without one. */
  cdsVersion(): string
  ldsVersion(): string
  listeners(): readonly ListenerView[]
  /** True when a listener has a connection manager. */
  routesUsed(): boolean
  staticRoutes(): readonly VersionedResource[]
  dynamicRoutes(): readonly VersionedResource[]
  secrets(): readonly SecretEntry[]
  /** Configs that came by ECDS, by the kind of what they are for: each kind that somebody has ever asked for. */
  extensionConfigs(): readonly ExtensionConfigs[]
  /** What each TLS context trusts and shows, for `/certs`. */
  certificates(): readonly ShownCertificates[]
  /** Opens, or finds, the capture socket of a destination; undefined when nobody captures. */
  readonly capture: ((destination: Address) => Promise<Address>) | undefined
  failHealthcheck(fail: boolean): void
  drainListeners(options: { graceful: boolean; inboundOnly: boolean; skipExit: boolean }): void
  reopenLogs(): void
  /** The level of every logger, and a way to set it; false when there is no such level. */
  logLevel(): string
  setLogLevel(level: string): boolean
  quit(): void
}
