import type { ClientStream, ClientStreamHandler } from '../http/codec.ts'
import type { HeaderMap, RequestHead } from '../http/headers.ts'
import type { Http1ClientConnection } from './client-connection.ts'

/** One exchange on an upstream connection; a new object each time, as on the server side. */
export class Http1ClientStream implements ClientStream {
  readonly connection: Http1ClientConnection
  readonly handler: ClientStreamHandler

  constructor(connection: Http1ClientConnection, handler: ClientStreamHandler) {
    this.connection = connection
    this.handler = handler
  }

  sendHeaders(head: RequestHead, endStream: boolean): void {
    this.connection.sendHeaders(this, head, endStream)
  }

  sendData(chunk: Uint8Array, endStream: boolean): boolean {
    return this.connection.sendData(this, chunk, endStream)
  }

  sendTrailers(trailers: HeaderMap): void {
    this.connection.sendTrailers(this, trailers)
  }

  reset(): void {
    this.connection.resetStream(this)
  }

  pauseReading(): void {
    this.connection.pauseStream(this, true)
  }

  resumeReading(): void {
    this.connection.pauseStream(this, false)
  }
}
