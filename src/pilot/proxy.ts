import net from 'node:net'
import type { JsonObject } from '@bufbuild/protobuf'
import type { MeshProxyConfig } from '../api/kinds/mesh-proxy-config.ts'
import { augmentLabels, type Labels, type Locality } from '../registry/labels.ts'
import type { ContainerPort, ServiceTarget, Workload } from '../registry/model.ts'
import type { Registry } from '../registry/registry.ts'

/** What a connecting proxy says of itself: Envoy's Node. */
export interface Node {
  /** `sidecar~10.244.0.5~reviews-v1-0.default~default.svc.cluster.local`. */
  id: string
  cluster?: string
  metadata?: JsonObject
  locality?: { region: string; zone: string; subZone: string }
}

/** Roles of proxies; `router` is a gateway. */
export type ProxyType = 'sidecar' | 'router'

/** A proxy, as generation sees it (pilot/pkg/model/context.go Proxy). */
export interface ProxyNode {
  type: ProxyType
  id: string
  ips: string[]
  /** Namespace that its configuration comes from. */
  namespace: string
  /** `<namespace>.svc.<domain>`. */
  dnsDomain: string
  /** The service cluster that it names (`app.namespace`). */
  cluster: string
  labels: Labels
  locality: Locality
  serviceAccount: string
  network: string
  nodeName: string
  workloadName: string
  interception: 'REDIRECT' | 'TPROXY' | 'NONE'
  proxyless: boolean
  dnsCapture: boolean
  http10: boolean
  meshId: string
  clusterId: string
  idleTimeout?: string
  /** Overrides MeshConfig's proxyHttpPort. */
  httpProxyPort?: number
  unprivileged: boolean
  statusPort: number
  prometheusPort: number
  containerPorts: ContainerPort[]
  /** What it says of its own settings (PROXY_CONFIG). */
  proxyConfig?: MeshProxyConfig
  /** All that its node metadata says. */
  metadata: JsonObject
  workload?: Workload
  /** Services of its workload, oldest first. */
  targets: ServiceTarget[]
}

/** Its node id has another form, or its type is not one that pilot serves. */
export class NodeError extends Error {}

/**
 * Finds out who connects: node id and metadata, and the pod by name or address, whose labels come before those of
 * the metadata. A proxy without a pod is served from its metadata alone.
 */
export function proxyOf(node: Node, registry: Registry, clusterId: string): ProxyNode {
  const parts = node.id.split('~')
  if (parts.length !== 4) throw new NodeError(`node id ${JSON.stringify(node.id)} is not type~ip~name~domain`)
  const [type, ip = '', id = '', domain = ''] = parts
  if (type !== 'sidecar' && type !== 'router') throw new NodeError(`proxies of type ${type} are not served`)
  const meta = node.metadata ?? {}
  const text = (key: string): string =>
    typeof meta[key] === 'string' || typeof meta[key] === 'number' ? `${meta[key]}` : ''
  const flag = (key: string): boolean => meta[key] === true || meta[key] === 'true' || meta[key] === '1'
  const namespace = text('NAMESPACE') || domain.split('.')[0] || 'default'
  const ips = addresses(text('INSTANCE_IPS'), ip)
  const name = id.endsWith(`.${namespace}`) ? id.slice(0, -namespace.length - 1) : id
  const found = registry.workload(namespace, name) ?? ips.map((known) => registry.workloadByIp(known)).find(Boolean)
  const workload = found?.namespace === namespace ? found : undefined
  const labels = workload?.labels ?? stringMap(meta.LABELS)
  const stated = node.locality && [node.locality.region, node.locality.zone, node.locality.subZone].join('/')
  const locality = workload?.locality || (stated && stated !== '//' ? stated : '')
  const network = text('NETWORK') || workload?.network || ''
  const nodeName = text('NODE_NAME') || workload?.nodeName || ''
  const mode = text('INTERCEPTION_MODE')
  const containerPorts = workload?.containerPorts ?? podPorts(meta.POD_PORTS)
  const proxy: ProxyNode = {
    type,
    id,
    ips,
    namespace,
    dnsDomain: domain || `${namespace}.svc.cluster.local`,
    cluster: node.cluster ?? '',
    labels: workload ? augmentLabels(labels, clusterId, locality, nodeName, network) : labels,
    locality,
    serviceAccount: text('SERVICE_ACCOUNT') || workload?.serviceAccount || 'default',
    network,
    nodeName,
    workloadName: text('WORKLOAD_NAME') || workload?.workloadName || '',
    interception: mode === 'NONE' || mode === 'TPROXY' ? mode : 'REDIRECT',
    proxyless: text('GENERATOR') === 'grpc',
    dnsCapture: flag('DNS_CAPTURE'),
    http10: text('HTTP10') === '1',
    meshId: text('MESH_ID'),
    clusterId: text('CLUSTER_ID') || clusterId,
    idleTimeout: text('IDLE_TIMEOUT') || undefined,
    httpProxyPort: Number(text('HTTP_PROXY_PORT')) || undefined,
    unprivileged: flag('UNPRIVILEGED_POD'),
    statusPort: Number(text('ENVOY_STATUS_PORT')) || 15021,
    prometheusPort: Number(text('ENVOY_PROMETHEUS_PORT')) || 15090,
    containerPorts,
    proxyConfig: isObject(meta.PROXY_CONFIG) ? (meta.PROXY_CONFIG as MeshProxyConfig) : undefined,
    metadata: meta,
    workload,
    targets: [],
  }
  if (ips[0]) proxy.targets = registry.targets({ namespace, labels, ip: ips[0], containerPorts })
  return proxy
}

const isObject = (value: unknown): value is object =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

function addresses(instanceIps: string, ip: string): string[] {
  const listed = instanceIps.split(',').map((item) => item.trim())
  return [...new Set([...(net.isIP(ip) ? [ip] : []), ...listed.filter((item) => net.isIP(item))])]
}

function stringMap(value: unknown): Record<string, string> {
  if (typeof value !== 'object' || value === null) return {}
  return Object.fromEntries(
    Object.entries(value).filter((entry): entry is [string, string] => typeof entry[1] === 'string'),
  )
}

// POD_PORTS is a JSON list, as a string or as it is.
function podPorts(value: unknown): ContainerPort[] {
  try {
    const list: unknown = typeof value === 'string' ? JSON.parse(value) : value
    if (!Array.isArray(list)) return []
    return list.map((port: { name?: string; containerPort?: number; protocol?: string }) => ({
      name: port.name ?? '',
      port: port.containerPort ?? 0,
      protocol: port.protocol === 'UDP' || port.protocol === 'SCTP' ? port.protocol : 'TCP',
    }))
  } catch {
    return []
  }
}

/** Whether the proxy has IPv6 addresses only. */
export const isIpv6Only = (proxy: ProxyNode): boolean => proxy.ips.length > 0 && proxy.ips.every((ip) => net.isIPv6(ip))

/** The address on which listeners of this proxy take everything. */
export const wildcardOf = (proxy: ProxyNode): string => (isIpv6Only(proxy) ? '::' : '0.0.0.0')

/** The loopback address of its family. */
export const localhostOf = (proxy: ProxyNode): string => (isIpv6Only(proxy) ? '::1' : '127.0.0.1')
