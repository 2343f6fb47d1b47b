import fs from 'node:fs'
import {
  create,
  createFileRegistry,
  type DescMessage,
  type FileRegistry,
  fromBinary,
  type Message,
  type MessageInitShape,
  toBinary,
} from '@bufbuild/protobuf'
import { type Any, FileDescriptorSetSchema } from '@bufbuild/protobuf/wkt'
import type { Messages } from '#gen/types.js'

/** Full name of any message in the descriptor set, such as `envoy.config.cluster.v3.Cluster`. */
export type MessageName = keyof Messages

/** What `make` accepts: the message's fields, nested messages as plain objects, all optional. */
export type Init<N extends MessageName> = MessageInitShape<import('@bufbuild/protobuf/codegenv2').GenMessage<Messages[N] & Message>>

let loaded: FileRegistry | undefined

/** The registry of every Envoy, xDS and well-known type; read from the descriptor set at first use. */
export function registry(): FileRegistry {
  loaded ??= createFileRegistry(fromBinary(FileDescriptorSetSchema, fs.readFileSync(descriptorSet())))
  return loaded
}

function descriptorSet(): URL {
  const beside = new URL('./descriptors.binpb', import.meta.url) // in dist
  return fs.existsSync(beside) ? beside : new URL('../../gen/descriptors.binpb', import.meta.url) // from sources
}

/** The descriptor of a message type. Throws on a name that is not in the set. */
export function schemaOf(name: string): DescMessage {
  const found = registry().getMessage(name)
  if (!found) throw new Error(`unknown message type ${name}`)
  return found
}

/** Creates a message by its full name. */
export function make<N extends MessageName>(name: N, init?: Init<N>): Messages[N] {
  return create(schemaOf(name), init as never) as unknown as Messages[N]
}

/** The prefix of every type URL. */
export const TYPE_URL_PREFIX = 'type.googleapis.com/'

/** Packs a message into an Any. */
export function pack(message: Message): Any {
  return {
    $typeName: 'google.protobuf.Any',
    typeUrl: TYPE_URL_PREFIX + message.$typeName,
    value: toBinary(schemaOf(message.$typeName), message),
  }
}

/** Creates a message and packs it: `packed('envoy.extensions.filters.http.router.v3.Router', {})`. */
export function packed<N extends MessageName>(name: N, init?: Init<N>): Any {
  return pack(make(name, init) as unknown as Message)
}

/** The full message name in a type URL: the part after the last slash. */
export function typeNameOf(typeUrl: string): string {
  return typeUrl.slice(typeUrl.lastIndexOf('/') + 1)
}

/** Unpacks an Any that must hold the named type; undefined when it holds another. Throws on broken bytes. */
export function unpack<N extends MessageName>(any: Any, name: N): Messages[N] | undefined {
  if (typeNameOf(any.typeUrl) !== name) return undefined
  return fromBinary(schemaOf(name), any.value) as unknown as Messages[N]
}
