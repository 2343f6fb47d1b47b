import type { Address as AddressProto } from '#gen/envoy/config/core/v3/address_pb.js'
import type { Listener as ListenerProto } from '#gen/envoy/config/listener/v3/listener_pb.js'
import type { ProxyContext } from '../context.ts'
import { parseIp } from './cidr.ts'
import type { Address } from './connection.ts'

/** The addresses of a listener, the first one first. Throws with Envoy's words for what cannot be listened on. */
export function listenerAddresses(proto: ListenerProto, name: string): Address[] {
  if (proto.apiListener) throw new Error(`error adding listener named '${name}': api_listener is not supported`)
  if (proto.listenerSpecifier.case === 'internalListener') {
    throw new Error(`error adding listener named '${name}': internal_listener is not supported`)
  }
  if (proto.udpListenerConfig)
    throw new Error(`error adding listener named '${name}': udp_listener_config is not supported`)
  if (proto.filterChainMatcher) {
    throw new Error(`error adding listener named '${name}': filter_chain_matcher is not supported`)
  }
  if (!proto.address) throw new Error(`error adding listener named '${name}': address is necessary`)
  return [proto.address, ...proto.additionalAddresses.flatMap((a) => (a.address ? [a.address] : []))].map((a) =>
    listenAddress(a, name),
  )
}

function listenAddress(proto: AddressProto, name: string): Address {
  if (proto.address.case === 'pipe') return { ip: proto.address.value.path, port: 0 }
  if (proto.address.case !== 'socketAddress') {
    throw new Error(`error adding listener named '${name}': only socket_address is supported`)
  }
  const { address, protocol, portSpecifier } = proto.address.value
  if (protocol !== 0) throw new Error(`error adding listener named '${name}': only TCP is supported`)
  if (!parseIp(address)) throw new Error(`malformed IP address: ${address}`)
  if (portSpecifier.case === 'namedPort') {
    throw new Error(`error adding listener named '${name}': named_port is not supported`)
  }
  return { ip: address, port: portSpecifier.value ?? 0 }
}

/** Fields that are understood and have no effect yet, as `notEnforced` names them. */
const NOT_ENFORCED = [
  ['transparent', 'transparent'],
  ['freebind', 'freebind'],
  ['tcpFastOpenQueueLength', 'tcp_fast_open_queue_length'],
  ['enableMptcp', 'enable_mptcp'],
] as const

/** Reports what of a listener has no effect. Balancing and port reuse are about threads, of which there is one. */
export function noteListenerFields(proto: ListenerProto, context: ProxyContext): void {
  for (const [field, name] of NOT_ENFORCED) if (proto[field]) context.notEnforced?.(`listener.${name}`)
  if (proto.socketOptions.length > 0) context.notEnforced?.('listener.socket_options')
}
