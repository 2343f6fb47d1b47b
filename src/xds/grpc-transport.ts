import { type ChannelCredentials, Client, credentials, Metadata, type ServiceError } from '@grpc/grpc-js'
import { ADS_SERVICE } from './grpc-server.ts'
import { grpcService } from './grpc-service.ts'
import {
  type AdsMode,
  type AdsRequest,
  type AdsResponse,
  type AdsTransport,
  type ClientStream,
  type ClientStreamHandler,
  GRPC_UNAVAILABLE,
} from './stream.ts'

/** How to reach the control plane over gRPC. */
export interface GrpcTransportOptions {
  /** Plaintext by default. */
  readonly credentials?: ChannelCredentials
  /** Call metadata, such as a bearer token; asked for at each stream. */
  readonly metadata?: () => Metadata
}

/** Opens ADS streams over gRPC to `host:port`, or `unix:PATH`. */
export function grpcTransport(address: string, options: GrpcTransportOptions = {}): AdsTransport {
  const methods = grpcService(ADS_SERVICE)
  const client = new Client(address, options.credentials ?? credentials.createInsecure(), {
    'grpc.max_receive_message_length': -1,
    'grpc.max_send_message_length': -1,
    'grpc.keepalive_time_ms': 30_000,
    'grpc.keepalive_timeout_ms': 10_000,
    // The ADS client has a back-off of its own: the channel's must not add to it.
    'grpc.initial_reconnect_backoff_ms': 100,
    'grpc.max_reconnect_backoff_ms': 100,
  })
  return {
    open(mode: AdsMode, handler: ClientStreamHandler): ClientStream {
      const method = methods[mode === 'delta' ? 'deltaAggregatedResources' : 'streamAggregatedResources']!
      const call = client.makeBidiStreamRequest<AdsRequest, AdsResponse>(
        method.path,
        method.requestSerialize as (value: AdsRequest) => Buffer,
        method.responseDeserialize as (bytes: Buffer) => AdsResponse,
        options.metadata?.() ?? new Metadata(),
      )
      let over = false
      const closed = (code: number, message: string) => {
        if (over) return
        over = true
        handler.closed({ code, message })
      }
      call.on('data', (response: AdsResponse) => {
        if (!over) handler.received(response)
      })
      call.on('error', (error: ServiceError) => closed(error.code ?? GRPC_UNAVAILABLE, error.details || error.message))
      call.on('end', () => closed(0, 'the control plane ended the stream'))
      return {
        send: (request) => {
          if (!over) call.write(request)
        },
        close: () => {
          over = true
          call.cancel()
        },
      }
    },
    close: () => client.close(),
    toString: () => address,
  }
}
