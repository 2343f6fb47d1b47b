import { type DescMessage, type DescMethod, fromBinary, type Message, toBinary } from '@bufbuild/protobuf'
import { logVerbosity, type MethodDefinition, type ServiceDefinition, setLogVerbosity } from '@grpc/grpc-js'
import { registry } from './messages.ts'

// What fails is told to whoever asked; the library's own lines on stderr would only say it twice.
if (!process.env.GRPC_VERBOSITY) setLogVerbosity(logVerbosity.NONE)

/** The gRPC service definition of a service in the descriptor set, for servers and clients of @grpc/grpc-js. */
export function grpcService(name: string): ServiceDefinition {
  const service = registry().getService(name)
  if (!service) throw new Error(`unknown gRPC service ${name}`)
  return Object.fromEntries(service.methods.map((method) => [method.localName, methodDefinition(name, method)]))
}

function methodDefinition(service: string, method: DescMethod): MethodDefinition<Message, Message> {
  const encode = (schema: DescMessage) => (message: Message) => {
    const bytes = toBinary(schema, message)
    return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  }
  const decode = (schema: DescMessage) => (bytes: Buffer) => fromBinary(schema, bytes)
  return {
    path: `/${service}/${method.name}`,
    requestStream: method.methodKind === 'client_streaming' || method.methodKind === 'bidi_streaming',
    responseStream: method.methodKind === 'server_streaming' || method.methodKind === 'bidi_streaming',
    requestSerialize: encode(method.input),
    requestDeserialize: decode(method.input),
    responseSerialize: encode(method.output),
    responseDeserialize: decode(method.output),
  }
}
