import type { Runtime } from '../../../runtime.ts'
import type { LoadBalancerContext } from '../cluster.ts'
import type { HostSet } from '../priority-set.ts'
import type { UpstreamHost } from '../upstream-host.ts'
import type { BalancerStats, CommonSettings, LoadBalancer } from './balancer.ts'
import { BoundedLoadTable } from './bounded-load.ts'
import { choosePriority, computePriorityLoad, type PriorityLoad } from './priority-load.ts'

/** A host and its share of all weight (the shares of a table sum to 1). */
export interface WeightedHost {
  readonly host: UpstreamHost
  readonly weight: number
}

/** A ring or table built for one priority. */
export interface HashTable {
  /** `attempt` 0 first; higher ones give another host where there is one. */
  choose(hash: bigint, attempt: number): UpstreamHost | undefined
  /** What the gauges `ring_hash_lb.*` and `maglev_lb.*` tell of it. */
  readonly shape?: Readonly<Record<string, number>>
}

/** The fewest and the most entries that a host has. */
export function extremes(counts: Iterable<number>): { readonly min: number; readonly max: number } {
  let min = Number.POSITIVE_INFINITY
  let max = 0
  for (const n of counts) {
    min = Math.min(min, n)
    max = Math.max(max, n)
  }
  return { min, max }
}

const EMPTY: HashTable = { choose: () => undefined }

/**
 * What ring hash and maglev have in common: a table per priority, the random host of a request without
 * hash (source/extensions/load_balancing_policies/common/thread_aware_lb_impl.cc).
 */
export class HashingBalancer implements LoadBalancer {
  private readonly runtime: Runtime
  private readonly stats: BalancerStats
  private readonly settings: CommonSettings
  private readonly build: (hosts: readonly WeightedHost[]) => HashTable
  private readonly balanceFactor: number
  private load: PriorityLoad = { healthy: [100], degraded: [0], panic: [false] }
  private tables: HashTable[] = []

  constructor(
    runtime: Runtime,
    stats: BalancerStats,
    settings: CommonSettings,
    build: (hosts: readonly WeightedHost[]) => HashTable,
    balanceFactor = 0,
  ) {
    this.runtime = runtime
    this.stats = stats
    this.settings = settings
    this.build = build
    this.balanceFactor = balanceFactor
  }

  update(sets: readonly HostSet[]): void {
    this.load = computePriorityLoad(sets, this.settings.panicThreshold)
    this.tables = sets.map((set, i) => {
      const weighted = normalizeWeights(set, this.load.panic[i]!, this.settings.localityWeighted)
      if (weighted.length === 0) return EMPTY
      const table = this.build(weighted)
      for (const name in table.shape) this.stats.gauge(name).set(table.shape[name]!)
      return this.balanceFactor === 0 ? table : new BoundedLoadTable(table, weighted, this.balanceFactor, this.stats)
    })
  }

  chooseHost(context: LoadBalancerContext): UpstreamHost | undefined {
    const hash = context.hash ?? (BigInt(this.runtime.randomU32()) << 32n) | BigInt(this.runtime.randomU32())
    const chosen = choosePriority(this.load, Number(hash % 100n))
    const priority = chosen < 0 ? -1 - chosen : chosen
    if (this.load.panic[priority]) this.stats.healthyPanic.inc()
    const table = this.tables[priority]
    let host: UpstreamHost | undefined
    for (let attempt = 0; attempt <= context.hostSelectionRetryCount; attempt++) {
      host = table?.choose(hash, attempt)
      if (host === undefined || !context.shouldSelectAnotherHost(host)) return host
    }
    return host
  }
}

/** The hosts in use with their shares, by host weight, or by locality and host weight (normalizeWeights). */
export function normalizeWeights(set: HostSet, panic: boolean, localityWeighted: boolean): WeightedHost[] {
  if (!localityWeighted || !set.weighted) return normalizeHostWeights(panic ? set.all : set.healthy, 1)
  // Unlike elsewhere, the weight of a locality is not lowered while some of its hosts are out.
  const sum = set.localities.reduce((n, l) => n + l.weight, 0)
  return set.localities.flatMap((l) =>
    l.weight === 0 ? [] : normalizeHostWeights(panic ? l.all : l.healthy, l.weight / sum),
  )
}

function normalizeHostWeights(hosts: readonly UpstreamHost[], share: number): WeightedHost[] {
  const sum = hosts.reduce((n, h) => n + h.weight, 0)
  return hosts.map((host) => ({ host, weight: (host.weight * share) / sum }))
}

/** What is hashed for a host: metadata `envoy.lb` `hash_key`, else its name or address. */
export function hashKey(host: UpstreamHost, useHostname: boolean): string {
  const key = host.metadata.get('envoy.lb')?.hash_key
  if (typeof key === 'string' && key !== '') return key
  return useHostname ? host.hostname : host.key
}
