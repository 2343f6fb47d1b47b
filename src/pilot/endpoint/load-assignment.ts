import net from 'node:net'
import type { ClusterLoadAssignment } from '#gen/envoy/config/endpoint/v3/endpoint_pb.js'
import { canonicalName, canonicalRevision, selects, splitLocality } from '../../registry/labels.ts'
import type { Endpoint, Service } from '../../registry/model.ts'
import { type Init, make } from '../../xds/messages.ts'
import { localityRule } from '../cluster/locality.ts'
import { type ClusterKey, isSni, parseCluster } from '../names.ts'
import { addressOf } from '../proto.ts'
import type { ProxyNode } from '../proxy.ts'
import { keepsDraining } from '../route/session.ts'
import type { MergedRule } from '../scope/destination-rules.ts'
import { memoized, type PushContext } from '../scope/push-context.ts'
import { clusterPolicy } from '../traffic-policy.ts'
import { usesMtls } from './mtls.ts'
import { byLocality, type LocalityGroup, prioritize } from './priorities.ts'

const HEALTH = { UNKNOWN: 0, HEALTHY: 1, UNHEALTHY: 2, TERMINATING: 3, DRAINING: 3 } as const

/**
 * The endpoints of an EDS cluster as a proxy sees them; undefined when the service is not one that it sees
 * (pilot/pkg/xds/endpoints/endpoint_builder.go BuildClusterLoadAssignment).
 */
export function loadAssignment(push: PushContext, proxy: ProxyNode, clusterName: string): ClusterLoadAssignment {
  const key = parseCluster(clusterName)
  const service = key && push.scopeOf(proxy).byHostname.get(key.host)
  if (!key || !service) return make('envoy.config.endpoint.v3.ClusterLoadAssignment', { clusterName })
  const rule = push.ruleFor(proxy, service)
  const memoKey = [
    'eds',
    clusterName,
    service.namespace,
    rule?.from.join() ?? '',
    clientKey(push, proxy, service),
  ].join('\n')
  return memoized(push.clusterMemo, memoKey, () =>
    make('envoy.config.endpoint.v3.ClusterLoadAssignment', {
      clusterName,
      endpoints: onlyMtls(clusterName, localityEndpoints(push, proxy, service, rule, key, false)),
    }),
  )
}

/** A gateway that passes TLS on cannot tell whether it is the mesh's: only who takes nothing else may get it. */
function onlyMtls(
  clusterName: string,
  groups: Init<'envoy.config.endpoint.v3.LocalityLbEndpoints'>[],
): Init<'envoy.config.endpoint.v3.LocalityLbEndpoints'>[] {
  if (!isSni(clusterName)) return groups
  return groups.map((group) => {
    const lbEndpoints = (group.lbEndpoints ?? []).filter(
      ({ metadata }) => metadata?.filterMetadata?.['envoy.transport_socket_match'] !== undefined,
    )
    return { ...group, lbEndpoints, loadBalancingWeight: lbEndpoints.length ? group.loadBalancingWeight : undefined }
  })
}

/** What of a client changes the endpoints that it gets. */
export function clientKey(push: PushContext, proxy: ProxyNode, service: Service): string {
  const labels = push.destinationRules.usesLabels || service.trafficDistribution !== 'ANY'
  return [proxy.locality, service.nodeLocal ? proxy.nodeName : '', labels ? JSON.stringify(proxy.labels) : ''].join(
    '\0',
  )
}

/**
 * The endpoints of a cluster by locality. With `inCluster` for a cluster that carries its endpoints itself: host names
 * are kept for DNS to resolve, and only outlier detection of the rule counts.
 */
export function localityEndpoints(
  push: PushContext,
  proxy: ProxyNode,
  service: Service,
  rule: MergedRule | undefined,
  key: ClusterKey,
  inCluster: boolean,
): Init<'envoy.config.endpoint.v3.LocalityLbEndpoints'>[] {
  const port = service.ports.find((known) => known.port === key.port)
  if (!port) return []
  const subset = key.subset === '' ? undefined : rule?.subsets.find((known) => known.name === key.subset)
  const policy = clusterPolicy(rule, key.port, key.subset)
  const withUnhealthy = sendsUnhealthy(push, service) && !((policy?.outlierDetection?.minHealthPercent ?? 0) > 0)
  const endpoints = push.registry
    .endpoints(service)
    .filter(
      (endpoint) =>
        endpoint.servicePortName === port.name &&
        (inCluster || endpoint.port === 0 || net.isIP(endpoint.address) !== 0) &&
        selects(subset?.labels, endpoint.labels) &&
        isOffered(endpoint, service, proxy, withUnhealthy),
    )
  let groups = byLocality(endpoints)
  const localities = localityRule(push.mesh, policy?.loadBalancer, service)
  if (localities) groups = prioritize(groups, localities, proxy, policy?.outlierDetection !== undefined)
  return groups.map((group) => localityGroup(push, group, rule, key))
}

/** Whether unready endpoints are sent, marked as unhealthy (model/service.go SupportsUnhealthyEndpoints). */
export function sendsUnhealthy(push: PushContext, service: Service): boolean {
  return push.env.sendUnhealthyEndpoints || service.trafficDistribution !== 'ANY'
}

function isOffered(endpoint: Endpoint, service: Service, proxy: ProxyNode, withUnhealthy: boolean): boolean {
  if (service.nodeLocal && endpoint.nodeName !== proxy.nodeName) return false
  if (endpoint.health === 'TERMINATING') return false
  // Only sessions may go on at an endpoint that is about to go.
  if (endpoint.labels['istio.io/draining'] && !keepsDraining(service)) return false
  return withUnhealthy || endpoint.health !== 'UNHEALTHY'
}

function localityGroup(
  push: PushContext,
  group: LocalityGroup,
  rule: MergedRule | undefined,
  key: ClusterKey,
): Init<'envoy.config.endpoint.v3.LocalityLbEndpoints'> {
  const [region, zone, subZone] = splitLocality(group.locality)
  return {
    locality: { region, zone, subZone },
    lbEndpoints: group.endpoints.map((endpoint) => {
      const mtls =
        endpoint.tlsMode === 'istio' && usesMtls(endpoint, rule, key.subset, key.port, push.peerAuthentications)
      return lbEndpoint(endpoint, mtls, push.env.clusterId)
    }),
    loadBalancingWeight: group.weight,
    priority: group.priority,
  }
}

function lbEndpoint(
  endpoint: Endpoint,
  mtls: boolean,
  clusterId: string,
): NonNullable<Init<'envoy.config.endpoint.v3.LocalityLbEndpoints'>['lbEndpoints']>[number] {
  const canonical = canonicalName(endpoint.labels, endpoint.workloadName)
  const revision = canonicalRevision(endpoint.labels)
  const workload = [
    endpoint.workloadName,
    endpoint.namespace,
    canonical,
    revision === 'latest' ? '' : revision,
    clusterId,
  ]
  return {
    hostIdentifier: { case: 'endpoint', value: { address: addressOf(endpoint.address, endpoint.port) } },
    healthStatus: endpoint.labels['istio.io/draining'] ? HEALTH.DRAINING : HEALTH[endpoint.health],
    loadBalancingWeight: endpoint.weight ?? 1,
    metadata: {
      filterMetadata: {
        ...(mtls ? { 'envoy.transport_socket_match': { tlsMode: 'istio' } } : {}),
        istio: { workload: workload.join(';') },
      },
    },
  }
}
