import type { HeaderMap, RequestHead, ResponseHead } from './http/headers.ts'
import type { ConnectionInfo } from './listener/connection.ts'
import type { Host, Metadata } from './upstream/host.ts'

/** Short names of response flags (source/common/stream_info/utility.h); logged in the order they were set. */
export type ResponseFlag =
  | 'LH'
  | 'UH'
  | 'UT'
  | 'LR'
  | 'UR'
  | 'UF'
  | 'UC'
  | 'UO'
  | 'NR'
  | 'DI'
  | 'FI'
  | 'RL'
  | 'UAEX'
  | 'RLSE'
  | 'DC'
  | 'URX'
  | 'SI'
  | 'IH'
  | 'DPE'
  | 'UMSDR'
  | 'RFCF'
  | 'NFCF'
  | 'DT'
  | 'UPE'
  | 'NC'
  | 'OM'
  | 'DF'
  | 'DO'
  | 'DR'
  | 'UDO'

/**
 * Everything known of one request, or one TCP connection, while it lasts: written by the connection
 * manager, the router and filters, read by access logs, tracing and header variables. One object per
 * stream; the fields are flat so that filling them costs nothing. Times are `Runtime.now()` ms; 0 = not yet.
 */
export interface StreamInfo {
  /** Wall clock at the first byte. */
  startWall: number
  start: number
  /** Last byte of the request received. */
  requestComplete: number
  /** First byte of the request sent upstream, last byte sent, first and last byte received from there. */
  upstreamFirstTx: number
  upstreamLastTx: number
  upstreamFirstRx: number
  upstreamLastRx: number
  downstreamFirstTx: number
  downstreamLastTx: number
  /** Set when the stream is over. */
  end: number

  protocol: 'HTTP/1.0' | 'HTTP/1.1' | 'HTTP/2' | undefined
  downstream: ConnectionInfo
  /** The trusted client address (XFF or peer), without port where it came from a header. */
  trustedClientIp: string
  request: RequestHead | undefined
  response: ResponseHead | undefined
  responseTrailers: HeaderMap | undefined
  requestTrailers: HeaderMap | undefined

  responseCode: number
  responseCodeDetails: string | undefined
  connectionTerminationDetails: string | undefined
  flags: ResponseFlag[]
  /** Body bytes, as %BYTES_RECEIVED% and %BYTES_SENT% count them; header bytes apart. */
  bytesReceived: number
  bytesSent: number
  requestHeaderBytes: number
  responseHeaderBytes: number

  routeName: string | undefined
  virtualHostName: string | undefined
  virtualClusterName: string | undefined
  clusterName: string | undefined
  /** alt_stat_name when the cluster has one. */
  clusterObservabilityName: string | undefined
  upstreamHost: Host | undefined
  upstream: ConnectionInfo | undefined
  upstreamTransportFailure: string | undefined
  upstreamAttempts: number
  upstreamProtocol: 'HTTP/1.1' | 'HTTP/2' | undefined

  /** Filter namespaces to plain objects: `envoy.filters.http.rbac` and so on. Undefined until something is set. */
  dynamicMetadata: Map<string, Record<string, unknown>> | undefined
  filterState: Map<string, unknown> | undefined
  /** Metadata of the matched route, for %METADATA(ROUTE:…)%. */
  routeMetadata: ReadonlyMap<string, Record<string, unknown>> | undefined
  traceSampled: boolean

  // What follows is for access logs alone; whoever knows it sets it, and a missing one is logged as `-`.

  /** First byte of the response body received; `Runtime.now()` ms. */
  upstreamFirstRxBody?: number
  /** ms between asking the pool and getting a connection. */
  upstreamPoolWait?: number
  /** Bytes of this stream on the wire, heads included. The upstream ones count the last attempt. */
  downstreamWireBytesReceived?: number
  downstreamWireBytesSent?: number
  upstreamWireBytesReceived?: number
  upstreamWireBytesSent?: number
  upstreamHeaderBytesReceived?: number
  upstreamHeaderBytesSent?: number
  /**
   * The hosts that were tried before `upstreamHost`, and the ids of the connections they were tried on, in order; made
   * at the first retry.
   */
  upstreamAttempted?: { host: Host; connectionId: number }[] | undefined
  clusterMetadata?: Metadata
  virtualHostMetadata?: Metadata
  listenerMetadata?: Metadata
  filterChainMetadata?: Metadata
  listenerName?: string | undefined
  filterChainName?: string
  /** Text of a reply that this proxy made itself. */
  localReplyBody?: string
  /** Why the log line is written; unset: the end of the request or connection. */
  accessLogType?: AccessLogType
  /** A health check that the proxy answered or passed on. */
  healthCheck?: boolean
  /** Traced because a header or a client demanded it. */
  traceForced?: boolean
  traceId?: string
  spanId?: string
  /** The id of a TCP stream; HTTP streams take x-request-id. */
  streamId?: string
  customFlags?: string
  upstreamFilterState?: Map<string, unknown>
  /** How many times a route was looked for, and microseconds spent on it. */
  routeResolutions?: number
  routeResolutionMicros?: number
}

/** Names of envoy.data.accesslog.v3.AccessLogType. */
export type AccessLogType =
  | 'NotSet'
  | 'TcpConnectionStart'
  | 'TcpUpstreamConnected'
  | 'TcpPeriodic'
  | 'TcpConnectionEnd'
  | 'DownstreamStart'
  | 'DownstreamPeriodic'
  | 'DownstreamEnd'
  | 'UpstreamPoolReady'
  | 'UpstreamPeriodic'
  | 'UpstreamEnd'
  | 'DownstreamTunnelSuccessfullyEstablished'
  | 'UdpTunnelUpstreamConnected'
  | 'UdpPeriodic'
  | 'UdpSessionEnd'

/** Merges values into a namespace of the dynamic metadata. */
export function mergeDynamicMetadata(info: StreamInfo, namespace: string, values: Record<string, unknown>): void {
  info.dynamicMetadata ??= new Map()
  const old = info.dynamicMetadata.get(namespace)
  info.dynamicMetadata.set(namespace, old === undefined ? values : { ...old, ...values })
}
