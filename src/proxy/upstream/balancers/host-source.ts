import type { Runtime } from '../../../runtime.ts'
import type { LoadBalancerContext } from '../cluster.ts'
import type { HostSet, LocalityHosts } from '../priority-set.ts'
import type { UpstreamHost } from '../upstream-host.ts'
import type { BalancerStats, CommonSettings, LoadBalancer } from './balancer.ts'
import { EdfScheduler } from './edf.ts'
import { choosePriority, computePriorityLoad, type PriorityLoad } from './priority-load.ts'
import {
  chooseZone,
  computeZoneRouting,
  DEFAULT_ZONES,
  type LocalHosts,
  localInPanic,
  type ZoneRouting,
} from './zone-aware.ts'

/** A list of hosts that one pick chooses from, with a subclass's state for it. */
export class HostSource<S> {
  readonly hosts: readonly UpstreamHost[]
  readonly state: S
  constructor(hosts: readonly UpstreamHost[], state: S) {
    this.hosts = hosts
    this.state = state
  }
}

interface PrioritySources<S> {
  all: HostSource<S>
  healthy: HostSource<S>
  degraded: HostSource<S>
  healthyLocalities: readonly HostSource<S>[]
  degradedLocalities: readonly HostSource<S>[]
  healthyScheduler: EdfScheduler<number> | undefined
  degradedScheduler: EdfScheduler<number> | undefined
  healthyWeights: readonly number[]
  degradedWeights: readonly number[]
}

/**
 * What round robin, random and least request have in common: first the priority, then panic, then the
 * locality (source/extensions/load_balancing_policies/common/load_balancer_impl.cc hostSourceToUse).
 */
export abstract class HostSourceBalancer<S> implements LoadBalancer {
  protected readonly runtime: Runtime
  protected readonly seed: number
  private readonly stats: BalancerStats
  private readonly settings: CommonSettings
  private load: PriorityLoad = { healthy: [100], degraded: [0], panic: [false] }
  private sources: PrioritySources<S>[] = []
  private sets: readonly HostSet[] = []
  private local: LocalHosts | undefined
  private detach: (() => void) | undefined
  /** How the first priority is routed by zone; undefined: it is not. */
  private zones: ZoneRouting | undefined

  constructor(runtime: Runtime, stats: BalancerStats, settings: CommonSettings) {
    this.runtime = runtime
    this.stats = stats
    this.settings = settings
    this.seed = runtime.randomU32()
  }

  /** State for a list of hosts; `key` is the same for the same list over updates. */
  protected abstract stateFor(hosts: readonly UpstreamHost[], key: string): S
  protected abstract pick(source: HostSource<S>, random: number): UpstreamHost | undefined

  update(sets: readonly HostSet[]): void {
    this.load = computePriorityLoad(sets, this.settings.panicThreshold)
    const before = this.sets
    // A priority that did not change goes on where it was in its turn.
    this.sources = sets.map((set, i) => (set === before[i] ? this.sources[i]! : this.sourcesOf(set)))
    this.sets = sets
    if (this.local !== undefined && before.length > 0 && sets[0] !== before[0]) this.computeZones()
  }

  /** Routes by zone, compared with these. Before the first update. */
  useLocal(local: LocalHosts): this {
    this.local = local
    this.detach = local.onChange(() => this.computeZones())
    return this
  }

  close(): void {
    this.detach?.()
  }

  private computeZones(): void {
    const set = this.sets[0]
    if (set === undefined || this.local === undefined) return
    this.zones = computeZoneRouting(set, this.local.hosts, this.settings.zones ?? DEFAULT_ZONES, this.stats)
  }

  chooseHost(context: LoadBalancerContext): UpstreamHost | undefined {
    let host: UpstreamHost | undefined
    for (let left = context.hostSelectionRetryCount; left >= 0; left--) {
      host = this.chooseOnce(context)
      if (host === undefined || !context.shouldSelectAnotherHost(host)) return host
    }
    return host
  }

