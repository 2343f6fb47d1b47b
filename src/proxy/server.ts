import type { Bootstrap } from '#gen/envoy/config/bootstrap/v3/bootstrap_pb.js'
import type { Node } from '#gen/envoy/config/core/v3/base_pb.js'
import type { ApiConfigSource } from '#gen/envoy/config/core/v3/config_source_pb.js'
import type { Timer } from '../runtime.ts'
import { make } from '../xds/messages.ts'
import { AdminServer } from './admin/admin-server.ts'
import type { ServerState } from './admin/view.ts'
import type { LogFiles, ProxyContext } from './context.ts'
import { ExtensionSubscriptions } from './ecds/subscriptions.ts'
import { durationMs } from './http/config.ts'
import { RouterStats } from './http/router/router-stats.ts'
import { http1CodecStats } from './http1/stats.ts'
import { type Address, identityBook } from './listener/connection.ts'
import { ConnectionLimits } from './listener/connection-limits.ts'
import { DrainState } from './listener/drain-state.ts'
import { ListenerManager } from './listener/listener-manager.ts'
import { BufferedLogFiles } from './observe/log-files.ts'
import { StatsStore } from './observe/stats.ts'
import { adminView } from './server/admin-view.ts'
import type { Ads } from './server/ads.ts'
import { noteBootstrapFields } from './server/bootstrap-fields.ts'
import { ClusterReadiness } from './server/cluster-readiness.ts'
import { NotEnforced } from './server/not-enforced.ts'
import type { ProxyServerOptions } from './server/options.ts'
import { outlierListener } from './server/outlier-log.ts'
import { bootstrapResolver } from './server/resolver.ts'
import { RouteTable } from './server/route-table.ts'
import { runtimeFeatures } from './server/runtime-features.ts'
import { runtimeValues } from './server/runtime-values.ts'
import { ProxySecretSources } from './server/secret-sources.ts'
import { SecretStore } from './tls/secrets.ts'
import { type ClusterControl, createClusterManager } from './upstream/cluster-manager.ts'
import { DnsCaches } from './upstream/discovery/dns-cache-config.ts'

export type { ProxyServerOptions } from './server/options.ts'

const DRAIN_TIME_MS = 600_000
/** How often `finish` looks whether connections are left. */
const FINISH_POLL_MS = 10
/** How often histograms begin a new interval, unless `stats_flush_interval` says otherwise. */
const STATS_FLUSH_MS = 5000

/** One proxy: a bootstrap in, listeners up, an admin interface (source/server/server.cc). */
export class ProxyServer {
  readonly stats = new StatsStore()
  readonly clusters: ClusterControl
  private readonly readiness: ClusterReadiness
  readonly listeners: ListenerManager
  readonly routes: RouteTable
  readonly secrets: SecretStore
  readonly extensions: ExtensionSubscriptions
  private readonly secretSources: ProxySecretSources
  readonly notEnforced: NotEnforced
  readonly drain: DrainState
  readonly logs: LogFiles
  private readonly dnsCaches: DnsCaches
  readonly options: ProxyServerOptions
  /** Wall clock at start, ms. */
  readonly started: number
  ads: Ads | undefined
  private readonly node: Node
  private readonly ownLogs: BufferedLogFiles | undefined
  private admin: AdminServer | undefined
  private adminBound: Address | undefined
  private phase: 'clusters' | 'listeners' | 'live' | 'failed' = 'clusters'
  private readonly waiting: { resolve: () => void; reject: (error: unknown) => void }[] = []
  private failure: unknown
  private stopped = false
  private statsTimer: Timer | undefined

