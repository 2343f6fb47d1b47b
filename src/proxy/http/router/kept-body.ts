import { BodyBuffer } from '../body-buffer.ts'
import type { HeaderMap } from '../headers.ts'
import type { UpstreamRequest } from './upstream-request.ts'

/** The request body so far, while it may have to be sent again. */
export class KeptBody {
  /** Whether what comes is still kept. */
  on = false
  private readonly bytes = new BodyBuffer()
  private trailers: HeaderMap | undefined = undefined

  begin(on: boolean): void {
    this.on = on
    this.trailers = undefined
    if (this.bytes.length > 0) this.bytes.clear()
  }

  /** False: it would be more than `limit`, and was not kept. */
  add(chunk: Uint8Array, limit: number): boolean {
    if (this.bytes.length + chunk.length > limit) return false
    this.bytes.append(chunk)
    return true
  }

  addTrailers(trailers: HeaderMap): void {
    this.trailers = trailers
  }

  get empty(): boolean {
    return this.bytes.length === 0 && this.trailers === undefined
  }

  /** All of it so far, for whoever goes on with it. */
  copy(): Buffer {
    return Buffer.from(this.bytes.bytes())
  }

  /** Sends all of it on a new attempt; `complete`: there is no more to come. */
  replay(to: UpstreamRequest, complete: boolean): void {
    if (this.bytes.length > 0) to.send(this.bytes.bytes(), complete && this.trailers === undefined)
    if (this.trailers !== undefined) to.sendTrailers(this.trailers)
  }

  drop(): void {
    this.begin(false)
  }
}
