import { outboundCluster } from './names.ts'
import type { PushContext } from './scope/push-context.ts'

/**
 * The cluster of a provider's service, `host` or `namespace/host`; undefined when there is no such service, or more
 * than one namespace has it (pilot/pkg/model/telemetry_logging.go LookupCluster).
 */
export function lookupProviderCluster(
  push: PushContext,
  service: string | undefined,
  port: number | undefined,
): { hostname: string; cluster: string } | undefined {
  if (!service) return undefined
  const slash = service.indexOf('/')
  const hostname = slash < 0 ? service : service.slice(slash + 1)
  const byNamespace = push.registry.byHostname(hostname)
  if (!byNamespace) return undefined
  const found = slash < 0 ? byNamespace.size === 1 : byNamespace.has(service.slice(0, slash))
  return found ? { hostname, cluster: outboundCluster(hostname, port ?? 0) } : undefined
}
