import {
  type handleBidiStreamingCall,
  Server,
  ServerCredentials,
  type ServerDuplexStream,
  type UntypedServiceImplementation,
} from '@grpc/grpc-js'
import { grpcService } from './grpc-service.ts'
import type { AdsServer } from './server.ts'
import type { AdsMode, AdsRequest, AdsResponse, ServerStreamHandler } from './stream.ts'

/** The service that ADS is. */
export const ADS_SERVICE = 'envoy.service.discovery.v3.AggregatedDiscoveryService'

/** A gRPC server that listens. */
export interface GrpcListener {
  readonly port: number
  /** `host:port` as bound. */
  readonly address: string
  /** Ends every call and stops listening. */
  close(): Promise<void>
}

/** A gRPC service to serve: its name in the descriptor set, and its handlers by method (lowerCamelCase). */
export interface GrpcHandlers {
  readonly name: string
  readonly handlers: UntypedServiceImplementation
}

/**
 * Listens for gRPC on `host:port` (port 0 picks a free one). Plaintext unless credentials are given. Rejects when the
 * address cannot be bound.
 */
export async function listenGrpc(
  address: string,
  services: readonly GrpcHandlers[],
  credentials: ServerCredentials = ServerCredentials.createInsecure(),
): Promise<GrpcListener> {
  // As istiod: pushes of a big mesh may be larger than gRPC's default, and clients may ping often.
  const server = new Server({
    'grpc.max_receive_message_length': -1,
    'grpc.max_send_message_length': -1,
    'grpc.keepalive_time_ms': 30_000,
    'grpc.keepalive_timeout_ms': 10_000,
  })
  for (const { name, handlers } of services) server.addService(grpcService(name), handlers)
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync(address, credentials, (error, bound) => {
      if (!error) resolve(bound)
      else reject(new Error(`cannot listen for gRPC on ${address}: ${bindReason(error)}`, { cause: error }))
    })
  })
  return {
    port,
    address: `${address.slice(0, address.lastIndexOf(':'))}:${port}`,
    close: () =>
      new Promise((resolve) => {
        server.tryShutdown(() => resolve())
        server.forceShutdown()
      }),
  }
}

/** The system's reason, which grpc-js gives at the end of a sentence of its own. */
function bindReason(error: Error): string {
  const reason = /errors: \[(.*)\]/.exec(error.message)?.[1] ?? error.message
  return reason.includes('EADDRINUSE') ? 'the address is in use' : reason
}

/** Listens for ADS alone on `host:port`, plaintext unless credentials are given. */
export function serveAds(server: AdsServer, address: string, credentials?: ServerCredentials): Promise<GrpcListener> {
  return listenGrpc(address, [adsHandlers(server)], credentials)
}

/** The ADS service of a server, for `listenGrpc`. */
export function adsHandlers(server: AdsServer): GrpcHandlers {
  return {
    name: ADS_SERVICE,
    handlers: {
      streamAggregatedResources: handleStream(server, 'sotw'),
      deltaAggregatedResources: handleStream(server, 'delta'),
    },
  }
}

function handleStream(server: AdsServer, mode: AdsMode): handleBidiStreamingCall<AdsRequest, AdsResponse> {
  return (call: ServerDuplexStream<AdsRequest, AdsResponse>) => {
    let over = false
    const handler: ServerStreamHandler = server.accept({
      mode,
      peer: call.getPeer(),
      send: (response) => over || call.write(response),
      end: ({ code, message }) => {
        if (over) return
        over = true
        call.emit('error', Object.assign(new Error(message), { code, details: message }))
      },
    })
    const closed = () => {
      if (over) return
      over = true
      handler.closed()
    }
    call.on('data', (request: AdsRequest) => {
      if (!over) handler.received(request)
    })
    call.on('drain', () => {
      if (!over) handler.drained()
    })
    call.on('cancelled', closed)
    call.on('error', closed)
    call.on('end', () => {
      closed()
      call.end()
    })
  }
}
