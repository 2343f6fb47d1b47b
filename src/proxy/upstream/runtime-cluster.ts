import type { Cluster as ClusterProto } from '#gen/envoy/config/cluster/v3/cluster_pb.js'
import type { Runtime, Timer } from '../../runtime.ts'
import type { ClientStreamHandler } from '../http/codec.ts'
import type { Assignment } from './assignment.ts'
import { AutoSni } from './auto-sni.ts'
import type {
  Cluster,
  ConnectCallbacks,
  DynamicForward,
  LoadBalancerContext,
  Pending,
  PoolCallbacks,
  RoutingPriority,
} from './cluster.ts'
import type { ClusterSettings } from './cluster-config.ts'
import type { ClusterDeps } from './cluster-deps.ts'
import { ClusterStats } from './cluster-stats.ts'
import type { DialSettings, TrackedTransport } from './connect.ts'
import { createDiscovery } from './discovery/create.ts'
import type { Discovery, DiscoverySink } from './discovery/discovery.ts'
import { EdsDiscovery } from './discovery/eds.ts'
import { arrangeChecked } from './health/arrange.ts'
import type { HealthChecker, HealthCheckerOwner } from './health/health-checker.ts'
import { createHealthChecker } from './health/probes.ts'
import { type Host, HostHealth } from './host.ts'
import { HostPools } from './host-pools.ts'
import { HostTable } from './host-table.ts'
import { HttpPool, type PoolOwner } from './http-pool.ts'
import { OutlierDetector, type OutlierInput } from './outlier-detection.ts'
import { poolFactory } from './pool-factory.ts'
import type { AssignmentPolicy, HostSet } from './priority-set.ts'
import { Resources } from './resources.ts'
import { openTcp } from './tcp-connect.ts'
import { TransportSockets, type UpstreamSocket } from './transport-socket.ts'
import type { HostConfig, UpstreamHost } from './upstream-host.ts'
import { http2Options, likelyProtocol, poolProtocol } from './upstream-protocol.ts'

