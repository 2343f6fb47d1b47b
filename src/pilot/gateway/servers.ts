import type { Server } from '../../api/kinds/gateway.ts'
import type { ApiObject } from '../../api/objects.ts'
import type { Origin } from '../../registry/model.ts'
import { isHttp, type Protocol, parseProtocol } from '../../registry/protocol.ts'

/** A server of a Gateway as a gateway proxy serves it. */
export interface GatewayServer {
  server: Server
  /** The Gateway, as VirtualServices name it: `namespace/name`. */
  gateway: string
  object: ApiObject<'Gateway'>
  /** `host` for every namespace, or `namespace/host`. */
  hosts: readonly string[]
  protocol: Protocol
  /** The name of its route configuration; '' where bytes are forwarded. */
  routeName: string
  /** Sorted; without the namespaces. Empty without TLS. */
  sniHosts: readonly string[]
  origin: Origin
}

/** Whether the bytes of TLS are passed on as they come (pkg/config/gateway IsPassThroughServer). */
export const passesThrough = ({ tls }: Server): boolean =>
  tls !== undefined && ['PASSTHROUGH', 'AUTO_PASSTHROUGH'].includes(tls.mode ?? 'PASSTHROUGH')

/** Whether the server has TLS that is not merely a redirect to it (IsTLSServer). */
export const isTlsServer = (server: Server): boolean =>
  server.tls !== undefined && !isHttp(parseProtocol(server.port.protocol))

/** HTTPS whose TLS ends here (IsHTTPSServerWithTLSTermination). */
export const endsHttps = (server: Server): boolean =>
  server.tls !== undefined && parseProtocol(server.port.protocol) === 'HTTPS' && !passesThrough(server)

/** HTTP, or HTTPS whose TLS ends here (IsHTTPServer). */
export const isHttpServer = (server: Server): boolean => {
  const protocol = parseProtocol(server.port.protocol)
  return isHttp(protocol) || (protocol === 'HTTPS' && !passesThrough(server))
}

/** `./host` of a namespace as `namespace/host`, and what is for all namespaces without one (sanitizeServerHostNamespace). */
export function namespacedHosts(hosts: readonly string[], namespace: string): string[] {
  // As istiod: everything in every namespace makes the others needless.
  if (hosts.includes('*/*')) return ['*']
  return hosts.map((entry) => {
    const slash = entry.indexOf('/')
    if (slash < 0) return entry
    const [place, host] = [entry.slice(0, slash), entry.slice(slash + 1)]
    return place === '.' ? `${namespace}/${host}` : place === '*' ? host : entry
  })
}

/** Host names of a server without the namespaces, once each, sorted (GetSNIHostsForServer). */
export function sniHostsOf(hosts: readonly string[]): string[] {
  return [...new Set(hosts.map((host) => host.slice(host.indexOf('/') + 1)))].sort()
}

/** The name of the route configuration of a server on a port (gatewayRDSRouteName). */
export function routeNameOf(server: Server, port: number, object: ApiObject<'Gateway'>): string {
  const bind = server.bind ? `.${server.bind}` : ''
  if (isHttp(parseProtocol(server.port.protocol))) return `http.${port}${bind}`
  if (!isHttpServer(server)) return ''
  const { name, namespace } = object.metadata
  return `https.${server.port.number}.${server.port.name}.${name}.${namespace}${bind}`
}
