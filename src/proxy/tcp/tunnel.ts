import type { TcpProxy_TunnelingConfig } from '#gen/envoy/extensions/filters/network/tcp_proxy/v3/tcp_proxy_pb.js'
import type { Runtime } from '../../runtime.ts'
import type { ClientStream, ClientStreamHandler, ResetReason } from '../http/codec.ts'
import { RequestHead, type ResponseHead } from '../http/headers.ts'
import { HeaderMutation } from '../http/router/header-mutation.ts'
import type { ConnectionInfo, Transport, TransportHandler } from '../listener/connection.ts'
import { compileFormat, type Formatter } from '../observe/formatter.ts'
import type { StreamInfo } from '../stream-info.ts'
import type { Cluster, ConnectCallbacks, LoadBalancerContext, Pending } from '../upstream/cluster.ts'
import type { Host } from '../upstream/host.ts'

/** Filter state that holds the headers of the answer to a tunnel (source/common/tcp_proxy/tcp_proxy.h). */
const RESPONSE_HEADERS = 'envoy.tcp_proxy.propagate_response_headers'
const RESPONSE_TRAILERS = 'envoy.tcp_proxy.propagate_response_trailers'

/** How connections are carried through an HTTP proxy: a TunnelingConfig, ready for use. */
export interface TunnelConfig {
  readonly usePost: boolean
  readonly postPath: string
  readonly propagateHeaders: boolean
  readonly propagateTrailers: boolean
  readonly host: Formatter
  readonly headers: HeaderMutation
}

/** Compiles a TunnelingConfig; problems are added to `errors`. */
export function compileTunnel(
  config: TcpProxy_TunnelingConfig,
  runtime: Runtime,
  errors: string[],
): TunnelConfig | undefined {
  if (config.postPath !== '' && !config.usePost) {
    errors.push("Can't set a post path when POST method isn't used")
    return undefined
  }
  if (config.hostname === '') {
    errors.push('TunnelingConfigValidationError.Hostname: value length must be at least 1 characters')
    return undefined
  }
  return {
    usePost: config.usePost,
    postPath: config.postPath || '/',
    propagateHeaders: config.propagateResponseHeaders,
    propagateTrailers: config.propagateResponseTrailers,
    host: compileFormat(config.hostname, runtime),
    headers: new HeaderMutation(config.headersToAdd, [], runtime),
  }
}

/** What a tunnel is made of. */
export interface TunnelRequest {
  readonly cluster: Cluster
  readonly host: Host
  readonly balancing: LoadBalancerContext
  readonly config: TunnelConfig
  /** The record of the connection that it is for. */
  readonly info: StreamInfo
  readonly runtime: Runtime
}

/**
 * Asks a host to open a tunnel (source/common/tcp_proxy/upstream.cc HttpConnPool, HttpUpstream). Once it has agreed,
 * the stream is a byte connection like any other. Undefined when it was answered before this returns.
 */
export function openTunnel(request: TunnelRequest, callbacks: ConnectCallbacks): Pending | undefined {
  const opening = new Tunnel(request, callbacks)
  // Whoever speaks both protocols is spoken to in HTTP/2.
  const pending = request.cluster.newStream(request.host, request.balancing, 'default', 'HTTP/2', opening, {
    onPoolReady: (stream, _host, connection) => opening.begin(stream, connection),
    onPoolFailure(reason, details, failed) {
      opening.failed()
      const words = reason === 'connection timeout' ? 'timeout' : 'connection failure'
      callbacks.onConnectFailure(reason === 'overflow' ? 'overflow' : words, details, failed)
    },
  })
  opening.waiting = pending
  return opening.over ? undefined : opening
}

const NOTHING = Buffer.alloc(0)
const IDLE: TransportHandler = { onData() {}, onEnd() {}, onDrain() {}, onClose() {} }

/** A stream that stands for a connection: first the request, then the bytes. */
class Tunnel implements Transport, ClientStreamHandler, Pending {
  handler: TransportHandler = IDLE
  info!: ConnectionInfo
  bytesRead = 0
  bytesWritten = 0
  waiting: Pending | undefined
  private readonly config: TunnelConfig
  private readonly record: StreamInfo
  private readonly host: Host
  private readonly runtime: Runtime
  private readonly callbacks: ConnectCallbacks
  private stream: ClientStream | undefined
  private established = false
  private sentEnd = false
  private gotEnd = false
  private finished = false

