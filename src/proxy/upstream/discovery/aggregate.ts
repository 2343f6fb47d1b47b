import type { Runtime } from '../../../runtime.ts'
import { choosePriority, computePriorityLoad, type PriorityLoad } from '../balancers/priority-load.ts'
import type { Cluster, LoadBalancerContext, RetryPriority } from '../cluster.ts'
import type { Host } from '../host.ts'
import type { HostSet } from '../priority-set.ts'
import type { UpstreamHost } from '../upstream-host.ts'
import type { Discovery, DiscoverySink } from './discovery.ts'

/** A cluster that others pick from. */
export interface PickableCluster extends Cluster {
  /** What its balancer knows, by priority; another array after each change. */
  readonly hostSets: readonly HostSet[]
  /** As `chooseHost`, without counting that there is none. */
  pick(context: LoadBalancerContext): UpstreamHost | undefined
}

/** A priority of the whole: which cluster's, and which of its priorities. */
interface Level {
  readonly cluster: PickableCluster
  readonly priority: number
}

/**
 * The priorities of several clusters in a row, as one (source/extensions/clusters/aggregate/cluster.cc): the first that
 * is healthy enough serves, through the balancer of its own cluster.
 */
export class AggregateDiscovery implements Discovery {
  private readonly names: readonly string[]
  private readonly panicThreshold: number
  private readonly find: (name: string) => PickableCluster | undefined
  private readonly runtime: Runtime
  private readonly sink: DiscoverySink
  private readonly owners = new WeakMap<Host, Cluster>()
  /** What the levels were computed from. */
  private seen: readonly (readonly HostSet[] | undefined)[] = []
  private sets: readonly HostSet[] = []
  private levels: readonly Level[] = []
  private load: PriorityLoad | undefined

  constructor(
    names: readonly string[],
    panicThreshold: number,
    find: (name: string) => PickableCluster | undefined,
    runtime: Runtime,
    sink: DiscoverySink,
  ) {
    this.names = names
    this.panicThreshold = panicThreshold
    this.find = find
    this.runtime = runtime
    this.sink = sink
  }

  start(): void {
    this.sink.discovered()
  }

  stop(): void {}

  chooseHost(context: LoadBalancerContext): UpstreamHost | undefined {
    this.refresh()
    const { load } = this
    if (load === undefined) return undefined
    const asked = context.retryPriority === undefined ? load : context.retryPriority.determine(this.sets, load)
    const chosen = choosePriority(asked, this.runtime.randomU32())
    const level = this.levels[chosen < 0 ? -1 - chosen : chosen]
    if (level === undefined) return undefined
    const host = level.cluster.pick(new LevelContext(context, level.priority, chosen < 0))
    if (host !== undefined) this.owners.set(host, level.cluster)
    return host
  }

  ownerOf(host: Host): Cluster | undefined {
    return this.owners.get(host)
  }

  /** Computes the levels again when a cluster has come or gone, or its hosts have changed. */
  private refresh(): void {
    const clusters = this.names.map((name) => this.find(name))
    if (clusters.length === this.seen.length && clusters.every((c, i) => c?.hostSets === this.seen[i])) return
    this.seen = clusters.map((c) => c?.hostSets)
    const levels: Level[] = []
    const sets: HostSet[] = []
    for (const cluster of clusters) {
      cluster?.hostSets.forEach((set, priority) => {
        // A priority without hosts is no level: it would only take load that nobody could serve.
        if (set.all.length === 0) return
        levels.push({ cluster, priority })
        sets.push({ ...set, priority: sets.length })
      })
    }
    this.levels = levels
    this.sets = sets
    this.load = levels.length === 0 ? undefined : computePriorityLoad(sets, this.panicThreshold)
  }
}

/** Leads the balancer of a cluster to one of its priorities, whatever it would choose itself. */
class LevelContext implements LoadBalancerContext {
  readonly hash: LoadBalancerContext['hash']
  readonly metadataMatch: LoadBalancerContext['metadataMatch']
  readonly downstream: LoadBalancerContext['downstream']
  readonly headers: LoadBalancerContext['headers']
  readonly hostSelectionRetryCount: number
  readonly upstreamServerName: string | undefined
  readonly upstreamAlpn: LoadBalancerContext['upstreamAlpn']
  readonly overrideHost: string | undefined
  readonly retryPriority: RetryPriority
  private readonly outer: LoadBalancerContext

  constructor(outer: LoadBalancerContext, priority: number, degraded: boolean) {
    this.outer = outer
    this.hash = outer.hash
    this.metadataMatch = outer.metadataMatch
    this.downstream = outer.downstream
    this.headers = outer.headers
    this.hostSelectionRetryCount = outer.hostSelectionRetryCount
    this.upstreamServerName = outer.upstreamServerName
    this.upstreamAlpn = outer.upstreamAlpn
    this.overrideHost = outer.overrideHost
    this.retryPriority = {
      determine: (sets, original) => {
        const only = sets.map((_, p) => (p === priority ? 100 : 0))
        const none = sets.map(() => 0)
        return { healthy: degraded ? none : only, degraded: degraded ? only : none, panic: original.panic }
      },
    }
  }

  shouldSelectAnotherHost(host: Host): boolean {
    return this.outer.shouldSelectAnotherHost(host)
  }
}
