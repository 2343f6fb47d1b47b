import type { z } from 'zod'
import { bool, duration, int32, list, map, message, number, oneOf, text, uint32, uint64 } from '../schema.ts'
import { PortSelector } from './virtual-service.ts'

/** Written into a cookie that is made. */
export const HTTPCookieAttribute = message(
  {
    name: text,
    value: text,
  },
  ['name'],
)
export type HTTPCookieAttribute = z.infer<typeof HTTPCookieAttribute>

/** A cookie to hash; made when absent, if it has a ttl. */
export const HTTPCookie = message(
  {
    name: text,
    path: text,
    /** 0s makes a session cookie. */
    ttl: duration,
    attributes: list(HTTPCookieAttribute),
  },
  ['name'],
)
export type HTTPCookie = z.infer<typeof HTTPCookie>

/** Ketama. */
export const RingHash = message({
  /** 1024 when unset. */
  minimumRingSize: uint64,
})
export type RingHash = z.infer<typeof RingHash>

/** Maglev. */
export const MagLev = message({
  /** A prime below 5000011; 65537 when unset. */
  tableSize: uint64,
})
export type MagLev = z.infer<typeof MagLev>

/** Picks a host by a hash of the request. */
export const ConsistentHashLB = message(
  {
    httpHeaderName: text,
    httpCookie: HTTPCookie,
    useSourceIp: bool,
    httpQueryParameterName: text,
    ringHash: RingHash,
    maglev: MagLev,
    /** Deprecated: use ringHash. */
    minimumRingSize: uint64,
  },
  [],
  [
    ['httpHeaderName', 'httpCookie', 'useSourceIp', 'httpQueryParameterName'],
    ['ringHash', 'maglev'],
  ],
)
export type ConsistentHashLB = z.infer<typeof ConsistentHashLB>

/** Shares of traffic from one locality to others. */
export const LocalityDistribute = message({
  /** `region/zone/subzone`, with `*` as last part allowed. */
  from: text,
  to: map(uint32),
})
export type LocalityDistribute = z.infer<typeof LocalityDistribute>

/** Where traffic of a region goes when that region fails. */
export const LocalityFailover = message({
  from: text,
  to: text,
})
export type LocalityFailover = z.infer<typeof LocalityFailover>

/** Balancing by region, zone and sub-zone; distribute and failover exclude each other. */
export const LocalityLoadBalancerSetting = message({
  distribute: list(LocalityDistribute),
  failover: list(LocalityFailover),
  failoverPriority: list(text),
  enabled: bool,
})
export type LocalityLoadBalancerSetting = z.infer<typeof LocalityLoadBalancerSetting>

/** Where traffic of a region goes when that region fails. */
export const ZoneAwareFailover = message({
  from: text,
  to: text,
})
export type ZoneAwareFailover = z.infer<typeof ZoneAwareFailover>

/** Envoy's zone-aware routing. */
export const ZoneAwareLoadBalancerSetting = message({
  enabled: bool,
  failover: list(ZoneAwareFailover),
  failoverPriority: list(text),
  minClusterSize: uint64,
})
export type ZoneAwareLoadBalancerSetting = z.infer<typeof ZoneAwareLoadBalancerSetting>

/** Lets new hosts take traffic slowly. */
export const WarmupConfiguration = message(
  {
    duration: duration,
    /** 10 when unset. */
    minimumPercent: number,
    /** 1 when unset. */
    aggression: number,
  },
  ['duration'],
)
export type WarmupConfiguration = z.infer<typeof WarmupConfiguration>

/** How a host is picked; least request when unset. */
export const LoadBalancerSettings = message(
  {
    simple: oneOf('UNSPECIFIED', 'LEAST_CONN', 'RANDOM', 'PASSTHROUGH', 'ROUND_ROBIN', 'LEAST_REQUEST'),
    consistentHash: ConsistentHashLB,
    localityLbSetting: LocalityLoadBalancerSetting,
    zoneAwareLbSetting: ZoneAwareLoadBalancerSetting,
    warmupDurationSecs: duration,
    warmup: WarmupConfiguration,
  },
  [],
  [['simple', 'consistentHash']],
)
export type LoadBalancerSettings = z.infer<typeof LoadBalancerSettings>

/** SO_KEEPALIVE and its parameters. */
export const TcpKeepalive = message({
  probes: uint32,
  time: duration,
  interval: duration,
})
export type TcpKeepalive = z.infer<typeof TcpKeepalive>

