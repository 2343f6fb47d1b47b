import { type Address, formatAddress } from '../listener/connection.ts'
import { type AdminHandler, json, text } from './handler.ts'

/** `/listeners` (source/server/admin/listeners_handler.cc). */
export const listeners: AdminHandler = {
  path: '/listeners',
  help: 'print listener info',
  params: [{ name: 'format', help: 'File format to use', oneOf: ['text', 'json'] }],
  run(view, query) {
    const active = view.listeners().filter((l) => l.active)
    if (query.get('format') !== 'json') {
      return text(active.flatMap((l) => l.addresses.map((a) => `${l.name}::${formatAddress(a)}\n`)).join(''))
    }
    return json({
      listener_statuses: active.map(({ name, addresses }) => ({
        name,
        local_address: addresses[0] && socketAddress(addresses[0]),
        ...(addresses.length > 1 ? { additional_local_addresses: addresses.slice(1).map(socketAddress) } : {}),
      })),
    })
  },
}

/** An address as Envoy's Address message in JSON. */
export function socketAddress(address: Address): object {
  return { socket_address: { address: address.ip, port_value: address.port } }
}
