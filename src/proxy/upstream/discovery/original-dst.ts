import type { Runtime, Timer } from '../../../runtime.ts'
import { type HeaderName, headerName } from '../../http/headers.ts'
import { type Address, parseAddress } from '../../listener/connection.ts'
import type { LoadBalancerContext } from '../cluster.ts'
import type { DiscoverySettings } from '../cluster-config.ts'
import type { ClusterStats } from '../cluster-stats.ts'
import { DEFAULT_POLICY } from '../priority-set.ts'
import type { HostConfig, UpstreamHost } from '../upstream-host.ts'
import type { Discovery, DiscoverySink } from './discovery.ts'

/** What the discovery asks of its cluster beside the sink. */
export interface OriginalDstHosts extends DiscoverySink {
  host(key: string): UpstreamHost | undefined
  /** Connections, and requests that wait for one. */
  inUse(host: UpstreamHost): boolean
}

/**
 * Hosts are the addresses that connections were meant for: made at first use, dropped when unused for a
 * cleanup interval (source/extensions/clusters/original_dst/original_dst_cluster.cc).
 */
export class OriginalDstDiscovery implements Discovery {
  private readonly cleanupInterval: number
  private readonly port: number | undefined
  private readonly header: HeaderName | undefined
  private readonly runtime: Runtime
  private readonly stats: ClusterStats
  private readonly hosts: OriginalDstHosts
  private readonly configs = new Map<string, HostConfig>()
  private readonly used = new Set<string>()
  private timer: Timer | undefined

  constructor(
    settings: Extract<DiscoverySettings, { type: 'original-dst' }>,
    runtime: Runtime,
    stats: ClusterStats,
    hosts: OriginalDstHosts,
  ) {
    this.cleanupInterval = settings.cleanupInterval
    this.port = settings.port
    this.header = settings.header === undefined ? undefined : headerName(settings.header)
    this.runtime = runtime
    this.stats = stats
    this.hosts = hosts
  }

  start(): void {
    this.hosts.discovered()
  }

  stop(): void {
    this.timer?.cancel()
  }

  chooseHost(context: LoadBalancerContext): UpstreamHost | undefined {
    const to = this.destination(context)
    if (to === undefined) return undefined
    const port = this.port ?? to.port
    const key = to.ip.includes(':') ? `[${to.ip}]:${port}` : `${to.ip}:${port}`
    if (!this.configs.has(key)) {
      this.configs.set(key, { ...TEMPLATE, address: { ip: to.ip, port } })
      this.publish()
      if (this.timer === undefined) this.arm()
    }
    this.used.add(key)
    return this.hosts.host(key)
  }

  private destination(context: LoadBalancerContext): Address | undefined {
    if (this.header !== undefined) {
      const written = context.headers?.get(this.header)
      if (written !== undefined) {
        const address = parseAddress(written)
        if (address === undefined) this.stats.counter('original_dst_host_invalid').inc()
        else return address
      }
    }
    const { downstream } = context
    // An address that was not restored is the proxy's own: going there would only come back here.
    return downstream === undefined || downstream.local === downstream.directLocal ? undefined : downstream.local
  }

  private publish(): void {
    this.hosts.setHosts([...this.configs.values()], DEFAULT_POLICY)
  }

  private arm(): void {
    this.timer = this.runtime.after(this.cleanupInterval, () => {
      this.timer = undefined
      const count = this.configs.size
      for (const key of [...this.configs.keys()]) {
        const host = this.hosts.host(key)
        if (!this.used.has(key) && (host === undefined || !this.hosts.inUse(host))) this.configs.delete(key)
      }
      this.used.clear()
      if (this.configs.size !== count) this.publish()
      if (this.configs.size > 0) this.arm()
    })
  }
}

const TEMPLATE: Omit<HostConfig, 'address'> = {
  pipe: undefined,
  hostname: '',
  metadata: new Map(),
  locality: { region: '', zone: '', subZone: '' },
  priority: 0,
  weight: 1,
  health: 0,
}
