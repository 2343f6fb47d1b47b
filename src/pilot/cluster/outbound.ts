import type { Cluster } from '#gen/envoy/config/cluster/v3/cluster_pb.js'
import { isWildcard } from '../../registry/host.ts'
import type { Port, Resolution, Service } from '../../registry/model.ts'
import { packed } from '../../xds/messages.ts'
import { clientKey, localityEndpoints, sendsUnhealthy } from '../endpoint/load-assignment.ts'
import { tcpClusterExchange } from '../metadata-exchange.ts'
import { outboundCluster, sniOf } from '../names.ts'
import { duration, lazy, millis } from '../proto.ts'
import { configPath, PROVENANCE, provenance } from '../provenance.ts'
import { isIpv6Only, type ProxyNode } from '../proxy.ts'
import { proxyConfigOf } from '../proxy-config.ts'
import { keepsSessions } from '../route/session.ts'
import type { MergedRule, SourcedSubset } from '../scope/destination-rules.ts'
import { memoized, type PushContext } from '../scope/push-context.ts'
import { clusterPolicy } from '../traffic-policy.ts'
import {
  CLUSTER_PROVIDED,
  type ClusterDraft,
  draft,
  EDS,
  finish,
  LOGICAL_DNS,
  ORIGINAL_DST,
  STRICT_DNS,
  serviceMetadata,
  setUpstreamProtocol,
} from './draft.ts'
import { dnsCacheName, dynamicDnsType } from './dynamic-dns.ts'
import { applyTrafficPolicy } from './traffic-policy.ts'

const TYPES: Record<Exclude<Resolution, 'ALIAS' | 'DYNAMIC_DNS'>, 2 | 1 | 3 | 4> = {
  EDS,
  DNS: STRICT_DNS,
  DNS_ROUND_ROBIN: LOGICAL_DNS,
  PASSTHROUGH: ORIGINAL_DST,
}

const CARES = lazy(() => ({
  name: 'envoy.network.dns_resolver.cares',
  typedConfig: packed('envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig', { udpMaxQueries: 100 }),
}))

/** The clusters of every service that a proxy sees: one per port, and one per subset (networking/core/cluster.go). */
export function outboundClusters(push: PushContext, proxy: ProxyNode): Cluster[] {
  return push.scopeOf(proxy).services.flatMap((service) => {
    if (service.resolution === 'ALIAS') return []
    return service.ports.flatMap((port) => (port.protocol === 'UDP' ? [] : serviceClusters(push, proxy, service, port)))
  })
}

function serviceClusters(push: PushContext, proxy: ProxyNode, service: Service, port: Port): Cluster[] {
  const rule = push.ruleFor(proxy, service)
  const key = [
    'cds',
    service.namespace,
    service.hostname,
    // A scope may import fewer ports, and then the one that is left takes all.
    `${service.ports.length}/${port.port}`,
    rule?.from.join() ?? '',
    proxy.type,
    isIpv6Only(proxy),
    JSON.stringify(proxy.proxyConfig ?? null),
    clientKey(push, proxy, service),
  ]
  return memoized(push.clusterMemo, key.join('\n'), () => {
    const whole = buildOutbound(push, proxy, service, port, rule, undefined)
    const subsets = service.resolution === 'DYNAMIC_DNS' ? [] : (rule?.subsets ?? [])
    return [whole, ...subsets.map((subset) => buildOutbound(push, proxy, service, port, rule, subset))].flatMap(
      (cluster) => cluster ?? [],
    )
  })
}

/**
 * The cluster of a service's port, or of a subset of it; undefined where it would have nowhere to go. `sniDnat`: as
 * AUTO_PASSTHROUGH servers forward to it, TLS and all.
 */
