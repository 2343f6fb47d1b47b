import net from 'node:net'
import { type Address, formatAddress } from './connection.ts'

/** Envoy's words for a system error, as its logs and NACKs show it. */
const SYSTEM_WORDS: Readonly<Record<string, string>> = {
  EADDRINUSE: 'Address already in use',
  EADDRNOTAVAIL: 'Cannot assign requested address',
  EACCES: 'Permission denied',
}

/** A socket that could not be opened: `cannot bind '0.0.0.0:80': Address already in use`. */
export class BindError extends Error {
  /** The system's code, such as EADDRINUSE. */
  readonly code: string

  constructor(address: Address, error: NodeJS.ErrnoException) {
    const code = error.code ?? ''
    super(`cannot bind '${formatAddress(address)}': ${SYSTEM_WORDS[code] ?? error.message}`)
    this.code = code
  }
}

/** A listening socket, whose owner may change while it listens. */
export class BoundSocket {
  /** What is listened on; the port is the one that was given for port 0. */
  readonly address: Address
  private readonly server: net.Server
  /** Gets what is accepted. */
  onSocket: (socket: net.Socket) => void

  private constructor(server: net.Server, address: Address, onSocket: (socket: net.Socket) => void) {
    this.server = server
    this.address = address
    this.onSocket = onSocket
    server.on('connection', (socket: net.Socket) => this.onSocket(socket))
  }

  /** Rejects with a BindError. `backlog`: the length of the kernel's queue. */
  static open(address: Address, onSocket: (socket: net.Socket) => void, backlog = 1024): Promise<BoundSocket> {
    return new Promise((resolve, reject) => {
      // Half-close is a matter of the filters; a socket that nobody reads yet must not lose its bytes.
      const server = net.createServer({ allowHalfOpen: true, noDelay: true })
      server.once('error', (error) => reject(new BindError(address, error)))
      server.listen({ host: address.ip, port: address.port, backlog, ipv6Only: false }, () => {
        const { port } = server.address() as net.AddressInfo
        resolve(new BoundSocket(server, { ip: address.ip, port }, onSocket))
      })
    })
  }

  /** Stops listening at once; accepted connections go on. */
  close(): void {
    this.server.close()
  }
}
