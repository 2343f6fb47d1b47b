import { headerName, RequestHead, ResponseHead } from '../../src/proxy/http/headers.ts'
import type { ConnectionInfo } from '../../src/proxy/listener/connection.ts'
import type { StreamInfo } from '../../src/proxy/stream-info.ts'
import type { Host } from '../../src/proxy/upstream/host.ts'

/** A plaintext connection from 127.0.0.1:4000 to 10.96.0.10:9080. */
export function connectionInfo(fields: Partial<ConnectionInfo> = {}): ConnectionInfo {
  const remote = { ip: '127.0.0.1', port: 4000 }
  return {
    id: 1,
    remote,
    directRemote: remote,
    local: { ip: '10.96.0.10', port: 9080 },
    sni: '',
    tls: undefined,
    transportFailure: undefined,
    ...fields,
  }
}

/** A request head with lines added in order. */
export function requestHead(
  method: string,
  path: string,
  authority: string,
  lines: [string, string][] = [],
): RequestHead {
  const head = RequestHead.create(method, path, authority)
  head.scheme = 'http'
  for (const [name, value] of lines) head.add(headerName(name), value)
  return head
}

/** A response head with lines added in order. */
export function responseHead(status: number, lines: [string, string][] = []): ResponseHead {
  const head = ResponseHead.create(status)
  for (const [name, value] of lines) head.add(headerName(name), value)
  return head
}

/** The endpoint 10.244.0.11:9080. */
export const host = {
  address: { ip: '10.244.0.11', port: 9080 },
  pipe: undefined,
  hostname: '',
  metadata: new Map([['envoy.lb', { version: 'v1' }]]),
} as unknown as Host

/** A finished GET that took 4.5 ms and was answered 200 with ten bytes. */
export function streamInfo(fields: Partial<StreamInfo> = {}): StreamInfo {
  return {
    startWall: Date.UTC(2026, 10, 24, 20, 46, 5) + 104,
    start: 1000,
    requestComplete: 1000.2,
    upstreamFirstTx: 1001,
    upstreamLastTx: 1001.1,
    upstreamFirstRx: 1003.4,
    upstreamLastRx: 1003.9,
    downstreamFirstTx: 1003.5,
    downstreamLastTx: 1004.4,
    end: 1004.5,
    protocol: 'HTTP/1.1',
    downstream: connectionInfo(),
    trustedClientIp: '127.0.0.1',
    request: requestHead('GET', '/p/a%20b?a=1&b=%41+x&e=&c', 'svc.test:80', [
      ['user-agent', 'curl/8'],
      ['x-request-id', '42a753ce-ce13-48c8-ab7d-bbb91917b46f'],
    ]),
    response: responseHead(200, [['x-envoy-upstream-service-time', '3']]),
    responseTrailers: undefined,
    requestTrailers: undefined,
    responseCode: 200,
    responseCodeDetails: 'via_upstream',
    connectionTerminationDetails: undefined,
    flags: [],
    bytesReceived: 0,
    bytesSent: 10,
    requestHeaderBytes: 100,
    responseHeaderBytes: 90,
    routeName: 'default',
    virtualHostName: 'vh',
    virtualClusterName: undefined,
    clusterName: 'outbound|9080||reviews.default.svc.cluster.local',
    clusterObservabilityName: undefined,
    upstreamHost: host,
    upstream: connectionInfo({
      id: 2,
      local: { ip: '10.244.0.10', port: 34046 },
      remote: { ip: '10.244.0.11', port: 9080 },
    }),
    upstreamTransportFailure: undefined,
    upstreamAttempts: 1,
    upstreamProtocol: 'HTTP/1.1',
    dynamicMetadata: undefined,
    filterState: undefined,
    routeMetadata: undefined,
    traceSampled: false,
    ...fields,
  }
}
