import type { Cluster as ClusterProto } from '#gen/envoy/config/cluster/v3/cluster_pb.js'
import type { ClientStream, ClientStreamHandler, ResetReason } from '../http/codec.ts'
import type { RequestHead } from '../http/headers.ts'
import type { ConnectionInfo, Transport } from '../listener/connection.ts'
import type { PriorityLoad } from './balancers/priority-load.ts'
import type { ErrorMatcher } from './error-matcher.ts'
import type { Host, Metadata } from './host.ts'
import type { OutlierInput } from './outlier-detection.ts'
import type { HostSet } from './priority-set.ts'

/** What a load balancer may look at when it picks (envoy/upstream/load_balancer.h LoadBalancerContext). */
export interface LoadBalancerContext {
  /** The hash of the route's hash policies; undefined when there is none. */
  readonly hash: bigint | undefined
  /** Route metadata under `envoy.lb`, for subset load balancing. */
  readonly metadataMatch: Readonly<Record<string, unknown>> | undefined
  readonly downstream: ConnectionInfo | undefined
  readonly headers: RequestHead | undefined
  /** Hosts tried before, for the previous-hosts predicate; asked up to `hostSelectionRetryCount` more times. */
  shouldSelectAnotherHost(host: Host): boolean
  readonly hostSelectionRetryCount: number
  /** Whose circuit breakers count; default 'default'. */
  readonly routingPriority?: RoutingPriority
  /** Where retries go, by priority; undefined: where first attempts do. */
  readonly retryPriority?: RetryPriority | undefined
  /** SNI that overrides the cluster's, from auto_sni. */
  readonly upstreamServerName: string | undefined
  /** ALPN list that overrides the cluster's (the istio.alpn filter); undefined keeps the cluster's. */
  readonly upstreamAlpn: readonly string[] | undefined
  /** Port of a name from SNI, for dynamic forward proxies; undefined: the default one. */
  readonly dynamicPort?: number | undefined
  /** A host by address that goes before the balancer's choice (session cookies, original-dst header). */
  readonly overrideHost: string | undefined
  /** No other host may take its place. Default false. */
  readonly overrideStrict?: boolean
}

/** How a filter makes the name of a request known to a dynamic forward proxy. */
export interface DynamicForward {
  /** 443 with TLS, else 80. */
  readonly defaultPort: number
  /** Names are kept in the DNS cache that the filter names. False: each has a cluster of its own. */
  readonly cached: boolean
  /** Makes the cluster of a name; `ready` is called, later, unless the answer is that it is there or may not be made. */
  open?(host: string, port: number, ready: () => void): 'ready' | 'overflow' | { cancel(): void }
}

/** Divides retries over the priorities of a cluster (envoy/upstream/retry.h RetryPriority). */
export interface RetryPriority {
  determine(sets: readonly HostSet[], original: PriorityLoad): PriorityLoad
}

/** Priority of a route's circuit breakers. */
export type RoutingPriority = 'default' | 'high'

/** What a pool answers to a request for a stream. One of the two is called, once; maybe before `newStream` returns. */
export interface PoolCallbacks {
  /** `handler` was already attached to the stream. `protocol` is undefined where the stream is a byte connection. */
  onPoolReady(stream: ClientStream, host: Host, info: ConnectionInfo, protocol: 'HTTP/1.1' | 'HTTP/2' | undefined): void
  /** `reason` 'overflow' means a circuit breaker; `details` are transport failure words for log and body. */
  onPoolFailure(reason: ResetReason, details: string | undefined, host: Host | undefined): void
}

/** A request still waiting for a connection; cancelling drops it without a callback. */
export interface Pending {
  cancel(): void
}

