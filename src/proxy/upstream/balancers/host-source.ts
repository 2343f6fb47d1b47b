import type { Runtime } from '../../../runtime.ts'
import type { LoadBalancerContext } from '../cluster.ts'
import type { HostSet, LocalityHosts } from '../priority-set.ts'
import type { UpstreamHost } from '../upstream-host.ts'
import type { BalancerStats, CommonSettings, LoadBalancer } from './balancer.ts'
import { EdfScheduler } from './edf.ts'
import { choosePriority, computePriorityLoad, type PriorityLoad } from './priority-load.ts'

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
    this.sources = sets.map((set) => this.sourcesOf(set))
  }

  chooseHost(context: LoadBalancerContext): UpstreamHost | undefined {
    let host: UpstreamHost | undefined
    for (let left = context.hostSelectionRetryCount; left >= 0; left--) {
      host = this.chooseOnce()
      if (host === undefined || !context.shouldSelectAnotherHost(host)) return host
    }
    return host
  }

  private chooseOnce(): UpstreamHost | undefined {
    const random = this.runtime.randomU32()
    const chosen = choosePriority(this.load, random)
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
    return this.pick(degraded ? sources.degraded : sources.healthy, random)
  }

  private sourcesOf(set: HostSet): PrioritySources<S> {
    const source = (hosts: readonly UpstreamHost[], kind: string) =>
      new HostSource(hosts, this.stateFor(hosts, `${set.priority}/${kind}`))
    const local = this.settings.localityWeighted && set.weighted
    const healthyWeights = local ? set.localities.map((l) => localityWeight(l, l.healthy.length, set)) : []
    const degradedWeights = local ? set.localities.map((l) => localityWeight(l, l.degraded.length, set)) : []
    return {
      all: source(set.all, 'all'),
      healthy: source(set.healthy, 'healthy'),
      degraded: source(set.degraded, 'degraded'),
      healthyLocalities: local ? set.localities.map((l, i) => source(l.healthy, `healthy/${i}`)) : [],
      degradedLocalities: local ? set.localities.map((l, i) => source(l.degraded, `degraded/${i}`)) : [],
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
