import type { Cluster } from '#gen/envoy/config/cluster/v3/cluster_pb.js'
import type { IstioIngressListener } from '../../api/kinds/sidecar.ts'
import type { ConnectionPoolSettings, TrafficPolicy } from '../../api/kinds/traffic-policy.ts'
import { originOf, type ServiceTarget } from '../../registry/model.ts'
import { parseProtocol } from '../../registry/protocol.ts'
import { inboundCluster } from '../names.ts'
import { addressOf } from '../proto.ts'
import { configPath, PROVENANCE, provenance } from '../provenance.ts'
import { localhostOf, type ProxyNode } from '../proxy.ts'
import { proxyConfigOf } from '../proxy-config.ts'
import type { PushContext } from '../scope/push-context.ts'
import type { SidecarScope } from '../scope/sidecar-scope.ts'
import { portPolicy, withMeshDefaults } from '../traffic-policy.ts'
import { applyConnectionPool } from './connection-pool.ts'
import { draft, finish, ORIGINAL_DST, STATIC, serviceMetadata, setUpstreamProtocol } from './draft.ts'
import { statName } from './outbound.ts'
import { inboundBind } from './special.ts'

// Never: the longest time that Go counts in nanoseconds, in whole seconds (maxSecondsValue in cluster_builder.go).
const NEVER = { seconds: 9_223_372_035n, nanos: 0 }

/** The clusters of the ports of a proxy's own workload (networking/core/cluster.go buildInboundClusters). */
export function inboundClusters(push: PushContext, proxy: ProxyNode): Cluster[] {
  const scope = push.scopeOf(proxy)
  if (scope.sidecar?.ingress?.length) {
    return scope.sidecar.ingress.flatMap((listener) => ingressCluster(push, proxy, scope, listener) ?? [])
  }
  if (proxy.interception === 'NONE') return []
  const byPort = new Map<number, ServiceTarget[]>()
  for (const target of proxy.targets) byPort.set(target.targetPort, [...(byPort.get(target.targetPort) ?? []), target])
  const bind = push.mesh.inboundTrafficPolicy?.mode === 'LOCALHOST' ? localhostOf(proxy) : ''
  return [...byPort].map(([port, targets]) => build(push, proxy, scope, { clusterPort: port, bind, port, targets }))
}

function ingressCluster(
  push: PushContext,
  proxy: ProxyNode,
  scope: SidecarScope,
  listener: IstioIngressListener,
): Cluster | undefined {
  const clusterPort = listener.port.number ?? 0
  const stated = listener.port
  const port = { name: stated.name ?? '', port: clusterPort, protocol: parseProtocol(stated.protocol) }
  const known = proxy.targets.find((target) => target.targetPort === clusterPort)
  const service = known?.service ?? ingressService(scope)
  let bind = ''
  let bindPort = 0
  const endpoint = listener.defaultEndpoint ?? ''
  if (endpoint.startsWith('unix://')) {
    bind = endpoint
  } else if (endpoint) {
    const colon = endpoint.lastIndexOf(':')
    bindPort = Number(endpoint.slice(colon + 1))
    if (colon < 0 || !Number.isInteger(bindPort)) return undefined
    const host = endpoint.slice(0, colon).replace(/[[\]]/g, '')
    bind = host === '0.0.0.0' || host === '::' ? (proxy.ips[0] ?? localhostOf(proxy)) : localhostOf(proxy)
  }
  const targets = [{ service, port, targetPort: bindPort }]
  return build(push, proxy, scope, { clusterPort, bind, port: bindPort, targets })
}

// A listener that no service stands behind still needs a name in telemetry.
function ingressService(scope: SidecarScope): ServiceTarget['service'] {
  const hostname = `${scope.name}.${scope.namespace}`
  return {
    hostname,
    name: scope.name,
    namespace: scope.namespace,
    registry: 'External',
    address: '',
    autoAddress: '',
    ports: [],
    resolution: 'EDS',
    meshExternal: true,
    creationTime: 0,
    labels: {},
    serviceAccounts: [],
    aliases: [],
    nodeLocal: false,
    publishNotReady: false,
    trafficDistribution: 'ANY',
    passthroughTargetPorts: new Map(),
    raceDns: false,
    origin: scope.object ? originOf(scope.object) : { kind: 'Sidecar', namespace: scope.namespace, name: scope.name },
  }
}

interface InboundOptions {
  clusterPort: number
  /** '' sends to where the connection was going. */
  bind: string
  port: number
  targets: ServiceTarget[]
}

function build(push: PushContext, proxy: ProxyNode, scope: SidecarScope, options: InboundOptions): Cluster {
  const { clusterPort, bind, targets } = options
  const first = targets[0] as ServiceTarget
  const target = draft(inboundCluster(clusterPort), bind ? STATIC : ORIGINAL_DST)
  const { cluster } = target
  cluster.commonLbConfig = {}
  if (bind) {
    const address = addressOf(bind, options.port)
    cluster.loadAssignment = {
      clusterName: cluster.name,
      endpoints: [{ lbEndpoints: [{ hostIdentifier: { case: 'endpoint', value: { address } } }] }],
    }
  } else {
    cluster.cleanupInterval = NEVER
  }
  const preserveCase = proxyConfigOf(push, proxy).proxyHeaders?.preserveHttp1HeaderCase === true
  setUpstreamProtocol(target, first.port.protocol, { preserveCase, sidecar: proxy.type === 'sidecar' })
  const pattern = push.mesh.inboundClusterStatName
  if (pattern) cluster.altStatName = `${statName(pattern, first.service, first.port, '', clusterPort)};`
  if (!first.service.meshExternal) {
    const services = targets.filter((other) => other.port.port === first.port.port).map((other) => other.service)
    const unique = services.filter(
      (service, index) => services.findIndex((other) => other.hostname === service.hostname) === index,
    )
    target.istio.services = unique.map(serviceMetadata)
  }
  applyPool(push, proxy, scope, first, clusterPort, target, preserveCase)
  if (bind !== '127.0.0.1' && bind !== '::1') cluster.upstreamBindConfig = inboundBind(proxy)
  cluster.metadata = { filterMetadata: { [PROVENANCE]: provenance(first.service.origin) } }
  return finish(target)
}

/** Limits hold on the server's side as well: the Sidecar's own, else those of the service's DestinationRule. */
function applyPool(
  push: PushContext,
  proxy: ProxyNode,
  scope: SidecarScope,
  first: ServiceTarget,
  clusterPort: number,
  target: Parameters<typeof applyConnectionPool>[0],
  preserveCase: boolean,
): void {
  const rule = scope.byHostname.has(first.service.hostname) ? push.ruleFor(proxy, first.service, 'inbound') : undefined
  let policy: TrafficPolicy | undefined
  if (rule?.trafficPolicy) {
    policy = portPolicy(rule.trafficPolicy, first.port.port).policy
    target.istio.config = configPath(rule.object)
  }
  policy = withMeshDefaults(policy, push.mesh.defaultTrafficPolicy)
  const pool: ConnectionPoolSettings | undefined = sidecarPool(scope, clusterPort) ?? policy?.connectionPool
  applyConnectionPool(target, pool ?? {}, { mesh: push.mesh, retryBudget: policy?.retryBudget, preserveCase })
}

function sidecarPool(scope: SidecarScope, port: number): ConnectionPoolSettings | undefined {
  const own = scope.sidecar?.ingress?.find((listener) => listener.port.number === port)?.connectionPool
  return own ?? scope.sidecar?.inboundConnectionPool
}
