import {
  type handleBidiStreamingCall,
  type handleUnaryCall,
  Server,
  ServerCredentials,
  type ServerDuplexStream,
  type UntypedServiceImplementation,
} from '@grpc/grpc-js'
import { type Authenticate, grpcPeer } from './grpc-peer.ts'
import { grpcService } from './grpc-service.ts'
import type { AdsServer } from './server.ts'
import {
  type AdsMode,
  type AdsRequest,
  type AdsResponse,
  GRPC_UNAUTHENTICATED,
  GRPC_UNIMPLEMENTED,
  type ServerStreamHandler,
} from './stream.ts'

/** The service that ADS is. */
export const ADS_SERVICE = 'envoy.service.discovery.v3.AggregatedDiscoveryService'
/** The service that secrets alone come from. */
export const SDS_SERVICE = 'envoy.service.secret.v3.SecretDiscoveryService'

/** The most that one message to the server may have, bytes: gRPC's own default, and istiod's (ISTIO_GPRC_MAXRECVMSGSIZE). */
const MAX_RECEIVE = 4 * 1024 * 1024

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
  const server = grpcServer(services)
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync(address, credentials, (error, bound) => {
      if (!error) resolve(bound)
      else reject(new Error(`cannot listen for gRPC on ${address}: ${bindReason(error)}`, { cause: error }))
    })
  })
  return {
    port,
    address: `${address.slice(0, address.lastIndexOf(':'))}:${port}`,
    close: () => shutDown(server),
  }
}

/** A server of some services that listens nowhere yet. */
export function grpcServer(services: readonly GrpcHandlers[]): Server {
  // As istiod: pushes of a big mesh may be larger than gRPC's default, and clients may ping often.
  const server = new Server({
    'grpc.max_receive_message_length': MAX_RECEIVE,
    'grpc.max_send_message_length': -1,
    'grpc.keepalive_time_ms': 30_000,
    'grpc.keepalive_timeout_ms': 10_000,
  })
  for (const { name, handlers } of services) server.addService(grpcService(name), handlers)
  return server
}

/** Ends every call of a server. */
export function shutDown(server: Server): Promise<void> {
  return new Promise((resolve) => {
    server.tryShutdown(() => resolve())
    server.forceShutdown()
  })
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

/**
 * The ADS service of a server, for `listenGrpc`. With `authenticate`, streams of those whom it does not know are refused
 * (pilot/pkg/xds/ads.go Stream).
 */
export function adsHandlers(server: AdsServer, authenticate?: Authenticate): GrpcHandlers {
  return {
    name: ADS_SERVICE,
    handlers: {
      streamAggregatedResources: handleStream(server, 'sotw', authenticate),
      deltaAggregatedResources: handleStream(server, 'delta', authenticate),
    },
  }
}

/** The SDS service of a server, for `listenGrpc`. */
export function sdsHandlers(server: AdsServer): GrpcHandlers {
  const fetchSecrets: handleUnaryCall<unknown, unknown> = (_, callback) =>
    callback({ code: GRPC_UNIMPLEMENTED, details: 'FetchSecrets not implemented' })
  return {
    name: SDS_SERVICE,
    handlers: {
      streamSecrets: handleStream(server, 'sotw'),
      deltaSecrets: handleStream(server, 'delta'),
      fetchSecrets,
    },
  }
}

function handleStream(
  server: AdsServer,
  mode: AdsMode,
  authenticate?: Authenticate,
): handleBidiStreamingCall<AdsRequest, AdsResponse> {
  return (call: ServerDuplexStream<AdsRequest, AdsResponse>) => {
    const identities = authenticate?.(grpcPeer(call))
    if (authenticate && !identities) {
      const details = 'authentication failure'
      call.emit('error', Object.assign(new Error(details), { code: GRPC_UNAUTHENTICATED, details }))
      return
    }
    let over = false
    const handler: ServerStreamHandler = server.accept({
      mode,
      peer: call.getPeer(),
      identities,
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
