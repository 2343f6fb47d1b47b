import type { Http2ProtocolOptions } from '#gen/envoy/config/core/v3/protocol_pb.js'
import { durationMs, type Problems } from '../http/config.ts'

/** PING frames that keep a connection under watch; ms. */
export interface KeepaliveSettings {
  /** 0: no PINGs at intervals. */
  readonly interval: number
  readonly timeout: number
  /** Percent of the interval by which it may be longer. */
  readonly jitter: number
  /** Upstream: a connection that heard nothing for so long is tried with a PING before its next stream. 0: never. */
  readonly idleInterval: number
}

/** Http2ProtocolOptions, compiled; sizes in bytes. Both sides read the same message. */
export interface Http2Settings {
  readonly headerTableSize: number
  readonly maxConcurrentStreams: number
  readonly streamWindow: number
  readonly connectionWindow: number
  /** Extended CONNECT (RFC 8441) is offered. */
  readonly allowConnect: boolean
  /** A malformed message ends its stream alone, not the connection. */
  readonly streamErrorOnly: boolean
  readonly keepalive: KeepaliveSettings | undefined
  readonly maxEmptyFrames: number
  readonly maxPriorityFrames: number
  readonly maxWindowUpdates: number
  readonly maxControlFrames: number
}

const MiB = 1024 * 1024

/** Envoy's defaults (source/common/http/utility.cc initializeAndValidateOptions, http2/utility.h OptionsLimits). */
export const HTTP2_DEFAULTS: Http2Settings = {
  headerTableSize: 4096,
  maxConcurrentStreams: 1024,
  streamWindow: 16 * MiB,
  connectionWindow: 24 * MiB,
  allowConnect: false,
  streamErrorOnly: false,
  keepalive: undefined,
  maxEmptyFrames: 1,
  maxPriorityFrames: 100,
  maxWindowUpdates: 10,
  maxControlFrames: 1000,
}

const KNOWN = new Set([
  'hpackTableSize',
  'maxConcurrentStreams',
  'initialStreamWindowSize',
  'initialConnectionWindowSize',
  'allowConnect',
  // Frames of Envoy's own METADATA type are ignored, as any of an unknown type.
  'allowMetadata',
  'maxMetadataSize',
  // What waits to be written is bounded by backpressure before it could be as many frames.
  'maxOutboundFrames',
  'maxOutboundControlFrames',
  'maxConsecutiveInboundFramesWithEmptyPayload',
  'maxInboundPriorityFramesPerStream',
  'maxInboundWindowUpdateFramesPerDataFrameSent',
  'streamErrorOnInvalidHttpMessaging',
  'overrideStreamErrorOnInvalidHttpMessage',
  'connectionKeepalive',
  // Which of Envoy's two libraries: nothing that a peer could tell.
  'useOghttp2Codec',
])

/**
 * Compiles the options; errors go to `problems` under `path`. `streamErrorOnly`: what the connection manager says for
 * all protocols, where the options say nothing.
 */
export function compileHttp2Settings(
  options: Http2ProtocolOptions | undefined,
  problems: Problems,
  path: string,
  streamErrorOnly = false,
): Http2Settings {
  const defaults = HTTP2_DEFAULTS
  if (options === undefined) return streamErrorOnly ? { ...defaults, streamErrorOnly } : defaults
  problems.refuseUnknown(options, KNOWN, path)
  const keepalive = options.connectionKeepalive
  return {
    headerTableSize: options.hpackTableSize ?? defaults.headerTableSize,
    maxConcurrentStreams: options.maxConcurrentStreams ?? defaults.maxConcurrentStreams,
    streamWindow: options.initialStreamWindowSize ?? defaults.streamWindow,
    connectionWindow: options.initialConnectionWindowSize ?? defaults.connectionWindow,
    allowConnect: options.allowConnect,
    streamErrorOnly:
      options.overrideStreamErrorOnInvalidHttpMessage ?? (options.streamErrorOnInvalidHttpMessaging || streamErrorOnly),
    keepalive: keepalive && {
      interval: durationMs(keepalive.interval) ?? 0,
      timeout: durationMs(keepalive.timeout) ?? 0,
      jitter: keepalive.intervalJitter?.value ?? 15,
      idleInterval: durationMs(keepalive.connectionIdleInterval) ?? 0,
    },
    maxEmptyFrames: options.maxConsecutiveInboundFramesWithEmptyPayload ?? defaults.maxEmptyFrames,
    maxPriorityFrames: options.maxInboundPriorityFramesPerStream ?? defaults.maxPriorityFrames,
    maxWindowUpdates: options.maxInboundWindowUpdateFramesPerDataFrameSent ?? defaults.maxWindowUpdates,
    maxControlFrames: options.maxOutboundControlFrames ?? defaults.maxControlFrames,
  }
}
