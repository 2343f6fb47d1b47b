import type { Bootstrap } from '#gen/envoy/config/bootstrap/v3/bootstrap_pb.js'
import type { Cluster as ClusterProto } from '#gen/envoy/config/cluster/v3/cluster_pb.js'
import type { Node } from '#gen/envoy/config/core/v3/base_pb.js'
import type { TypedExtensionConfig } from '#gen/envoy/config/core/v3/extension_pb.js'
import type { ClusterLoadAssignment } from '#gen/envoy/config/endpoint/v3/endpoint_pb.js'
import type { Listener as ListenerProto } from '#gen/envoy/config/listener/v3/listener_pb.js'
import type { RouteConfiguration } from '#gen/envoy/config/route/v3/route_pb.js'
import type { Secret } from '#gen/envoy/extensions/transport_sockets/tls/v3/secret_pb.js'
import type { Runtime } from '../../runtime.ts'
import { AdsClient, type Subscription } from '../../xds/client.ts'
import type { TypeStats, Update } from '../../xds/client-type.ts'
import { make } from '../../xds/messages.ts'
import {
  CLUSTER_TYPE,
  ENDPOINT_TYPE,
  EXTENSION_TYPE,
  LISTENER_TYPE,
  ROUTE_TYPE,
  SECRET_TYPE,
} from '../../xds/resource-types.ts'
import type { AdsTransport } from '../../xds/stream.ts'
import type { RefusedCluster } from '../admin/view.ts'
import type { ExtensionSubscriptions } from '../ecds/subscriptions.ts'
import type { ListenerManager } from '../listener/listener-manager.ts'
import type { StatsStore } from '../observe/stats.ts'
import type { SecretStore } from '../tls/secrets.ts'
import type { ClusterControl } from '../upstream/cluster-manager.ts'
import { adsMode, isAds } from './ads-endpoint.ts'
import type { ClusterReadiness } from './cluster-readiness.ts'
import type { RouteTable } from './route-table.ts'

/** Everything that configuration from a control plane goes to. */
export interface AdsTargets {
  readonly runtime: Runtime
  readonly stats: StatsStore
  readonly node: Node
  readonly clusters: ClusterControl
  readonly readiness: ClusterReadiness
  readonly listeners: ListenerManager
  readonly routes: RouteTable
  readonly secrets: SecretStore
  readonly extensions: ExtensionSubscriptions
}

/**
 * Configuration from a control plane, in Envoy's order: clusters and their endpoints first, listeners once the
 * clusters are initialised, routes and secrets as listeners and clusters ask for them. A resource that cannot be
 * used makes a NACK with Envoy's words; the good ones of the same response are used all the same.
 */
export class Ads {
  private readonly client: AdsClient
  private readonly targets: AdsTargets
  private readonly usesCds: boolean
  private readonly usesLds: boolean
  private cds: Subscription | undefined
  private lds: Subscription | undefined
  private eds: Subscription | undefined
  private rds: Subscription | undefined
  private sds: Subscription | undefined
  private ecds: Subscription | undefined
  private readonly refused = new Map<string, RefusedCluster>()
  private clustersReady = false
  private listenersReady = false
  private readonly waiting: { clusters: (() => void)[]; listeners: (() => void)[] } = { clusters: [], listeners: [] }

  constructor(transport: AdsTransport, bootstrap: Bootstrap, targets: AdsTargets) {
    const dynamic = bootstrap.dynamicResources!
    const config = dynamic.adsConfig!
    this.targets = targets
    this.usesCds = isAds(dynamic.cdsConfig, 'bootstrap.dynamic_resources.cds_config')
    this.usesLds = isAds(dynamic.ldsConfig, 'bootstrap.dynamic_resources.lds_config')
    const timeout = (dynamic.cdsConfig ?? dynamic.ldsConfig)?.initialFetchTimeout
    const connected = targets.stats.gauge('control_plane.connected_state')
    this.client = new AdsClient({
      transport,
      runtime: targets.runtime,
      node: targets.node,
      mode: adsMode(config),
      setNodeOnFirstMessageOnly: config.setNodeOnFirstMessageOnly,
      ...(timeout ? { initialFetchTimeoutMs: Number(timeout.seconds) * 1000 + timeout.nanos / 1e6 } : {}),
      onState: (up) => connected.set(up ? 1 : 0),
    })
  }

