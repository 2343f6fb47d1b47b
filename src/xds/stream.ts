import type {
  DeltaDiscoveryRequest,
  DeltaDiscoveryResponse,
  DiscoveryRequest,
  DiscoveryResponse,
} from '#gen/envoy/service/discovery/v3/discovery_pb.js'

/** The two variants of ADS: state of the world, and incremental. */
export type AdsMode = 'sotw' | 'delta'

/** What a client sends, in either variant. */
export type AdsRequest = DiscoveryRequest | DeltaDiscoveryRequest

/** What a server sends, in either variant. */
export type AdsResponse = DiscoveryResponse | DeltaDiscoveryResponse

/** An ADS stream as the server sees it, whatever carries it. */
export interface ServerStream {
  readonly mode: AdsMode
  /** The client's address, for logs; IN_PROCESS for one of this process. */
  readonly peer: string
  /** Who the client has proved to be (SPIFFE ids); undefined where nobody is asked to. */
  readonly identities?: readonly string[] | undefined
  /** Sends a response. False when the client reads too slowly: wait for `drained` before the next one. */
  send(response: AdsResponse): boolean
  /** Ends the stream; the reason becomes the client's error. */
  end(reason: StreamEnd): void
}

/** What the server does with the events of a stream. */
export interface ServerStreamHandler {
  received(request: AdsRequest): void
  drained(): void
  /** The client is gone. Not called after `end`. */
  closed(): void
}

/** Why a stream ended: a gRPC status code and words. */
export interface StreamEnd {
  readonly code: number
  readonly message: string
}

/** An ADS stream as the client sees it. */
export interface ClientStream {
  send(request: AdsRequest): void
  /** Closes without a further event. */
  close(): void
}

/** What the client does with the events of a stream. None comes before `open` has returned. */
export interface ClientStreamHandler {
  received(response: AdsResponse): void
  /** The stream failed or the server ended it. */
  closed(end: StreamEnd): void
}

/** Opens ADS streams to one control plane. */
export interface AdsTransport {
  open(mode: AdsMode, handler: ClientStreamHandler): ClientStream
  /** Frees what the transport holds. */
  close(): void
  /** Where it leads, for logs. */
  toString(): string
}

/** gRPC status codes that ADS streams end with. */
export const GRPC_INVALID_ARGUMENT = 3
export const GRPC_PERMISSION_DENIED = 7
export const GRPC_UNIMPLEMENTED = 12
export const GRPC_UNAVAILABLE = 14
export const GRPC_UNAUTHENTICATED = 16

/** The `peer` of streams that come from the same process; no network address looks so. */
export const IN_PROCESS = 'in-process'
