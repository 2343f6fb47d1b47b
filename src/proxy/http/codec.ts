import type { ConnectionInfo } from '../listener/connection.ts'
import type { ResponseFlag } from '../stream-info.ts'
import type { HeaderMap, RequestHead, ResponseHead } from './headers.ts'

/**
 * What the connection manager and the connection pools know of a protocol: streams. HTTP/1.1
 * (`proxy/http1`) and HTTP/2 implement these, so that nothing above a codec asks for the version.
 *
 * Chunks handed to `onData` are views of a shared read buffer: valid during the call only. Who keeps
 * one copies it. Chunks given to `sendData` are copied or written before the call returns.
 */

/** Why a stream ended early. The words are Envoy's (source/common/http/utility.cc resetReasonToString). */
export type ResetReason =
  | 'local reset'
  | 'local refused stream reset'
  | 'remote reset'
  | 'remote refused stream reset'
  | 'local connection failure'
  | 'remote connection failure'
  | 'connection timeout'
  | 'connection termination'
  | 'overflow'
  | 'protocol error'
  | 'remote error with CONNECT request'
  | 'overload manager reset'
  | 'HTTP/1 premature upstream half close'

/**
 * Why a stream from a client ended early. The client closed or reset it (`remote`), or broke the protocol in its body
 * (`error`). HTTP/2 says it all by itself, in `details` and `flag`.
 */
export interface StreamEnd {
  readonly remote: boolean
  /** Details such as `http1.codec_error`. */
  readonly error?: string
  /** What the codec answered by itself; 0 if the response had begun. */
  readonly status?: number
  /** The size of that answer's body. */
  readonly bytesSent?: number
  /** What is logged; empty: nothing. */
  readonly details?: string
  readonly flag?: ResponseFlag
  /** The connection goes on. */
  readonly streamOnly?: boolean
}

/** What a server codec tells of one request after its head. */
export interface ServerStreamHandler {
  /** Part of the body. `endStream`: the request is complete with it. An empty chunk with `endStream` may come. */
  onData(chunk: Uint8Array, endStream: boolean): void
  /** Trailers, when the codec was told to keep them; they complete the request. */
  onTrailers(trailers: HeaderMap): void
  /** The stream is gone before its end. No `onCodecError` follows. */
  onReset(why: StreamEnd): void
  /** The connection can take response bytes again after `sendData` answered false. */
  onWritable(): void
}

/** One request/response exchange on a downstream connection. */
export interface ServerStream {
  readonly connection: ServerConnection
  /** Set by the connection manager inside `onRequest`, before anything else can arrive. */
  handler: ServerStreamHandler
  /** Sends an interim response (100, 102, 103). */
  sendInterim(head: ResponseHead): void
  /** Sends the response head. Framing (content-length, chunked) is the codec's. */
  sendHeaders(head: ResponseHead, endStream: boolean): void
  /** Sends part of the response body; false: wait for `onWritable`. */
  sendData(chunk: Uint8Array, endStream: boolean): boolean
  /** Sends trailers and completes the response. */
  sendTrailers(trailers: HeaderMap): void
  /** Ends the exchange without a complete response: HTTP/1 closes the connection. */
  reset(reason: ResetReason): void
  /** HTTP/2: the answer to a CONNECT says that the other end could not be reached; so will the stream's end. */
  connectFailed?(): void
  /** Stops and restarts delivery of request body bytes (backpressure). */
  pauseReading(): void
  resumeReading(): void
  /** From here on the connection carries raw bytes both ways (101, CONNECT): data arrives at `onData`, leaves by `sendData`. */
  readonly upgraded: boolean
}

