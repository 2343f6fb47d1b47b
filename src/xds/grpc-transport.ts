import { type ChannelCredentials, Client, credentials, Metadata, type ServiceError } from '@grpc/grpc-js'
import { ADS_SERVICE, SDS_SERVICE } from './grpc-server.ts'
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
  /** Secrets alone, by SDS; default everything, by ADS. */
  readonly service?: 'ads' | 'sds'
  /**
   * Asked for at each stream, plaintext by default: other credentials than the last ones make a new connection. While there
   * are none (undefined), streams end as soon as they are opened.
   */
  readonly credentials?: () => ChannelCredentials | undefined
  /** The server name of TLS, where it is not the host's. */
  readonly serverName?: string | undefined
  /** Further channel arguments of gRPC. */
  readonly channelArguments?: Readonly<Record<string, string | number>> | undefined
  /** Call metadata, such as a bearer token; asked for at each stream. */
  readonly metadata?: () => Metadata
}

/** Methods of the services, by mode. */
const METHODS = {
  ads: { service: ADS_SERVICE, sotw: 'streamAggregatedResources', delta: 'deltaAggregatedResources' },
  sds: { service: SDS_SERVICE, sotw: 'streamSecrets', delta: 'deltaSecrets' },
} as const

/** Opens ADS or SDS streams over gRPC to `host:port`, or `unix:PATH`. */
export function grpcTransport(address: string, options: GrpcTransportOptions = {}): AdsTransport {
  const names = METHODS[options.service ?? 'ads']
  const methods = grpcService(names.service)
  const plaintext = credentials.createInsecure()
  let last: { client: Client; credentials: ChannelCredentials } | undefined
  const clientNow = (): Client | undefined => {
    const wanted = options.credentials ? options.credentials() : plaintext
    if (!wanted) return undefined
    if (last?.credentials !== wanted) {
      last?.client.close()
      last = { client: clientOf(address, wanted, options), credentials: wanted }
    }
    return last.client
  }
  return {
    open(mode: AdsMode, handler: ClientStreamHandler): ClientStream {
      let over = false
      const closed = (code: number, message: string) => {
        if (over) return
        over = true
        handler.closed({ code, message })
      }
      const method = methods[names[mode]]!
      let client: Client | undefined
      let metadata: Metadata | undefined
      let failure = 'the secrets of the connection have not come yet'
      try {
        client = clientNow()
        metadata = options.metadata?.() ?? new Metadata()
      } catch (error) {
        failure = (error as Error).message
      }
      if (!client || !metadata) {
        queueMicrotask(() => closed(GRPC_UNAVAILABLE, failure))
        return { send() {}, close: () => (over = true) }
      }
      const call = client.makeBidiStreamRequest<AdsRequest, AdsResponse>(
        method.path,
        method.requestSerialize as (value: AdsRequest) => Buffer,
        method.responseDeserialize as (bytes: Buffer) => AdsResponse,
        metadata,
      )
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
    close: () => last?.client.close(),
    toString: () => address,
  }
}

function clientOf(address: string, how: ChannelCredentials, options: GrpcTransportOptions): Client {
  return new Client(address, how, {
    'grpc.max_receive_message_length': -1,
    'grpc.max_send_message_length': -1,
    'grpc.keepalive_time_ms': 30_000,
    'grpc.keepalive_timeout_ms': 10_000,
    // The ADS client has a back-off of its own: the channel's must not add to it.
    'grpc.initial_reconnect_backoff_ms': 100,
    'grpc.max_reconnect_backoff_ms': 100,
    ...(options.serverName ? { 'grpc.ssl_target_name_override': options.serverName } : {}),
    ...options.channelArguments,
  })
}
