import type { Cluster } from '#gen/envoy/config/cluster/v3/cluster_pb.js'
import type { Listener } from '#gen/envoy/config/listener/v3/listener_pb.js'
import type { RouteConfiguration } from '#gen/envoy/config/route/v3/route_pb.js'
import type { TrafficPolicy } from '../../api/kinds/traffic-policy.ts'
import { hostsOverlap, isWildcard } from '../../registry/host.ts'
import { type Init, make, packed } from '../../xds/messages.ts'
import { exactSans, tlsSocket } from '../authn/tls.ts'
import { draft, EDS, finish, LEAST_REQUEST } from '../cluster/draft.ts'
import { applyHash } from '../cluster/load-balancer.ts'
import { faultFilter, routerFilter } from '../listener/http-filters.ts'
import { hostPort, outboundCluster, parseCluster, SDS_DEFAULT, SDS_ROOT } from '../names.ts'
import { ADS, socketAddress } from '../proto.ts'
import type { ProxyNode } from '../proxy.ts'
import { serviceAddress } from '../route/domains.ts'
import { outboundVirtualHosts } from '../route/virtual-hosts.ts'
import type { PushContext } from '../scope/push-context.ts'
import { egressFor } from '../scope/sidecar-scope.ts'
import { clusterPolicy } from '../traffic-policy.ts'

/** Resources for gRPC clients that are their own proxy (node metadata GENERATOR=grpc; networking/grpcgen). */

/** By this prefix a gRPC server asks for its own listener. */
const SERVER_PREFIX = 'xds.istio.io/grpc/lds/inbound/'

/** The listeners of the targets that a client names: `host:port`, or `host` for all ports. */
export function proxylessListeners(push: PushContext, proxy: ProxyNode, names: Iterable<string>): Listener[] {
  const out: Listener[] = []
  for (const name of names) {
    if (name.startsWith(SERVER_PREFIX)) {
      out.push(...serverListener(push, proxy, name))
      continue
    }
    const [host, port] = splitTarget(name)
    const service = [host, fullName(host, proxy)].flatMap((full) => push.scopeOf(proxy).byHostname.get(full) ?? [])[0]
    for (const known of service?.ports ?? []) {
      if (!service || (port !== undefined && known.port !== port)) continue
      out.push(
        make('envoy.config.listener.v3.Listener', {
          name: hostPort(host, known.port),
          address: socketAddress(serviceAddress(service, proxy), known.port),
          apiListener: {
            apiListener: packed('envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager', {
              // istiod gives none, here and below, but Envoy's constraints want one.
              statPrefix: hostPort(host, known.port),
              httpFilters: [faultFilter(), routerFilter(false)],
              routeSpecifier: {
                case: 'rds',
                value: {
                  configSource: ADS,
                  routeConfigName: outboundCluster(service.hostname, known.port),
                },
              },
            }),
          },
        }),
      )
    }
  }
  return out
}

function splitTarget(name: string): [host: string, port: number | undefined] {
  const found = /^(.*):(\d+)$/.exec(name)
  return found ? [(found[1] ?? '').replace(/^\[|\]$/g, ''), Number(found[2])] : [name, undefined]
}

/** A short name in the client's namespace. */
function fullName(name: string, proxy: ProxyNode): string {
  if (!name.includes('.')) return `${name}.${proxy.dnsDomain}`
  for (const suffix of [proxy.namespace, `${proxy.namespace}.svc`]) {
    if (name.endsWith(`.${suffix}`) && proxy.dnsDomain.startsWith(suffix)) {
      return `${name.slice(0, -suffix.length - 1)}.${proxy.dnsDomain}`
    }
  }
  return name
}

