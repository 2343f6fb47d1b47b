import type { UpstreamHost } from './upstream-host.ts'

/** The hosts of one locality within a priority, in config order. */
export interface LocalityHosts {
  readonly all: readonly UpstreamHost[]
  readonly healthy: readonly UpstreamHost[]
  readonly degraded: readonly UpstreamHost[]
  readonly excluded: number
  /** load_balancing_weight of the locality; 0 when it has none. */
  readonly weight: number
}

/** A snapshot of one priority's hosts by health (source/common/upstream/upstream_impl.h HostSetImpl). */
export interface HostSet {
  readonly priority: number
  readonly all: readonly UpstreamHost[]
  readonly healthy: readonly UpstreamHost[]
  readonly degraded: readonly UpstreamHost[]
  readonly excluded: number
  /** One entry per locality, the proxy's own first, the others sorted by region, zone and sub zone. */
  readonly localities: readonly LocalityHosts[]
  /** The first locality is the proxy's own. */
  readonly hasLocal: boolean
  /** Whether any locality has a weight. */
  readonly weighted: boolean
  /** Percent; 140 by default. */
  readonly overprovisioningFactor: number
  readonly weightedPriorityHealth: boolean
}

/** What a load assignment says beside its hosts. */
export interface AssignmentPolicy {
  readonly overprovisioningFactor: number
  readonly weightedPriorityHealth: boolean
  /** Locality weights by priority and locality key. */
  readonly localityWeights: ReadonlyMap<string, number>
  /** Share of requests that are refused, 0 to 1. */
  readonly dropOverload?: number
}

/** The policy of a cluster whose assignment states none. */
export const DEFAULT_POLICY: AssignmentPolicy = {
  overprovisioningFactor: 140,
  weightedPriorityHealth: false,
  localityWeights: new Map(),
}

/** Key of a locality within a priority, for `AssignmentPolicy.localityWeights`. */
export function localityKey(priority: number, l: UpstreamHost['locality']): string {
  return `${priority}\0${l.region}\0${l.zone}\0${l.subZone}`
}

/** Sorts the hosts of one priority into a snapshot. Health is read now, once. */
export function buildHostSet(
  priority: number,
  hosts: readonly UpstreamHost[],
  policy: AssignmentPolicy,
  own?: UpstreamHost['locality'],
): HostSet {
  const byLocality = new Map<string, UpstreamHost[]>()
  for (const host of hosts) {
    const key = localityKey(priority, host.locality)
    const list = byLocality.get(key)
    if (list) list.push(host)
    else byLocality.set(key, [host])
  }
  let weighted = false
  const ownKey = own && localityKey(priority, own)
  const hasLocal = ownKey !== undefined && byLocality.has(ownKey)
  const others = [...byLocality.keys()].filter((key) => key !== ownKey).sort()
  const localities = (hasLocal ? [ownKey, ...others] : others).map((key) => {
    const all = byLocality.get(key)!
    const weight = policy.localityWeights.get(key)
    if (weight !== undefined) weighted = true
    return { ...byHealth(all), weight: weight ?? 0 }
  })
  return {
    priority,
    ...byHealth(hosts),
    localities,
    hasLocal,
    weighted,
    overprovisioningFactor: policy.overprovisioningFactor,
    weightedPriorityHealth: policy.weightedPriorityHealth,
  }
}

function byHealth(all: readonly UpstreamHost[]): Pick<HostSet, 'all' | 'healthy' | 'degraded' | 'excluded'> {
  return {
    all,
    healthy: all.filter((h) => h.healthy),
    degraded: all.filter((h) => h.degraded),
    excluded: all.reduce((n, h) => n + (h.excluded ? 1 : 0), 0),
  }
}

/** All priorities from 0 up, without gaps (a missing one is empty). */
export function buildPrioritySet(hosts: readonly UpstreamHost[], policy: AssignmentPolicy): HostSet[] {
  const highest = hosts.reduce((max, h) => Math.max(max, h.priority), 0)
  const lists: UpstreamHost[][] = Array.from({ length: highest + 1 }, () => [])
  for (const host of hosts) lists[host.priority]!.push(host)
  return lists.map((list, priority) => buildHostSet(priority, list, policy))
}
