import type { Runtime } from '../../../runtime.ts'
import type { HostSet, LocalityHosts } from '../priority-set.ts'
import type { UpstreamHost } from '../upstream-host.ts'
import type { BalancerStats } from './balancer.ts'
import { inPanic } from './priority-load.ts'

/** The hosts of the proxy's own cluster (`local_cluster_name`), which zone-aware routing compares an upstream with. */
export interface LocalHosts {
  /** What the balancers know of it. */
  readonly hosts: HostSet
  /** Calls `fn` on each change; returns what stops that. */
  onChange(fn: () => void): () => void
}

/** zone_aware_lb_config, compiled. */
export interface ZoneSettings {
  readonly minClusterSize: number
  /** Percent of the requests that are routed by zone. */
  readonly routingEnabled: number
}

/** Without configuration. */
export const DEFAULT_ZONES: ZoneSettings = {
  minClusterSize: 6,
  routingEnabled: 100,
}

/** How requests divide over the localities of a priority: all to the own one, or a part of them (both in 1/10000). */
export interface ZoneRouting {
  readonly direct: boolean
  readonly localPercent: number
  /** Running sums of what each locality has left. */
  readonly residual: readonly number[]
}

/**
 * Computes the routing for the first priority of an upstream; undefined: localities play no part
 * (load_balancer_impl.cc regenerateLocalityRoutingStructures).
 */
export function computeZoneRouting(
  set: HostSet,
  local: HostSet,
  settings: ZoneSettings,
  stats: BalancerStats,
): ZoneRouting | undefined {
  inEachThread(stats.recalculateZones)
  const { localities } = set
  if (localities.length < 2 || local.localities.length < 2) return undefined
  if (!local.hasLocal || local.localities[0]!.all.length === 0) {
    inEachThread(stats.localClusterNotOk)
    return undefined
  }
  if (set.healthy.length < settings.minClusterSize) {
    inEachThread(stats.zoneClusterTooSmall)
    return undefined
  }
  const shares = sharesOf(localities, local.localities)
  const own = shares[0]!
  if (set.hasLocal && own.upstream > 0 && own.upstream >= own.local)
    return { direct: true, localPercent: 0, residual: [] }
  let sum = 0
  const residual = shares.map(({ upstream, local: mine }, i) => {
    // The own locality has been given all that it can take.
    if (!(i === 0 && set.hasLocal) && upstream > mine) sum += upstream - mine
    return sum
  })
  const localPercent = set.hasLocal && own.local > 0 ? Math.floor((own.upstream * 10_000) / own.local) : 0
  return { direct: false, localPercent, residual }
}

/** Envoy's main thread has balancers of its own, which count their updates beside the worker's. */
function inEachThread(counter: { inc(): void }): void {
  counter.inc()
  counter.inc()
}

/** The index of the locality that the next request goes to (tryChooseLocalLocalityHosts). */
export function chooseZone(routing: ZoneRouting, runtime: Runtime, stats: BalancerStats): number {
  if (routing.direct) {
    stats.zoneRoutingAllDirectly.inc()
    return 0
  }
  if (runtime.randomU32() % 10_000 < routing.localPercent) {
    stats.zoneRoutingSampled.inc()
    return 0
  }
  stats.zoneRoutingCrossZone.inc()
  const { residual } = routing
  const left = residual.at(-1)!
  if (left === 0) {
    stats.zoneNoCapacityLeft.inc()
    return runtime.randomU32() % residual.length
  }
  const threshold = runtime.randomU32() % left
  return residual.findIndex((sum) => threshold < sum)
}

/** Whether too many of the proxy's own cluster are out for comparisons to mean anything. */
export function localInPanic(local: HostSet, panicThreshold: number): boolean {
  return inPanic(local, panicThreshold)
}

interface Shares {
  readonly local: number
  readonly upstream: number
}

/** What share of the healthy hosts each upstream locality has, here and there, in 1/10000. */
function sharesOf(upstream: readonly LocalityHosts[], local: readonly LocalityHosts[]): Shares[] {
  const total = (all: readonly LocalityHosts[]) => all.reduce((n, l) => n + l.healthy.length, 0)
  const [upstreamTotal, localTotal] = [total(upstream), total(local)]
  const share = (part: number, of: number) => (of === 0 ? 0 : Math.floor((10_000 * part) / of))
  return upstream.map(({ healthy }) => {
    if (healthy.length === 0) return { local: 0, upstream: 0 }
    const same = local.find((l) => l.healthy.length > 0 && sameLocality(l.healthy[0]!, healthy[0]!))
    return {
      local: share(same?.healthy.length ?? 0, localTotal),
      upstream: share(healthy.length, upstreamTotal),
    }
  })
}

function sameLocality(a: UpstreamHost, b: UpstreamHost): boolean {
  const [x, y] = [a.locality, b.locality]
  return x.region === y.region && x.zone === y.zone && x.subZone === y.subZone
}