  /** Opens the stream and asks for clusters, if they come this way. */
  start(): void {
    const { clusters, routes, secrets, extensions } = this.targets
    clusters.onEdsNames((names) => this.needEds(names))
    this.needEds(clusters.edsNames())
    secrets.onWanted((names) => this.needSds(names))
    this.needSds(secrets.wanted)
    routes.onWanted = (name, wanted) => this.needRoute(name, wanted)
    for (const name of routes.wanted) this.needRoute(name, true)
    extensions.onWanted = (name, wanted) => this.needExtension(name, wanted)
    for (const name of extensions.wanted) this.needExtension(name, true)
    if (this.usesCds) {
      this.cds = this.client.subscribe(CLUSTER_TYPE, '*', {
        onUpdate: (update) => this.onClusters(update),
        onFetchTimeout: () => this.clustersCame(),
        onUnreadable: () => this.clustersCame(),
      })
    } else {
      this.clustersCame()
    }
    this.client.start()
  }

  /** Calls `fn` once the first clusters have come, or do not come this way; they may still be warming. */
  whenClusters(fn: () => void): void {
    if (this.clustersReady) fn()
    else this.waiting.clusters.push(fn)
  }

  /** Asks for listeners; `fn` is called once the first ones have come, or do not come this way. */
  startListeners(fn: () => void): void {
    if (!this.usesLds || this.lds) {
      fn()
      return
    }
    this.waiting.listeners.push(fn)
    this.lds = this.client.subscribe(LISTENER_TYPE, '*', {
      onUpdate: (update) => this.onListeners(update),
      onFetchTimeout: () => this.listenersCame(),
      onUnreadable: () => this.listenersCame(),
    })
  }

  private clustersCame(): void {
    this.clustersReady = true
    for (const fn of this.waiting.clusters.splice(0)) fn()
  }

  private listenersCame(): void {
    this.listenersReady = true
    for (const fn of this.waiting.listeners.splice(0)) fn()
  }

  private onClusters(update: Update): string[] {
    const { clusters, readiness, runtime } = this.targets
    const problems: string[] = []
    for (const { name, version, resource } of update.added) {
      try {
        clusters.addOrUpdate(resource as ClusterProto, version || update.version)
        this.refused.delete(name)
      } catch (error) {
        const details = messageOf(error)
        problems.push(`${name}: ${details}`)
        const attempted = runtime.wallNow()
        this.refused.set(name, { name, message: resource, details, attempted, version: version || update.version })
      }
    }
    for (const name of update.removed) {
      clusters.remove(name)
      this.refused.delete(name)
    }
    readiness.check()
    const started = this.clustersReady
    this.clustersCame()
    if (problems.length > 0) return [`Error adding/updating cluster(s) ${problems.join(', ')}`]
    if (started && !readiness.ready) {
      const answer = update.hold()
      readiness.whenReady(() => answer())
    }
    return []
  }

  /** Clusters whose last config was refused, for admin. */
  refusedClusters(): readonly RefusedCluster[] {
    return [...this.refused.values()]
  }

  private onListeners(update: Update): string[] {
    const { listeners } = this.targets
    for (const name of update.removed) listeners.remove(name)
    let problems = ''
    for (const { name, version, resource } of update.added) {
      try {
        listeners.addOrUpdate(resource as ListenerProto, version || update.version, true)
      } catch (error) {
        problems += `${name}: ${messageOf(error)}\n`
      }
    }
    this.listenersCame()
    const refusal = (words: string) => (words === '' ? [] : [`Error adding/updating listener(s) ${words}`])
    const bindings = listeners.bindings()
    if (!bindings) return refusal(problems)
    // Whether a port is free is known a moment later only.
    const answer = update.hold()
    void bindings.then((failed) =>
      answer(refusal(problems + failed.map(([name, why]) => `${name}: ${why}\n`).join(''))),
    )
    return []
  }