  private chooseOnce(context: LoadBalancerContext): UpstreamHost | undefined {
    const random = this.runtime.randomU32()
    const load = context.retryPriority === undefined ? this.load : context.retryPriority.determine(this.sets, this.load)
    const chosen = choosePriority(load, random)
    const degraded = chosen < 0
    const priority = degraded ? -1 - chosen : chosen
    const sources = this.sources[priority]
    if (sources === undefined) return undefined
    if (this.load.panic[priority]) {
      this.stats.healthyPanic.inc()
      return this.settings.failTrafficOnPanic ? undefined : this.pick(sources.all, random)
    }
    if (this.settings.localityWeighted) {
      const scheduler = degraded ? sources.degradedScheduler : sources.healthyScheduler
      if (scheduler !== undefined && scheduler.size > 0) {
        const weights = degraded ? sources.degradedWeights : sources.healthyWeights
        const index = scheduler.pickAndAdd((i) => weights[i]!)!
        return this.pick((degraded ? sources.degradedLocalities : sources.healthyLocalities)[index]!, random)
      }
    }
    if (priority === 0 && this.zones !== undefined) {
      const source = this.zoneSource(this.zones, sources, degraded)
      return source === undefined ? undefined : this.pick(source, random)
    }
    return this.pick(degraded ? sources.degraded : sources.healthy, random)
  }

  /** Where zone-aware routing sends a request of the first priority. */
  private zoneSource(zones: ZoneRouting, sources: PrioritySources<S>, degraded: boolean): HostSource<S> | undefined {
    const everywhere = degraded ? sources.degraded : sources.healthy
    const enabled = this.settings.zones?.routingEnabled ?? 100
    if (enabled < 100 && this.runtime.randomU32() % 100 >= enabled) return everywhere
    if (localInPanic(this.local!.hosts, this.settings.panicThreshold)) {
      this.stats.localClusterNotOk.inc()
      return this.settings.failTrafficOnPanic ? undefined : everywhere
    }
    const index = chooseZone(zones, this.runtime, this.stats)
    return (degraded ? sources.degradedLocalities : sources.healthyLocalities)[index]
  }

  private sourcesOf(set: HostSet): PrioritySources<S> {
    const source = (hosts: readonly UpstreamHost[], kind: string) =>
      new HostSource(hosts, this.stateFor(hosts, `${set.priority}/${kind}`))
    const local = this.settings.localityWeighted && set.weighted
    const split = local || (this.local !== undefined && set.priority === 0)
    const healthyWeights = local ? set.localities.map((l) => localityWeight(l, l.healthy.length, set)) : []
    const degradedWeights = local ? set.localities.map((l) => localityWeight(l, l.degraded.length, set)) : []
    return {
      all: source(set.all, 'all'),
      healthy: source(set.healthy, 'healthy'),
      degraded: source(set.degraded, 'degraded'),
      healthyLocalities: split ? set.localities.map((l, i) => source(l.healthy, `healthy/${i}`)) : [],
      degradedLocalities: split ? set.localities.map((l, i) => source(l.degraded, `degraded/${i}`)) : [],
      healthyWeights,
      degradedWeights,
      healthyScheduler: this.localityScheduler(healthyWeights),
      degradedScheduler: this.localityScheduler(degradedWeights),
    }
  }

  private localityScheduler(weights: readonly number[]): EdfScheduler<number> | undefined {
    const usable = weights.map((_, i) => i).filter((i) => weights[i]! > 0)
    return usable.length > 0 ? EdfScheduler.withPicks(usable, (i) => weights[i]!, this.seed) : undefined
  }
}

/** A locality's weight, lowered by the share of its hosts that are out (effectiveLocalityWeight). */
function localityWeight(locality: LocalityHosts, usable: number, set: HostSet): number {
  const count = locality.all.length - locality.excluded
  if (count <= 0) return 0
  return locality.weight * Math.min(1, (set.overprovisioningFactor / 100) * (usable / count))
}
