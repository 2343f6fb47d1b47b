import { equals, type Message } from '@bufbuild/protobuf'
import type { Cluster as ClusterProto } from '#gen/envoy/config/cluster/v3/cluster_pb.js'
import type { ClusterLoadAssignment } from '#gen/envoy/config/endpoint/v3/endpoint_pb.js'
import type { Runtime } from '../../runtime.ts'
import { schemaOf } from '../../xds/messages.ts'
import { ConfigError, type LogFiles } from '../context.ts'
import { Problems } from '../http/config.ts'
import type { AddressBook } from '../listener/connection.ts'
import { canSetProbes } from '../net/keep-alive.ts'
import type { Gauge, StatsStore } from '../observe/stats.ts'
import type { SecretProvider } from '../tls/secrets.ts'
import { type Assignment, compileAssignment } from './assignment.ts'
import type { ClusterManager } from './cluster.ts'
import { compileCluster } from './cluster-config.ts'
import type { ClusterDeps } from './cluster-deps.ts'
import { type ClusterDescription, describeCluster } from './describe.ts'
import { DnsCaches } from './discovery/dns-cache-config.ts'
import type { ClusterMaker } from './discovery/sub-clusters.ts'
import { LocalCluster } from './local-cluster.ts'
import type { OutlierEvent } from './outlier-detection.ts'
import { type Resolver, systemResolver } from './resolver.ts'
import { RuntimeCluster } from './runtime-cluster.ts'

/** What a cluster manager is built with. */
export interface ClusterManagerOptions {
  readonly runtime: Runtime
  readonly stats: StatsStore
  readonly book: AddressBook
  readonly secrets: SecretProvider
  /** Default: the system's. */
  readonly resolver?: Resolver | undefined
  /** Each ejection and its end, for the event log. */
  readonly onOutlier?: ((cluster: string, event: OutlierEvent) => void) | undefined
  /** Caches of names, shared with filters; own ones if left out. */
  readonly caches?: DnsCaches | undefined
  /** Where health checks log their events. */
  readonly logs?: LogFiles | undefined
  /** Where this proxy runs: its hosts come first, and zone-aware routing prefers them. */
  readonly locality?: { readonly region: string; readonly zone: string; readonly subZone: string } | undefined
  /** The static cluster that this proxy belongs to, for zone-aware routing. */
  readonly localClusterName?: string | undefined
  /** Told of config that is understood, but has no effect on this machine. */
  readonly notEnforced?: ((path: string) => void) | undefined
}

/** A cluster as config dumps show it. */
export interface ClusterEntry {
  readonly name: string
  readonly config: ClusterProto
  readonly version: string
  readonly dynamic: boolean
  readonly warming: boolean
  /** Wall clock, ms. */
  readonly updated: number
}

/** An EDS assignment as config dumps show it. */
export interface EndpointsEntry {
  readonly config: ClusterLoadAssignment
  readonly version: string
  /** Wall clock, ms. */
  readonly updated: number
}

interface Held {
  readonly cluster: RuntimeCluster
  readonly updated: number
}

/** Makes the cluster manager of a proxy. */
export function createClusterManager(options: ClusterManagerOptions): ClusterControl {
  return new ClusterControl(options)
}

/**
 * The clusters of a proxy: static ones, and what CDS and EDS bring (source/common/upstream/cluster_manager_impl.cc).
 * A changed cluster takes over once it is warm; until then the old one serves, and afterwards its
 * connections finish what they carry.
 */
export class ClusterControl implements ClusterManager, ClusterMaker {
  private readonly deps: ClusterDeps
  private readonly active = new Map<string, Held>()
  private readonly warming = new Map<string, Held>()
  private readonly assignments = new Map<string, EndpointsEntry & { compiled: Assignment }>()
  private readonly warmListeners = new Set<(name: string) => void>()
  private readonly edsListeners = new Set<(names: readonly string[]) => void>()
  private readonly activeGauge: Gauge
  private readonly warmingGauge: Gauge
  private edsWanted: readonly string[] = []
  /** Names of clusters that others made. */
  private readonly internal = new Set<string>()
  private sorted: readonly RuntimeCluster[] | undefined
  private readonly local: LocalCluster | undefined
  private readonly notEnforced: ((path: string) => void) | undefined