  private needEds(names: readonly string[]): void {
    const { clusters } = this.targets
    if (!this.eds) {
      if (names.length === 0) return
      this.eds = this.client.subscribe(ENDPOINT_TYPE, names, {
        onUpdate: (update) =>
          collect(update.added, (resource, version) =>
            clusters.updateEndpoints(resource as ClusterLoadAssignment, version || update.version),
          ),
        // A cluster whose endpoints do not come is used without any.
        onFetchTimeout: (late) => {
          for (const clusterName of late) {
            clusters.updateEndpoints(make('envoy.config.endpoint.v3.ClusterLoadAssignment', { clusterName }), '')
          }
        },
      })
      return
    }
    this.adjust(this.eds, names)
  }

  private needSds(names: readonly string[]): void {
    const { secrets } = this.targets
    if (!this.sds) {
      if (names.length === 0) return
      this.sds = this.client.subscribe(SECRET_TYPE, names, {
        onUpdate: (update) => {
          const errors = collect(update.added, (resource, version) => {
            try {
              secrets.set(resource as Secret, version || update.version)
            } catch (error) {
              // Nobody is to wait for one that cannot be used.
              secrets.absent((resource as Secret).name)
              throw error
            }
          })
          for (const name of update.removed) secrets.absent(name)
          return errors
        },
      })
      return
    }
    this.adjust(this.sds, names)
  }

  private readonly asked = new Map<Subscription, Set<string>>()

  private adjust(subscription: Subscription, names: readonly string[]): void {
    const before = this.asked.get(subscription) ?? new Set([...subscription.held.keys()])
    const now = new Set(names)
    subscription.add(names)
    subscription.remove([...before].filter((name) => !now.has(name)))
    this.asked.set(subscription, now)
  }

  private needRoute(name: string, wanted: boolean): void {
    const { routes } = this.targets
    if (!this.rds) {
      if (!wanted) return
      this.rds = this.client.subscribe(ROUTE_TYPE, [name], {
        onUpdate: (update) =>
          collect(update.added, (resource, version) =>
            routes.set(resource as RouteConfiguration, version || update.version),
          ),
        onUnreadable: () => routes.unreadable(),
      })
      return
    }
    if (wanted) this.rds.add([name])
    else this.rds.remove([name])
  }

  /** Configs of filters: how long each is waited for is theirs to know. */
  private needExtension(name: string, wanted: boolean): void {
    const { extensions } = this.targets
    if (!this.ecds) {
      if (!wanted) return
      this.ecds = this.client.subscribe(EXTENSION_TYPE, [name], {
        onUpdate: (update) => {
          const errors = collect(update.added, (resource, version) =>
            extensions.set(resource as TypedExtensionConfig, version || update.version),
          )
          for (const gone of update.removed) extensions.remove(gone)
          if (errors.length > 0) extensions.rejected()
          return errors
        },
        onUnreadable: () => extensions.rejected(),
      })
      return
    }
    if (wanted) this.ecds.add([name])
    else this.ecds.remove([name])
  }

  get cdsVersion(): string {
    return this.cds?.stats.version ?? ''
  }

  get ldsVersion(): string {
    return this.lds?.stats.version ?? ''
  }

  /** True once the first listeners have come. */
  get initialised(): boolean {
    return this.clustersReady && (this.listenersReady || !this.usesLds)
  }

  /** Copies the counters of the subscriptions into the proxy's, under Envoy's names. */
  publishStats(): void {
    const { stats } = this.targets
    const publish = (prefix: string, from: Readonly<TypeStats> | undefined) => {
      if (!from) return
      stats.counter(`${prefix}.update_attempt`).value = from.updateAttempt
      stats.counter(`${prefix}.update_success`).value = from.updateSuccess
      stats.counter(`${prefix}.update_rejected`).value = from.updateRejected
      stats.counter(`${prefix}.update_failure`).value = from.updateFailure
      stats.counter(`${prefix}.init_fetch_timeout`).value = from.initFetchTimeout
      stats.gauge(`${prefix}.update_time`).set(from.updateTime)
    }
    publish('cluster_manager.cds', this.cds?.stats)
    publish('listener_manager.lds', this.lds?.stats)
  }

  close(): void {
    this.client.close()
  }
}

/** Applies each resource; what one is refused for does not keep the others from being used. */
function collect(
  resources: Update['added'],
  apply: (resource: Update['added'][number]['resource'], version: string) => void,
): string[] {
  const errors: string[] = []
  for (const { version, resource } of resources) {
    try {
      apply(resource, version)
    } catch (error) {
      errors.push(messageOf(error))
    }
  }
  return errors
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
