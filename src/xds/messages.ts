import fs from 'node:fs'
import { create, type DescMessage, type FileRegistry, fromBinary, type Message, toBinary } from '@bufbuild/protobuf'
import type { Any } from '@bufbuild/protobuf/wkt'
import type { Messages } from '#gen/types.js'
import { lazyRegistry } from './descriptors.ts'

/** Full name of any message in the descriptor set, such as `envoy.config.cluster.v3.Cluster`. */
export type MessageName = keyof Messages

/** What `make` accepts: the message's fields, nested messages as plain objects, all optional. */
export type Init<N extends MessageName> = InitOf<Messages[N]>

type Plain = string | number | bigint | boolean | Uint8Array | undefined

// The library's own MessageInit does not reach into a oneof within a oneof.
type InitOf<T> = T extends Plain
  ? T
  : T extends readonly (infer U)[]
    ? readonly InitOf<U>[]
    : T extends { $typeName: string }
      ? { [K in keyof T as K extends '$typeName' | '$unknown' ? never : K]?: InitOf<T[K]> } | T
      : T extends { case: infer C; value: infer V }
        ? { case: C; value: InitOf<V> }
        : T extends { case: undefined; value?: undefined }
          ? T
          : T extends Readonly<Record<string, infer V>>
            ? Readonly<Record<string, V extends { $typeName: string } ? InitOf<V> : V>>
            : T

let loaded: FileRegistry | undefined

/** The registry of every Envoy, xDS, Istio filter and well-known type; each is read at its first use. */
export function registry(): FileRegistry {
  loaded ??= lazyRegistry(fs.readFileSync(descriptorSet(), 'latin1'))
  return loaded
}

function descriptorSet(): URL {
  const beside = new URL('./descriptors.jsonl', import.meta.url) // in dist
  return fs.existsSync(beside) ? beside : new URL('../../gen/descriptors.jsonl', import.meta.url) // from sources
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

/** The messages behind Anys: given to `pack`, or decoded before. */
const unpacked = new WeakMap<Any, Message>()

/**
 * Packs a message into an Any. The bytes are made when someone reads them, so that what stays inside the process
 * is never serialised; the message must not change after this.
 */
export function pack(message: Message): Any {
  let bytes: Uint8Array<ArrayBuffer> | undefined
  const any: Any = {
    $typeName: 'google.protobuf.Any',
    typeUrl: TYPE_URL_PREFIX + message.$typeName,
    get value() {
      bytes ??= toBinary(schemaOf(message.$typeName), message) as Uint8Array<ArrayBuffer>
      return bytes
    },
    set value(changed) {
      bytes = changed
      unpacked.delete(any)
    },
  }
  unpacked.set(any, message)
  return any
}

/**
 * The message in an Any, whatever its type; the same object each time, so it must not be changed. Throws on a type
 * that is not in the set and on broken bytes.
 */
export function messageIn(any: Any): Message {
  let message = unpacked.get(any)
  if (!message) {
    message = fromBinary(schemaOf(typeNameOf(any.typeUrl)), any.value)
    unpacked.set(any, message)
  }
  return message
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
  return messageIn(any) as unknown as Messages[N]
}
