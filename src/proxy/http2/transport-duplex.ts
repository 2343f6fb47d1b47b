import { Duplex } from 'node:stream'
import type { Transport, TransportHandler } from '../listener/connection.ts'

/** A transport as a stream, for libraries that want one; `onGone` is called before the stream ends. */
export class TransportDuplex extends Duplex implements TransportHandler {
  private readonly transport: Transport
  private readonly onGone: (error: string | undefined) => void
  private blocked: ((error?: Error) => void) | undefined

  constructor(transport: Transport, onGone: (error: string | undefined) => void) {
    super({ allowHalfOpen: false })
    this.transport = transport
    this.onGone = onGone
    transport.handler = this
  }

  override _read(): void {
    this.transport.resume()
  }

  override _write(chunk: Buffer, _encoding: string, done: (error?: Error) => void): void {
    if (this.transport.write(chunk)) done()
    else this.blocked = done
  }

  override _final(done: () => void): void {
    this.transport.end()
    done()
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    this.transport.destroy()
    done(error)
  }

  onData(chunk: Buffer): void {
    // The chunk is a view of a shared buffer, and a stream may keep it.
    if (!this.push(Buffer.from(chunk))) this.transport.pause()
  }

  onEnd(): void {
    this.onGone(undefined)
    this.push(null)
  }

  onDrain(): void {
    const done = this.blocked
    this.blocked = undefined
    done?.()
  }

  onClose(error: string | undefined): void {
    this.onGone(error)
    this.destroy()
  }
}
