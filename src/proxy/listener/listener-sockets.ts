import type net from 'node:net'
import { BoundSocket } from './bound-socket.ts'
import { type Address, formatAddress, isPipe } from './connection.ts'
import type { Listener } from './listener.ts'

/** A socket address beneath a configured one. */
export interface BindTarget extends Address {
  /** What connections there are taken to be for, where that is not the socket's own address. */
  readonly as?: Address
  /** Whose connections they are, when the address book does not know the socket they come from. */
  readonly client?: string
}

/** The sockets of one listener, kept over updates that keep their addresses. */
export class ListenerSockets {
  private readonly sockets = new Map<string, BoundSocket>()
  private readonly bindAddress: (configured: Address, listener: string) => BindTarget | undefined
  private readonly accept: (socket: net.Socket, target: BindTarget) => void
  private closed = false

  /** `bindAddress`: the socket beneath a configured address; undefined: do not bind it. */
  constructor(
    bindAddress: (configured: Address, listener: string) => BindTarget | undefined,
    accept: (socket: net.Socket, target: BindTarget) => void,
  ) {
    this.bindAddress = bindAddress
    this.accept = accept
  }

  /** Opens what a generation needs and the one before did not have, then closes what it no longer needs. Rejects with a BindError, and changes nothing. */
  async adjust(listener: Listener): Promise<void> {
    const wanted = new Map<string, BindTarget>()
    for (const address of listener.bindToPort ? listener.addresses : []) {
      const key = formatAddress(address)
      // What is open already stays as it is.
      if (this.sockets.has(key)) wanted.set(key, address)
      else {
        const beneath = this.bindAddress(address, listener.name)
        if (beneath) wanted.set(key, isPipe(beneath) ? { as: beneath, ...beneath } : beneath)
      }
    }
    const options = { backlog: listener.proto.tcpBacklogSize, ipv6Only: !listener.ipv4Compat }
    const opened: [string, BoundSocket][] = []
    try {
      for (const [key, address] of wanted) {
        if (!this.sockets.has(key))
          opened.push([key, await BoundSocket.open(address, (socket) => this.accept(socket, address), options)])
      }
    } catch (error) {
      for (const [, socket] of opened) socket.close()
      throw error
    }
    if (this.closed) {
      for (const [, socket] of opened) socket.close()
      return
    }
    for (const [key, socket] of this.sockets) {
      if (wanted.has(key)) continue
      socket.close()
      this.sockets.delete(key)
    }
    for (const [key, socket] of opened) this.sockets.set(key, socket)
  }

  /** What is bound for a configured address: its port is the real one where the config says 0. */
  boundFor(configured: Address): Address | undefined {
    return this.sockets.get(formatAddress(configured))?.address
  }

  /** All that is bound. */
  get addresses(): readonly Address[] {
    return [...this.sockets.values()].map((s) => s.address)
  }

  /** Stops listening for good; accepted connections go on. */
  close(): void {
    this.closed = true
    for (const socket of this.sockets.values()) socket.close()
    this.sockets.clear()
  }
}
