import type { Cluster, DynamicForward, LoadBalancerContext } from '../cluster.ts'
import type { Host } from '../host.ts'
import type { AssignmentPolicy } from '../priority-set.ts'
import type { HostConfig, UpstreamHost } from '../upstream-host.ts'

/** What a discovery tells its cluster. */
export interface DiscoverySink {
  setHosts(hosts: readonly HostConfig[], policy: AssignmentPolicy): void
  /** The first answer has come, or will not come: the cluster may serve. */
  discovered(): void
}

/** Finds the hosts of one cluster. */
export interface Discovery {
  start(): void
  stop(): void
  /** Only of clusters whose discovery picks the host itself. */
  chooseHost?(context: LoadBalancerContext): UpstreamHost | undefined
  /** The cluster that a host, chosen here, belongs to; undefined: this one. */
  ownerOf?(host: Host): Cluster | undefined
  /** Of dynamic forward proxies: what makes a name known. */
  readonly forward?: DynamicForward | undefined
}
