import type { Message } from '@bufbuild/protobuf'
import type { Node } from '#gen/envoy/config/core/v3/base_pb.js'
import type { RouteConfiguration } from '#gen/envoy/config/route/v3/route_pb.js'
import type { Runtime } from '../runtime.ts'
import type { ExtensionSource } from './ecds/source.ts'
import type { AddressBook, Transport } from './listener/connection.ts'
import type { StatsStore } from './observe/stats.ts'
import type { RuntimeValues } from './runtime-values.ts'
import type { StreamInfo } from './stream-info.ts'
import type { ClusterManager } from './upstream/cluster.ts'
import type { DnsCaches } from './upstream/discovery/dns-cache-config.ts'

/** What every part of one proxy is built with. One per proxy; two proxies of a process share nothing but code. */
export interface ProxyContext {
  readonly runtime: Runtime
  readonly stats: StatsStore
  readonly node: Node
  readonly clusters: ClusterManager
  readonly routes: RouteSubscriptions
  /** Configs of filters that say `config_discovery`; undefined: there are none to be had. */
  readonly extensions?: ExtensionSource | undefined
  readonly book: AddressBook
  readonly logs: LogFiles
  /** Names that dynamic forward proxies know. */
  readonly dnsCaches?: DnsCaches | undefined
  /** False once the proxy drains: responses then say `connection: close`. */
  readonly draining: () => boolean
  /** True once `/healthcheck/fail` was called: health checks of the proxy itself then fail. */
  readonly healthCheckFailed?: () => boolean
  /** Feature guards that the bootstrap's runtime layers set, such as `http_reject_path_with_fragment`; without the prefix. */
  readonly runtimeFeatures?: ReadonlyMap<string, boolean> | undefined
  /** Whatever the bootstrap's runtime layers set, by key. */
  readonly runtimeValues?: RuntimeValues | undefined
  /** `cluster_manager.local_cluster_name` of the bootstrap: the cluster that this proxy is one of. */
  readonly localClusterName?: string | undefined
  /** Says once, for the whole proxy, that a field of the config is understood but has no effect yet. */
  readonly notEnforced?: (path: string) => void
  /** Takes a line for the proxy's own log. */
  readonly log?: (line: string) => void
  /** Told of every finished HTTP request, after the access log: for whoever watches the proxy from within the process. */
  readonly onStreamComplete?: ((info: StreamInfo, listener: ListenerContext) => void) | undefined
}

/** Where access loggers write: batched, flushed within a second, never blocking traffic. */
export interface LogFiles {
  /** `/dev/stdout` and `/dev/stderr` may be redirected by whoever embeds the proxy. */
  open(path: string): LogFile
}

/** One open log. Lines are buffered; `write` appends no line break of its own. */
export interface LogFile {
  write(line: string): void
}

/** RDS: route configurations by name, shared by all listeners that name them. */
export interface RouteSubscriptions {
  /**
   * Calls `onUpdate` now if the configuration is there, and at each change. An `onUpdate` that throws
   * rejects (NACKs) the update with the error's message; the last good one stays. `onUnreadable` is called while there is
   * none, when a response that may have held it could not be read.
   */
  subscribe(name: string, onUpdate: (config: RouteConfiguration) => void, onUnreadable?: () => void): { close(): void }
}

/** Errors of a config, collected: each with the field path it is about. */
export class ConfigError extends Error {
  readonly errors: readonly string[]
  constructor(errors: readonly string[]) {
    super(errors.join('; '))
    this.errors = errors
  }
}

/** A compiled network filter chain's terminal filter: takes over an accepted connection. */
export interface ConnectionHandler {
  /** The transport is past TLS and inspectors; bytes they read come first through its handler. */
  onConnection(transport: Transport): void
  /** Resolves true once warm: RDS has arrived. Called once. */
  whenWarm(ready: () => void): void
  /** Calls `ready` once the configs that its filters take from elsewhere have come, or were waited for long enough. Called once. */
  whenDiscovered?(ready: () => void): void
  /** It lacks the config of a filter, has counted that, and will have no connection now. */
  refuses?(): boolean
  /** It reads nothing before it is ready to; filters before it see bytes no earlier. */
  readonly readsLater?: boolean
  /** A peer that half-closes has closed: the connection does not outlive that (Envoy without enableHalfClose). */
  readonly endCloses?: boolean
  /** A connection ended before the filters in front let this one have it, or before its TLS was there (`secure`). */
  onNeverReached?(transport: Transport, secure?: boolean): void
  /** The filter chain is gone for good: drop subscriptions. Connections still open go on. */
  close(): void
  /** For admin: number of open connections. */
  readonly connections: number
}

/** What a listener gives the factories of its filters. */
export interface ListenerContext {
  /** Name for stats: `<ip>_<port>` as Envoy writes it, or stat_prefix. */
  readonly statPrefix: string
  readonly name: string
  /** traffic_direction of the listener. */
  readonly direction: 'inbound' | 'outbound' | undefined
  readonly perConnectionBufferLimit: number
}

/** Builds a terminal network filter from its unpacked config. Throws ConfigError. */
export type TerminalFilterFactory = (
  config: Message,
  context: ProxyContext,
  listener: ListenerContext,
) => ConnectionHandler
