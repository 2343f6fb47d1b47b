import type { Runtime } from '../../runtime.ts'
import type { ConnectionInfo } from '../listener/connection.ts'
import type { StreamInfo } from '../stream-info.ts'

/** Records of connections whose listener logs them: what a TCP filter writes there, the listener's log shows, too. */
const shared = new WeakMap<ConnectionInfo, StreamInfo>()

/** The record that the listener's log and the filter of a connection write to together. */
export function sharedStreamInfo(runtime: Runtime, downstream: ConnectionInfo): StreamInfo {
  const record = connectionStreamInfo(runtime, downstream)
  shared.set(downstream, record)
  return record
}

/** The record of one connection, as access logs of TCP read it: everything of HTTP stays unset. */
export function connectionStreamInfo(runtime: Runtime, downstream: ConnectionInfo): StreamInfo {
  const known = shared.get(downstream)
  if (known) return known
  return {
    startWall: runtime.wallNow(),
    start: runtime.now(),
    requestComplete: 0,
    upstreamFirstTx: 0,
    upstreamLastTx: 0,
    upstreamFirstRx: 0,
    upstreamLastRx: 0,
    downstreamFirstTx: 0,
    downstreamLastTx: 0,
    end: 0,
    protocol: undefined,
    downstream,
    trustedClientIp: downstream.remote.ip,
    request: undefined,
    response: undefined,
    responseTrailers: undefined,
    requestTrailers: undefined,
    responseCode: 0,
    responseCodeDetails: undefined,
    connectionTerminationDetails: undefined,
    flags: [],
    bytesReceived: 0,
    bytesSent: 0,
    requestHeaderBytes: 0,
    responseHeaderBytes: 0,
    routeName: undefined,
    virtualHostName: undefined,
    virtualClusterName: undefined,
    clusterName: undefined,
    clusterObservabilityName: undefined,
    upstreamHost: undefined,
    upstream: undefined,
    upstreamTransportFailure: undefined,
    upstreamAttempts: 0,
    upstreamProtocol: undefined,
    dynamicMetadata: undefined,
    filterState: undefined,
    routeMetadata: undefined,
    traceSampled: false,
  }
}
