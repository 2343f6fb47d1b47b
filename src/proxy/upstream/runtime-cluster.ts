import { isIP } from 'node:net'
import type { Cluster as ClusterProto } from '#gen/envoy/config/cluster/v3/cluster_pb.js'
import type { Runtime, Timer } from '../../runtime.ts'
import type { ClientStreamHandler } from '../http/codec.ts'
import { type HeaderName, headerName } from '../http/headers.ts'
import type { AddressBook } from '../listener/connection.ts'
import type { StatsStore } from '../observe/stats.ts'
import type { SecretProvider } from '../tls/secrets.ts'
import type { Assignment } from './assignment.ts'
import type {
  Cluster,
  ConnectCallbacks,
  LoadBalancerContext,
  Pending,
  PoolCallbacks,
  RoutingPriority,
} from './cluster.ts'
import type { ClusterSettings } from './cluster-config.ts'
import { ClusterStats } from './cluster-stats.ts'
import { type DialSettings, Http1Factory, Http2Factory } from './connect.ts'
import type { Discovery, DiscoverySink } from './discovery/discovery.ts'
import { DnsDiscovery } from './discovery/dns.ts'
import { EdsDiscovery } from './discovery/eds.ts'
import { OriginalDstDiscovery } from './discovery/original-dst.ts'
import type { Host } from './host.ts'
import { HostPools } from './host-pools.ts'
import { HostTable, type MergeStats } from './host-table.ts'
import { HttpPool, type PoolOwner } from './http-pool.ts'
import { OutlierDetector, type OutlierEvent, type OutlierInput } from './outlier-detection.ts'
import type { AssignmentPolicy } from './priority-set.ts'
import type { Resolver } from './resolver.ts'
import { Resources } from './resources.ts'
import { openTcp } from './tcp-connect.ts'
import { TransportSockets, type UpstreamSocket } from './transport-socket.ts'
import type { HostConfig, UpstreamHost } from './upstream-host.ts'

/** What all clusters of a proxy share. */
export interface ClusterDeps {
  readonly runtime: Runtime
  readonly stats: StatsStore
  readonly book: AddressBook
  readonly secrets: SecretProvider
  readonly resolver: Resolver
  readonly merge: MergeStats
  readonly onOutlier: (cluster: string, event: OutlierEvent) => void
}

/** One cluster at work (source/common/upstream/upstream_impl.cc, cluster_manager_impl.cc ClusterEntry). */
export class RuntimeCluster implements Cluster, PoolOwner, DiscoverySink {
  readonly config: ClusterProto
  readonly settings: ClusterSettings
  readonly runtime: Runtime
  readonly stats: ClusterStats
  readonly resources: Resources
  readonly hosts: HostTable
  readonly outlier: OutlierDetector | undefined
  /** CDS version; empty for static clusters. */
  readonly version: string
  readonly addedViaApi: boolean
  private readonly sockets: TransportSockets
  private readonly socketOf = new WeakMap<UpstreamHost, UpstreamSocket>()
  private readonly balancer: { chooseHost(context: LoadBalancerContext): UpstreamHost | undefined }
  private readonly discovery: Discovery | undefined
  private readonly pools: HostPools
  private readonly dialing: DialSettings
  private readonly warmed: () => void
  private found = false
  /** False once the time to wait for secrets is over: connections then fail until they come. */
  private secretsAwaited = true
  private secretsTimer: Timer | undefined
  private isWarm = false
  private closed = false
  private readonly sniHeader: HeaderName | undefined
  private lastAuthority = ''
  private lastSni: string | undefined

