import { isIP } from 'node:net'
import type { Runtime, Timer } from '../../../runtime.ts'
import type { Assignment } from '../assignment.ts'
import type { DiscoverySettings } from '../cluster-config.ts'
import type { ClusterStats } from '../cluster-stats.ts'
import type { Resolved, Resolver } from '../resolver.ts'
import type { HostConfig } from '../upstream-host.ts'
import type { Discovery, DiscoverySink } from './discovery.ts'
import { dnsBackoff } from './dns-backoff.ts'

type DnsSettings = Extract<DiscoverySettings, { type: 'strict-dns' | 'logical-dns' }>

interface Target {
  readonly config: HostConfig
  addresses: readonly string[]
  answered: boolean
  /** Lookups that failed in a row. */
  failures: number
}

/** A refresh is never asked for more often than this, whatever the TTL. */
const MIN_REFRESH_MS = 1

/**
 * STRICT_DNS: every address of every name is a host. LOGICAL_DNS: the first address of the one name
 * (source/extensions/clusters/{strict,logical}_dns). A failed lookup leaves the hosts as they are.
 */
export class DnsDiscovery implements Discovery {
  private readonly settings: DnsSettings
  private readonly assignment: Assignment
  private readonly runtime: Runtime
  private readonly stats: ClusterStats
  private readonly resolver: Resolver
  private readonly sink: DiscoverySink
  private readonly targets: Target[]
  private readonly timers = new Set<Timer>()
  private stopped = false

  constructor(
    settings: DnsSettings,
    assignment: Assignment,
    runtime: Runtime,
    stats: ClusterStats,
    resolver: Resolver,
    sink: DiscoverySink,
  ) {
    this.settings = settings
    this.assignment = assignment
    this.runtime = runtime
    this.stats = stats
    this.resolver = resolver
    this.sink = sink
    this.targets = assignment.hosts.map((config) => ({ config, addresses: [], answered: false, failures: 0 }))
  }

  start(): void {
    for (const target of this.targets) {
      const { ip } = target.config.address
      if (target.config.pipe !== undefined || isIP(ip) !== 0) {
        target.addresses = [ip]
        target.answered = true
      } else this.resolve(target)
    }
    this.publish()
  }

  stop(): void {
    this.stopped = true
    for (const timer of this.timers) timer.cancel()
  }

  private resolve(target: Target): void {
    this.stats.counter('update_attempt').inc()
    const { family, respectTtl } = this.settings
    this.resolver.resolve(target.config.address.ip, family, respectTtl, (result) => {
      if (this.stopped) return
      target.answered = true
      if (result === undefined) this.stats.counter('update_failure').inc()
      else {
        this.stats.counter('update_success').inc()
        // The one host of LOGICAL_DNS stays when its name is gone.
        if (result.addresses.length > 0 || this.settings.type === 'strict-dns') target.addresses = result.addresses
      }
      this.publish()
      const timer = this.runtime.after(this.next(target, result), () => {
        this.timers.delete(timer)
        this.resolve(target)
      })
      this.timers.add(timer)
    })
  }

  private next(target: Target, result: Resolved | undefined): number {
    const { refresh, failure, respectTtl, jitter } = this.settings
    if (result === undefined) return dnsBackoff(failure, ++target.failures, this.runtime)
    target.failures = 0
    const later = jitter > 0 ? this.runtime.randomU32() % jitter : 0
    return Math.max(MIN_REFRESH_MS, respectTtl && result.ttl ? result.ttl : refresh) + later
  }

  private publish(): void {
    const first = this.settings.type === 'logical-dns'
    const hosts = this.targets.flatMap(({ config, addresses }) =>
      (first ? addresses.slice(0, 1) : addresses).map((ip) => ({
        ...config,
        address: config.pipe === undefined ? { ip, port: config.address.port } : config.address,
        // What `/clusters` shows, and what auto_host_rewrite puts into the request.
        hostname: config.hostname === '' ? config.address.ip : config.hostname,
      })),
    )
    this.sink.setHosts(hosts, this.assignment.policy)
    if (this.targets.every((t) => t.answered)) this.sink.discovered()
  }
}
