import type { HostSet } from '../priority-set.ts'

/** How traffic divides over priorities; percentages that sum to 100 over both arrays (0 only with no hosts at all). */
export interface PriorityLoad {
  readonly healthy: readonly number[]
  readonly degraded: readonly number[]
  /** Priorities in panic: all their hosts are used. */
  readonly panic: readonly boolean[]
}

/**
 * source/extensions/load_balancing_policies/common/load_balancer_impl.cc, recalculatePerPriorityState and
 * recalculatePerPriorityPanic. `panicThreshold` in percent, 0 = never panic.
 */
export function computePriorityLoad(sets: readonly HostSet[], panicThreshold: number): PriorityLoad {
  const healthyPart: number[] = []
  const degradedPart: number[] = []
  for (const set of sets) {
    healthyPart.push(priorityAvailability(set, set.healthy))
    degradedPart.push(priorityAvailability(set, set.degraded))
  }
  const total = Math.min(100, sum(healthyPart) + sum(degradedPart))
  const healthy = sets.map(() => 0)
  const degraded = sets.map(() => 0)
  if (total === 0) {
    healthy[0] = 100
  } else {
    let remaining = 100
    remaining = distributeLoad(healthy, healthyPart, total, remaining)
    remaining = distributeLoad(degraded, degradedPart, total, remaining)
    // What integer division lost goes to the first level that has any host.
    const firstHealthy = healthyPart.findIndex((h) => h > 0)
    if (firstHealthy >= 0) healthy[firstHealthy]! += remaining
    else degraded[degradedPart.findIndex((d) => d > 0)]! += remaining
  }
  if (panicThreshold === 0 && total === 0) return { healthy, degraded, panic: sets.map(() => false) }
  const panic = sets.map((set) => total !== 100 && inPanic(set, panicThreshold))
  if (panic.every(Boolean)) {
    healthy.fill(0)
    degraded.fill(0)
    loadInTotalPanic(sets, healthy)
  }
  return { healthy, degraded, panic }
}

function sum(values: readonly number[]): number {
  return values.reduce((a, b) => a + b, 0)
}

/** The share of a priority's hosts that are in `part`, overprovisioned, at most 100. */
export function priorityAvailability(set: HostSet, part: HostSet['healthy']): number {
  if (set.weightedPriorityHealth) {
    const all = set.all.reduce((n, h) => n + (h.excluded ? 0 : h.weight), 0)
    const some = part.reduce((n, h) => n + h.weight, 0)
    return all === 0 ? 0 : Math.min(100, Math.floor((set.overprovisioningFactor * some) / all))
  }
  const count = set.all.length - set.excluded
  return count === 0 ? 0 : Math.min(100, Math.floor((set.overprovisioningFactor * part.length) / count))
}

/** Gives each level as much of what remains as its availability asks for; returns what is left. */
export function distributeLoad(load: number[], part: readonly number[], total: number, remaining: number): number {
  for (let i = 0; i < part.length; i++) {
    const more = Math.min(remaining, Math.floor((part[i]! * 100) / total))
    load[i]! += more
    remaining -= more
  }
  return remaining
}

/** Whether a priority has fewer usable hosts than the threshold (isHostSetInPanic). */
export function inPanic(set: HostSet, threshold: number): boolean {
  const count = set.all.length - set.excluded
  const usable = count === 0 ? 0 : (100 * (set.healthy.length + set.degraded.length)) / count
  return usable < Math.min(100, threshold)
}

function loadInTotalPanic(sets: readonly HostSet[], load: number[]): void {
  const hosts = sets.reduce((n, set) => n + set.all.length, 0)
  if (hosts === 0) {
    load[0] = 100
    return
  }
  let remaining = 100
  sets.forEach((set, i) => {
    load[i] = Math.floor((100 * set.all.length) / hosts)
    remaining -= load[i]!
  })
  load[sets.findIndex((set) => set.all.length > 0)]! += remaining
}

/**
 * The priority for a hash (choosePriority): healthy shares first, then degraded ones. A degraded choice is
 * answered as `-1 - priority`, so that nothing is allocated.
 */
export function choosePriority(load: PriorityLoad, hash: number): number {
  const point = (hash % 100) + 1
  let reached = 0
  for (let i = 0; i < load.healthy.length; i++) {
    reached += load.healthy[i]!
    if (point <= reached) return i
  }
  for (let i = 0; i < load.degraded.length; i++) {
    reached += load.degraded[i]!
    if (point <= reached) return -1 - i
  }
  return 0
}