  /** Throws ConfigError for what its transport sockets refuse. `warmed` is called once, maybe inside `start`. */
  constructor(
    config: ClusterProto,
    settings: ClusterSettings,
    deps: ClusterDeps,
    origin: { version: string; viaApi: boolean },
    known: (serviceName: string) => Assignment | undefined,
    warmed: () => void,
  ) {
    this.config = config
    this.settings = settings
    this.runtime = deps.runtime
    this.version = origin.version
    this.addedViaApi = origin.viaApi
    this.warmed = warmed
    this.sniHeader = settings.http.autoSniHeader === '' ? undefined : headerName(settings.http.autoSniHeader)
    this.stats = new ClusterStats(settings.observabilityName, deps.stats)
    this.sockets = new TransportSockets(config, settings.http.autoSanValidation, deps.secrets, this.stats)
    this.resources = new Resources(config.circuitBreakers, this.stats.prefix, deps.stats)
    const balancer = settings.balancer?.(deps.runtime, this.stats.balancer)
    this.hosts = new HostTable(deps.runtime, this.stats, deps.merge, balancer, settings.mergeWindow)
    this.dialing = {
      runtime: deps.runtime,
      book: deps.book,
      bind: settings.bind,
      bufferLimit: settings.bufferLimit,
      keepAliveMs: settings.keepAliveMs,
      stats: this.stats,
    }
    this.pools = new HostPools((host, key) => {
      const target = { host, socket: key.socket, sni: key.sni, alpn: key.alpn }
      const { http } = settings
      const factory =
        key.protocol === 'HTTP/2'
          ? new Http2Factory(
              { ...target, fallbackAlpn: HTTP2_ALPN },
              this.dialing,
              http.maxConcurrentStreams,
              http.http2,
            )
          : new Http1Factory({ ...target, fallbackAlpn: HTTP1_ALPN }, this.dialing, http.http1)
      return new HttpPool(this, host, this.resources.of(key.priority), factory)
    })
    this.discovery = this.createDiscovery(deps, known)
    this.balancer = balancer ?? { chooseHost: (context) => this.discovery?.chooseHost?.(context) }
    if (settings.outlier) {
      this.outlier = new OutlierDetector(
        settings.outlier,
        deps.runtime,
        this.stats,
        (host) => this.onHealthChanged(host),
        (event) => deps.onOutlier(settings.name, event),
      )
    }
    this.sockets.onChange(() => this.checkWarm())
  }

  get name(): string {
    return this.settings.name
  }
  get observabilityName(): string {
    return this.settings.observabilityName
  }
  get metadata(): Cluster['metadata'] {
    return this.settings.metadata
  }
  get perConnectionBufferLimit(): number {
    return this.settings.bufferLimit
  }
  get maxStreamDuration(): number {
    return this.settings.http.maxStreamDuration
  }
  get http(): ClusterSettings['http'] {
    return this.settings.http
  }
  get connectTimeout(): number {
    return this.settings.connectTimeout
  }
  get maxConnectionsPerHost(): number {
    return this.resources.maxConnectionsPerHost
  }
  get warm(): boolean {
    return this.isWarm
  }

  /** Starts discovery. */
  start(): void {
    const { fetchTimeout } = this.sockets
    if (!this.sockets.ready && fetchTimeout > 0) {
      this.secretsTimer = this.runtime.after(fetchTimeout, () => {
        this.secretsAwaited = false
        this.checkWarm()
      })
    }
    if (this.discovery === undefined) {
      this.setHosts(this.settings.assignment.hosts, this.settings.assignment.policy)
      this.discovered()
    } else this.discovery.start()
  }

  /** Stops discovery and lets connections finish: the cluster was removed or replaced. */
  close(): void {
    this.closed = true
    this.secretsTimer?.cancel()
    this.discovery?.stop()
    this.outlier?.close()
    this.hosts.close()
    for (const host of this.pools.hosts()) this.pools.drain(host)
    this.sockets.close()
  }

  /** Closes every connection now: the proxy stops. */
  destroy(): void {
    const hosts = this.pools.hosts()
    for (const host of hosts) this.pools.closeAll(host)
    this.close()
  }

  /** An EDS assignment for this cluster. */
  updateEndpoints(assignment: Assignment): void {
    if (this.discovery instanceof EdsDiscovery) this.discovery.update(assignment)
  }

  setHosts(configs: readonly HostConfig[], policy: AssignmentPolicy): void {
    const { added, removed } = this.hosts.set(configs, policy)
    this.outlier?.setHosts(this.hosts.all)
    for (const host of removed) this.pools.drain(host)
    if (this.settings.closeOnHostSetChange && added.length + removed.length > 0)
      for (const host of this.pools.hosts()) this.pools.drain(host)
    // Metadata may have changed with it, and with that the transport socket.
    for (const host of this.hosts.all) this.socketOf.set(host, this.sockets.resolve(host.metadata))
  }

  discovered(): void {
    this.found = true
    this.checkWarm()
  }

  host(key: string): UpstreamHost | undefined {
    return this.hosts.get(key)
  }

  inUse(host: UpstreamHost): boolean {
    return this.pools.inUse(host)
  }

  /** Requests that wait for a connection to this host. */
  pendingOf(host: UpstreamHost): number {
    return this.pools.pendingOf(host)
  }

