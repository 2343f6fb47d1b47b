import type { Runtime, Timer } from '../../runtime.ts'
import type { LoadBalancer } from './balancers/balancer.ts'
import type { ClusterStats } from './cluster-stats.ts'
import { HostHealth } from './host.ts'
import { type AssignmentPolicy, buildHostSet, DEFAULT_POLICY, type HostSet } from './priority-set.ts'
import { type HostConfig, hostKey, UpstreamHost } from './upstream-host.ts'

/** Where the cluster manager counts how changes reached the balancers. */
export interface MergeStats {
  readonly updated: { inc(): void }
  readonly viaMerge: { inc(): void }
  readonly outOfWindow: { inc(): void }
  readonly cancelled: { inc(): void }
}

interface Delivery {
  last: number
  timer: Timer | undefined
}

/** Hosts that an update brought and took. */
export interface HostChanges {
  readonly added: readonly UpstreamHost[]
  readonly removed: readonly UpstreamHost[]
}

/**
 * The hosts of a cluster, and when its balancer learns of changes: at once when hosts come or go, else merged
 * within the window (source/common/upstream/cluster_manager_impl.cc scheduleUpdate).
 */
export class HostTable {
  private readonly runtime: Runtime
  private readonly stats: ClusterStats
  private readonly merge: MergeStats
  private readonly balancer: LoadBalancer | undefined
  /** ms; 0 = no merging. */
  private readonly window: number
  /** Where this proxy runs. */
  private readonly locality: UpstreamHost['locality'] | undefined
  private byPriority: UpstreamHost[][] = [[]]
  private byKey = new Map<string, UpstreamHost>()
  private policy: AssignmentPolicy = DEFAULT_POLICY
  /** What the balancer knows, by priority. */
  private delivered: HostSet[] = [buildHostSet(0, [], DEFAULT_POLICY)]
  private readonly deliveries: Delivery[] = []
  private serving = false
  private readonly listeners = new Set<() => void>()

  constructor(
    runtime: Runtime,
    stats: ClusterStats,
    merge: MergeStats,
    balancer: LoadBalancer | undefined,
    window: number,
    locality?: UpstreamHost['locality'],
  ) {
    this.runtime = runtime
    this.stats = stats
    this.merge = merge
    this.balancer = balancer
    this.window = window
    this.locality = locality
    balancer?.update(this.delivered)
  }

  /** The first priority, as balancers know it. */
  get first(): HostSet {
    return this.delivered[0]!
  }

  /** Calls `fn` each time that balancers learn of something; returns what stops that. */
  onDelivery(fn: () => void): () => void {
    this.listeners.add(fn)
    return () => this.listeners.delete(fn)
  }

  get all(): readonly UpstreamHost[] {
    return this.byPriority.length === 1 ? this.byPriority[0]! : this.byPriority.flat()
  }

  /** What the balancer knows; another array after each change. */
  get sets(): readonly HostSet[] {
    return this.delivered
  }

  get(key: string): UpstreamHost | undefined {
    return this.byKey.get(key)
  }

  /**
   * Replaces the hosts, keeping those whose address stays (and whose locality does: a host that moved is
   * another). The first entry of an address counts.
   */
  set(configs: readonly HostConfig[], policy: AssignmentPolicy): HostChanges {
    const before = this.byKey
    const beforePriorities = this.byPriority
    const added: UpstreamHost[] = []
    const byKey = new Map<string, UpstreamHost>()
    const byPriority: UpstreamHost[][] = Array.from(beforePriorities, () => [])
    const touched = new Set<number>()
    const changed = new Set<number>()
    for (const config of configs) {
      const key = hostKey(config)
      if (byKey.has(key)) continue
      let host = before.get(key)
      if (
        host !== undefined &&
        sameLocality(host, config) &&
        host.hostname === config.hostname &&
        sameCheck(host, config)
      ) {
        if (host.priority !== config.priority) touched.add(host.priority).add(config.priority)
        if (differs(host, config)) changed.add(config.priority)
        host.update(config)
      } else {
        host = new UpstreamHost(config, this.runtime.now())
        added.push(host)
        touched.add(host.priority)
      }
      byKey.set(key, host)
      while (byPriority.length <= host.priority) byPriority.push([])
      byPriority[host.priority]!.push(host)
    }
    const removed: UpstreamHost[] = []
    for (const [key, host] of before) {
      if (byKey.get(key) === host) continue
      removed.push(host)
      touched.add(host.priority)
    }
    const policyChanged = !samePolicy(this.policy, policy)
    this.byKey = byKey
    this.byPriority = byPriority
    this.policy = policy
    for (let p = 0; p < byPriority.length; p++) {
      if (touched.has(p) || p >= this.delivered.length) this.deliver(p, false)
      else if (changed.has(p) || policyChanged) this.deliver(p, true)
    }
    for (const _ of new Set([...added, ...removed].map((host) => host.priority))) this.stats.membershipChange.inc()
    this.refreshGauges()
    return { added, removed }
  }

