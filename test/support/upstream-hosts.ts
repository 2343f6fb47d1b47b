import type { BalancerStats } from '../../src/proxy/upstream/balancers/balancer.ts'
import type { LoadBalancerContext } from '../../src/proxy/upstream/cluster.ts'
import {
  type AssignmentPolicy,
  buildPrioritySet,
  DEFAULT_POLICY,
  type HostSet,
} from '../../src/proxy/upstream/priority-set.ts'
import { type HostConfig, UpstreamHost } from '../../src/proxy/upstream/upstream-host.ts'

/** An endpoint's config: address 10.0.0.<n>:80 unless said otherwise. */
export function hostConfig(n: number, changes: Partial<HostConfig> = {}): HostConfig {
  return {
    address: { ip: `10.0.0.${n}`, port: 80 },
    pipe: undefined,
    hostname: '',
    metadata: new Map(),
    locality: { region: '', zone: '', subZone: '' },
    priority: 0,
    weight: 1,
    health: 0,
    ...changes,
  }
}

/** A host that has been there for long. */
export function host(n: number, changes: Partial<HostConfig> = {}): UpstreamHost {
  return new UpstreamHost(hostConfig(n, changes), -1e9)
}

export function prioritySet(hosts: readonly UpstreamHost[], policy: Partial<AssignmentPolicy> = {}): HostSet[] {
  return buildPrioritySet(hosts, { ...DEFAULT_POLICY, ...policy })
}

/** What a request without any wish asks for. */
export function lbContext(changes: Partial<LoadBalancerContext> = {}): LoadBalancerContext {
  return {
    hash: undefined,
    metadataMatch: undefined,
    downstream: undefined,
    headers: undefined,
    shouldSelectAnotherHost: () => false,
    hostSelectionRetryCount: 0,
    upstreamServerName: undefined,
    upstreamAlpn: undefined,
    overrideHost: undefined,
    ...changes,
  }
}

/** Counters that a test may read. */
export function balancerStats(): BalancerStats & { readonly panics: number } {
  const counter = () => ({
    value: 0,
    inc() {
      this.value++
    },
    set(n: number) {
      this.value = n
    },
  })
  const healthyPanic = counter()
  return {
    healthyPanic,
    gauge: () => counter(),
    requestsActive: counter(),
    recalculateZones: counter(),
    localClusterNotOk: counter(),
    zoneClusterTooSmall: counter(),
    zoneRoutingAllDirectly: counter(),
    zoneRoutingSampled: counter(),
    zoneRoutingCrossZone: counter(),
    zoneNoCapacityLeft: counter(),
    subsetsDuplicates: counter(),
    subsetsActive: counter(),
    subsetsCreated: counter(),
    subsetsRemoved: counter(),
    subsetsSelected: counter(),
    subsetsFallback: counter(),
    subsetsFallbackPanic: counter(),
    get panics() {
      return healthyPanic.value
    },
  }
}

/** How often each address was picked. */
export function tally(picks: number, pick: () => UpstreamHost | undefined): Record<string, number> {
  const counts: Record<string, number> = {}
  for (let i = 0; i < picks; i++) {
    const key = pick()?.key ?? 'none'
    counts[key] = (counts[key] ?? 0) + 1
  }
  return counts
}

export const NO_PANIC = { panicThreshold: 0, failTrafficOnPanic: false, localityWeighted: false }
export const DEFAULT_COMMON = { panicThreshold: 50, failTrafficOnPanic: false, localityWeighted: false }