  constructor(options: ClusterManagerOptions) {
    const { stats } = options
    const counter = (name: string) => stats.counter(`cluster_manager.${name}`)
    for (const name of ['cluster_added', 'cluster_modified', 'cluster_removed']) counter(name)
    this.activeGauge = stats.gauge('cluster_manager.active_clusters')
    this.warmingGauge = stats.gauge('cluster_manager.warming_clusters')
    this.notEnforced = options.notEnforced
    this.local = options.localClusterName ? new LocalCluster(options.localClusterName) : undefined
    this.deps = {
      runtime: options.runtime,
      stats,
      book: options.book,
      secrets: options.secrets,
      resolver: options.resolver ?? systemResolver,
      onOutlier: options.onOutlier ?? (() => {}),
      logs: options.logs,
      locality: options.locality,
      local: this.local,
      caches: options.caches ?? new DnsCaches(options.runtime, stats, options.resolver ?? systemResolver),
      clusters: this,
      merge: {
        updated: counter('cluster_updated'),
        viaMerge: counter('cluster_updated_via_merge'),
        outOfWindow: counter('update_out_of_merge_window'),
        cancelled: counter('update_merge_cancelled'),
      },
    }
  }

  get(name: string): RuntimeCluster | undefined {
    return this.active.get(name)?.cluster
  }

  has(name: string): boolean {
    return this.active.has(name) || this.warming.has(name)
  }

