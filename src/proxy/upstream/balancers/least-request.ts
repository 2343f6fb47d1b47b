import type { Runtime } from '../../../runtime.ts'
import type { UpstreamHost } from '../upstream-host.ts'
import type { BalancerStats, CommonSettings } from './balancer.ts'
import { EdfBalancer } from './edf-balancer.ts'
import type { SlowStart } from './slow-start.ts'

/** Settings of least request. */
export interface LeastRequestSettings {
  /** Random draws per pick, at least 2. */
  readonly choices: number
  /** How strongly active requests count against a weight; 0 makes it weighted round robin. */
  readonly bias: number
  /** Compare all hosts instead of drawing. */
  readonly fullScan: boolean
  readonly slowStart: SlowStart | undefined
}

/** Least request (source/extensions/load_balancing_policies/least_request). */
export class LeastRequest extends EdfBalancer {
  private readonly choices: number
  private readonly bias: number
  private readonly fullScan: boolean

  constructor(runtime: Runtime, stats: BalancerStats, settings: CommonSettings, own: LeastRequestSettings) {
    super(runtime, stats, settings, own.slowStart)
    this.choices = own.choices
    this.bias = own.bias
    this.fullScan = own.fullScan
  }

  protected override baseWeight(host: UpstreamHost): number {
    if (this.bias === 0) return host.weight
    const active = host.stats.rqActive.value + 1
    return host.weight / (this.bias === 1 ? active : active ** this.bias)
  }

  protected override unweightedPick(hosts: readonly UpstreamHost[]): UpstreamHost {
    return this.fullScan ? this.scan(hosts) : this.draw(hosts)
  }

  /** Draws with replacement; the one with fewer active requests wins, the earlier draw on a tie. */
  private draw(hosts: readonly UpstreamHost[]): UpstreamHost {
    let best = hosts[this.runtime.randomU32() % hosts.length]!
    for (let i = 1; i < this.choices; i++) {
      const other = hosts[this.runtime.randomU32() % hosts.length]!
      if (other.stats.rqActive.value < best.stats.rqActive.value) best = other
    }
    return best
  }

  /** The least active of all; ties are broken at random, each alike. */
  private scan(hosts: readonly UpstreamHost[]): UpstreamHost {
    let best = hosts[0]!
    let ties = 1
    for (let i = 1; i < hosts.length; i++) {
      const other = hosts[i]!
      const difference = other.stats.rqActive.value - best.stats.rqActive.value
      if (difference < 0) {
        best = other
        ties = 1
      } else if (difference === 0 && this.runtime.randomU32() % ++ties === 0) best = other
    }
    return best
  }
}
