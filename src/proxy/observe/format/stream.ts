import os from 'node:os'
import { headerName } from '../../http/headers.ts'
import type { AccessLogType, StreamInfo } from '../../stream-info.ts'
import { toByteString, truncate } from './bytes.ts'
import { LONG_FLAGS } from './flags.ts'
import { type OperatorSpec, type OperatorTable, plainNumber, plainText, textOperator } from './operator.ts'

const REQUEST_ID = headerName('x-request-id')
const SPACE = /\s/g

const underscored = (text: string | undefined): string | undefined =>
  text === undefined || text === '' ? undefined : toByteString(text).replaceAll(' ', '_')

/** Why a line is written: what was said, or else what the stream's state tells. */
export function logTypeOf(info: StreamInfo): AccessLogType {
  if (info.accessLogType !== undefined) return info.accessLogType
  if (info.protocol === undefined) return info.end === 0 ? 'TcpPeriodic' : 'TcpConnectionEnd'
  return info.end === 0 ? 'DownstreamStart' : 'DownstreamEnd'
}

/** Flags as logged: short names joined by commas, `-` when there is none. */
export function shortFlags(info: StreamInfo): string {
  const flags = info.flags
  return flags.length === 0 ? '-' : flags.length === 1 ? flags[0]! : flags.join(',')
}

/** A name out of the configuration: mostly the same one as last time, so that its bytes are kept. */
function name(of: (info: StreamInfo) => string | undefined): OperatorSpec {
  let last = ''
  let bytes = ''
  return plainText((info) => {
    const text = of(info)
    if (!text) return undefined
    if (text !== last) {
      bytes = toByteString(text)
      last = text
    }
    return bytes
  })
}

const responseCodeDetails: OperatorSpec = {
  params: 'optional',
  length: false,
  make: (param) =>
    param === 'ALLOW_WHITESPACES'
      ? textOperator((info) => info.responseCodeDetails)
      : textOperator((info) => {
          const details = info.responseCodeDetails
          return details?.includes(' ') ? details.replace(SPACE, '_') : details
        }),
}

const environment: OperatorSpec = {
  params: 'required',
  length: true,
  make: (param, max) => {
    const value = process.env[param]
    const text = value === undefined ? '-' : truncate(toByteString(value), max)
    return textOperator(() => text)
  },
}

const hostname: OperatorSpec = {
  params: 'none',
  length: false,
  make: () => {
    const text = toByteString(os.hostname())
    return textOperator(() => text)
  },
}

const streamId: OperatorSpec = {
  params: 'none',
  length: false,
  make: (_param, _max, runtime) =>
    textOperator((info) => {
      if (info.streamId !== undefined) return info.streamId
      if (info.protocol !== undefined) return info.request?.get(REQUEST_ID)
      info.streamId = runtime.uuid() // a TCP stream's id is whatever it is first called
      return info.streamId
    }),
}

