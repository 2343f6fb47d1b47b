import type { TrafficPolicy } from '../../api/kinds/traffic-policy.ts'
import type { Port, Service } from '../../registry/model.ts'
import { isHttp } from '../../registry/protocol.ts'
import { packed } from '../../xds/messages.ts'
import type { PushContext } from '../scope/push-context.ts'
import { withMeshDefaults } from '../traffic-policy.ts'
import { applyConnectionPool } from './connection-pool.ts'
import { type ClusterDraft, setHttp2 } from './draft.ts'
import { applyLoadBalancer } from './load-balancer.ts'
import { applyOutlierDetection } from './outlier.ts'
import { applyTls } from './tls.ts'

/** What applying a policy to an outbound cluster needs to know. */
export interface PolicyOptions {
  push: PushContext
  service: Service
  port: Port
  serviceAccounts: readonly string[]
  sni: string
  /** The policy whose balancer tells whether endpoints are picked here at all. */
  inferPolicy: TrafficPolicy | undefined
  selectsWorkloads: boolean
  sendsUnhealthy: boolean
  preserveCase: boolean
  isGateway: boolean
  /** What passes is TLS already: nothing is done to it. */
  opaque?: boolean
}

/** Applies a policy to an outbound cluster (networking/core/cluster_traffic_policy.go applyTrafficPolicy). */
export function applyTrafficPolicy(
  target: ClusterDraft,
  stated: TrafficPolicy | undefined,
  options: PolicyOptions,
): void {
  const { push, service } = options
  const policy = withMeshDefaults(stated, push.mesh.defaultTrafficPolicy)
  if (upgrades(policy, options)) setHttp2(target)
  applyConnectionPool(target, policy?.connectionPool ?? {}, {
    mesh: push.mesh,
    retryBudget: policy?.retryBudget,
    preserveCase: options.preserveCase,
  })
  applyOutlierDetection(target, service, policy?.outlierDetection)
  applyLoadBalancer(target, service, policy?.loadBalancer, {
    mesh: push.mesh,
    sendsUnhealthy: options.sendsUnhealthy,
  })
  if (!options.opaque) {
    applyTls(target, policy?.tls, { ...options, serverTakesMtls: serverTakesMtls(options) })
  }
  if (policy?.proxyProtocol && !options.opaque)
    wrapInProxyProtocol(target, policy.proxyProtocol.version === 'V2' ? 1 : 0)
  if (stated?.tls?.mode === 'SIMPLE' || stated?.tls?.mode === 'MUTUAL') target.istio.alpn_override = 'false'
}

function upgrades(policy: TrafficPolicy | undefined, { push, port }: PolicyOptions): boolean {
  const http = policy?.connectionPool?.http
  if (http?.useClientProtocol) return false
  if (http?.h2UpgradePolicy === 'UPGRADE') return true
  if (http?.h2UpgradePolicy === 'DO_NOT_UPGRADE') return false
  return isHttp(port.protocol) && push.mesh.h2UpgradePolicy === 'UPGRADE'
}

/**
 * Whether mutual TLS is worth trying: policies of the namespace and the mesh decide, and where the client's own
 * destination is kept, every endpoint must take it (push_context.go BestEffortInferServiceMTLSMode).
 */
function serverTakesMtls({ push, service, port, inferPolicy }: PolicyOptions): boolean {
  if (service.meshExternal) return false
  if (service.resolution === 'PASSTHROUGH' || inferPolicy?.loadBalancer?.simple === 'PASSTHROUGH') {
    const endpoints = push.registry.endpointsOfPort(service, port.port)
    if (endpoints.length === 0 || endpoints.some((endpoint) => endpoint.tlsMode === 'disabled')) return false
  }
  return push.peerAuthentications.namespaceMode(service.namespace) !== 'DISABLE'
}

function wrapInProxyProtocol(target: ClusterDraft, version: 0 | 1): void {
  const wrap = (transportSocket: NonNullable<ClusterDraft['cluster']['transportSocket']>) => ({
    name: 'envoy.transport_sockets.upstream_proxy_protocol',
    configType: {
      case: 'typedConfig' as const,
      value: packed('envoy.extensions.transport_sockets.proxy_protocol.v3.ProxyProtocolUpstreamTransport', {
        config: { version },
        transportSocket,
      }),
    },
  })
  const { cluster } = target
  // By this name alone (networking/util RawBufferTransport).
  const raw = {
    name: 'raw_buffer',
    configType: {
      case: 'typedConfig' as const,
      value: packed('envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer'),
    },
  }
  if (cluster.transportSocketMatches?.length) {
    for (const match of cluster.transportSocketMatches) match.transportSocket = wrap(match.transportSocket ?? raw)
  } else {
    cluster.transportSocket = wrap(cluster.transportSocket ?? raw)
  }
}
