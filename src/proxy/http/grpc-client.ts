import { fromBinary, type Message, toBinary } from '@bufbuild/protobuf'
import { type MessageName, schemaOf } from '../../xds/messages.ts'
import type { ProxyContext } from '../context.ts'
import type { ConnectionInfo } from '../listener/connection.ts'
import type { StreamInfo } from '../stream-info.ts'
import { GrpcCall } from './grpc-call.ts'
import { grpcFrame } from './grpc-frames.ts'
import type { GrpcService } from './grpc-service.ts'
import { GrpcStatus } from './grpc-status.ts'
import { formatGrpcTimeout } from './grpc-timeout.ts'
import { localAddress } from './hcm-config.ts'
import { headerName, RequestHead } from './headers.ts'
import { H } from './names.ts'
import { timeoutOfTry } from './own-request.ts'

/** A unary method of a service: full names, and the types of its messages. */
export interface GrpcMethod {
  /** Such as `envoy.service.auth.v3.Authorization`. */
  readonly service: string
  readonly method: string
  readonly response: MessageName
}

/** How a call ended. `response` is there if and only if `status` is 0. */
export interface GrpcAnswer {
  readonly status: number
  readonly response: Message | undefined
}

/** What a call is about, beside its message. */
export interface GrpcCallOptions {
  /** ms; 0 is none. */
  readonly timeout: number
  /** The request or connection that the call is for: initial metadata may speak of it. */
  readonly info: StreamInfo
  readonly downstream: ConnectionInfo | undefined
  /** Subset that the route of that request asks for. */
  readonly metadataMatch: Readonly<Record<string, unknown>> | undefined
  /** A timeout of 0, which is none here, is told to the service all the same. */
  readonly tellsZeroTimeout?: boolean
}

/** A call under way. */
export interface GrpcPending {
  /** Drops it: nobody is told. */
  cancel(): void
}

/** What a client is built with. */
export type GrpcContext = Pick<ProxyContext, 'clusters' | 'runtime' | 'node' | 'stats'>

/** Calls the methods of one gRPC service (source/common/grpc/async_client_impl.cc). */
export class GrpcClient {
  readonly service: GrpcService
  private readonly context: GrpcContext
  private readonly own: string

  constructor(service: GrpcService, context: GrpcContext) {
    this.service = service
    this.context = context
    this.own = localAddress(context.node)
  }

  /** Makes a unary call. `done` is called once unless it is cancelled, maybe before this returns. */
  call(
    { service, method, response }: GrpcMethod,
    message: Message,
    options: GrpcCallOptions,
    done: (answer: GrpcAnswer) => void,
  ): GrpcPending {
    const { clusters, stats, runtime } = this.context
    const cluster = clusters.get(this.service.cluster)
    if (cluster === undefined) {
      done({ status: GrpcStatus.UNAVAILABLE, response: undefined })
      return NOTHING
    }
    const head = this.head(`/${service}/${method}`, options)
    const frame = grpcFrame(toBinary(schemaOf(message.$typeName), message))
    stats.counter('http.async-client.rq_total').inc()
    const { metadataMatch, downstream } = options
    const cutOffs = stats.counter('http.async-client.rq_reset_after_downstream_response_started')
    const origin = {
      runtime,
      downstream,
      upstreamAlpn: undefined,
      metadataMatch,
      retryPolicy: this.service.retryPolicy,
    }
    const call = new GrpcCall(cluster, head, origin, frame, this.service.maxMessage, cutOffs, (status, bytes) =>
      done(answerOf(status, bytes, response)),
    )
    call.start(options.timeout)
    return call
  }

  private head(path: string, { timeout, info, tellsZeroTimeout }: GrpcCallOptions): RequestHead {
    const { authority, metadata, envoyHeaders } = this.service
    const head = RequestHead.create('POST', path, authority)
    head.add(H.te, 'trailers')
    if (timeout > 0 || tellsZeroTimeout) head.add(H.grpcTimeout, formatGrpcTimeout(timeout))
    head.add(H.contentType, 'application/grpc')
    if (!metadata.empty) metadata.apply(head, info)
    encodeBinary(head)
    if (envoyHeaders) {
      head.set(H.internal, 'true')
      head.set(H.xff, this.own)
    }
    const expected = timeoutOfTry(timeout, this.service.retryPolicy)
    if (expected > 0) head.set(H.expectedTimeout, String(expected))
    return head
  }
}

const NOTHING: GrpcPending = { cancel: () => {} }

/** Values of `-bin` headers travel in base64. */
function encodeBinary(head: RequestHead): void {
  const values = new Map<string, string>()
  head.forEach((name, value) => {
    if (name.endsWith('-bin') && !values.has(name)) values.set(name, value)
  })
  for (const [name, value] of values) head.set(headerName(name), Buffer.from(value, 'latin1').toString('base64'))
}

function answerOf(status: number, bytes: Buffer | undefined, type: MessageName): GrpcAnswer {
  if (status !== GrpcStatus.OK) return { status, response: undefined }
  if (bytes === undefined) return { status: GrpcStatus.INTERNAL, response: undefined }
  try {
    return { status, response: fromBinary(schemaOf(type), bytes) }
  } catch {
    return { status: GrpcStatus.INTERNAL, response: undefined } // bytes that are no such message
  }
}
