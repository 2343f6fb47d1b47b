import type net from 'node:net'
import type { Address, AddressBook, ConnectionInfo, TlsInfo } from '../listener/connection.ts'

let lastId = 0

/** ConnectionInfo while it is filled in: listener filters may restore addresses, the inspector sets `sni`, TLS adds its facts. */
export class ConnectionFacts implements ConnectionInfo {
  readonly id: number
  remote: Address
  directRemote: Address
  local: Address
  directLocal: Address
  sni = ''
  tls: TlsInfo | undefined = undefined
  transportFailure: string | undefined = undefined
  connectStart: number | undefined = undefined
  connected: number | undefined = undefined
  handshakeComplete: number | undefined = undefined
  detectedCloseType: 'Normal' | 'LocalReset' | 'RemoteReset' | undefined = undefined
  localCloseReason: string | undefined = undefined
  ja3: string | undefined = undefined
  ja4: string | undefined = undefined
  proxyTlvs: ConnectionInfo['proxyTlvs'] = undefined
  filterState: ConnectionInfo['filterState'] = undefined

  constructor(remote: Address, local: Address) {
    this.id = ++lastId
    this.remote = remote
    this.directRemote = remote
    this.local = local
    this.directLocal = local
  }
}

const nowhere: Address = { ip: '', port: 0 }

/** The logical address of the socket's peer; empty for a unix-domain socket. */
export function remoteAddress(socket: net.Socket, book: AddressBook): Address {
  return logical(socket.remoteAddress, socket.remotePort, book)
}

/** The logical address of the socket's own side. */
export function localAddress(socket: net.Socket, book: AddressBook): Address {
  return logical(socket.localAddress, socket.localPort, book)
}

function logical(ip: string | undefined, port: number | undefined, book: AddressBook): Address {
  if (ip === undefined || port === undefined) return nowhere
  return book.logical({ ip: ip.startsWith('::ffff:') && ip.includes('.') ? ip.slice(7) : ip, port })
}
