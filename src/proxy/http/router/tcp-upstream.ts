import type { ConnectionInfo, Transport, TransportHandler } from '../../listener/connection.ts'
import type { Cluster, LoadBalancerContext, Pending, PoolCallbacks } from '../../upstream/cluster.ts'
import type { Host } from '../../upstream/host.ts'
import { EMPTY } from '../body-buffer.ts'
import type { ClientConnection, ClientStream, ClientStreamHandler, ResetReason } from '../codec.ts'
import { type HeaderMap, type RequestHead, ResponseHead } from '../headers.ts'

/** connect_config of a route: CONNECT ends here, and its bytes go to the host as they are. */
export interface ConnectTermination {
  /** POST requests count, too. */
  readonly allowPost: boolean
}

/** Whether a request's body is to be carried over a byte connection (router.cc createConnPool). */
export function terminates(config: ConnectTermination | undefined, request: RequestHead): boolean {
  if (config === undefined) return false
  return request.method === 'CONNECT' || (config.allowPost && request.method === 'POST')
}

/** Opens a byte connection in place of a stream (source/extensions/upstreams/http/tcp/upstream_request.cc). */
export function openTcpUpstream(
  cluster: Cluster,
  host: Host,
  context: LoadBalancerContext,
  handler: ClientStreamHandler,
  callbacks: PoolCallbacks,
): Pending | undefined {
  return cluster.connect(host, context, {
    onConnected(transport, connected) {
      callbacks.onPoolReady(new TcpUpstream(transport, handler), connected, transport.info, undefined)
    },
    onConnectFailure(reason, details, failed) {
      callbacks.onPoolFailure(failure(reason), details, failed)
    },
  })
}

function failure(reason: string): ResetReason {
  if (reason === 'timeout') return 'connection timeout'
  return reason.includes('overflow') ? 'overflow' : 'remote connection failure'
}

/** A byte connection that looks like a stream: the answer to its head is 200 at once, data goes both ways. */
class TcpUpstream implements ClientStream, ClientConnection, TransportHandler {
  readonly protocol = 'HTTP/1.1'
  readonly info: ConnectionInfo
  readonly connection: ClientConnection = this
  activeStreams = 1
  private readonly transport: Transport
  private readonly handler: ClientStreamHandler
  private done = false

  constructor(transport: Transport, handler: ClientStreamHandler) {
    this.transport = transport
    this.info = transport.info
    this.handler = handler
    transport.handler = this
  }

  newStream(): ClientStream {
    return this
  }

  sendHeaders(_head: RequestHead, endStream: boolean): void {
    if (endStream) this.transport.end()
    this.handler.onHeaders(ResponseHead.create(200), false)
  }

  sendData(chunk: Uint8Array, endStream: boolean): boolean {
    const room = chunk.length === 0 || this.transport.write(chunk)
    if (endStream) this.transport.end()
    return room
  }

  sendTrailers(_trailers: HeaderMap): void {
    this.transport.end()
  }

  reset(): void {
    this.done = true
    this.transport.destroy()
  }

  close(): void {
    this.reset()
  }

  pauseReading(): void {
    this.transport.pause()
  }

  resumeReading(): void {
    this.transport.resume()
  }

  onData(chunk: Buffer): void {
    if (!this.done) this.handler.onData(chunk, false)
  }

  onEnd(): void {
    if (this.done) return
    this.done = true
    this.handler.onData(EMPTY, true)
    this.transport.close()
  }

  onDrain(): void {
    if (!this.done) this.handler.onWritable()
  }

  onClose(): void {
    if (this.done) return
    this.done = true
    this.handler.onReset('connection termination', undefined)
  }
}
