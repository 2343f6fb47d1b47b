import type { Cluster } from '#gen/envoy/config/cluster/v3/cluster_pb.js'
import type { ClusterLoadAssignment } from '#gen/envoy/config/endpoint/v3/endpoint_pb.js'
import type { Endpoint, Port, Service, Workload } from '../../registry/model.ts'
import { clustersOf } from '../cluster/clusters.ts'
import { loadAssignment } from '../endpoint/load-assignment.ts'
import { statedMode } from '../endpoint/mtls.ts'
import { outboundCluster } from '../names.ts'
import type { ProxyNode } from '../proxy.ts'
import type { MergedRule } from '../scope/destination-rules.ts'
import { modeForPort, originForPort } from '../scope/peer-authentication.ts'
import type { PushContext } from '../scope/push-context.ts'
import { proxyOfWorkload } from '../workload-proxy.ts'
import type { Capture, Link, LinkEnd, LinkReason, ServerMode } from './link.ts'
import { ruleReason } from './rule-reason.ts'
import { type ClusterTransport, transportTo } from './transport.ts'

const TRANSPORT_SOCKET_MATCH = 'envoy.transport_socket_match'

/** Clients that are given the same: one workload and its proxy stand for all. */
interface ClientKind {
  readonly workload: Workload
  readonly proxy: ProxyNode | undefined
  readonly ends: LinkEnd[]
}

/**
 * Every link between workloads: who can reach which port of which service, and how. Read from the clusters and endpoints
 * that the clients' proxies are sent, and the modes by which the servers' listeners are made.
 */
export function linksOf(push: PushContext, capture: Capture = EVERYTHING): Link[] {
  const view = { push, capture }
  return clientKinds(push).flatMap((kind) => (kind.proxy ? proxied(view, kind, kind.proxy) : direct(view, kind)))
}

/** What links are read from. */
interface View {
  readonly push: PushContext
  readonly capture: Capture
}

const EVERYTHING: Capture = { inbound: () => true, outbound: () => true }
const REDIRECTION = 'traffic.sidecar.istio.io/'

function clientKinds(push: PushContext): ClientKind[] {
  const kinds = new Map<string, ClientKind>()
  const known = new Set<string>()
  for (const workload of push.registry.workloads) {
    const end = endOf(workload)
    const owner = `${end.namespace}/${end.workload}`
    if (known.has(owner)) continue
    known.add(owner)
    const proxy = workload.injected ? proxyOfWorkload(push, workload) : undefined
    const sidecar = proxy && push.sidecarFor(proxy)?.metadata
    const key = JSON.stringify([
      proxy?.type,
      workload.namespace,
      sidecar && [sidecar.namespace, sidecar.name],
      proxy && push.destinationRules.usesLabels ? proxy.labels : '',
      Object.entries(workload.annotations).filter(([name]) => name.startsWith(REDIRECTION)),
    ])
    const kind = kinds.get(key)
    if (kind) kind.ends.push(end)
    else kinds.set(key, { workload, proxy, ends: [end] })
  }
  return [...kinds.values()]
}

const endOf = ({ namespace, workloadName }: Workload): LinkEnd => ({ namespace, workload: workloadName })

function proxied(view: View, kind: ClientKind, proxy: ProxyNode): Link[] {
  const { push, capture } = view
  const clusters = new Map(clustersOf(push, proxy).map((cluster) => [cluster.name, cluster]))
  return push.scopeOf(proxy).services.flatMap((service) => {
    const rule = push.ruleFor(proxy, service)
    return service.ports.flatMap((port) => {
      if (
        service.registry === 'Kubernetes' &&
        !capture.outbound(kind.workload, { ip: service.address, port: port.port })
      )
        return directTo(view, kind, service, port, 'the client leaves it out of its redirection')
      const whole = throughCluster(view, kind, proxy, service, port, rule, '', clusters)
      // A subset is worth a line only where it goes otherwise than the service.
      const subsets = (rule?.subsets ?? [])
        .filter(({ name }) => statedMode(rule, name, port.port) !== statedMode(rule, '', port.port))
        .flatMap(({ name }) => throughCluster(view, kind, proxy, service, port, rule, name, clusters))
      return [...whole, ...subsets]
    })
  })
}

function throughCluster(
  view: View,
  kind: ClientKind,
  proxy: ProxyNode,
  service: Service,
  port: Port,
  rule: MergedRule | undefined,
  subset: string,
  clusters: ReadonlyMap<string, Cluster>,
): Link[] {
  const { push } = view
  const cluster = clusters.get(outboundCluster(service.hostname, port.port, subset))
  if (!cluster) return []
  const labels = rule?.subsets.find(({ name }) => name === subset)?.labels
  const endpoints = push.registry.endpointsOfPort(service, port.port, labels)
  const assigned = cluster.loadAssignment ?? loadAssignment(push, proxy, cluster.name)
  const metadata = metadataByAddress(assigned)
  return perServer(push, endpoints).flatMap((endpoint) => {
    const how = transportTo(cluster, metadata.get(`${endpoint.address} ${endpoint.port}`))
    const stated = statedMode(rule, subset, port.port)
    const reason =
      stated !== undefined && rule
        ? ruleReason(rule, subset, port.port)
        : automaticReason(push, service, endpoint, how.transport === 'mTLS')
    return link(view, kind, service, port, subset, endpoint, how, reason)
  })
}

