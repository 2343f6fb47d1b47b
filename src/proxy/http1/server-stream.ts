import type { ResetReason, ServerStream, ServerStreamHandler } from '../http/codec.ts'
import type { HeaderMap, ResponseHead } from '../http/headers.ts'
import type { Http1ServerConnection } from './server-connection.ts'

const unset: ServerStreamHandler = { onData() {}, onTrailers() {}, onReset() {}, onWritable() {} }

/**
 * One exchange. A new object each time, though the connection does the work, so that whoever holds on to an
 * old one cannot touch a later exchange of the same connection.
 */
export class Http1ServerStream implements ServerStream {
  readonly connection: Http1ServerConnection
  handler: ServerStreamHandler = unset

  constructor(connection: Http1ServerConnection) {
    this.connection = connection
  }

  get upgraded(): boolean {
    return this.connection.isUpgraded(this)
  }

  sendInterim(head: ResponseHead): void {
    this.connection.sendInterim(this, head)
  }

  sendHeaders(head: ResponseHead, endStream: boolean): void {
    this.connection.sendHeaders(this, head, endStream)
  }

  sendData(chunk: Uint8Array, endStream: boolean): boolean {
    return this.connection.sendData(this, chunk, endStream)
  }

  sendTrailers(trailers: HeaderMap): void {
    this.connection.sendTrailers(this, trailers)
  }

  reset(_reason: ResetReason): void {
    this.connection.resetStream(this)
  }

  pauseReading(): void {
    this.connection.pauseStream(this, true)
  }

  resumeReading(): void {
    this.connection.pauseStream(this, false)
  }
}
