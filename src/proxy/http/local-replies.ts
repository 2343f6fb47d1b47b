import type { ResponseFlag } from '../stream-info.ts'
import type { ResetReason } from './codec.ts'

/** An answer that the proxy makes itself. */
export interface LocalReply {
  readonly status: number
  readonly body: string | Uint8Array
  readonly details: string
  readonly flag: ResponseFlag | undefined
  /** What the body is; undefined is plain text. */
  readonly contentType?: string | undefined
  /** For gRPC requests; undefined maps from `status`. */
  readonly grpcStatus?: number
}

function reply(status: number, body: string, details: string, flag?: ResponseFlag, grpcStatus?: number): LocalReply {
  return { status, body, details, flag, grpcStatus }
}

/** Answers a request that filters have made unfit to be sent on; `problem` says how (source/common/router/upstream_codec_filter.cc). */
export function unsendableReply(problem: string): LocalReply {
  return reply(503, problem, `filter_removed_required_request_headers{${problem.replace(/\s/g, '_')}}`, 'DPE')
}

/**
 * Every fixed answer of connection manager and router, with the words and flags that logs and clients see
 * (source/common/http/conn_manager_impl.cc, source/common/router/router.cc, envoy/stream_info/stream_info.h).
 */
export const REPLY = {
  missingHost: reply(400, '', 'missing_host_header'),
  missingPath: reply(404, '', 'missing_path_rejected'),
  relativePath: reply(404, '', 'absolute_path_rejected'),
  pathNormalization: reply(400, '', 'path_normalization_failed'),
  ipDetectionFailed: reply(403, '', 'rejecting_because_detection_failed'),
  upgradeRefused: reply(403, '', 'upgrade_failed'),
  queryMissingContentType: reply(400, '', 'query_missing_content_type'),
  requestTooLarge: reply(413, 'Payload Too Large', 'request_payload_too_large'),
  responseTooLarge: reply(500, 'Internal Server Error', 'response_payload_too_large'),

  noRoute: reply(404, '', 'route_not_found', 'NR'),
  noCluster: reply(503, '', 'cluster_not_found', 'NC'),
  noHealthyHost: reply(503, 'no healthy upstream', 'no_healthy_upstream', 'UH'),
  upstreamTimeout: reply(504, 'upstream request timeout', 'response_timeout', 'UT'),
  perTryTimeout: reply(504, 'upstream request timeout', 'upstream_per_try_timeout', 'UT'),
  perTryIdleTimeout: reply(504, 'upstream request timeout', 'upstream_per_try_idle_timeout', 'UT'),
  upstreamMaxDuration: reply(
    504,
    'upstream max stream duration reached',
    'upstream_max_stream_duration_reached',
    'UMSDR',
  ),
  retryBufferOverflow: reply(
    507,
    'exceeded request buffer limit while retrying upstream',
    'request_payload_exceeded_retry_buffer_limit',
  ),
  closedEarly: reply(
    503,
    'upstream is closed prematurely during decoding data from downstream',
    'upstream_reset_before_response_started',
  ),
} as const

/** Timeouts of the connection manager: 504 when the request was complete, else 408. */
export const TIMEOUT = {
  streamIdle: { body: 'stream timeout', details: 'stream_idle_timeout', flag: 'SI', grpcStatus: undefined },
  request: { body: 'request timeout', details: 'request_overall_timeout', flag: undefined, grpcStatus: undefined },
  requestHeaders: {
    body: 'request header timeout',
    details: 'request_header_timeout',
    flag: undefined,
    grpcStatus: undefined,
  },
  maxDuration: {
    body: 'downstream duration timeout',
    details: 'max_duration_timeout',
    flag: undefined,
    grpcStatus: 4,
  },
} as const

/** Details of answers and ends that are no local reply. */
export const DETAILS = {
  viaUpstream: 'via_upstream',
  directResponse: 'direct_response',
  internalRedirect: 'internal_redirect',
  downstreamRemoteDisconnect: 'downstream_remote_disconnect',
  resetAfterStart: 'upstream_reset_after_response_started',
  resetBeforeStart: 'upstream_reset_before_response_started',
  websocketUnsuccessful: 'websocket_handshake_unsuccessful',
} as const

const RESET_FLAGS: Readonly<Record<ResetReason, ResponseFlag>> = {
  'local reset': 'LR',
  'local refused stream reset': 'LR',
  'remote reset': 'UR',
  'remote refused stream reset': 'UR',
  'local connection failure': 'UF',
  'remote connection failure': 'UF',
  'connection timeout': 'UF',
  'connection termination': 'UC',
  overflow: 'UO',
  'protocol error': 'UPE',
  'remote error with CONNECT request': 'UR',
  'overload manager reset': 'OM',
  'HTTP/1 premature upstream half close': 'UC',
}

/** The flag of an upstream reset (router.cc streamResetReasonToResponseFlag). */
export function resetFlag(reason: ResetReason): ResponseFlag {
  return RESET_FLAGS[reason]
}

/** `upstream_reset_before_response_started{connection_termination|…}`: spaces become underscores. */
export function resetDetails(started: boolean, reason: ResetReason, transport: string | undefined): string {
  const base = started ? DETAILS.resetAfterStart : DETAILS.resetBeforeStart
  const words = transport === undefined || transport === '' ? reason : `${reason}|${transport}`
  return `${base}{${words.replaceAll(' ', '_')}}`
}

/** What the client reads when the upstream failed before it answered. */
export function resetReply(reason: ResetReason, transport: string | undefined, retried: boolean): LocalReply {
  const again = retried ? 'retried and the latest reset reason' : 'reset reason'
  return {
    status: reason === 'protocol error' ? 502 : 503,
    body: `upstream connect error or disconnect/reset before headers. ${again}: ${reason}`,
    details: resetDetails(false, reason, transport),
    flag: resetFlag(reason),
  }
}

/** A timeout's answer with the status that the request asked for: 504, or an empty 204. */
export function timeoutReply(reply: LocalReply, status: number): LocalReply {
  return status === reply.status ? reply : { ...reply, status, body: '' }
}

/** The gRPC status that stands for an HTTP one (source/common/grpc/status.cc). */
export function grpcStatusOf(http: number): number {
  switch (http) {
    case 400:
      return 13
    case 401:
      return 16
    case 403:
      return 7
    case 404:
      return 12
    case 429:
    case 502:
    case 503:
    case 504:
      return 14
    default:
      return 2
  }
}

const HTTP_OF_GRPC = [200, 499, 500, 400, 504, 404, 409, 403, 429, 400, 409, 400, 501, 500, 503, 500, 401] as const

/** The HTTP status that stands for a gRPC one (source/common/grpc/status.cc grpcToHttpStatus). */
export function httpStatusOf(grpc: number): number {
  return HTTP_OF_GRPC[grpc] ?? 500
}

/** Percent-encodes what a grpc-message may not hold: control characters, non-ASCII and `%`. */
export function grpcMessage(text: string): string {
  let out = ''
  for (const byte of Buffer.from(text)) {
    out +=
      byte < 0x20 || byte > 0x7e || byte === 0x25
        ? `%${byte.toString(16).toUpperCase().padStart(2, '0')}`
        : String.fromCharCode(byte)
  }
  return out
}
