/** Names of resources, as istiod forms them (pilot/pkg/model/service.go, networking/util/util.go). */
export const PASSTHROUGH_CLUSTER = 'PassthroughCluster'
export const BLACK_HOLE_CLUSTER = 'BlackHoleCluster'
export const INBOUND_PASSTHROUGH_CLUSTER = 'InboundPassthroughCluster'
export const DYNAMIC_DNS_CLUSTER = 'AllowAnyDynamicDNSCluster'
export const VIRTUAL_OUTBOUND = 'virtualOutbound'
export const VIRTUAL_INBOUND = 'virtualInbound'
/** The route configuration of the HTTP proxy port. */
export const HTTP_PROXY_ROUTE = 'http_proxy'
/** The SDS resource of a workload's own certificate, and of the roots it trusts. */
export const SDS_DEFAULT = 'default'
export const SDS_ROOT = 'ROOTCA'
/** The cluster of the agent's SDS server, in the bootstrap that the agent writes. */
export const SDS_CLUSTER = 'sds-grpc'

/** The parts of a cluster name. */
export interface ClusterKey {
  direction: 'outbound' | 'inbound'
  port: number
  subset: string
  host: string
}

/** `outbound|9080|v1|reviews.default.svc.cluster.local`. */
export const outboundCluster = (host: string, port: number, subset = ''): string => `outbound|${port}|${subset}|${host}`

/** `inbound|9080||`. */
export const inboundCluster = (port: number): string => `inbound|${port}||`

/** `outbound_.9080_.v1_.reviews.default.svc.cluster.local`: the default SNI of Istio's mutual TLS. */
export const sniOf = (host: string, port: number, subset = ''): string => `outbound_.${port}_.${subset}_.${host}`

/** Whether a cluster is named by SNI: one that AUTO_PASSTHROUGH servers forward to. */
export const isSni = (name: string): boolean => name.startsWith('outbound_.')

/** Takes a cluster name apart; undefined for one of another form. */
export function parseCluster(name: string): ClusterKey | undefined {
  // The form of SNI has other separators (ParseSubsetKey).
  const parts = name.split(isSni(name) ? '_.' : '|')
  if (parts.length !== 4 || (parts[0] !== 'outbound' && parts[0] !== 'inbound')) return undefined
  return { direction: parts[0], port: Number(parts[1]), subset: parts[2] ?? '', host: parts[3] ?? '' }
}

/** `host:port`, with brackets around an IPv6 address. */
export const hostPort = (host: string, port: number): string => `${bracketed(host)}:${port}`

/** A host as it stands in Host headers. */
export const bracketed = (host: string): string => (host.includes(':') ? `[${host}]` : host)

/** The name of a listener: `0.0.0.0_9080`. */
export const listenerName = (bind: string, port: number): string => `${bind}_${port}`

/** Envoy takes the part before the delimiter as one tag, whatever dots it has. */
export const statPrefix = (name: string): string => `${name};`

/** The span name of a route: `host:port/*`. */
export const traceOperation = (host: string, port: number): string => `${hostPort(host, port)}/*`