/** For TCP and HTTP alike. */
export const TCPSettings = message({
  /** 2^32-1 when unset or 0. */
  maxConnections: int32,
  /** MeshConfig's connectTimeout when unset. */
  connectTimeout: duration,
  tcpKeepalive: TcpKeepalive,
  maxConnectionDuration: duration,
  idleTimeout: duration,
})
export type TCPSettings = z.infer<typeof TCPSettings>

/** HTTP/2 PING. */
export const ConnectionKeepalive = message({
  interval: duration,
  timeout: duration,
})
export type ConnectionKeepalive = z.infer<typeof ConnectionKeepalive>

/** For HTTP. */
export const HTTPSettings = message({
  /** 2^32-1 when unset or 0. */
  http1MaxPendingRequests: int32,
  /** 2^32-1 when unset or 0; counts HTTP/1.1 as well. */
  http2MaxRequests: int32,
  /** No limit when unset or 0. */
  maxRequestsPerConnection: int32,
  maxRetries: int32,
  idleTimeout: duration,
  h2UpgradePolicy: oneOf('DEFAULT', 'DO_NOT_UPGRADE', 'UPGRADE'),
  useClientProtocol: bool,
  maxConcurrentStreams: int32,
  http2KeepAlive: ConnectionKeepalive,
})
export type HTTPSettings = z.infer<typeof HTTPSettings>

/** Limits and timeouts of connections to a service. */
export const ConnectionPoolSettings = message({
  tcp: TCPSettings,
  http: HTTPSettings,
})
export type ConnectionPoolSettings = z.infer<typeof ConnectionPoolSettings>

/** Takes failing hosts out for a while. */
export const OutlierDetection = message({
  /** Deprecated, and of no effect. */
  consecutiveErrors: int32,
  splitExternalLocalOriginErrors: bool,
  consecutiveLocalOriginFailures: uint32,
  /** Off when unset or 0. */
  consecutiveGatewayErrors: uint32,
  /** 5 when unset, 0 switches it off. */
  consecutive5xxErrors: uint32,
  /** 10s when unset. */
  interval: duration,
  /** 30s when unset. */
  baseEjectionTime: duration,
  /** 10 when unset. */
  maxEjectionPercent: int32,
  /** 0 when unset. */
  minHealthPercent: int32,
  /** The status codes that count as errors; all 5xx when empty. */
  outlierDetectionHttpErrorCodes: list(uint32),
})
export type OutlierDetection = z.infer<typeof OutlierDetection>

/** TLS of connections to a service. */
export const ClientTLSSettings = message({
  mode: oneOf('DISABLE', 'SIMPLE', 'MUTUAL', 'ISTIO_MUTUAL'),
  clientCertificate: text,
  privateKey: text,
  caCertificates: text,
  credentialName: text,
  subjectAltNames: list(text),
  sni: text,
  insecureSkipVerify: bool,
  caCrl: text,
})
export type ClientTLSSettings = z.infer<typeof ClientTLSSettings>

/** The policy for one port. */
export const PortTrafficPolicy = message({
  port: PortSelector,
  loadBalancer: LoadBalancerSettings,
  connectionPool: ConnectionPoolSettings,
  outlierDetection: OutlierDetection,
  tls: ClientTLSSettings,
})
export type PortTrafficPolicy = z.infer<typeof PortTrafficPolicy>

/** Tunnels TCP and TLS routes through a proxy. */
export const TunnelSettings = message(
  {
    /** CONNECT (the default) or POST. */
    protocol: text,
    targetHost: text,
    targetPort: uint32,
  },
  ['targetHost', 'targetPort'],
)
export type TunnelSettings = z.infer<typeof TunnelSettings>

/** Prefixes upstream connections with a PROXY protocol header. */
export const ProxyProtocol = message({
  version: oneOf('V1', 'V2'),
})
export type ProxyProtocol = z.infer<typeof ProxyProtocol>

/** Concurrent retries as a share of the active requests. */
export const RetryBudget = message({
  /** 20 when unset. */
  percent: number,
  /** 3 when unset. */
  minRetryConcurrency: uint32,
  budgetInterval: duration,
})
export type RetryBudget = z.infer<typeof RetryBudget>

/** What a client does towards a service (networking/v1alpha3/destination_rule.proto). */
export const TrafficPolicy = message({
  loadBalancer: LoadBalancerSettings,
  connectionPool: ConnectionPoolSettings,
  outlierDetection: OutlierDetection,
  tls: ClientTLSSettings,
  /** Replace the four blocks above wholesale for a port. */
  portLevelSettings: list(PortTrafficPolicy),
  tunnel: TunnelSettings,
  proxyProtocol: ProxyProtocol,
  retryBudget: RetryBudget,
})
export type TrafficPolicy = z.infer<typeof TrafficPolicy>
