import {
  Client,
  credentials,
  type handleBidiStreamingCall,
  type handleClientStreamingCall,
  type handleServerStreamingCall,
  type handleUnaryCall,
  Metadata,
  Server,
  ServerCredentials,
  type ServiceDefinition,
  type ServiceError,
  type status,
} from '@grpc/grpc-js'

/** How the echo service answers; each text is one message. */
export interface GrpcHandlers {
  readonly unary?: handleUnaryCall<string, string>
  readonly serverStream?: handleServerStreamingCall<string, string>
  readonly clientStream?: handleClientStreamingCall<string, string>
  readonly bidi?: handleBidiStreamingCall<string, string>
}

const text = { serialize: (s: string) => Buffer.from(s), deserialize: (b: Buffer) => b.toString() }
const method = (name: string, requestStream: boolean, responseStream: boolean) => ({
  path: `/test.Echo/${name}`,
  requestStream,
  responseStream,
  requestSerialize: text.serialize,
  requestDeserialize: text.deserialize,
  responseSerialize: text.serialize,
  responseDeserialize: text.deserialize,
})

/** Of texts: one for one, one for many, many for one, many for many. */
const ECHO: ServiceDefinition = {
  unary: method('Unary', false, false),
  serverStream: method('ServerStream', false, true),
  clientStream: method('ClientStream', true, false),
  bidi: method('Bidi', true, true),
}

/** A gRPC server of a test that a pod has for its app. */
export interface GrpcApp {
  readonly annotation: string
  readonly port: number
  close(): void
}

/** Starts a server of `test.Echo` on a free port. */
export async function startGrpcApp(handlers: GrpcHandlers): Promise<GrpcApp> {
  const server = new Server()
  server.addService(ECHO, { ...handlers })
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, bound) =>
      error ? reject(error) : resolve(bound),
    )
  })
  return { annotation: `dinghy.dev/app: "9080=127.0.0.1:${port}"`, port, close: () => server.forceShutdown() }
}

/** What a call came to. */
export interface GrpcResult {
  readonly code: number
  readonly message: string
  readonly messages: string[]
  readonly trailers: Record<string, string>
}

/** A client of `test.Echo`. */
export class EchoClient {
  private readonly client: Client

  constructor(address: { host: string; port: number }, authority: string) {
    this.client = new Client(`${address.host}:${address.port}`, credentials.createInsecure(), {
      'grpc.default_authority': authority,
      'grpc.enable_retries': 0,
    })
  }

  unary(message: string, headers: Record<string, string> = {}, deadlineMs = 5000): Promise<GrpcResult> {
    return new Promise((resolve) => {
      const messages: string[] = []
      let failed: ServiceError | undefined
      const call = this.client.makeUnaryRequest(
        '/test.Echo/Unary',
        text.serialize,
        text.deserialize,
        message,
        metadata(headers),
        { deadline: Date.now() + deadlineMs },
        (error, answer) => {
          failed = error ?? undefined
          if (answer !== undefined) messages.push(answer)
        },
      )
      call.on('status', (s) =>
        setImmediate(() => resolve(result(s.code, failed?.details ?? s.details, messages, s.metadata))),
      )
    })
  }

  serverStream(message: string): Promise<GrpcResult> {
    return collect(
      this.client.makeServerStreamRequest('/test.Echo/ServerStream', text.serialize, text.deserialize, message),
    )
  }

  clientStream(messages: readonly string[]): Promise<GrpcResult> {
    return new Promise((resolve) => {
      const got: string[] = []
      const call = this.client.makeClientStreamRequest(
        '/test.Echo/ClientStream',
        text.serialize,
        text.deserialize,
        (_error, answer) => {
          if (answer !== undefined) got.push(answer)
        },
      )
      call.on('status', (s) => setImmediate(() => resolve(result(s.code, s.details, got, s.metadata))))
      for (const message of messages) call.write(message)
      call.end()
    })
  }

  /** Sends the next message when the answer to the one before has come. */
  bidi(messages: readonly string[]): Promise<GrpcResult> {
    const call = this.client.makeBidiStreamRequest('/test.Echo/Bidi', text.serialize, text.deserialize)
    const left = [...messages]
    const next = () => {
      const message = left.shift()
      if (message === undefined) call.end()
      else call.write(message)
    }
    call.on('data', next)
    next()
    return collect(call)
  }

  close(): void {
    this.client.close()
  }
}

function collect(call: NodeJS.EventEmitter): Promise<GrpcResult> {
  return new Promise((resolve) => {
    const messages: string[] = []
    call.on('data', (message: string) => messages.push(message))
    call.on('error', () => {})
    call.on('status', (s: { code: status; details: string; metadata: Metadata }) =>
      setImmediate(() => resolve(result(s.code, s.details, messages, s.metadata))),
    )
  })
}

function metadata(headers: Record<string, string>): Metadata {
  const m = new Metadata()
  for (const [name, value] of Object.entries(headers)) m.set(name, value)
  return m
}

function result(code: number, message: string, messages: string[], trailers: Metadata): GrpcResult {
  const map: Record<string, string> = {}
  for (const [name, value] of Object.entries(trailers.getMap())) map[name] = String(value)
  return { code, message, messages, trailers: map }
}
