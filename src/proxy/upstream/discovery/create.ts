import type { Cluster as ClusterProto } from '#gen/envoy/config/cluster/v3/cluster_pb.js'
import type { Runtime } from '../../../runtime.ts'
import type { Assignment } from '../assignment.ts'
import type { ClusterSettings } from '../cluster-config.ts'
import type { ClusterStats } from '../cluster-stats.ts'
import type { Resolver } from '../resolver.ts'
import { AggregateDiscovery } from './aggregate.ts'
import type { Discovery } from './discovery.ts'
import { DnsDiscovery } from './dns.ts'
import type { DnsCaches } from './dns-cache-config.ts'
import { nameServerResolver } from './dns-servers.ts'
import { DynamicForwardProxyDiscovery } from './dynamic-forward-proxy.ts'
import { EdsDiscovery } from './eds.ts'
import { OriginalDstDiscovery, type OriginalDstHosts } from './original-dst.ts'
import { type ClusterMaker, SubClusterDiscovery } from './sub-clusters.ts'

/** What discoveries need of the proxy. */
export interface DiscoveryDeps {
  readonly runtime: Runtime
  readonly resolver: Resolver
  readonly caches: DnsCaches
  /** The clusters of the proxy, for those that are made of others. */
  readonly clusters: ClusterMaker
}

/** What discoveries need of their cluster. */
export interface DiscoveryOwner extends OriginalDstHosts {
  readonly settings: ClusterSettings
  readonly config: ClusterProto
  readonly stats: ClusterStats
  /** Hosts of which nothing is known are spoken to by TLS. */
  readonly secure: boolean
}

/**
 * Makes what finds the hosts of a cluster; undefined: they stand in its config. `known`: the EDS assignment of a name,
 * if it has come. Throws ConfigError.
 */
export function createDiscovery(
  cluster: DiscoveryOwner,
  deps: DiscoveryDeps,
  known: (serviceName: string) => Assignment | undefined,
): Discovery | undefined {
  const { settings, stats } = cluster
  const { runtime } = deps
  const { discovery } = settings
  switch (discovery.type) {
    case 'static':
      return undefined
    case 'eds':
      return new EdsDiscovery(discovery, runtime, stats, cluster, () => known(discovery.serviceName))
    case 'original-dst':
      return new OriginalDstDiscovery(discovery, runtime, stats, cluster)
    case 'dynamic-forward-proxy': {
      const cache = deps.caches.get(discovery.cache, 'cluster_type.typed_config.dns_cache_config')
      return new DynamicForwardProxyDiscovery(cache, cluster.secure, cluster)
    }
    case 'sub-clusters':
      return new SubClusterDiscovery(
        discovery.settings,
        cluster.config,
        cluster.secure,
        deps.clusters,
        runtime,
        cluster,
      )
    case 'aggregate': {
      const find = (name: string) => deps.clusters.get(name)
      return new AggregateDiscovery(discovery.clusters, discovery.panicThreshold, find, runtime, cluster)
    }
    default: {
      const resolver = discovery.servers ? nameServerResolver(discovery.servers) : deps.resolver
      return new DnsDiscovery(discovery, settings.assignment, runtime, stats, resolver, cluster)
    }
  }
}
