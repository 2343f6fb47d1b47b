import type { VirtualCluster as VirtualClusterProto } from '#gen/envoy/config/route/v3/route_components_pb.js'
import type { StatsStore } from '../../observe/stats.ts'
import type { Problems } from '../config.ts'
import type { RequestHead } from '../headers.ts'
import { compileHeaderMatchers, type HeaderMatcher, matchAll } from './header-matcher.ts'
import { RouteStats } from './route-stats.ts'

/** A class of requests to one virtual host, counted apart whichever cluster they go to. */
export interface VirtualCluster {
  /** Empty for the one of all other requests. */
  readonly name: string
  readonly stats: RouteStats
}

/** What requests match that match no other virtual cluster (source/common/router/config_impl.h CatchAllVirtualCluster). */
const OTHER = 'other'

/** The virtual clusters of a virtual host: the first that matches counts, else `other`. */
export class VirtualClusters {
  private readonly entries: readonly { readonly cluster: VirtualCluster; readonly headers: readonly HeaderMatcher[] }[]
  private readonly other: VirtualCluster

  private constructor(store: StatsStore, host: string, entries: readonly [string, readonly HeaderMatcher[]][]) {
    const stats = (name: string) => new RouteStats(store, host, 'vcluster', name)
    this.entries = entries.map(([name, headers]) => ({ cluster: { name, stats: stats(name) }, headers }))
    this.other = { name: '', stats: stats(OTHER) }
  }

  /** Undefined without any. Errors go to `problems`. */
  static of(
    configs: readonly VirtualClusterProto[],
    host: string,
    store: StatsStore,
    problems: Problems,
    path: string,
  ): VirtualClusters | undefined {
    if (configs.length === 0) return undefined
    const entries: [string, readonly HeaderMatcher[]][] = []
    configs.forEach((config, i) => {
      const at = `${path}.virtual_clusters[${i}]`
      if (config.headers.length === 0) problems.add(at, 'virtual clusters must define headers')
      const headers = problems.collect(at, () => compileHeaderMatchers(config.headers, 'headers'))
      if (headers !== undefined) entries.push([config.name, headers])
    })
    return new VirtualClusters(store, host, entries)
  }

  /** The virtual cluster of a request. */
  of(head: RequestHead): VirtualCluster {
    for (const { cluster, headers } of this.entries) if (matchAll(headers, head)) return cluster
    return this.other
  }
}