// A gRPC server cannot take both plaintext and TLS on one port: PERMISSIVE means TLS where clients will use it.
function serverListener(push: PushContext, proxy: ProxyNode, name: string): Listener[] {
  const [host, port] = splitTarget(name.slice(SERVER_PREFIX.length))
  const target = proxy.targets.findLast((known) => known.targetPort === port)
  if (!target || port === undefined) return []
  const mtls = push.peerAuthentications.forWorkload(proxy.namespace, proxy.labels)
  const mode = mtls.ports.get(port) ?? mtls.mode
  const strict = mode === 'STRICT' || (mode === 'PERMISSIVE' && proxy.labels['security.istio.io/tlsMode'] === 'istio')
  const kind = strict ? 'mtls' : 'plaintext'
  const manager = packed('envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager', {
    statPrefix: 'inbound',
    httpFilters: [routerFilter(false)],
    routeSpecifier: {
      case: 'routeConfig',
      value: {
        name: 'inbound',
        virtualHosts: [
          {
            name: 'inbound',
            domains: ['*'],
            routes: [
              {
                match: { pathSpecifier: { case: 'prefix', value: '/' } },
                action: { case: 'nonForwardingAction', value: {} },
              },
            ],
          },
        ],
      },
    },
  })
  const listener = make('envoy.config.listener.v3.Listener', {
    name,
    address: socketAddress(host, port),
    filterChains: [
      {
        name: `inbound-${kind}`,
        filters: [{ name: `inbound-hcm${kind}`, configType: { case: 'typedConfig', value: manager } }],
        transportSocket: strict
          ? tlsSocket(
              packed('envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext', {
                commonTlsContext: commonTls([]),
                requireClientCertificate: true,
              }),
            )
          : undefined,
      },
    ],
  })
  return [listener]
}

/** Certificates come from the client's own provider, not over the stream. */
function commonTls(sans: readonly string[]): Init<'envoy.extensions.transport_sockets.tls.v3.CommonTlsContext'> {
  return {
    tlsCertificateProviderInstance: { instanceName: 'default', certificateName: SDS_DEFAULT },
    validationContextType: {
      case: 'combinedValidationContext',
      value: {
        defaultValidationContext: {
          matchSubjectAltNames: exactSans(sans),
          caCertificateProviderInstance: { instanceName: 'default', certificateName: SDS_ROOT },
        },
      },
    },
  }
}

/** The clusters that a client names. */
export function proxylessClusters(push: PushContext, proxy: ProxyNode, names: Iterable<string>): Cluster[] {
  return [...names].flatMap((name) => {
    const key = parseCluster(name)
    const service = key && push.scopeOf(proxy).byHostname.get(key.host)
    if (!key || !service?.ports.some((port) => port.port === key.port)) return []
    const rule = push.ruleFor(proxy, service)
    if (key.subset !== '' && !rule?.subsets.some((subset) => subset.name === key.subset)) return []
    const target = draft(name, EDS)
    applyPolicy(target, clusterPolicy(rule, key.port, key.subset), push.serviceAccounts(service))
    const cluster = finish(target)
    return [cluster]
  })
}

// What gRPC's own xDS knows: TLS when it is asked for, two balancers, hashing and max_requests.
function applyPolicy(
  target: ReturnType<typeof draft>,
  policy: TrafficPolicy | undefined,
  sans: readonly string[],
): void {
  if (!policy) return
  const { cluster } = target
  if (policy.tls?.mode === 'ISTIO_MUTUAL') {
    const typed = packed('envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext', {
      commonTlsContext: commonTls(sans),
    })
    cluster.transportSocket = tlsSocket(typed)
  }
  const balancer = policy.loadBalancer
  if (balancer?.consistentHash) applyHash(target, balancer.consistentHash)
  else if (balancer?.simple === 'LEAST_REQUEST') cluster.lbPolicy = LEAST_REQUEST
  const requests = policy.connectionPool?.http?.http2MaxRequests ?? 0
  if (requests > 0) cluster.circuitBreakers = { thresholds: [{ maxRequests: requests }] }
}

/** The route configurations that a client names, by their cluster: each with the hosts of that service only. */
export function proxylessRoutes(push: PushContext, proxy: ProxyNode, names: Iterable<string>): RouteConfiguration[] {
  return [...names].flatMap((name) => {
    const key = parseCluster(name)
    const egress = key && egressFor(push.scopeOf(proxy), key.port, name)
    if (!key || !egress) return []
    const virtualHosts = outboundVirtualHosts(push, proxy, egress, key.port).filter((host) =>
      host.domains.some((domain) => domainCovers(domain.toLowerCase(), key.host.toLowerCase(), key.port)),
    )
    return [make('envoy.config.route.v3.RouteConfiguration', { name, virtualHosts })]
  })
}

function domainCovers(domain: string, host: string, port: number): boolean {
  const [name, own] = splitTarget(domain)
  if (own !== undefined && own !== port) return false
  return isWildcard(name) ? hostsOverlap(name, host) : name === host
}