/** One cluster at work (source/common/upstream/upstream_impl.cc, cluster_manager_impl.cc ClusterEntry). */
export class RuntimeCluster implements Cluster, PoolOwner, DiscoverySink, HealthCheckerOwner {
  readonly config: ClusterProto
  readonly settings: ClusterSettings
  readonly runtime: Runtime
  readonly stats: ClusterStats
  readonly resources: Resources
  readonly hosts: HostTable
  readonly outlier: OutlierDetector | undefined
  readonly byteConnections = new Map<TrackedTransport, UpstreamHost>()
  readonly health: HealthChecker | undefined
  readonly dynamicForward: DynamicForward | undefined
  dropOverload: number | undefined = undefined
  readonly failHealthNow: ((host: Host) => void) | undefined
  /** CDS version; empty for static clusters. */
  readonly version: string
  readonly addedViaApi: boolean
  private readonly sockets: TransportSockets
  private readonly socketOf = new WeakMap<UpstreamHost, UpstreamSocket>()
  private readonly balancer: { chooseHost(context: LoadBalancerContext): UpstreamHost | undefined }
  private readonly discovery: Discovery | undefined
  /** Set where hosts may belong to other clusters, which then do the work. */
  private readonly ownerOf: ((host: Host) => Cluster | undefined) | undefined
  private readonly pools: HostPools
  private readonly dialing: DialSettings
  private readonly warmed: () => void
  private found: { readonly configs: readonly HostConfig[]; readonly policy: AssignmentPolicy } | undefined
  private isDiscovered = false
  /** False once the time to wait for secrets is over: connections then fail until they come. */
  private secretsAwaited = true
  private secretsTimer: Timer | undefined
  private isWarm = false
  private closed = false
  private readonly autoSni: AutoSni | undefined
  private readonly stopCounting: () => void

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
    if (settings.http.autoSni) this.autoSni = new AutoSni(settings.http.autoSniHeader)
    this.stats = new ClusterStats(settings.observabilityName, deps.stats)
    this.sockets = new TransportSockets(config, settings.http.autoSanValidation, deps.secrets, this.stats)
    this.resources = new Resources(config.circuitBreakers, this.stats.prefix, deps.stats)
    const balancer = settings.balancer?.(deps.runtime, this.stats.balancer, deps.local)
    this.hosts = new HostTable(deps.runtime, this.stats, deps.merge, balancer, settings.mergeWindow, deps.locality)
    this.dialing = {
      runtime: deps.runtime,
      book: deps.book,
      bind: settings.bind,
      bufferLimit: settings.bufferLimit,
      keepAlive: settings.keepAlive,
      stats: this.stats,
      tightLimits: this.resources.tight,
    }
    this.pools = new HostPools((host, key) => {
      const factory = poolFactory(
        host,
        key,
        this.dialing,
        settings.http,
        http2Options(this.settings.http, this.stats, this.runtime),
      )
      return new HttpPool(this, host, this.resources.of(key.priority), factory)
    })
    this.discovery = createDiscovery(this, deps, known)
    this.dynamicForward = this.discovery?.forward
    this.ownerOf = this.discovery?.ownerOf?.bind(this.discovery)
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
    const { dialing, sockets } = this
    this.health = createHealthChecker(
      this,
      { dialing, sockets, http2: () => http2Options(this.settings.http, this.stats, this.runtime) },
      deps.logs,
    )
    if (this.health) this.failHealthNow = (host) => this.health?.failNow(host as UpstreamHost)
    this.sockets.onChange(() => this.checkWarm())
    this.stopCounting = deps.stats.onShow(() => this.countBytes())
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
  get errorMatcher(): Cluster['errorMatcher'] {
    return this.settings.http.errorMatcher
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
  get warm(): boolean {
    return this.isWarm
  }

  /** Bytes are counted when a request ends, and when somebody looks. */
  private countBytes(): void {
    let buffered = this.pools.countBytes()
    for (const tracked of this.byteConnections.keys()) {
      tracked.countBytes(this.stats)
      buffered += tracked.inner.lastRead ?? 0
    }
    this.stats.cxRxBuffered.set(buffered)
  }

  /** Starts discovery. */
  start(): void {
    this.stats.gauge('warming_state').set(1)
    const { fetchTimeout } = this.sockets
    if (!this.sockets.settled && fetchTimeout > 0) {
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
    this.stopCounting()
    this.secretsTimer?.cancel()
    this.discovery?.stop()
    this.outlier?.close()
    this.health?.close()
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

  /**
   * Lets the connections to some hosts finish; what comes next gets new ones (source/common/upstream/
   * cluster_manager_impl.cc drainConnections).
   */
  drainConnections(matches: (host: Host) => boolean): void {
    for (const host of this.pools.hosts()) if (matches(host)) this.pools.drain(host)
  }

  /** Resets the byte connections to some hosts, as if those had. */
  resetByteConnections(matches: (host: Host) => boolean): void {
    for (const [transport, host] of [...this.byteConnections]) if (matches(host)) transport.inner.destroy(true)
  }

  /** An EDS assignment for this cluster. */
  updateEndpoints(assignment: Assignment): void {
    if (this.discovery instanceof EdsDiscovery) this.discovery.update(assignment)
  }

  setHosts(configs: readonly HostConfig[], policy: AssignmentPolicy): void {
    this.found = { configs, policy }
    this.dropOverload = policy.dropOverload
    const { added, removed } = this.hosts.set(
      this.health ? arrangeChecked(configs, this.hosts, this.settings) : configs,
      policy,
    )
    // Each host that discovery tells is resolved anew, known or not.
    for (const { metadata } of configs) this.sockets.count(metadata)
    this.outlier?.setHosts(this.hosts.all)
    for (const host of removed) this.pools.drain(host)
    if (this.settings.closeOnHostSetChange && added.length + removed.length > 0)
      for (const host of this.pools.hosts()) this.pools.drain(host)
    // Metadata may have changed with it, and with that the transport socket.
    for (const host of this.hosts.all) this.socketOf.set(host, this.sockets.resolve(host.metadata))
    this.health?.setHosts(this.hosts.all)
  }

  discovered(): void {
    this.isDiscovered = true
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
      if (host !== undefined && this.settings.overrideStatuses.has(host.healthStatus)) return host
      if (context.overrideStrict) {
        this.stats.cxNoneHealthy.inc()
        return undefined
      }
    }
    const host = this.balancer.chooseHost(context)
    if (host === undefined) {
      this.stats.cxNoneHealthy.inc()
      return undefined
    }
    const priority = context.routingPriority ?? 'default'
    const { pools } = this.resources.of(priority)
    if (pools.max !== Number.POSITIVE_INFINITY && !this.pools.admits(host, priority, pools)) {
      this.stats.counter('upstream_cx_pool_overflow').inc()
      return undefined
    }
    return host
  }

  upstreamProtocol(downstream: 'HTTP/1.0' | 'HTTP/1.1' | 'HTTP/2'): 'HTTP/1.0' | 'HTTP/1.1' | 'HTTP/2' {
    return likelyProtocol(this.settings.http, downstream)
  }

  /** As `chooseHost`, without counting that there is none. */
  pick(context: LoadBalancerContext): UpstreamHost | undefined {
    return this.balancer.chooseHost(context)
  }

  get hostSets(): readonly HostSet[] {
    return this.hosts.sets
  }

  newStream(
    host: Host,
    context: LoadBalancerContext,
    priority: RoutingPriority,
    downstreamProtocol: 'HTTP/1.0' | 'HTTP/1.1' | 'HTTP/2',
    handler: ClientStreamHandler,
    callbacks: PoolCallbacks,
  ): Pending | undefined {
    const owner = this.ownerOf?.(host)
    if (owner !== undefined) return owner.newStream(host, context, priority, downstreamProtocol, handler, callbacks)
    const upstream = host as UpstreamHost
    const socket = this.socketFor(upstream, context)
    const { secure } = socket
    const sni = secure ? (context.upstreamServerName ?? this.autoSni?.of(context)) : undefined
    const alpn = secure ? context.upstreamAlpn : undefined
    return this.pools
      .get(upstream, priority, poolProtocol(this.settings.http, downstreamProtocol), socket, sni, alpn)
      .newStream(handler, callbacks)
  }

  connect(host: Host, context: LoadBalancerContext, callbacks: ConnectCallbacks): Pending | undefined {
    const owner = this.ownerOf?.(host)
    if (owner !== undefined) return owner.connect(host, context, callbacks)
    const upstream = host as UpstreamHost
    const target = {
      host: upstream,
      socket: this.socketFor(upstream, context),
      sni: context.upstreamServerName,
      alpn: context.upstreamAlpn,
      fallbackAlpn: NO_ALPN,
    }
    return openTcp(this, target, this.dialing, callbacks)
  }

  reportResult(host: Host, result: OutlierInput): void {
    const owner = this.ownerOf?.(host)
    if (owner !== undefined) owner.reportResult(host, result)
    this.outlier?.report(host as UpstreamHost, result)
  }

  reportConnect(host: UpstreamHost, result: 'success' | 'connect-failed' | 'timeout'): void {
    if (result === 'success') this.outlier?.report(host, this.settings.outlier?.split ? 'connect-success' : 200)
    else this.outlier?.report(host, result)
  }

  onPoolEmpty(pool: HttpPool): void {
    this.pools.onEmpty(pool)
  }

  /** Whether hosts of which nothing is known are spoken to by TLS. */
  get secure(): boolean {
    return this.sockets.resolve(new Map()).secure
  }

  private socketFor(host: UpstreamHost, { downstream }: LoadBalancerContext): UpstreamSocket {
    let socket = this.socketOf.get(host)
    if (socket === undefined) {
      socket = this.sockets.resolve(host.metadata)
      this.socketOf.set(host, socket)
    }
    return downstream === undefined || socket.bind === undefined ? socket : socket.bind(downstream)
  }

  onHealthChecked(host: UpstreamHost, changed: boolean, passed: boolean): void {
    if (passed && (host.health & BOTH_CHECKS) === HostHealth.FAILED_OUTLIER_CHECK) this.outlier?.passedHealthCheck(host)
    if (!this.isWarm) this.checkWarm()
    else if (changed) {
      const gone = HostHealth.FAILED_ACTIVE_HC | HostHealth.PENDING_DYNAMIC_REMOVAL
      if (this.settings.discovery.type === 'eds' && (host.health & gone) === gone && this.found !== undefined)
        this.setHosts(this.found.configs, this.found.policy)
      this.onHealthChanged(host)
    }
  }

  private onHealthChanged(host: UpstreamHost): void {
    // Nobody is sent anywhere yet: what the first round finds is told at its end.
    if (this.health !== undefined && !this.isWarm) return
    this.hosts.healthChanged(host)
    if ((host.health & BOTH_CHECKS) === 0) return
    this.pools.drain(host)
    if (!this.settings.closeOnHealthFailure) return
    for (const [transport, to] of [...this.byteConnections]) if (to === host) transport.destroy()
  }

  private checkWarm(): void {
    if (this.isWarm || this.closed || !this.isDiscovered || (this.secretsAwaited && !this.sockets.settled)) return
    if (this.health !== undefined && !this.health.firstRoundDone) return
    this.secretsTimer?.cancel()
    this.isWarm = true
    this.stats.gauge('warming_state').set(0)
    this.hosts.begin(this.health !== undefined)
    this.warmed()
  }
}

const BOTH_CHECKS = HostHealth.FAILED_ACTIVE_HC | HostHealth.FAILED_OUTLIER_CHECK

const NO_ALPN: readonly string[] = []