/** What the router and the TCP proxy use of a cluster. */
export interface Cluster {
  readonly name: string
  /** alt_stat_name, else the name: what logs show as %UPSTREAM_CLUSTER%. */
  readonly observabilityName: string
  readonly config: ClusterProto
  readonly metadata: Metadata
  readonly stats: ClusterStatsView
  /** What a request goes upstream by, as far as config tells (ClusterInfoImpl::upstreamHttpProtocol). */
  upstreamProtocol(downstream: 'HTTP/1.0' | 'HTTP/1.1' | 'HTTP/2'): 'HTTP/1.0' | 'HTTP/1.1' | 'HTTP/2'
  readonly perConnectionBufferLimit: number
  /** Longest exchange with one of its hosts, ms; 0 is none. */
  readonly maxStreamDuration: number
  /** Picks a host; undefined when none is usable (503 UH). */
  chooseHost(context: LoadBalancerContext): Host | undefined
  /** Asks the host's pool for a stream. Undefined when it was answered before the call returned. */
  newStream(
    host: Host,
    context: LoadBalancerContext,
    priority: RoutingPriority,
    downstreamProtocol: 'HTTP/1.0' | 'HTTP/1.1' | 'HTTP/2',
    handler: ClientStreamHandler,
    callbacks: PoolCallbacks,
  ): Pending | undefined
  /** Opens a byte connection to the host (TCP proxy). */
  connect(host: Host, context: LoadBalancerContext, callbacks: ConnectCallbacks): Pending | undefined
  /** Whether another request may be active under the breakers; the router counts retries here. */
  readonly resources: ResourceManager
  /** Share of requests to refuse because the control plane says so, 0 to 1; undefined: none. */
  readonly dropOverload?: number | undefined
  /** Set on dynamic forward proxies. */
  readonly dynamicForward?: DynamicForward | undefined
  /** Takes a host out because its answer asked for that; undefined where no health checks would bring it back. */
  readonly failHealthNow?: ((host: Host) => void) | undefined
  /** Outlier detection input: a response code, or how the attempt failed (source/common/upstream/outlier_detection_impl.h). */
  reportResult(host: Host, result: OutlierInput): void
  /** Which responses count as errors for outlier detection; undefined: the 5xx. Not asked for gRPC. */
  readonly errorMatcher?: ErrorMatcher | undefined
}

/** What a TCP connection attempt answers. */
export interface ConnectCallbacks {
  onConnected(transport: Transport, host: Host): void
  onConnectFailure(
    reason: 'overflow' | 'pending overflow' | 'connection failure' | 'timeout',
    details: string | undefined,
    host: Host | undefined,
  ): void
}

/** Limits of one priority, counted over all pools of the cluster (source/common/upstream/resource_manager_impl.h). */
export interface ResourceManager {
  /** Takes a retry slot; false when the breaker is open. */
  tryRetry(priority: RoutingPriority): boolean
  retryDone(priority: RoutingPriority): void
}

/** Counters that the router writes; the rest belongs to pools (envoy/upstream/upstream.h). */
export interface ClusterStatsView {
  /** `upstream_rq_<code>`, `upstream_rq_<class>xx`, `upstream_rq_completed`; `external.`/`internal.`/`canary.` variants included. */
  chargeResponse(code: number, internal: boolean, canary: boolean): void
  /** The `retry.` variants. */
  chargeRetriedResponse(code: number): void
  counter(name: string): { inc(): void; add(n: number): void; value: number }
  gauge(name: string): { inc(): void; dec(): void; set(n: number): void; value: number }
  histogram(name: string): { record(value: number): void }
  /** Records into `upstream_rq_time`, ms; `external.`/`internal.`/`canary.` variants included. */
  recordRequestTime(ms: number, internal: boolean, canary: boolean): void
}

/** The clusters of one proxy, by name. */
export interface ClusterManager {
  /** Undefined when unknown or not yet warm (503 NC). */
  get(name: string): Cluster | undefined
  /** Whether there is such a cluster, warm or not; undefined: as `get` has it. */
  has?(name: string): boolean
  /** All active clusters, sorted by name, for admin. */
  all(): readonly Cluster[]
}