  /** Builds everything static. Throws, with all that is wrong, when the bootstrap cannot be used. */
  constructor(options: ProxyServerOptions) {
    const { bootstrap, runtime } = options
    this.options = options
    this.started = runtime.wallNow()
    this.node = bootstrap.node ?? make('envoy.config.core.v3.Node')
    const warn = options.warn ?? ((line: string) => process.stderr.write(`${line}\n`))
    this.notEnforced = new NotEnforced(warn)
    noteBootstrapFields(bootstrap, this.notEnforced)
    this.ownLogs = options.logs ? undefined : new BufferedLogFiles(runtime, this.stats)
    this.logs = options.logs ?? this.ownLogs!
    const drainTime = options.drainTime ?? DRAIN_TIME_MS
    const drainStrategy = options.drainStrategy ?? 'gradual'
    this.drain = new DrainState(runtime, drainTime, drainStrategy)
    this.routes = new RouteTable(() => runtime.wallNow())
    this.extensions = new ExtensionSubscriptions({ runtime, stats: this.stats, log: warn })
    this.secretSources = new ProxySecretSources({
      bootstrap,
      runtime,
      node: this.node,
      overAds: options.sdsOverAds ?? [],
      log: warn,
    })
    this.secrets = new SecretStore(() => runtime.wallNow(), this.secretSources, warn)
    bootstrap.staticResources?.secrets.forEach((secret, i) => {
      this.secrets.addStatic(secret, `static_resources.secrets[${i}]`)
    })
    const book = options.book ?? identityBook
    const resolver = options.resolver ?? bootstrapResolver(bootstrap)
    this.dnsCaches = new DnsCaches(runtime, this.stats, resolver)
    this.clusters = createClusterManager({
      resolver,
      caches: this.dnsCaches,
      runtime,
      stats: this.stats,
      book,
      secrets: this.secrets,
      logs: this.logs,
      onOutlier: outlierListener(options, this.logs),
      locality: this.node.locality,
      localClusterName: bootstrap.clusterManager?.localClusterName,
      notEnforced: (path) => this.notEnforced.note(path),
    })
    this.readiness = new ClusterReadiness(this.clusters)
    const context: ProxyContext = {
      runtime,
      stats: this.stats,
      node: this.node,
      clusters: this.clusters,
      routes: this.routes,
      extensions: this.extensions,
      book,
      logs: this.logs,
      dnsCaches: this.dnsCaches,
      draining: () => this.drain.draining(),
      healthCheckFailed: () => this.drain.failed,
      notEnforced: (path) => this.notEnforced.note(path),
      log: warn,
      onStreamComplete: options.onStreamComplete,
      runtimeFeatures: runtimeFeatures(bootstrap),
      localClusterName: bootstrap.clusterManager?.localClusterName || undefined,
      runtimeValues: runtimeValues(bootstrap),
    }
    this.listeners = new ListenerManager({
      deps: { context, secrets: this.secrets, limits: ConnectionLimits.of(bootstrap) },
      drainTime,
      drainStrategy,
      bindAddress: options.bindAddress ?? ((address) => (options.captureTable ? undefined : address)),
      onEntrance: (direction, served) => options.captureTable?.serve(direction, served),
      onError: warn,
    })
    this.addStatic(bootstrap)
    // Of mirrored requests and those that filters send: there from the start, whether or not any is sent.
    new RouterStats(this.stats, 'http.async-client.')
    http1CodecStats(this.stats, '')
    this.stats.counter('envoy.overload_actions.reset_high_memory_stream.count')
    this.stats.gauge('server.live')
    this.stats.gauge('server.state').set(2)
  }

  private addStatic(bootstrap: Bootstrap): void {
    this.clusters.addStatic(bootstrap.staticResources?.clusters ?? [])
    for (const listener of bootstrap.staticResources?.listeners ?? []) this.listeners.addOrUpdate(listener, '', false)
  }

  /**
   * Starts. Resolves when the static listeners listen; with a control plane, as soon as it is asked (see
   * `whenReady`). Rejects when a static listener or the admin interface cannot be bound.
   */
  async start(): Promise<void> {
    const { bootstrap, captureTable } = this.options
    captureTable?.connectTo((socket, entry) => this.listeners.capture(socket, entry))
    try {
      await this.startAdmin()
      this.flushStats()
      this.secretSources.start(this.secrets)
      const { adsConfig } = bootstrap.dynamicResources ?? {}
      if (adsConfig) await this.startAds(adsConfig)
      const ready = this.initialise()
      // With a control plane, what goes wrong from here on is for `whenReady` to tell.
      if (adsConfig) ready.catch(() => {})
      else await ready
    } catch (error) {
      await this.stop()
      throw error
    }
  }

  private async startAdmin(): Promise<void> {
    const address = this.options.adminAddress ?? adminAddressOf(this.options.bootstrap)
    if (!address) return
    this.admin = new AdminServer(adminView(this))
    this.adminBound = await this.admin.listen(address.ip, address.port)
  }

  private async startAds(config: ApiConfigSource): Promise<void> {
    const { bootstrap, runtime } = this.options
    // A static config needs neither.
    const { Ads } = await import('./server/ads.ts')
    let transport = this.options.adsTransport
    if (!transport) {
      const { openGrpc } = await import('./server/grpc-endpoint.ts')
      const path = 'bootstrap.dynamic_resources.ads_config.grpc_services'
      transport = openGrpc({ bootstrap, services: config.grpcServices, service: 'ads', secrets: this.secrets, path })
    }
    const { stats, node, clusters, readiness, listeners, routes, secrets, extensions } = this
    const targets = { runtime, stats, node, clusters, readiness, listeners, routes, secrets, extensions }
    this.ads = new Ads(transport, bootstrap, targets)
    this.ads.start()
  }

