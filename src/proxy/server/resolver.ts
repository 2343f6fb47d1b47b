import type { Bootstrap } from '#gen/envoy/config/bootstrap/v3/bootstrap_pb.js'
import { Problems } from '../http/config.ts'
import { compileDnsServers } from '../upstream/discovery/dns-cache-config.ts'
import { nameServerResolver } from '../upstream/discovery/dns-servers.ts'
import { type Resolver, systemResolver } from '../upstream/resolver.ts'

/** Who resolves names where a cluster does not say: the name servers of the bootstrap, else the system. Throws ConfigError. */
export function bootstrapResolver(bootstrap: Bootstrap): Resolver {
  const problems = new Problems()
  const servers = compileDnsServers(bootstrap.typedDnsResolverConfig, 'typed_dns_resolver_config', problems)
  problems.throwIfAny()
  return servers ? nameServerResolver(servers) : systemResolver
}
