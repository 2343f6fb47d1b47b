import type { LogFiles } from '../context.ts'
import type { AddressBook } from '../listener/connection.ts'
import type { StatsStore } from '../observe/stats.ts'
import type { SecretProvider } from '../tls/secrets.ts'
import type { LocalHosts } from './balancers/zone-aware.ts'
import type { DiscoveryDeps } from './discovery/create.ts'
import type { MergeStats } from './host-table.ts'
import type { OutlierEvent } from './outlier-detection.ts'
import type { UpstreamHost } from './upstream-host.ts'

/** What all clusters of a proxy share. */
export interface ClusterDeps extends DiscoveryDeps {
  readonly stats: StatsStore
  readonly book: AddressBook
  readonly secrets: SecretProvider
  readonly merge: MergeStats
  readonly onOutlier: (cluster: string, event: OutlierEvent) => void
  /** Where this proxy runs; undefined: it does not know. */
  readonly locality: UpstreamHost['locality'] | undefined
  /** The cluster that this proxy belongs to, for zone-aware routing. */
  readonly local: LocalHosts | undefined
  readonly logs: LogFiles | undefined
}