export function buildOutbound(
  push: PushContext,
  proxy: ProxyNode,
  service: Service,
  port: Port,
  rule: MergedRule | undefined,
  subset: SourcedSubset | undefined,
  sniDnat = false,
): Cluster | undefined {
  const subsetName = subset?.name ?? ''
  const name = (sniDnat ? sniOf : outboundCluster)(service.hostname, port.port, subsetName)
  const target = draft(name, undefined)
  const preserveCase = proxyConfigOf(push, proxy).proxyHeaders?.preserveHttp1HeaderCase === true
  if (service.resolution === 'DYNAMIC_DNS' && isWildcard(service.hostname)) {
    if (!['HTTP', 'TLS', 'GRPC', 'HTTP2'].includes(port.protocol)) return undefined
    target.isDynamic = true
    target.cluster.clusterDiscoveryType = {
      case: 'clusterType',
      value: dynamicDnsType(dnsCacheName(service.hostname)),
    }
    target.cluster.lbPolicy = CLUSTER_PROVIDED
  } else {
    // A subset is made from the whole service's cluster: that keeps the client's own destination, whatever the subset says.
    const keepsDestination = subset && clusterPolicy(rule, port.port, '')?.loadBalancer?.simple === 'PASSTHROUGH'
    target.type = keepsDestination ? ORIGINAL_DST : discoveryType(service, proxy)
    target.cluster.commonLbConfig = keepsSessions(service) && !subset && !sniDnat ? { overrideHostStatus: LASTING } : {}
    if (!addEndpoints(push, proxy, service, port, rule, subsetName, target)) return undefined
  }
  setUpstreamProtocol(target, port.protocol, { preserveCase, sidecar: proxy.type === 'sidecar' })
  // Clusters of wildcard hosts know neither their service nor its accounts (cluster_builder.go buildDFPCluster).
  if (!target.isDynamic) target.istio.services = [serviceMetadata(service)]
  applyStatName(push, service, port, subsetName, target)
  applyTrafficPolicy(target, clusterPolicy(rule, port.port, subsetName), {
    push,
    service,
    port,
    serviceAccounts: target.isDynamic ? [] : push.serviceAccounts(service),
    sni: target.isDynamic ? '' : sniOf(service.hostname, port.port, subsetName),
    inferPolicy: subset ? subset.trafficPolicy : rule?.trafficPolicy,
    selectsWorkloads: rule?.selector !== undefined,
    sendsUnhealthy: sendsUnhealthy(push, service),
    preserveCase,
    isGateway: proxy.type === 'router',
    opaque: sniDnat,
  })
  if (push.env.metadataExchange) target.cluster.filters = [tcpClusterExchange()]
  addOrigin(target, service, rule, subset)
  return finish(target)
}

/** HEALTHY, DRAINING, UNKNOWN, DEGRADED: the states in which an endpoint keeps its sessions. */
const LASTING = { statuses: [1, 3, 0, 5] }

function discoveryType(service: Service, proxy: ProxyNode): ClusterDraft['type'] {
  if (service.resolution === 'DNS' && service.raceDns) return LOGICAL_DNS
  // A gateway has no original destination to go to.
  if (service.resolution === 'PASSTHROUGH' && proxy.type === 'router') return EDS
  return service.resolution === 'ALIAS' || service.resolution === 'DYNAMIC_DNS' ? EDS : TYPES[service.resolution]
}

/** Endpoints that the cluster carries itself. False when a DNS cluster would have none: then there is no cluster. */
function addEndpoints(
  push: PushContext,
  proxy: ProxyNode,
  service: Service,
  port: Port,
  rule: MergedRule | undefined,
  subset: string,
  target: ClusterDraft,
): boolean {
  const { cluster } = target
  if (target.type === STRICT_DNS || target.type === LOGICAL_DNS) {
    const key = { direction: 'outbound', port: port.port, subset, host: service.hostname } as const
    const endpoints = localityEndpoints(push, proxy, service, rule, key, true)
    if (endpoints.length === 0) return false
    cluster.loadAssignment = { clusterName: cluster.name, endpoints }
    cluster.dnsLookupFamily = service.raceDns ? 4 : isIpv6Only(proxy) ? 2 : 1
    cluster.typedDnsResolverConfig = CARES()
    cluster.dnsJitter = millis(push.env.dnsJitter)
    cluster.dnsRefreshRate = duration(push.mesh.dnsRefreshRate)
    cluster.respectDnsTtl = true
  } else if (target.type === ORIGINAL_DST) {
    const override = service.passthroughTargetPorts.get(port.port)
    if (override !== undefined) {
      cluster.lbConfig = { case: 'originalDstLbConfig', value: { upstreamPortOverride: override } }
    }
  }
  return true
}

/** MeshConfig's outboundClusterStatName, as the name of the cluster's stats. */
function applyStatName(push: PushContext, service: Service, port: Port, subset: string, target: ClusterDraft): void {
  const pattern = push.mesh.outboundClusterStatName
  if (pattern) target.cluster.altStatName = `${statName(pattern, service, port, subset)};`
}

/** Puts a service and port into a pattern for stat names (networking/telemetry BuildStatPrefix). */
export function statName(pattern: string, service: Service, port: Port, subset: string, targetPort = 0): string {
  const kubernetes = service.registry === 'Kubernetes'
  return pattern
    .replaceAll('%SERVICE%', kubernetes ? `${service.name}.${service.namespace}` : service.hostname)
    .replaceAll('%SERVICE_NAME%', kubernetes ? service.name : service.hostname)
    .replaceAll('%SERVICE_FQDN%', service.hostname)
    .replaceAll('%SUBSET_NAME%', subset)
    .replaceAll('%TARGET_PORT%', String(targetPort))
    .replaceAll('%SERVICE_PORT%', String(port.port))
    .replaceAll('%SERVICE_PORT_NAME%', port.name)
}

function addOrigin(
  target: ClusterDraft,
  service: Service,
  rule: MergedRule | undefined,
  subset: SourcedSubset | undefined,
): void {
  if (service.meshExternal && !subset) target.istio.external = true
  if (rule) target.istio.config = configPath(rule.object)
  if (subset) target.istio.subset = subset.name
  const origin = subset?.origin ?? rule?.origin ?? service.origin
  target.cluster.metadata = { filterMetadata: { [PROVENANCE]: provenance(origin) } }
}
