import type { Node } from '#gen/envoy/config/core/v3/base_pb.js'
import type { Runtime } from '../runtime.ts'
import { AdsConnection } from './server-connection.ts'
import type { Nack } from './server-subscription.ts'
import {
  type AdsRequest,
  GRPC_INVALID_ARGUMENT,
  GRPC_UNAVAILABLE,
  type ServerStream,
  type ServerStreamHandler,
} from './stream.ts'

/** Who decides what each client gets: the pilot. */
export interface ResourceSource {
  /**
   * A client has connected and said who it is. Give it a snapshot with `connection.push`, now or later: until then
   * its requests wait. Push again whenever something changes for it.
   */
  connected(connection: AdsConnection): void
  /** The client asks for more, or other, resources of a type. Only of interest to a source that makes them on demand. */
  subscribed?(connection: AdsConnection, typeUrl: string): void
  disconnected?(connection: AdsConnection): void
  /** The client has refused a response and goes on with what it had. */
  nacked?(connection: AdsConnection, typeUrl: string, nack: Nack): void
}

/** Options of the ADS server. */
export interface AdsServerOptions {
  readonly source: ResourceSource
  readonly runtime: Runtime
  /** Takes a line for the log. */
  readonly log?: (line: string) => void
  /** The node of a client that does not say who it is; without one, such a stream is ended. */
  readonly anonymous?: Node
}

/**
 * Serves ADS, state-of-the-world and delta, to any number of clients over any transport (serveAds for gRPC,
 * memoryTransport within the process). It follows istiod (pilot/pkg/xds/ads.go, delta.go).
 */
export class AdsServer {
  private readonly options: AdsServerOptions
  private readonly live = new Map<string, AdsConnection>()
  private readonly streams = new Set<ServerStream>()
  private readonly unknownTypes = new Set<string>()
  private counter = 0
  private open = true

  constructor(options: AdsServerOptions) {
    this.options = options
  }

  /** The clients that are connected now, in the order they came. */
  get connections(): readonly AdsConnection[] {
    return [...this.live.values()]
  }

  /** Takes a new stream. A transport calls this once per stream and then forwards its events. */
  accept(stream: ServerStream): ServerStreamHandler {
    if (!this.open) {
      stream.end({ code: GRPC_UNAVAILABLE, message: 'the control plane is shutting down' })
      return { received() {}, drained() {}, closed() {} }
    }
    this.streams.add(stream)
    let connection: AdsConnection | undefined
    return {
      received: (request: AdsRequest) => {
        if (!this.streams.has(stream)) return
        if (!connection) {
          // Only the first request has to name the node.
          const node = request.node?.id ? request.node : this.options.anonymous
          if (!node) {
            this.streams.delete(stream)
            stream.end({ code: GRPC_INVALID_ARGUMENT, message: 'missing node information' })
            return
          }
          connection = this.connect(node, stream)
        }
        connection.received(request)
      },
      drained: () => connection?.drained(),
      closed: () => {
        this.streams.delete(stream)
        if (connection) this.disconnect(connection)
      },
    }
  }

  /** Ends all streams; new ones are refused. */
  close(): void {
    this.open = false
    for (const stream of this.streams)
      stream.end({ code: GRPC_UNAVAILABLE, message: 'the control plane is shutting down' })
    this.streams.clear()
    for (const connection of this.connections) this.disconnect(connection)
  }

  private connect(node: Node, stream: ServerStream): AdsConnection {
    const { source, runtime, log } = this.options
    const connection = new AdsConnection(`${node.id}-${++this.counter}`, node, stream, runtime, {
      subscribed: (from, typeUrl) => source.subscribed?.(from, typeUrl),
      nacked: (from, typeUrl, nack) => {
        log?.(`ADS: ${from.id} refused ${typeUrl} ${nack.version}: ${nack.message}`)
        source.nacked?.(from, typeUrl, nack)
      },
      unknownType: (typeUrl) => {
        if (this.unknownTypes.has(typeUrl)) return
        this.unknownTypes.add(typeUrl)
        log?.(`ADS: ${node.id} asks for ${typeUrl}, which nothing here serves`)
      },
    })
    this.live.set(connection.id, connection)
    log?.(`ADS: new connection ${connection.id} from ${stream.peer} (${stream.mode})`)
    source.connected(connection)
    return connection
  }

  private disconnect(connection: AdsConnection): void {
    if (!this.live.delete(connection.id)) return
    connection.closed()
    this.options.log?.(`ADS: connection ${connection.id} ended`)
    this.options.source.disconnected?.(connection)
  }
}
