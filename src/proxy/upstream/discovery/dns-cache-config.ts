import { equals, type Message } from '@bufbuild/protobuf'
import type { TypedExtensionConfig } from '#gen/envoy/config/core/v3/extension_pb.js'
import type { DnsCacheConfig } from '#gen/envoy/extensions/common/dynamic_forward_proxy/v3/dns_cache_pb.js'
import type { Runtime } from '../../../runtime.ts'
import { schemaOf, typeNameOf, unpack } from '../../../xds/messages.ts'
import { ConfigError } from '../../context.ts'
import { durationMs, Problems } from '../../http/config.ts'
import type { StatsStore } from '../../observe/stats.ts'
import type { DnsFamily } from '../cluster-config.ts'
import type { Resolver } from '../resolver.ts'
import { compileDnsBackoff } from './dns-backoff.ts'
import { DnsCache, type DnsCacheSettings } from './dns-cache.ts'
import { nameServerResolver } from './dns-servers.ts'

const KNOWN = new Set([
  'name',
  'dnsLookupFamily',
  'dnsRefreshRate',
  'dnsMinRefreshRate',
  'hostTtl',
  'maxHosts',
  'dnsFailureRefreshRate',
  'dnsCacheCircuitBreaker',
  'typedDnsResolverConfig',
  'preresolveHostnames',
  'dnsQueryTimeout',
])
/** By number of the enum. */
export const FAMILIES: readonly DnsFamily[] = ['auto', 'v4', 'v6', 'v4-preferred', 'all']
const CARES = 'envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig'
const GETADDRINFO = 'envoy.extensions.network.dns_resolver.getaddrinfo.v3.GetAddrInfoDnsResolverConfig'

/**
 * Which name servers a config asks; undefined: whom the system asks. Servers that only stand in for the system's are
 * left to it.
 */
export function compileDnsServers(
  config: TypedExtensionConfig | undefined,
  path: string,
  problems: Problems,
): readonly string[] | undefined {
  const any = config?.typedConfig
  if (any === undefined || typeNameOf(any.typeUrl) === GETADDRINFO) return undefined
  const own = typeNameOf(any.typeUrl) === CARES ? unpack(any, CARES) : undefined
  if (own === undefined) {
    problems.add(path, `${typeNameOf(any.typeUrl)} is not supported`)
    return undefined
  }
  if (own.dnsResolverOptions?.useTcpForDnsLookups)
    problems.add(`${path}.dns_resolver_options.use_tcp_for_dns_lookups`, 'not supported')
  if (own.resolvers.length === 0 || own.useResolversAsFallback) return undefined
  const servers: string[] = []
  own.resolvers.forEach((resolver, i) => {
    const at = resolver.address
    if (at.case !== 'socketAddress') problems.add(`${path}.resolvers[${i}]`, 'only socket_address is supported')
    else {
      const { address, portSpecifier } = at.value
      const port = portSpecifier.case === 'portValue' ? portSpecifier.value : 53
      servers.push(`${address.includes(':') ? `[${address}]` : address}:${port}`)
    }
  })
  return servers
}

/** The DNS caches of a proxy, by name (source/extensions/common/dynamic_forward_proxy/dns_cache_manager_impl.cc). */
export class DnsCaches {
  private readonly runtime: Runtime
  private readonly stats: StatsStore
  private readonly fallback: Resolver
  private readonly caches = new Map<string, { cache: DnsCache; config: DnsCacheConfig }>()

  /** `fallback` resolves for caches that name no servers. */
  constructor(runtime: Runtime, stats: StatsStore, fallback: Resolver) {
    this.runtime = runtime
    this.stats = stats
    this.fallback = fallback
  }

  /** The cache of that name, made when there is none. Throws ConfigError, also when another has its name. */
  get(config: DnsCacheConfig, path: string): DnsCache {
    const known = this.caches.get(config.name)
    if (known !== undefined) {
      if (equals(schemaOf(config.$typeName), known.config as Message, config as Message)) return known.cache
      throw new ConfigError([`${path}: config specified DNS cache '${config.name}' with different settings`])
    }
    const problems = new Problems()
    problems.refuseUnknown(config, KNOWN, path)
    const settings = compileCache(config, path, problems)
    const servers = compileDnsServers(config.typedDnsResolverConfig, `${path}.typed_dns_resolver_config`, problems)
    problems.throwIfAny()
    const cache = new DnsCache(
      settings,
      this.runtime,
      this.stats,
      servers ? nameServerResolver(servers) : this.fallback,
    )
    this.caches.set(config.name, { cache, config })
    return cache
  }

  close(): void {
    for (const { cache } of this.caches.values()) cache.close()
  }
}

function compileCache(config: DnsCacheConfig, path: string, problems: Problems): DnsCacheSettings {
  const refresh = durationMs(config.dnsRefreshRate) ?? 60_000
  const maxHosts = config.maxHosts ?? 1024
  if (config.preresolveHostnames.length > maxHosts)
    problems.add(
      path,
      `DNS Cache [${config.name}] configured with preresolve_hostnames=${config.preresolveHostnames.length} larger than max_hosts=${maxHosts}`,
    )
  const failure = config.dnsFailureRefreshRate
  return {
    name: config.name,
    family: FAMILIES[config.dnsLookupFamily] ?? 'auto',
    refresh,
    minRefresh: durationMs(config.dnsMinRefreshRate) ?? 5000,
    failure: compileDnsBackoff(failure, refresh, `${path}.dns_failure_refresh_rate`, problems),
    hostTtl: durationMs(config.hostTtl) ?? 300_000,
    queryTimeout: durationMs(config.dnsQueryTimeout) ?? 5000,
    maxHosts,
    maxPending: config.dnsCacheCircuitBreaker?.maxPendingRequests ?? 1024,
    preresolve: config.preresolveHostnames.map((a) => ({
      ip: a.address,
      port: a.portSpecifier.case === 'portValue' ? a.portSpecifier.value : 443,
    })),
  }
}
