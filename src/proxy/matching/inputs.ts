import type { Message } from '@bufbuild/protobuf'
import type {
  DynamicMetadataInput,
  FilterStateInput,
} from '#gen/envoy/extensions/matching/common_inputs/network/v3/network_inputs_pb.js'
import type { HttpRequestHeaderMatchInput } from '#gen/envoy/type/matcher/v3/http_inputs_pb.js'
import { HeaderReader } from '../http/router/header-matcher.ts'
import type { CertificateInfo } from '../listener/connection.ts'
import { isPipe } from '../listener/connection.ts'
import type { StreamInfo } from '../stream-info.ts'
import type { Subject } from './subject.ts'

/** The input cannot be told of this subject: whatever depends on it has no answer. */
export const UNAVAILABLE = Symbol('unavailable')

/** What inputs of strings give: undefined is no value, which nothing matches. */
export type Text = string | undefined | typeof UNAVAILABLE

/** An input, by what it gives. */
export type Input =
  | { readonly kind: 'text'; readonly get: (subject: Subject) => Text }
  | { readonly kind: 'metadata'; readonly get: (subject: Subject) => unknown }
  | { readonly kind: 'cel'; readonly get: (subject: Subject) => StreamInfo }

const text = (get: (subject: Subject) => Text): Input => ({ kind: 'text', get })

/** A fact of the client's certificate; unavailable without TLS. */
const ofPeer = (get: (peer: CertificateInfo) => string): Input =>
  text(({ connection: { tls } }) => {
    if (tls === undefined) return UNAVAILABLE
    return (tls.peer && get(tls.peer)) || undefined
  })

const NETWORK = 'envoy.extensions.matching.common_inputs.network.v3.'
const SSL = 'envoy.extensions.matching.common_inputs.ssl.v3.'

const IP = (address: { ip: string; port: number }): Text => (isPipe(address) ? undefined : address.ip)
const PORT = (address: { ip: string; port: number }): Text => (isPipe(address) ? undefined : String(address.port))

/** The client as far as it is trusted: of a request its address may come from a header. */
const client = ({ head, info, connection }: Subject): { ip: string; port: number } =>
  head === undefined || info.trustedClientIp === '' || info.trustedClientIp === connection.remote.ip
    ? connection.remote
    : { ip: info.trustedClientIp, port: 0 }

const INPUTS: Readonly<Record<string, (config: Message) => Input>> = {
  [`${NETWORK}DestinationIPInput`]: () => text(({ connection }) => IP(connection.local)),
  [`${NETWORK}DestinationPortInput`]: () => text(({ connection }) => PORT(connection.local)),
  [`${NETWORK}SourceIPInput`]: () => text((subject) => IP(client(subject))),
  [`${NETWORK}SourcePortInput`]: () => text((subject) => PORT(client(subject))),
  [`${NETWORK}DirectSourceIPInput`]: () => text(({ connection }) => IP(connection.directRemote)),
  [`${NETWORK}ServerNameInput`]: () => text(({ connection }) => connection.sni || undefined),
  // Listeners here are all in the process's own namespace.
  [`${NETWORK}NetworkNamespaceInput`]: () => text(() => undefined),
  [`${NETWORK}FilterStateInput`]: (config) => {
    const { key } = config as FilterStateInput
    return text(({ info }) => {
      const state = info.filterState?.get(key)
      return state === undefined ? undefined : String(state)
    })
  },
  [`${NETWORK}DynamicMetadataInput`]: (config) => {
    const { filter, path } = config as DynamicMetadataInput
    const keys = path.map(({ segment }) => segment.value ?? '')
    return { kind: 'metadata', get: ({ info }) => lookUp(info.dynamicMetadata?.get(filter), keys) }
  },
  [`${SSL}UriSanInput`]: () => ofPeer((peer) => peer.uriSans.join(',')),
  [`${SSL}DnsSanInput`]: () => ofPeer((peer) => peer.dnsSans.join(',')),
  [`${SSL}SubjectInput`]: () => ofPeer((peer) => peer.subject),
  'envoy.type.matcher.v3.HttpRequestHeaderMatchInput': (config) => {
    const reader = new HeaderReader((config as HttpRequestHeaderMatchInput).headerName)
    return text(({ head }) => {
      const values = head === undefined ? [] : reader.all(head)
      return values.length === 0 ? undefined : values.join(',')
    })
  },
  'xds.type.matcher.v3.HttpAttributesCelMatchInput': () => ({ kind: 'cel', get: ({ info }) => info }),
}

function lookUp(value: unknown, keys: readonly string[]): unknown {
  let found = value
  for (const key of keys) {
    if (found === null || typeof found !== 'object' || Array.isArray(found) || !Object.hasOwn(found, key))
      return undefined
    found = (found as Record<string, unknown>)[key]
  }
  return found
}

/** The input that a message configures; undefined for one that is not known. */
export const inputOf = (config: Message): Input | undefined => INPUTS[config.$typeName]?.(config)