  constructor({ config, info, host, runtime }: TunnelRequest, callbacks: ConnectCallbacks) {
    this.config = config
    this.record = info
    this.host = host
    this.runtime = runtime
    this.callbacks = callbacks
  }

  get over(): boolean {
    return this.established || this.finished
  }

  private get http1(): boolean {
    return this.stream!.connection.protocol === 'HTTP/1.1'
  }

  begin(stream: ClientStream, connection: ConnectionInfo): void {
    const { config, record } = this
    this.stream = stream
    this.info = connection
    this.waiting = undefined
    record.upstreamHost = this.host
    const host = config.host.format(record)
    const head = RequestHead.create(config.usePost ? 'POST' : 'CONNECT', config.usePost ? config.postPath : '', host)
    if (config.usePost) head.scheme = connection.tls ? 'https' : 'http'
    config.headers.apply(head, record)
    stream.sendHeaders(head, false)
  }

  /** No stream could be had. */
  failed(): void {
    this.finished = true
  }

  cancel(): void {
    if (this.over) return
    this.finished = true
    this.waiting?.cancel()
    this.stream?.reset()
  }

  // The answer.

  onInterim(): void {}

  onHeaders(head: ResponseHead, end: boolean): void {
    if (this.finished) return
    const { record } = this
    if (this.config.propagateHeaders) {
      record.filterState ??= new Map()
      record.filterState.set(RESPONSE_HEADERS, head.clone())
    }
    const agreed = this.http1 ? head.status >= 200 && head.status < 300 : head.status === 200
    if (!agreed || end) {
      this.finished = true
      if (!end) this.stream!.reset()
      this.callbacks.onConnectFailure(
        'connection failure',
        agreed ? undefined : `tunnel_response:${head.status}`,
        this.host,
      )
      return
    }
    this.established = true
    this.callbacks.onConnected(this, this.host)
  }

  onData(chunk: Uint8Array, end: boolean): void {
    if (this.finished) return
    this.bytesRead += chunk.length
    if (chunk.length > 0) {
      this.handler.onData(chunk instanceof Buffer ? chunk : Buffer.from(chunk.buffer, chunk.byteOffset, chunk.length))
    }
    if (end) this.ended()
  }

  onTrailers(trailers: Parameters<ClientStreamHandler['onTrailers']>[0]): void {
    if (this.config.propagateTrailers) {
      this.record.filterState ??= new Map()
      this.record.filterState.set(RESPONSE_TRAILERS, trailers.clone())
    }
    this.ended()
  }

  private ended(): void {
    if (this.finished) return
    this.gotEnd = true
    this.handler.onEnd()
    // An HTTP/1 connection ends with its response.
    if (this.sentEnd || this.http1) this.gone(undefined)
  }

  onReset(reason: ResetReason, details: string | undefined): void {
    if (this.finished) return
    if (this.established) {
      this.gone('the stream was reset')
      return
    }
    this.finished = true
    const timedOut = reason === 'connection timeout'
    this.callbacks.onConnectFailure(timedOut ? 'timeout' : 'connection failure', details, this.host)
  }

  onWritable(): void {
    this.handler.onDrain()
  }

  private gone(error: string | undefined): void {
    if (this.finished) return
    this.finished = true
    this.handler.onClose(error)
  }

  // The connection.

  write(bytes: Uint8Array): boolean {
    if (this.finished || this.sentEnd) return true
    this.bytesWritten += bytes.length
    return this.stream!.sendData(bytes, false)
  }

  end(): void {
    if (this.finished || this.sentEnd) return
    this.sentEnd = true
    this.stream!.sendData(NOTHING, true)
    if (this.gotEnd) this.gone(undefined)
    // HTTP/1 has no way to say it but to end the connection, and then nothing more can come.
    else if (this.http1) this.runtime.after(0, () => this.destroy())
  }

  close(): void {
    this.destroy()
  }

  destroy(): void {
    if (this.finished) return
    if (!this.gotEnd || !this.sentEnd) this.stream?.reset()
    this.gone(undefined)
  }

  pause(): void {
    this.stream?.pauseReading()
  }

  resume(): void {
    this.stream?.resumeReading()
  }
}
