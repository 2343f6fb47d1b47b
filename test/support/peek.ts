import type { TransportHandler } from '../../src/proxy/listener/connection.ts'
import type { SocketTransport } from '../../src/proxy/net/socket-transport.ts'

/** A peek under way. */
export interface Peeking {
  /** Stops; what was read stays with the transport and comes first through whoever takes it next. */
  cancel(): void
}

/**
 * Reads the first bytes of an accepted transport without consuming them. `onBytes` sees all that arrived so
 * far, at each arrival, and answers true when it has seen enough: reading stops, and the bytes come first
 * through the transport's next handler, or through `serverTls`. `onEnd` is called instead when the peer
 * closes (`error`: a system code) before that. Only one peek at a time; another may follow.
 */
export function peek(
  transport: SocketTransport,
  onBytes: (bytes: Buffer) => boolean,
  onEnd: (error: string | undefined) => void,
): Peeking {
  const peeker = new Peeker(transport, onBytes, onEnd)
  transport.handler = peeker
  return peeker
}

class Peeker implements TransportHandler, Peeking {
  private seen: Buffer | undefined = undefined
  private done = false
  private cancelled = false
  private readonly transport: SocketTransport
  private readonly onBytes: (bytes: Buffer) => boolean
  private readonly ended: (error: string | undefined) => void

  constructor(
    transport: SocketTransport,
    onBytes: (bytes: Buffer) => boolean,
    ended: (error: string | undefined) => void,
  ) {
    this.transport = transport
    this.onBytes = onBytes
    this.ended = ended
  }

  onData(chunk: Buffer): void {
    if (this.done) return
    this.seen = this.seen === undefined ? Buffer.from(chunk) : Buffer.concat([this.seen, chunk])
    // Stopped before asking: whoever has seen enough may hand the transport on at once.
    this.stop()
    if (this.onBytes(this.seen) || this.cancelled) return
    this.done = false
    this.transport.takeUnread()
    this.transport.handler = this
  }

  onEnd(): void {
    this.finish(undefined)
  }

  onDrain(): void {}

  onClose(error: string | undefined): void {
    this.finish(error)
  }

  cancel(): void {
    this.cancelled = true
    if (!this.done) this.stop()
  }

  private finish(error: string | undefined): void {
    if (this.done) return
    this.done = true
    this.ended(error)
  }

  private stop(): void {
    this.done = true
    this.transport.rewind()
    if (this.seen !== undefined) this.transport.unread(this.seen)
  }
}
