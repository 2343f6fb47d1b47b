import type { DynamicForward, LoadBalancerContext } from '../cluster.ts'
import { DEFAULT_POLICY } from '../priority-set.ts'
import type { HostConfig, UpstreamHost } from '../upstream-host.ts'
import type { Discovery, DiscoverySink } from './discovery.ts'
import { type DnsCache, type DnsCacheListener, type DnsEntry, hostPort } from './dns-cache.ts'

/** What the discovery asks of its cluster beside the sink. */
export interface NamedHosts extends DiscoverySink {
  host(key: string): UpstreamHost | undefined
}

/**
 * Hosts are the names of a DNS cache, one each, whose address may change
 * (source/extensions/clusters/dynamic_forward_proxy/cluster.cc).
 */
export class DynamicForwardProxyDiscovery implements Discovery, DnsCacheListener {
  readonly forward: DynamicForward
  private readonly cache: DnsCache
  private readonly hosts: NamedHosts
  private readonly configs = new Map<string, HostConfig>()
  private subscription: { close(): void } | undefined

  /** `secure`: connections are encrypted, which tells the port of names without one. */
  constructor(cache: DnsCache, secure: boolean, hosts: NamedHosts) {
    this.cache = cache
    this.hosts = hosts
    this.forward = { defaultPort: secure ? 443 : 80, cached: true }
  }

  start(): void {
    this.subscription = this.cache.listen(this)
    for (const entry of this.cache.all()) this.configs.set(entry.key, configOf(entry))
    if (this.configs.size > 0) this.publish()
    this.hosts.discovered()
  }

  stop(): void {
    this.subscription?.close()
  }

  onHostChanged(entry: DnsEntry): void {
    this.configs.set(entry.key, configOf(entry))
    this.publish()
  }

  onHostRemoved(entry: DnsEntry): void {
    this.configs.delete(entry.key)
    this.publish()
  }

  chooseHost(context: LoadBalancerContext): UpstreamHost | undefined {
    const key = nameOf(context, this.forward.defaultPort)
    if (key === undefined || this.cache.find(key) === undefined) return undefined
    const host = this.hosts.host(key)
    return host !== undefined && (host.healthy || host.degraded) ? host : undefined
  }

  private publish(): void {
    this.hosts.setHosts([...this.configs.values()], DEFAULT_POLICY)
  }
}

/** `name:port` that a request or, without one, a TLS connection is for. */
export function nameOf(context: LoadBalancerContext, defaultPort: number): string | undefined {
  const name = context.headers === undefined ? context.downstream?.sni : context.headers.authority
  return name === undefined || name === '' ? undefined : hostPort(name, context.dynamicPort ?? defaultPort)
}

function configOf(entry: DnsEntry): HostConfig {
  return {
    key: entry.key,
    address: { ip: entry.addresses[0]!, port: entry.port },
    pipe: undefined,
    hostname: entry.key,
    metadata: new Map(),
    locality: { region: '', zone: '', subZone: '' },
    priority: 0,
    weight: 1,
    health: 0,
  }
}