/** Clients without a sidecar dial the address of the service. */
function direct(view: View, kind: ClientKind): Link[] {
  const services = view.push.registry.services.filter(({ registry }) => registry === 'Kubernetes')
  return services.flatMap((service) =>
    service.ports.flatMap((port) => directTo(view, kind, service, port, 'client has no sidecar')),
  )
}

function directTo(view: View, kind: ClientKind, service: Service, port: Port, text: string): Link[] {
  const how: ClusterTransport = { transport: 'plaintext', showsCertificate: false }
  const endpoints = view.push.registry.endpointsOfPort(service, port.port)
  return perServer(view.push, endpoints).flatMap((endpoint) =>
    link(view, kind, service, port, '', endpoint, how, { text }),
  )
}

function metadataByAddress(assigned: ClusterLoadAssignment): Map<string, Readonly<Record<string, unknown>>> {
  const out = new Map<string, Readonly<Record<string, unknown>>>()
  for (const { lbEndpoints } of assigned.endpoints)
    for (const { hostIdentifier, metadata } of lbEndpoints) {
      if (hostIdentifier.case !== 'endpoint') continue
      const { address } = hostIdentifier.value.address ?? {}
      const match = metadata?.filterMetadata[TRANSPORT_SOCKET_MATCH]
      if (address?.case === 'socketAddress' && match && address.value.portSpecifier.case === 'portValue')
        out.set(`${address.value.address} ${address.value.portSpecifier.value}`, match)
    }
  return out
}

/** One endpoint for each workload behind it. Gateways are no servers: clients of the mesh do not come to them so. */
function perServer(push: PushContext, endpoints: readonly Endpoint[]): Endpoint[] {
  const seen = new Map<string, Endpoint>()
  for (const endpoint of endpoints) {
    const workload = push.registry.workloadByIp(endpoint.address)
    if (workload?.gateway || endpoint.health === 'TERMINATING') continue
    const key = JSON.stringify([
      endpoint.namespace,
      endpoint.workloadName || endpoint.address,
      endpoint.port,
      endpoint.tlsMode,
    ])
    if (!seen.has(key)) seen.set(key, endpoint)
  }
  return [...seen.values()]
}

function automaticReason(push: PushContext, service: Service, endpoint: Endpoint, mtls: boolean): LinkReason {
  if (mtls) return { text: 'auto mTLS' }
  if (service.meshExternal) return { text: 'outside the mesh' }
  if (!push.mesh.enableAutoMtls) return { text: 'MeshConfig enableAutoMtls: false' }
  if (endpoint.tlsMode !== 'istio') return { text: 'server has no sidecar' }
  const mtlsOfServer = push.peerAuthentications.forWorkload(endpoint.namespace, endpoint.labels)
  const origin = originForPort(mtlsOfServer, endpoint.port)
  if (origin && modeForPort(mtlsOfServer, endpoint.port) === 'DISABLE') return { text: '', origin }
  return { text: 'settings of the cluster' }
}

function link(
  { push, capture }: View,
  { ends, proxy }: ClientKind,
  service: Service,
  port: Port,
  subset: string,
  endpoint: Endpoint,
  { transport, showsCertificate }: ClusterTransport,
  by: LinkReason,
): Link[] {
  const workload = push.registry.workloadByIp(endpoint.address)
  const inMesh = workload ? workload.injected && capture.inbound(workload, endpoint.port) : endpoint.tlsMode === 'istio'
  const mtls = push.peerAuthentications.forWorkload(endpoint.namespace, endpoint.labels)
  const mode: ServerMode = inMesh ? modeForPort(mtls, endpoint.port) : workload ? 'no sidecar' : 'outside'
  const server = workload ? endOf(workload) : undefined
  const clients = ends.filter((end) => end.namespace !== server?.namespace || end.workload !== server.workload)
  if (clients.length === 0) return []
  return [
    {
      clients,
      sidecar: proxy !== undefined,
      hostname: service.hostname,
      service: { namespace: service.namespace, name: service.name },
      port: port.port,
      subset,
      server,
      serverPort: endpoint.port,
      transport,
      by,
      mode,
      modeBy: inMesh ? originForPort(mtls, endpoint.port) : undefined,
      fails: whyFails(transport, showsCertificate, mode),
    },
  ]
}

function whyFails(transport: Link['transport'], showsCertificate: boolean, mode: ServerMode): string | undefined {
  if (mode === 'STRICT') {
    if (transport === 'plaintext') return 'the server takes mutual TLS only'
    return showsCertificate ? undefined : 'the server asks for a client certificate'
  }
  if (transport !== 'mTLS') return undefined
  if (mode === 'DISABLE') return 'the server takes plaintext only'
  return mode === 'no sidecar' ? 'the server has no sidecar to end mutual TLS' : undefined
}
