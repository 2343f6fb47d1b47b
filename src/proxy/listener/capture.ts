import type net from 'node:net'
import { BoundSocket } from './bound-socket.ts'
import { type Address, formatAddress } from './connection.ts'

/** A loopback address that stands for a destination: what iptables and `SO_ORIGINAL_DST` are in a cluster. */
export interface CaptureEntry {
  /** Where programs connect; port 0 picks a free one. */
  readonly address: Address
  readonly originalDestination: Address
  /** Whether the connection enters by `virtualInbound` or by `virtualOutbound`. */
  readonly direction: 'inbound' | 'outbound'
  /** Whose connections they are, when the address book does not know the socket they come from. */
  readonly client?: string
}

/** Takes a connection that was accepted for another destination. */
export type CaptureTarget = (socket: net.Socket, entry: CaptureEntry) => void

/** The capture sockets of one proxy. Entries come and go while it runs. */
export class CaptureTable {
  private readonly sockets = new Map<string, { entry: CaptureEntry; socket: Promise<BoundSocket> }>()
  private readonly accepted = new Set<net.Socket>()
  private target: CaptureTarget | undefined
  private closed = false
  /** Directions whose listener is not there. */
  private readonly unserved: Set<CaptureEntry['direction']>
  private serving: Promise<unknown> = Promise.resolve()

  /** `unserved`: directions whose sockets refuse connections until `serve` opens them. */
  constructor(unserved: readonly CaptureEntry['direction'][] = []) {
    this.unserved = new Set(unserved)
  }

  /** Set by the proxy; connections that come before are reset. */
  connectTo(target: CaptureTarget | undefined): void {
    this.target = target
  }

  /**
   * Opens the socket of an entry and resolves with its address; rejects with a BindError when the address cannot
   * be had. Adding an entry again gives the socket that is there.
   */
  async add(entry: CaptureEntry): Promise<Address> {
    const key = keyOf(entry)
    const known = this.sockets.get(key)
    if (known) return (await known.socket).address
    const socket = BoundSocket.open(entry.address, (accepted) => {
      this.accepted.add(accepted)
      accepted.once('close', () => this.accepted.delete(accepted))
      if (this.target) this.target(accepted, entry)
      else accepted.resetAndDestroy()
    })
    this.sockets.set(key, { entry, socket })
    try {
      const bound = await socket
      const gone = this.closed || this.sockets.get(key)?.socket !== socket
      if (gone || this.unserved.has(entry.direction)) bound.close()
      return bound.address
    } catch (error) {
      if (this.sockets.get(key)?.socket === socket) this.sockets.delete(key)
      throw error
    }
  }

  /**
   * Whether the listener that the connections of a direction enter by is there. Where it is not, nobody listens where
   * the kernel would redirect them to, and they are refused. Resolves when the sockets are so; rejects with a BindError.
   */
  serve(direction: CaptureEntry['direction'], served: boolean): Promise<void> {
    const done = this.serving.then(() => this.change(direction, served))
    this.serving = done.catch(() => {})
    return done
  }

  private async change(direction: CaptureEntry['direction'], served: boolean): Promise<void> {
    if (this.closed || served !== this.unserved.has(direction)) return
    const affected = [...this.sockets.values()].filter(({ entry }) => entry.direction === direction)
    const bound = await Promise.all(affected.map(({ socket }) => socket.catch(() => undefined)))
    if (served) this.unserved.delete(direction)
    else this.unserved.add(direction)
    for (const socket of bound) {
      if (served) await socket?.reopen()
      else socket?.close()
    }
  }

  /** Closes the socket of an entry; connections it has accepted go on. */
  async remove(entry: CaptureEntry): Promise<void> {
    const key = keyOf(entry)
    const known = this.sockets.get(key)
    if (!known) return
    this.sockets.delete(key)
    const bound = await known.socket.catch(() => undefined)
    bound?.close()
  }

  /** The entries whose sockets are open, or about to be. */
  get entries(): readonly CaptureEntry[] {
    return [...this.sockets.values()].map((s) => s.entry)
  }

  /** Resets what was accepted and is still open: for after the proxy's end, which takes only what it serves with it. */
  reset(): void {
    for (const socket of this.accepted) socket.resetAndDestroy()
  }

  async close(): Promise<void> {
    this.closed = true
    await Promise.all(this.entries.map((entry) => this.remove(entry)))
  }
}

function keyOf(entry: CaptureEntry): string {
  return `${entry.direction} ${formatAddress(entry.address)} ${formatAddress(entry.originalDestination)}`
}
