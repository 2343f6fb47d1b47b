import fs from 'node:fs'
import net from 'node:net'
import { type Address, formatAddress, isPipe } from './connection.ts'

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

/** How a socket is bound. */
export interface BindOptions {
  /** Length of the kernel's queue of connections to accept. Default 1024. */
  readonly backlog?: number | undefined
  /** `::` without IPv4. */
  readonly ipv6Only?: boolean
}

/** A listening socket, whose owner may change while it listens. */
export class BoundSocket {
  /** What is listened on; the port is the one that was given for port 0. */
  readonly address: Address
  private server: net.Server
  private readonly options: BindOptions
  /** Gets what is accepted. */
  onSocket: (socket: net.Socket) => void

  private constructor(
    server: net.Server,
    address: Address,
    onSocket: (socket: net.Socket) => void,
    options: BindOptions,
  ) {
    this.server = server
    this.address = address
    this.onSocket = onSocket
    this.options = options
    server.on('connection', (socket: net.Socket) => this.onSocket(socket))
  }

  /** Rejects with a BindError. */
  static async open(
    address: Address,
    onSocket: (socket: net.Socket) => void,
    options: BindOptions = {},
  ): Promise<BoundSocket> {
    if (isPipe(address)) await removeStale(address.ip)
    const server = await BoundSocket.listen(address, options)
    const bound = server.address()
    const port = typeof bound === 'string' ? 0 : (bound?.port ?? 0)
    return new BoundSocket(server, { ip: address.ip, port }, onSocket, options)
  }

  private static listen(address: Address, options: BindOptions): Promise<net.Server> {
    return new Promise((resolve, reject) => {
      // Half-close is a matter of the filters; a socket that nobody reads yet must not lose its bytes.
      const server = net.createServer({ allowHalfOpen: true, noDelay: true })
      server.once('error', (error) => reject(new BindError(address, error)))
      const { backlog = 1024, ipv6Only = false } = options
      const where = isPipe(address)
        ? { path: pipePath(address.ip) }
        : { host: address.ip, port: address.port, ipv6Only }
      server.listen({ ...where, backlog }, () => {
        // Accepting may fail later, for want of file descriptors: the socket stays, for there will be some again.
        server.on('error', () => {})
        resolve(server)
      })
    })
  }

  /** Listens again, after `close`, at the same address. Rejects with a BindError. */
  async reopen(): Promise<void> {
    this.server = await BoundSocket.listen(this.address, this.options)
    this.server.on('connection', (socket: net.Socket) => this.onSocket(socket))
  }

  /** Stops listening at once; accepted connections go on. */
  close(): void {
    this.server.close()
  }
}

/** `@name` is a socket without a file, as Envoy writes it. */
const pipePath = (path: string): string => (path.startsWith('@') ? `\0${path.slice(1)}` : path)

/** A socket file that nobody listens on any more stands in the way of the next one. */
function removeStale(path: string): Promise<void> {
  return new Promise((resolve) => {
    const probe = net.connect({ path: pipePath(path) })
    probe.once('connect', () => {
      probe.destroy()
      resolve()
    })
    probe.once('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'ECONNREFUSED') fs.rmSync(path, { force: true })
      resolve()
    })
  })
}
