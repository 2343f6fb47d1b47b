import type { LoadBalancerContext } from '../cluster.ts'
import type { HostSet } from '../priority-set.ts'
import type { UpstreamHost } from '../upstream-host.ts'
import type { ZoneSettings } from './zone-aware.ts'

/** Picks hosts; told of each new snapshot of the hosts. */
export interface LoadBalancer {
  /** The hosts, by priority, have changed; which priorities did is not told. */
  update(sets: readonly HostSet[]): void
  chooseHost(context: LoadBalancerContext): UpstreamHost | undefined
  /** It is not used any more. */
  close?(): void
}

/** Where a balancer counts (envoy/upstream/upstream.h ALL_CLUSTER_LB_STATS). */
export interface BalancerStats {
  readonly healthyPanic: { inc(): void }
  /** A gauge of one kind of balancer. */
  gauge(name: string): { set(n: number): void }
  /** Requests that the cluster has under way. */
  readonly requestsActive: { readonly value: number }
  readonly recalculateZones: { inc(): void }
  readonly localClusterNotOk: { inc(): void }
  readonly zoneClusterTooSmall: { inc(): void }
  readonly zoneRoutingAllDirectly: { inc(): void }
  readonly zoneRoutingSampled: { inc(): void }
  readonly zoneRoutingCrossZone: { inc(): void }
  readonly zoneNoCapacityLeft: { inc(): void }
  readonly subsetsActive: { set(n: number): void }
  readonly subsetsCreated: { inc(): void }
  readonly subsetsRemoved: { inc(): void }
  readonly subsetsSelected: { inc(): void }
  readonly subsetsFallback: { inc(): void }
  readonly subsetsFallbackPanic: { inc(): void }
  /** Hosts that share what should be theirs alone (`single_host_per_subset`). */
  readonly subsetsDuplicates: { set(n: number): void }
}

/** Settings that all balancers share. */
export interface CommonSettings {
  /** Percent; 0 = never panic. */
  readonly panicThreshold: number
  readonly failTrafficOnPanic: boolean
  readonly localityWeighted: boolean
  /** Undefined: as without configuration. */
  readonly zones?: ZoneSettings | undefined
}