  chooseHost(context: LoadBalancerContext): Host | undefined {
    if (context.overrideHost !== undefined) {
      const host = this.hosts.get(context.overrideHost)
      if (host !== undefined && (host.healthy || host.degraded)) return host
    }
    const host = this.balancer.chooseHost(context)
    if (host === undefined) this.stats.cxNoneHealthy.inc()
    return host
  }

  newStream(
    host: Host,
    context: LoadBalancerContext,
    priority: RoutingPriority,
    downstreamProtocol: 'HTTP/1.0' | 'HTTP/1.1' | 'HTTP/2',
    handler: ClientStreamHandler,
    callbacks: PoolCallbacks,
  ): Pending | undefined {
    const { protocol } = this.settings.http
    const speaksHttp2 = protocol === 'http2' || (protocol === 'downstream' && downstreamProtocol === 'HTTP/2')
    const upstream = host as UpstreamHost
    const socket = this.socketFor(upstream)
    const { secure } = socket
    const sni = secure ? (context.upstreamServerName ?? this.autoSni(context)) : undefined
    const alpn = secure ? context.upstreamAlpn : undefined
    return this.pools
      .get(upstream, priority, speaksHttp2 ? 'HTTP/2' : 'HTTP/1.1', socket, sni, alpn)
      .newStream(handler, callbacks)
  }

  connect(host: Host, context: LoadBalancerContext, callbacks: ConnectCallbacks): Pending | undefined {
    const upstream = host as UpstreamHost
    const target = {
      host: upstream,
      socket: this.socketFor(upstream),
      sni: context.upstreamServerName,
      alpn: context.upstreamAlpn,
      fallbackAlpn: NO_ALPN,
    }
    return openTcp(this, target, this.dialing, callbacks)
  }

  reportResult(host: Host, result: OutlierInput): void {
    this.outlier?.report(host as UpstreamHost, result)
  }

  reportConnect(host: UpstreamHost, result: 'success' | 'connect-failed' | 'timeout'): void {
    if (result === 'success') this.outlier?.report(host, this.settings.outlier?.split ? 'connect-success' : 200)
    else this.outlier?.report(host, result)
  }

  onPoolEmpty(pool: HttpPool): void {
    this.pools.onEmpty(pool)
  }

  private socketFor(host: UpstreamHost): UpstreamSocket {
    let socket = this.socketOf.get(host)
    if (socket === undefined) {
      socket = this.sockets.resolve(host.metadata)
      this.socketOf.set(host, socket)
    }
    return socket
  }

  /** auto_sni: the host that the request is for, unless it is an address (router.cc). */
  private autoSni(context: LoadBalancerContext): string | undefined {
    if (!this.settings.http.autoSni) return undefined
    const { headers } = context
    // A header that the request lacks leaves the authority (router.cc).
    const named = this.sniHeader === undefined ? undefined : headers?.get(this.sniHeader)
    const authority = named || headers?.authority
    if (authority === undefined || authority === '') return undefined
    if (authority !== this.lastAuthority) {
      this.lastAuthority = authority
      const name = authority.replace(/:\d+$/, '')
      this.lastSni = isIP(name.replace(/^\[|\]$/g, '')) === 0 ? name : undefined
    }
    return this.lastSni
  }

  private onHealthChanged(host: UpstreamHost): void {
    this.hosts.healthChanged(host)
    if (this.settings.closeOnHealthFailure && !host.healthy && !host.degraded) this.pools.closeAll(host)
  }

  private checkWarm(): void {
    if (this.isWarm || this.closed || !this.found || (this.secretsAwaited && !this.sockets.ready)) return
    this.secretsTimer?.cancel()
    this.isWarm = true
    this.warmed()
  }

  private createDiscovery(deps: ClusterDeps, known: (name: string) => Assignment | undefined): Discovery | undefined {
    const { discovery, assignment } = this.settings
    switch (discovery.type) {
      case 'static':
        return undefined
      case 'eds':
        return new EdsDiscovery(discovery, deps.runtime, this.stats, this, () => known(discovery.serviceName))
      case 'original-dst':
        return new OriginalDstDiscovery(discovery, deps.runtime, this.stats, this)
      default:
        return new DnsDiscovery(discovery, assignment, deps.runtime, this.stats, deps.resolver, this)
    }
  }
}

/** What a pool offers when the cluster configures nothing (conn_pool_base.cc wrapTransportSocketOptions). */
const HTTP1_ALPN: readonly string[] = ['http/1.1']
const NO_ALPN: readonly string[] = []
const HTTP2_ALPN: readonly string[] = ['h2']
