import type { UpstreamHost } from '../upstream-host.ts'
import { EdfBalancer } from './edf-balancer.ts'

/** Round robin (source/extensions/load_balancing_policies/round_robin). The first host is random, the rest in turn. */
export class RoundRobin extends EdfBalancer {
  private readonly indexes = new Map<string, number>()

  protected override baseWeight(host: UpstreamHost): number {
    return host.weight
  }

  protected override unweightedPick(hosts: readonly UpstreamHost[], key: string): UpstreamHost {
    // The index outlives updates of the hosts, so that churn does not favour the first of the list.
    const index = this.indexes.get(key) ?? this.seed
    this.indexes.set(key, (index + 1) >>> 0)
    return hosts[index % hosts.length]!
  }
}
