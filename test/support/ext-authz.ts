import http2 from 'node:http2'
import type { AddressInfo } from 'node:net'
import { fromBinary, fromJson, type JsonValue, toBinary } from '@bufbuild/protobuf'
import { Server, ServerCredentials, type ServerUnaryCall, type ServiceError, type sendUnaryData } from '@grpc/grpc-js'
import type { CheckRequest, CheckResponse } from '#gen/envoy/service/auth/v3/external_auth_pb.js'
import { registry, schemaOf } from '../../src/xds/messages.ts'

const REQUEST = 'envoy.service.auth.v3.CheckRequest'
const RESPONSE = 'envoy.service.auth.v3.CheckResponse'

/** An answer of an authorizer: a CheckResponse in JSON, a gRPC status instead of one, or none at all. */
export type CheckAnswer = { readonly check: object } | { readonly fails: number } | 'hangs'

/** A service of envoy.service.auth.v3.Authorization, made with grpc-js. */
export class Authorizer {
  readonly checks: CheckRequest[] = []
  /** Metadata of the calls. */
  readonly metadata: Record<string, unknown>[] = []
  cancelled = 0
  port = 0
  private readonly server = new Server()

  /** One answer per call in turn; the last one stays. */
  static async start(...answers: CheckAnswer[]): Promise<Authorizer> {
    const authorizer = new Authorizer()
    const { server } = authorizer
    const definition = {
      check: {
        path: '/envoy.service.auth.v3.Authorization/Check',
        requestStream: false as const,
        responseStream: false as const,
        requestSerialize: (bytes: Buffer) => bytes,
        requestDeserialize: (bytes: Buffer) => fromBinary(schemaOf(REQUEST), bytes) as unknown as CheckRequest,
        responseSerialize: (m: CheckResponse) => Buffer.from(toBinary(schemaOf(RESPONSE), m as never)),
        responseDeserialize: (bytes: Buffer) => bytes,
      },
    }
    server.addService(definition as never, {
      check: (call: ServerUnaryCall<CheckRequest, CheckResponse>, done: sendUnaryData<CheckResponse>) =>
        authorizer.serve(call, answers, done),
    })
    authorizer.port = await new Promise<number>((resolve, reject) => {
      server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, bound) =>
        error ? reject(error) : resolve(bound),
      )
    })
    return authorizer
  }

  get last(): CheckRequest {
    const last = this.checks.at(-1)
    if (!last) throw new Error('nobody asked the authorizer')
    return last
  }

  stop(): void {
    this.server.forceShutdown()
  }

  private serve(
    call: ServerUnaryCall<CheckRequest, CheckResponse>,
    answers: readonly CheckAnswer[],
    done: sendUnaryData<CheckResponse>,
  ): void {
    const answer = answers[Math.min(this.checks.length, answers.length - 1)] ?? { check: {} }
    this.checks.push(call.request)
    this.metadata.push(call.metadata.getMap())
    call.on('cancelled', () => {
      this.cancelled++
    })
    if (answer === 'hangs') return
    if ('fails' in answer) done({ code: answer.fails, details: 'failed' } as ServiceError)
    else done(null, checkResponse(answer.check))
  }
}

/** A CheckResponse from JSON. */
export function checkResponse(json: object): CheckResponse {
  const plain = JSON.parse(JSON.stringify(json)) as JsonValue
  return fromJson(schemaOf(RESPONSE), plain, { registry: registry() }) as unknown as CheckResponse
}

/** A CheckResponse in a gRPC frame. */
export function checkFrame(json: object): Buffer {
  const message = toBinary(schemaOf(RESPONSE), checkResponse(json) as never)
  const frame = Buffer.alloc(5 + message.length)
  frame.writeUInt32BE(message.length, 1)
  frame.set(message, 5)
  return frame
}

/** An HTTP/2 server that answers every call as it is told, be that gRPC or not. */
export class RawAuthorizer {
  calls = 0
  port = 0
  private readonly server = http2.createServer()
  private readonly sessions = new Set<http2.ServerHttp2Session>()

  static async start(answer: (stream: http2.ServerHttp2Stream) => void): Promise<RawAuthorizer> {
    const raw = new RawAuthorizer()
    raw.server.on('session', (session) => {
      raw.sessions.add(session)
      session.on('error', () => {})
      session.on('close', () => raw.sessions.delete(session))
    })
    raw.server.on('stream', (stream) => {
      raw.calls++
      stream.on('error', () => {})
      stream.resume()
      stream.on('end', () => answer(stream))
    })
    await new Promise<void>((resolve) => raw.server.listen(0, '127.0.0.1', resolve))
    raw.port = (raw.server.address() as AddressInfo).port
    return raw
  }

  stop(): void {
    for (const session of this.sessions) session.destroy()
    this.server.close()
  }
}

/** Answers a call with bytes and trailers. */
export function answerRaw(stream: http2.ServerHttp2Stream, bytes: Buffer, trailers: http2.OutgoingHttpHeaders): void {
  stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true })
  stream.on('wantTrailers', () => stream.sendTrailers(trailers))
  stream.end(bytes)
}

/** An entry of http_filters named `ea`. */
export function extAuthz(config: object): object {
  return {
    name: 'ea',
    typed_config: {
      '@type': 'type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz',
      transport_api_version: 'V3',
      ...config,
    },
  }
}

/** A per-route config for the filter `ea`. */
export function extAuthzRoute(config: object): object {
  const type = 'type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute'
  return { ea: { '@type': type, ...config } }
}

const HTTP_OPTIONS = 'envoy.extensions.upstreams.http.v3.HttpProtocolOptions'

/** What makes a cluster speak HTTP/2. */
export const overHttp2 = {
  typed_extension_protocol_options: {
    [HTTP_OPTIONS]: {
      '@type': `type.googleapis.com/${HTTP_OPTIONS}`,
      explicit_http_config: { http2_protocol_options: {} },
    },
  },
}

/** `grpc_service` of a cluster `auth`. */
export const grpcService = (more: object = {}): object => ({
  envoy_grpc: { cluster_name: 'auth' },
  timeout: '5s',
  ...more,
})
/** `http_service` of a cluster `auth`. */
export const httpService = (more: object = {}): object => ({
  server_uri: { uri: 'http://auth.test', cluster: 'auth', timeout: '5s' },
  ...more,
})
