import type { ConnectionInfo } from '../listener/connection.ts'
import type { ResponseFlag, StreamInfo } from '../stream-info.ts'
import type { Host } from '../upstream/host.ts'
import type { HeaderMap, RequestHead, ResponseHead } from './headers.ts'

/** The StreamInfo of an HTTP exchange; reused by the next exchange of its connection. */
export class ExchangeInfo implements StreamInfo {
  startWall = 0
  start = 0
  requestComplete = 0
  upstreamFirstTx = 0
  upstreamLastTx = 0
  upstreamFirstRx = 0
  upstreamLastRx = 0
  downstreamFirstTx = 0
  downstreamLastTx = 0
  end = 0
  protocol: StreamInfo['protocol'] = undefined
  downstream: ConnectionInfo
  trustedClientIp = ''
  request: RequestHead | undefined = undefined
  response: ResponseHead | undefined = undefined
  responseTrailers: HeaderMap | undefined = undefined
  requestTrailers: HeaderMap | undefined = undefined
  responseCode = 0
  responseCodeDetails: string | undefined = undefined
  connectionTerminationDetails: string | undefined = undefined
  flags: ResponseFlag[] = []
  bytesReceived = 0
  bytesSent = 0
  requestHeaderBytes = 0
  responseHeaderBytes = 0
  upstreamHeaderBytesSent = 0
  upstreamHeaderBytesReceived = 0
  listenerName: string | undefined = undefined
  routeName: string | undefined = undefined
  virtualHostName: string | undefined = undefined
  virtualClusterName: string | undefined = undefined
  clusterName: string | undefined = undefined
  clusterObservabilityName: string | undefined = undefined
  upstreamHost: Host | undefined = undefined
  upstream: ConnectionInfo | undefined = undefined
  upstreamTransportFailure: string | undefined = undefined
  upstreamAttempts = 0
  upstreamAttempted: { host: Host; connectionId: number }[] | undefined = undefined
  upstreamProtocol: StreamInfo['upstreamProtocol'] = undefined
  dynamicMetadata: Map<string, Record<string, unknown>> | undefined = undefined
  filterState: Map<string, unknown> | undefined = undefined
  routeMetadata: ReadonlyMap<string, Record<string, unknown>> | undefined = undefined
  traceSampled = false
  healthCheck = false
  localReplyBody: string | undefined = undefined

  constructor(downstream: ConnectionInfo) {
    this.downstream = downstream
  }

  /** Adds a flag unless it is already there. */
  flag(flag: ResponseFlag): void {
    if (!this.flags.includes(flag)) this.flags.push(flag)
  }

  /** Flags a retry that was wanted and not granted. */
  flagRefusedRetry(decision: 'no' | 'yes' | 'overflow' | 'limit'): void {
    if (decision === 'overflow') this.flag('UO')
    else if (decision === 'limit') this.flag('URX')
  }

  /** Back to a stream of which nothing is known, begun now. */
  begin(now: number, wall: number, protocol: StreamInfo['protocol'], request: RequestHead | undefined): void {
    this.startWall = wall
    this.start = now
    this.requestComplete = 0
    this.upstreamFirstTx = 0
    this.upstreamLastTx = 0
    this.upstreamFirstRx = 0
    this.upstreamLastRx = 0
    this.downstreamFirstTx = 0
    this.downstreamLastTx = 0
    this.end = 0
    this.protocol = protocol
    this.trustedClientIp = ''
    this.request = request
    this.response = undefined
    this.responseTrailers = undefined
    this.requestTrailers = undefined
    this.responseCode = 0
    this.responseCodeDetails = undefined
    this.connectionTerminationDetails = undefined
    if (this.flags.length > 0) this.flags = []
    this.bytesReceived = 0
    this.bytesSent = 0
    this.requestHeaderBytes = 0
    this.responseHeaderBytes = 0
    this.upstreamHeaderBytesSent = 0
    this.upstreamHeaderBytesReceived = 0
    this.routeName = undefined
    this.virtualHostName = undefined
    this.virtualClusterName = undefined
    this.clusterName = undefined
    this.clusterObservabilityName = undefined
    this.upstreamHost = undefined
    this.upstream = undefined
    this.upstreamTransportFailure = undefined
    this.upstreamAttempts = 0
    this.upstreamAttempted = undefined
    this.upstreamProtocol = undefined
    this.dynamicMetadata = undefined
    const kept = this.downstream.filterState
    this.filterState = kept === undefined ? undefined : new Map(kept)
    this.routeMetadata = undefined
    this.traceSampled = false
    this.healthCheck = false
    this.localReplyBody = undefined
  }
}
