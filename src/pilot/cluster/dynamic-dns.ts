import { type Init, packed } from '../../xds/messages.ts'

/** The cluster type that resolves the Host header's name at the time of the request. */
export function dynamicDnsType(
  cacheName: string,
  options: { maxHosts?: number; allowInsecure?: boolean } = {},
): Init<'envoy.config.cluster.v3.Cluster.CustomClusterType'> {
  return {
    name: 'envoy.clusters.dynamic_forward_proxy',
    typedConfig: packed('envoy.extensions.clusters.dynamic_forward_proxy.v3.ClusterConfig', {
      clusterImplementationSpecifier: { case: 'dnsCacheConfig', value: dnsCache(cacheName, options.maxHosts) },
      allowInsecureClusterOptions: options.allowInsecure,
    }),
  }
}

/** A DNS cache, shared by name between cluster and filter. */
export const dnsCache = (
  name: string,
  maxHosts?: number,
): Init<'envoy.extensions.common.dynamic_forward_proxy.v3.DnsCacheConfig'> => ({
  name,
  dnsLookupFamily: 1,
  maxHosts,
})

/** Name of the cache of a service with a wildcard host (pilot/pkg/model/service.go BuildDNSCacheName). */
export const dnsCacheName = (hostname: string): string => `${hostname}_dfp_dns_cache`

/** The cache of ALLOW_ANY_DYNAMIC_DNS. */
export const ALLOW_ANY_CACHE = 'allow_any_dfp_dns_cache'
/** PILOT_ALLOW_ANY_DYNAMIC_DNS_MAX_HOSTS. */
export const ALLOW_ANY_MAX_HOSTS = 1024
