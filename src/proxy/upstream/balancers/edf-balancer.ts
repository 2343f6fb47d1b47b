import type { Runtime } from '../../../runtime.ts'
import type { UpstreamHost } from '../upstream-host.ts'
import type { BalancerStats, CommonSettings } from './balancer.ts'
import { EdfScheduler } from './edf.ts'
import { type HostSource, HostSourceBalancer } from './host-source.ts'
import { inSlowStart, type SlowStart, slowStartFactor } from './slow-start.ts'

/** Per list of hosts: a scheduler when weights differ, else a rotating index. */
export interface EdfState {
  scheduler: EdfScheduler<UpstreamHost> | undefined
  readonly key: string
}

/**
 * Round robin and least request pick by an EDF schedule when weights differ or hosts start slowly
 * (load_balancer_impl.cc EdfLoadBalancerBase).
 */
export abstract class EdfBalancer extends HostSourceBalancer<EdfState> {
  protected readonly slowStart: SlowStart | undefined
  private readonly weigh = (host: UpstreamHost): number => this.hostWeight(host)

  constructor(runtime: Runtime, stats: BalancerStats, settings: CommonSettings, slowStart: SlowStart | undefined) {
    super(runtime, stats, settings)
    this.slowStart = slowStart
  }

  /** The weight that the schedule uses, before slow start. */
  protected abstract baseWeight(host: UpstreamHost): number
  protected abstract unweightedPick(hosts: readonly UpstreamHost[], key: string): UpstreamHost

  protected override stateFor(hosts: readonly UpstreamHost[], key: string): EdfState {
    return {
      scheduler: this.needsScheduler(hosts) ? EdfScheduler.withPicks(hosts, this.weigh, this.seed) : undefined,
      key,
    }
  }

  protected override pick(source: HostSource<EdfState>): UpstreamHost | undefined {
    const { scheduler } = source.state
    if (scheduler !== undefined) return scheduler.pickAndAdd(this.weigh)
    return source.hosts.length === 0 ? undefined : this.unweightedPick(source.hosts, source.state.key)
  }

  private needsScheduler(hosts: readonly UpstreamHost[]): boolean {
    if (hosts.length < 2) return false
    if (hosts.some((h) => h.weight !== hosts[0]!.weight)) return true
    const { slowStart } = this
    return slowStart !== undefined && hosts.some((h) => inSlowStart(h, slowStart, this.runtime))
  }

  private hostWeight(host: UpstreamHost): number {
    const weight = this.baseWeight(host)
    return this.slowStart === undefined ? weight : weight * slowStartFactor(host, this.slowStart, this.runtime)
  }
}
