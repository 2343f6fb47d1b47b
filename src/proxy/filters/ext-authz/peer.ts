import type { JsonObject } from '@bufbuild/protobuf'
import type { Address as AddressProto } from '#gen/envoy/config/core/v3/address_pb.js'
import type { Node } from '#gen/envoy/config/core/v3/base_pb.js'
import type {
  AttributeContext_Peer as Peer,
  AttributeContext_TLSSession as TlsSession,
} from '#gen/envoy/service/auth/v3/attribute_context_pb.js'
import { make } from '../../../xds/messages.ts'
import { encodePem } from '../../http/xfcc.ts'
import { type Address, type CertificateInfo, type ConnectionInfo, isPipe } from '../../listener/connection.ts'
import { sanitizedText } from './utf8.ts'

const PEER = 'envoy.service.auth.v3.AttributeContext.Peer'

/** What a check tells of an end of a connection, be it of HTTP or not. */
export interface PeerChoice {
  readonly certificate: boolean
  /** Labels of this proxy, for the end that it is. */
  readonly labels: Readonly<Record<string, string>>
}

/** The labels that the bootstrap's node metadata has under a key; values that are no text are empty. */
export function nodeLabels(node: Node, key: string): Record<string, string> {
  const found = (node.metadata as JsonObject | undefined)?.[key]
  const labels: Record<string, string> = {}
  if (key === '' || typeof found !== 'object' || found === null || Array.isArray(found)) return labels
  for (const [name, value] of Object.entries(found)) labels[name] = typeof value === 'string' ? value : ''
  return labels
}

/** The client (source/extensions/filters/common/ext_authz/check_request_utils.cc setAttrContextPeer). */
export function sourcePeer(connection: ConnectionInfo, service: string, choice: PeerChoice): Peer {
  const peer = connection.tls?.peer
  return make(PEER, {
    address: addressMessage(connection.remote),
    principal: principalOf(peer),
    certificate: choice.certificate && peer !== undefined ? encodePem(peer.pem) : '',
    service: sanitizedText(service),
  })
}

/** This proxy, as the end of that connection. */
export function destinationPeer(connection: ConnectionInfo, service: string, choice: PeerChoice): Peer {
  return make(PEER, {
    address: addressMessage(connection.local),
    principal: principalOf(connection.tls?.local),
    service: sanitizedText(service),
    labels: { ...choice.labels },
  })
}

/** What the client asked for in TLS. */
export function tlsSession(connection: ConnectionInfo): TlsSession {
  return make('envoy.service.auth.v3.AttributeContext.TLSSession', { sni: connection.tls?.sni || connection.sni })
}

/** The first URI SAN, else the first DNS SAN, else the subject. */
function principalOf(certificate: CertificateInfo | undefined): string {
  if (certificate === undefined) return ''
  return sanitizedText(certificate.uriSans[0] ?? certificate.dnsSans[0] ?? certificate.subject)
}

function addressMessage(address: Address): AddressProto {
  const type = 'envoy.config.core.v3.Address'
  if (isPipe(address)) return make(type, { address: { case: 'pipe', value: { path: address.ip } } })
  return make(type, {
    address: {
      case: 'socketAddress',
      value: { address: address.ip, portSpecifier: { case: 'portValue', value: address.port } },
    },
  })
}