  /** A host's health bit changed. */
  healthChanged(host: UpstreamHost): void {
    this.refreshGauges()
    if (this.byKey.get(host.key) === host) this.deliver(host.priority, true)
  }

  /**
   * The cluster begins to serve: from now on changes are counted and merged. `reload`: the health of hosts has
   * changed since they came.
   */
  begin(reload: boolean): void {
    this.serving = true
    if (!reload) return
    this.refreshGauges()
    for (let p = 0; p < this.byPriority.length; p++) this.deliverNow(p)
  }

  close(): void {
    for (const d of this.deliveries) d?.timer?.cancel()
    this.balancer?.close?.()
  }

  private deliver(priority: number, mergeable: boolean): void {
    if (!this.serving) {
      this.deliverNow(priority)
      return
    }
    if (this.window > 0 && this.postpone(priority, mergeable)) return
    this.merge.updated.inc()
    this.deliverNow(priority)
  }

  private postpone(priority: number, mergeable: boolean): boolean {
    const now = this.runtime.now()
    this.deliveries[priority] ??= { last: Number.NEGATIVE_INFINITY, timer: undefined }
    const d = this.deliveries[priority]
    const outside = now - d.last > this.window
    if (outside || !mergeable) {
      if (mergeable) this.merge.outOfWindow.inc()
      if (d.timer !== undefined) {
        this.merge.cancelled.inc()
        d.timer.cancel()
        d.timer = undefined
      }
      // The hosts that a cluster starts with are no change yet: the first change after them acts at once.
      if (mergeable || this.delivered[priority]?.all.length) d.last = now
      return false
    }
    d.timer ??= this.runtime.after(this.window, () => {
      d.timer = undefined
      d.last = this.runtime.now()
      this.merge.viaMerge.inc()
      this.deliverNow(priority)
    })
    return true
  }

  private deliverNow(priority: number): void {
    const sets = this.delivered.slice()
    while (sets.length < this.byPriority.length) sets.push(buildHostSet(sets.length, [], this.policy, this.locality))
    sets[priority] = buildHostSet(priority, this.byPriority[priority] ?? [], this.policy, this.locality)
    this.delivered = sets
    for (const fn of this.listeners) fn()
    this.balancer?.update(sets)
  }

  private refreshGauges(): void {
    let healthy = 0
    let degraded = 0
    let excluded = 0
    for (const host of this.byKey.values()) {
      if (host.healthy) healthy++
      if (host.degraded) degraded++
      if (host.excluded) excluded++
    }
    this.stats.membershipTotal.set(this.byKey.size)
    this.stats.membershipHealthy.set(healthy)
    this.stats.membershipDegraded.set(degraded)
    this.stats.membershipExcluded.set(excluded)
  }
}

const EDS_BITS = HostHealth.FAILED_EDS_HEALTH | HostHealth.DEGRADED_EDS_HEALTH | HostHealth.EDS_STATUS_DRAINING

function differs(host: UpstreamHost, config: HostConfig): boolean {
  return (
    host.weight !== config.weight ||
    (host.health & EDS_BITS) !== config.health ||
    JSON.stringify([...host.metadata]) !== JSON.stringify([...config.metadata])
  )
}

function sameLocality(host: UpstreamHost, config: HostConfig): boolean {
  const a = host.locality
  const b = config.locality
  return a.region === b.region && a.zone === b.zone && a.subZone === b.subZone
}

/** Where a host is checked belongs to its identity: with another place, what is known of it counts no more. */
function sameCheck(host: UpstreamHost, config: HostConfig): boolean {
  const [a, b] = [host.check, config.check]
  return (
    a === b ||
    (a?.disabled === b?.disabled && a?.address?.ip === b?.address?.ip && a?.address?.port === b?.address?.port)
  )
}

function samePolicy(a: AssignmentPolicy, b: AssignmentPolicy): boolean {
  return (
    a.overprovisioningFactor === b.overprovisioningFactor &&
    a.weightedPriorityHealth === b.weightedPriorityHealth &&
    a.localityWeights.size === b.localityWeights.size &&
    [...a.localityWeights].every(([key, weight]) => b.localityWeights.get(key) === weight)
  )
}