  private flushStats(): void {
    const { bootstrap, runtime } = this.options
    const interval = durationMs(bootstrap.statsFlushInterval) || STATS_FLUSH_MS
    const next = () => {
      this.statsTimer = runtime.after(interval, () => {
        this.stats.flush()
        next()
      })
    }
    next()
  }

  /** Envoy's order: clusters, then listeners, then traffic. */
  private initialise(): Promise<void> {
    const { ads, readiness, listeners } = this
    const afterListeners = () =>
      listeners.whenWarm(() => {
        listeners.start().then(
          () => this.settle(undefined),
          (error: unknown) => this.settle(error),
        )
      })
    const afterClusters = () => {
      this.phase = 'listeners'
      this.stats.gauge('server.state').set(3)
      if (ads) ads.startListeners(afterListeners)
      else afterListeners()
    }
    const warmClusters = () => readiness.whenReady(afterClusters)
    if (ads) ads.whenClusters(warmClusters)
    else warmClusters()
    return this.whenReady()
  }

  private settle(error: unknown): void {
    if (this.phase === 'live' || this.phase === 'failed') return
    this.phase = error === undefined ? 'live' : 'failed'
    this.failure = error
    this.stats.gauge('server.live').set(error === undefined ? 1 : 0)
    this.stats.gauge('server.state').set(0)
    for (const { resolve, reject } of this.waiting.splice(0)) {
      if (error === undefined) resolve()
      else reject(error)
    }
  }

  /** Resolves when the proxy is LIVE: clusters and listeners have their first config and serve. */
  whenReady(): Promise<void> {
    if (this.phase === 'live') return Promise.resolve()
    if (this.phase === 'failed') return Promise.reject(this.failure)
    return new Promise((resolve, reject) => this.waiting.push({ resolve, reject }))
  }

  /** What keeps the proxy from being LIVE: clusters and listeners that wait for endpoints, routes or secrets. */
  get waitingFor(): string[] {
    const listeners = this.listeners.all().filter(({ active, warming }) => !active && warming)
    return [
      ...this.clusters.warmingNames().map((name) => `cluster ${name}`),
      ...listeners.map((l) => `listener ${l.name}`),
    ]
  }

  /** True when the proxy is LIVE. */
  get ready(): boolean {
    return this.state === 'LIVE'
  }

  get state(): ServerState {
    if (this.phase === 'clusters') return 'PRE_INITIALIZING'
    if (this.phase !== 'live') return 'INITIALIZING'
    return this.drain.failed ? 'DRAINING' : 'LIVE'
  }

  /** Where the admin interface listens; undefined without one, and before `start`. */
  get adminAddress(): Address | undefined {
    return this.adminBound
  }

  /** ms that connections may take to finish. */
  get drainTime(): number {
    return this.options.drainTime ?? DRAIN_TIME_MS
  }

  /** Opens log files again, for rotation; files that the owner brought are the owner's. */
  reopenLogs(): void {
    this.ownLogs?.reopen()
  }

  /**
   * Lets connections finish before `stop`: replies say `connection: close` from now on. Resolves when no connection of
   * an inbound listener is left, or after `timeout` ms.
   */
  async finish(timeout: number): Promise<void> {
    const { runtime } = this.options
    const deadline = runtime.now() + timeout
    this.drain.start()
    while (this.listeners.inboundConnections > 0 && runtime.now() < deadline && !this.stopped) {
      await new Promise<void>((resolve) => runtime.after(FINISH_POLL_MS, resolve))
    }
  }

  /** Stops at once: sockets close, connections end (with `reset`, by a reset), log files are written. */
  async stop({ reset = false }: { reset?: boolean } = {}): Promise<void> {
    if (this.stopped) return
    this.stopped = true
    this.statsTimer?.cancel()
    this.options.captureTable?.connectTo(undefined)
    this.ads?.close()
    this.secretSources.close()
    this.extensions.close()
    await this.listeners.close(reset)
    this.clusters.close()
    this.dnsCaches.close()
    await this.admin?.close()
    await this.ownLogs?.close()
    this.settle(new Error('the proxy was stopped'))
  }
}

function adminAddressOf(bootstrap: Bootstrap): Address | undefined {
  const address = bootstrap.admin?.address?.address
  if (!address) return undefined
  if (address.case !== 'socketAddress' || address.value.portSpecifier.case === 'namedPort') {
    throw new Error('admin.address: only socket_address with port_value is supported')
  }
  return { ip: address.value.address, port: address.value.portSpecifier.value ?? 0 }
}