/** What a server codec asks of the connection manager. */
export interface ServerConnectionHandler {
  /** Part of a request head is here, and waits for the rest; `onRequest` or `onCodecError` follow if it comes. */
  onHeadBegun?(): void
  /** A complete request head arrived. `endStream`: there is no body. The handler sets `stream.handler`. */
  onRequest(stream: ServerStream, head: RequestHead, endStream: boolean): void
  /**
   * The bytes were no request. The codec has already answered and will close; this is for the log and the counters.
   * `status` 0: nothing was answered.
   */
  onCodecError(error: { status: number; details: string; head: RequestHead | undefined; bytesSent: number }): void
  /** HTTP/2: a request whose head was refused, without an answer; for the log and the counters. `fatal`: its connection closes. */
  onStreamRefused?(details: string, flag: ResponseFlag, fatal: boolean): void
  /** HTTP/2: the client broke the protocol of the connection, which closes. */
  onProtocolError?(): void
  /** The codec closes the connection by itself; `onClose` follows. */
  onClosing?(): void
  /** HTTP/1: the peer has not closed in the time it had for that; `onClose` follows. */
  onCloseTimeout?(): void
  /** The connection is closed. Every open stream got `onReset` before. */
  onClose(): void
}

/** One downstream HTTP connection. */
export interface ServerConnection {
  readonly protocol: 'HTTP/1.0' | 'HTTP/1.1' | 'HTTP/2'
  readonly info: ConnectionInfo
  /** Number of streams not yet complete. */
  readonly activeStreams: number
  /** Says `connection: close` (HTTP/1) with the next response, and closes when idle; or announces a GOAWAY (HTTP/2). */
  drain(): void
  /** HTTP/2: the last GOAWAY of a drain; what comes on new streams is dropped. */
  goAway?(): void
  /** Answers a request whose head has not come in whole, and closes. */
  refuseHead?(status: number, text: string): void
  /** Closes now; open streams are reset. */
  close(): void
}

/** What a client codec tells of one response. */
export interface ClientStreamHandler {
  /** An interim response. Not called for 101, which is a final head. */
  onInterim(head: ResponseHead): void
  onHeaders(head: ResponseHead, endStream: boolean): void
  onData(chunk: Uint8Array, endStream: boolean): void
  onTrailers(trailers: HeaderMap): void
  /** `details`: codec or transport words for the log, such as `TLS_error:…`; undefined when there are none. */
  onReset(reason: ResetReason, details: string | undefined): void
  /** The upstream connection can take request bytes again. */
  onWritable(): void
}

/** One exchange on an upstream connection. */
export interface ClientStream {
  /** Sends the request head: one write together with whatever follows in the same turn. */
  sendHeaders(head: RequestHead, endStream: boolean): void
  sendData(chunk: Uint8Array, endStream: boolean): boolean
  sendTrailers(trailers: HeaderMap): void
  /** Abandons the exchange: HTTP/1 closes the connection. No callback follows. */
  reset(): void
  pauseReading(): void
  resumeReading(): void
  readonly connection: ClientConnection
}

/** What a pool learns of its connection. */
export interface ClientConnectionHandler {
  /** The last exchange is over and another may start (HTTP/1), or a stream slot came free (HTTP/2). */
  onIdle(): void
  /** The connection is closed; every open stream got `onReset` before. `interrupted`: there was such a stream, or one that this side reset. */
  onClose(remote: boolean, interrupted: boolean): void
  /** The connection will take no more streams; `told`: the peer has said so (`connection: close`, GOAWAY). */
  onDrain(told: boolean): void
  /** HTTP/2: a stream ended early (MultiplexedActiveClientBase::onStreamReset). */
  onStreamReset?(reason: ResetReason): void
  /** HTTP/2: the peer takes so many streams at a time. */
  onStreamLimit?(streams: number): void
  /** What came was no response, or none that was asked for; the close follows. */
  onProtocolError?(): void
}

/** One upstream HTTP connection, already connected (and past TLS). */
export interface ClientConnection {
  readonly protocol: 'HTTP/1.1' | 'HTTP/2'
  readonly info: ConnectionInfo
  readonly activeStreams: number
  newStream(handler: ClientStreamHandler): ClientStream
  close(): void
}
