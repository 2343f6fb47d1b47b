import { Duplex } from 'node:stream'
import type { Transport, TransportHandler } from '../listener/connection.ts'

/** Who looks at the bytes of a duplex stream as they pass. */
export interface DuplexOwner {
  /** Bytes from the peer, before the stream has them. False: they are dropped. */
  onBytesIn?(chunk: Buffer): boolean
  /** Bytes for the peer. False: they are dropped. */
  onBytesOut?(chunk: Buffer): boolean
  /** Bytes for the peer were written. */
  onWritten?(): void
  /** The peer has ended; called before the stream does. */
  onEnd(): void
  /** The transport is closed; called before the stream is. */
  onGone(error: string | undefined): void
}

/** A transport as a stream, for libraries that want one. */
export class TransportDuplex extends Duplex implements TransportHandler {
  private readonly transport: Transport
  private readonly owner: DuplexOwner
  private blocked: ((error?: Error) => void) | undefined
  /** Whoever destroys the stream leaves the transport to its owner. */
  detached = false

  constructor(transport: Transport, owner: DuplexOwner) {
    super({ allowHalfOpen: false })
    this.transport = transport
    this.owner = owner
    transport.handler = this
  }

  /** The peer does not take what was written. */
  get isBlocked(): boolean {
    return this.blocked !== undefined
  }

  override _read(): void {
    this.transport.resume()
  }

  override _write(chunk: Buffer, _encoding: string, done: (error?: Error) => void): void {
    if (this.owner.onBytesOut !== undefined && !this.owner.onBytesOut(chunk)) {
      done()
      return
    }
    const room = this.transport.write(chunk)
    this.owner.onWritten?.()
    if (room) done()
    else this.blocked = done
  }

  override _final(done: () => void): void {
    if (!this.detached) this.transport.end()
    done()
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    // What was written before still leaves: a GOAWAY, most of all.
    if (!this.detached) this.transport.close()
    done(error)
  }

  onData(chunk: Buffer): void {
    if (this.owner.onBytesIn !== undefined && !this.owner.onBytesIn(chunk)) return
    // The chunk is a view of a shared buffer, and a stream may keep it.
    if (!this.push(Buffer.from(chunk))) this.transport.pause()
  }

  onEnd(): void {
    if (this.detached) this.transport.close()
    else {
      this.owner.onEnd()
      this.push(null)
    }
  }

  onDrain(): void {
    const done = this.blocked
    this.blocked = undefined
    done?.()
  }

  onClose(error: string | undefined): void {
    this.owner.onGone(error)
    this.destroy()
  }
}