/** Codes, sizes, names and ids (source/common/formatter/stream_info_formatter.cc). */
export const stream: OperatorTable = {
  PROTOCOL: plainText((info) => info.protocol),
  UPSTREAM_PROTOCOL: plainText((info) => info.upstreamProtocol),
  RESPONSE_CODE: plainNumber((info) => info.responseCode),
  RESPONSE_CODE_DETAILS: responseCodeDetails,
  CONNECTION_TERMINATION_DETAILS: plainText((info) => info.connectionTerminationDetails),
  RESPONSE_FLAGS: plainText(shortFlags),
  RESPONSE_FLAGS_LONG: plainText((info) =>
    info.flags.length === 0 ? '-' : info.flags.map((flag) => LONG_FLAGS[flag]).join(','),
  ),
  CUSTOM_FLAGS: plainText((info) => info.customFlags ?? ''),
  UPSTREAM_TRANSPORT_FAILURE_REASON: plainText((info) => underscored(info.upstreamTransportFailure)),
  DOWNSTREAM_TRANSPORT_FAILURE_REASON: plainText((info) => underscored(info.downstream.transportFailure)),
  DOWNSTREAM_DETECTED_CLOSE_TYPE: plainText((info) => info.downstream.detectedCloseType ?? 'Normal'),
  UPSTREAM_DETECTED_CLOSE_TYPE: plainText((info) => info.upstream && (info.upstream.detectedCloseType ?? 'Normal')),
  DOWNSTREAM_LOCAL_CLOSE_REASON: plainText((info) => underscored(info.downstream.localCloseReason)),
  UPSTREAM_LOCAL_CLOSE_REASON: plainText((info) => underscored(info.upstream?.localCloseReason)),

  BYTES_RECEIVED: plainNumber((info) => info.bytesReceived),
  BYTES_SENT: plainNumber((info) => info.bytesSent),
  DOWNSTREAM_WIRE_BYTES_RECEIVED: plainNumber((info) => info.downstreamWireBytesReceived ?? 0),
  DOWNSTREAM_WIRE_BYTES_SENT: plainNumber((info) => info.downstreamWireBytesSent ?? 0),
  DOWNSTREAM_HEADER_BYTES_RECEIVED: plainNumber((info) => info.requestHeaderBytes),
  DOWNSTREAM_HEADER_BYTES_SENT: plainNumber((info) => info.responseHeaderBytes),
  DOWNSTREAM_DECOMPRESSED_HEADER_BYTES_RECEIVED: plainNumber((info) => info.requestHeaderBytes),
  DOWNSTREAM_DECOMPRESSED_HEADER_BYTES_SENT: plainNumber((info) => info.responseHeaderBytes),
  UPSTREAM_WIRE_BYTES_RECEIVED: plainNumber((info) => info.upstreamWireBytesReceived ?? 0),
  UPSTREAM_WIRE_BYTES_SENT: plainNumber((info) => info.upstreamWireBytesSent ?? 0),
  UPSTREAM_HEADER_BYTES_RECEIVED: plainNumber((info) => info.upstreamHeaderBytesReceived ?? 0),
  UPSTREAM_HEADER_BYTES_SENT: plainNumber((info) => info.upstreamHeaderBytesSent ?? 0),
  UPSTREAM_DECOMPRESSED_HEADER_BYTES_RECEIVED: plainNumber((info) => info.upstreamHeaderBytesReceived ?? 0),
  UPSTREAM_DECOMPRESSED_HEADER_BYTES_SENT: plainNumber((info) => info.upstreamHeaderBytesSent ?? 0),
  // Retransmissions are counted for QUIC only; the round trip of a loopback connection is under a millisecond.
  BYTES_RETRANSMITTED: plainNumber(() => 0),
  PACKETS_RETRANSMITTED: plainNumber(() => 0),
  DOWNSTREAM_CX_RTT: plainNumber(() => 0),

  ROUTE_NAME: name((info) => info.routeName),
  VIRTUAL_CLUSTER_NAME: name((info) => info.virtualClusterName),
  UPSTREAM_CLUSTER: name((info) => info.clusterObservabilityName || info.clusterName),
  UPSTREAM_CLUSTER_RAW: name((info) => info.clusterName),
  UPSTREAM_REQUEST_ATTEMPT_COUNT: plainNumber((info) => info.upstreamAttempts),
  LISTENER_NAME: name((info) => info.listenerName),
  FILTER_CHAIN_NAME: name((info) => info.filterChainName),
  ROUTE_RESOLUTION_COUNT: plainNumber((info) => info.routeResolutions ?? (info.virtualHostName === undefined ? 0 : 1)),
  ROUTE_RESOLUTION_TIME_US: plainNumber((info) => info.routeResolutionMicros),

  HOSTNAME: hostname,
  ENVIRONMENT: environment,
  LOCAL_REPLY_BODY: plainText((info) => info.localReplyBody ?? ''),
  ACCESS_LOG_TYPE: plainText(logTypeOf),
  UNIQUE_ID: {
    params: 'none',
    length: false,
    make: (_param, _max, runtime) => textOperator(() => runtime.uuid()),
  },
  STREAM_ID: streamId,
  TRACE_ID: plainText((info) => info.traceId || undefined),
  SPAN_ID: plainText((info) => info.spanId || undefined),
}
