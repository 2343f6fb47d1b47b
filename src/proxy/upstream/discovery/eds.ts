import type { Runtime, Timer } from '../../../runtime.ts'
import type { Assignment } from '../assignment.ts'
import type { DiscoverySettings } from '../cluster-config.ts'
import type { ClusterStats } from '../cluster-stats.ts'
import type { Discovery, DiscoverySink } from './discovery.ts'

/** EDS: waits for the first assignment, but not for ever (source/common/upstream/eds.cc). */
export class EdsDiscovery implements Discovery {
  readonly serviceName: string
  private readonly timeout: number
  private readonly runtime: Runtime
  private readonly stats: ClusterStats
  private readonly sink: DiscoverySink
  private readonly known: () => Assignment | undefined
  private timer: Timer | undefined

  /** `known`: the assignment of that name that came last, if one did. */
  constructor(
    settings: Extract<DiscoverySettings, { type: 'eds' }>,
    runtime: Runtime,
    stats: ClusterStats,
    sink: DiscoverySink,
    known: () => Assignment | undefined,
  ) {
    this.serviceName = settings.serviceName
    this.timeout = settings.initialFetchTimeout
    this.runtime = runtime
    this.stats = stats
    this.sink = sink
    this.known = known
  }

  start(): void {
    const assignment = this.known()
    if (assignment !== undefined) {
      this.update(assignment)
      return
    }
    if (this.timeout === 0) return
    this.timer = this.runtime.after(this.timeout, () => {
      this.stats.counter('init_fetch_timeout').inc()
      this.sink.discovered()
    })
  }

  stop(): void {
    this.timer?.cancel()
  }

  update(assignment: Assignment): void {
    this.timer?.cancel()
    this.stats.counter('update_attempt').inc()
    this.stats.counter('update_success').inc()
    if (assignment.hosts.length === 0) this.stats.counter('update_empty').inc()
    this.sink.setHosts(assignment.hosts, assignment.policy)
    this.sink.discovered()
  }
}
