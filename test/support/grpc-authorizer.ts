import { fromBinary, type Message, toBinary } from '@bufbuild/protobuf'
import { Server, ServerCredentials, type ServerUnaryCall, type sendUnaryData } from '@grpc/grpc-js'
import type { CheckRequest } from '#gen/envoy/service/auth/v3/external_auth_pb.js'
import { type Init, make, schemaOf } from '../../src/xds/messages.ts'

type Response = Init<'envoy.service.auth.v3.CheckResponse'>

/** A gRPC authorizer of a test, which a pod has for its app. */
export interface GrpcAuthorizer {
  readonly annotation: string
  readonly port: number
  /** What was asked, in order. */
  readonly asked: CheckRequest[]
  close(): void
}

/** Starts `envoy.service.auth.v3.Authorization` on a free port; undefined: no answer at all. */
export async function startGrpcAuthorizer(
  answer: (request: CheckRequest) => Response | undefined,
): Promise<GrpcAuthorizer> {
  const asked: CheckRequest[] = []
  const server = new Server()
  const name = (type: string) => `envoy.service.auth.v3.${type}`
  const write = (type: string) => (message: Message) => Buffer.from(toBinary(schemaOf(name(type)), message))
  const read = (type: string) => (bytes: Buffer) => fromBinary(schemaOf(name(type)), bytes)
  const Check = {
    path: '/envoy.service.auth.v3.Authorization/Check',
    requestStream: false,
    responseStream: false,
    requestSerialize: write('CheckRequest'),
    requestDeserialize: read('CheckRequest'),
    responseSerialize: write('CheckResponse'),
    responseDeserialize: read('CheckResponse'),
  }
  server.addService(
    { Check },
    {
      Check(call: ServerUnaryCall<Message, Message>, respond: sendUnaryData<Message>) {
        const request = call.request as unknown as CheckRequest
        asked.push(request)
        const response = answer(request)
        if (response) respond(null, make('envoy.service.auth.v3.CheckResponse', response) as unknown as Message)
      },
    },
  )
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, bound) =>
      error ? reject(error) : resolve(bound),
    )
  })
  return { annotation: `dinghy.dev/app: "9080=127.0.0.1:${port}"`, port, asked, close: () => server.forceShutdown() }
}