  all(): readonly RuntimeCluster[] {
    this.sorted ??= [...this.active.values()]
      .map((h) => h.cluster)
      .sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0))
    return this.sorted
  }

  /** Adds clusters of the bootstrap. Throws ConfigError with the problems of all of them; none is added then. */
  addStatic(configs: readonly ClusterProto[]): void {
    const problems = new Problems()
    const names = new Set<string>()
    const made: RuntimeCluster[] = []
    for (const config of configs) {
      if (names.has(config.name))
        problems.add('static_resources.clusters', `cluster manager: duplicate cluster '${config.name}'`)
      names.add(config.name)
      const cluster = problems.collect('', () => this.create(config, '', false))
      if (cluster) made.push(cluster)
    }
    if (problems.errors.length > 0) {
      for (const cluster of made) cluster.close()
      problems.throwIfAny()
    }
    for (const cluster of made) {
      this.count('cluster_added')
      this.begin(cluster)
    }
    const { local } = this
    if (local !== undefined && !local.attached) throw new ConfigError([`local cluster '${local.name}' must be defined`])
  }

  /**
   * Takes a cluster from CDS; answers false when it is what is already there. Throws ConfigError when it is
   * refused: what was there stays.
   */
  addOrUpdate(config: ClusterProto, version: string): boolean {
    const current = (this.warming.get(config.name) ?? this.active.get(config.name))?.cluster
    if (current !== undefined) {
      if (!current.addedViaApi) return false
      if (equals(schemaOf(config.$typeName), current.config as Message, config as Message)) return false
    }
    const cluster = this.create(config, version, true)
    this.count(current === undefined ? 'cluster_added' : 'cluster_modified')
    this.begin(cluster)
    return true
  }

  /** Removes a cluster that CDS brought; false when there is none. */
  remove(name: string): boolean {
    if (this.internal.has(name)) return false
    let removed = false
    for (const map of [this.active, this.warming]) {
      const held = map.get(name)
      if (held === undefined || !held.cluster.addedViaApi) continue
      map.delete(name)
      held.cluster.close()
      removed = true
    }
    if (removed) {
      this.count('cluster_removed')
      this.changed()
    }
    return removed
  }

  /** Takes an EDS assignment, also of a name that no cluster asks for yet. Throws ConfigError; the last good one stays. */
  updateEndpoints(config: ClusterLoadAssignment, version: string): void {
    const problems = new Problems()
    const compiled = compileAssignment(config, false, `cluster_load_assignment '${config.clusterName}'`, problems)
    problems.throwIfAny()
    const updated = this.deps.runtime.wallNow()
    this.assignments.set(config.clusterName, { config, version, updated, compiled })
    for (const map of [this.active, this.warming])
      for (const { cluster } of [...map.values()])
        if (serviceName(cluster) === config.clusterName) cluster.updateEndpoints(compiled)
  }

  /** Names of the assignments that clusters, warming ones too, ask for; sorted. */
  edsNames(): readonly string[] {
    const names = new Set<string>()
    for (const map of [this.active, this.warming])
      for (const { cluster } of map.values()) {
        const name = serviceName(cluster)
        if (name !== undefined) names.add(name)
      }
    return [...names].sort()
  }

  /** Calls `fn` when `edsNames` has changed. */
  onEdsNames(fn: (names: readonly string[]) => void): void {
    this.edsListeners.add(fn)
  }

  /** Calls `fn` each time a cluster has become active. */
  onWarm(fn: (name: string) => void): { close(): void } {
    this.warmListeners.add(fn)
    return { close: () => this.warmListeners.delete(fn) }
  }

  /** Adds a cluster that another made; CDS cannot remove it. Throws ConfigError. */
  addInternal(config: ClusterProto): void {
    if (this.has(config.name)) return
    this.count('cluster_added')
    const cluster = this.create(config, '', true)
    this.internal.add(config.name)
    this.begin(cluster)
  }

  removeInternal(name: string): void {
    if (this.internal.delete(name)) this.remove(name)
  }

  /** Clusters that wait for endpoints, secrets or names; sorted. Empty: CDS may be acknowledged, listeners may start. */
  warmingNames(): readonly string[] {
    return [...this.warming.keys()].sort()
  }

  /** For config dumps: sorted by name, the warming version after the active one. */
  entries(): ClusterEntry[] {
    const of = (map: Map<string, Held>, warming: boolean) =>
      [...map.values()].map(({ cluster, updated }) => ({
        name: cluster.name,
        config: cluster.config,
        version: cluster.version,
        dynamic: cluster.addedViaApi,
        warming,
        updated,
      }))
    return [...of(this.active, false), ...of(this.warming, true)].sort((a, b) =>
      a.name < b.name ? -1 : a.name > b.name ? 1 : 0,
    )
  }

  /** EDS assignments in use, for config dumps; sorted by name. */
  endpoints(): EndpointsEntry[] {
    const wanted = new Set(this.edsNames())
    return [...this.assignments.values()]
      .filter((a) => wanted.has(a.config.clusterName))
      .sort((a, b) => (a.config.clusterName < b.config.clusterName ? -1 : 1))
  }

  /** What `/clusters` shows, in order of names. */
  describe(): ClusterDescription[] {
    return this.all().map(describeCluster)
  }

  /** Stops everything and closes all connections. */
  close(): void {
    for (const map of [this.active, this.warming]) for (const { cluster } of map.values()) cluster.destroy()
    this.active.clear()
    this.warming.clear()
    this.sorted = undefined
  }

  private create(config: ClusterProto, version: string, viaApi: boolean): RuntimeCluster {
    const settings = compileCluster(config, this.deps.runtime)
    if (settings.keepAlive?.stated && !canSetProbes())
      this.notEnforced?.('cluster.upstream_connection_options.tcp_keepalive: probes and interval, without koffi')
    if (config.waitForWarmOnInit === false) this.notEnforced?.('cluster.wait_for_warm_on_init')
    try {
      const cluster: RuntimeCluster = new RuntimeCluster(
        config,
        settings,
        this.local?.name === config.name ? { ...this.deps, local: undefined } : this.deps,
        { version, viaApi },
        (name) => this.assignments.get(name)?.compiled,
        () => this.activate(cluster),
      )
      if (this.local?.name === config.name) this.local.attach(cluster.hosts)
      return cluster
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error
      throw new ConfigError(error.errors.map((e) => `cluster '${config.name}': ${e}`))
    }
  }

  private begin(cluster: RuntimeCluster): void {
    this.warming.get(cluster.name)?.cluster.close()
    this.warming.set(cluster.name, { cluster, updated: this.deps.runtime.wallNow() })
    cluster.start()
    this.changed()
  }

  private activate(cluster: RuntimeCluster): void {
    const held = this.warming.get(cluster.name)
    if (held?.cluster !== cluster) return
    this.warming.delete(cluster.name)
    const before = this.active.get(cluster.name)
    this.active.set(cluster.name, held)
    before?.cluster.close()
    this.changed()
    for (const fn of this.warmListeners) fn(cluster.name)
  }

  private changed(): void {
    this.sorted = undefined
    this.activeGauge.set(this.active.size)
    this.warmingGauge.set(this.warming.size)
    const names = this.edsNames()
    if (names.length === this.edsWanted.length && names.every((n, i) => n === this.edsWanted[i])) return
    for (const name of this.edsWanted) if (!names.includes(name)) this.assignments.delete(name)
    this.edsWanted = names
    for (const fn of this.edsListeners) fn(names)
  }

  private count(name: string): void {
    this.deps.stats.counter(`cluster_manager.${name}`).inc()
  }
}

function serviceName(cluster: RuntimeCluster): string | undefined {
  const { discovery } = cluster.settings
  return discovery.type === 'eds' ? discovery.serviceName : undefined
}
