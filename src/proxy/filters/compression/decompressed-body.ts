import { EMPTY } from '../../http/body-buffer.ts'
import type { FilterSlot } from '../../http/filter-slot.ts'
import { HeaderMap, headerName } from '../../http/headers.ts'
import { Backlog } from '../backlog.ts'
import type { BodySide } from '../body-side.ts'
import type { Decoder, DecompressorLibrary } from './decompressor-libraries.ts'
import type { DecompressorStats } from './decompressor-stats.ts'
import { Transcoder, type TranscoderSink } from './transcoder.ts'

/** One body on its way through a decompressor. Trailers tell how long it was before and after. */
export class DecompressedBody implements TranscoderSink {
  private readonly slot: FilterSlot
  private readonly side: BodySide
  private readonly stats: DecompressorStats
  private readonly decoder: Decoder
  private readonly transcoder: Transcoder
  private readonly backlog: Backlog
  private readonly trailerPrefix: string
  private trailers: HeaderMap | undefined
  private bytesIn = 0
  private bytesOut = 0
  /** Bytes of the envelope in front of what the stream is working on. */
  private envelope = 0

  /** `decoder`: of `library`. `trailerPrefix` goes before `-compressed-bytes`. */
  constructor(
    slot: FilterSlot,
    side: BodySide,
    library: DecompressorLibrary,
    decoder: Decoder,
    stats: DecompressorStats,
    trailerPrefix: string,
  ) {
    this.slot = slot
    this.side = side
    this.stats = stats
    this.decoder = decoder
    this.trailerPrefix = trailerPrefix
    const { ratio, chunkSize } = library
    this.transcoder = new Transcoder(decoder.stream, this, {
      writesEnd: false,
      ratio,
      slack: 4 * chunkSize + 32 * ratio,
    })
    this.backlog = new Backlog(slot, side)
  }

  /** Takes a chunk. What was in it goes out later. */
  write(chunk: Uint8Array, end: boolean): void {
    const inner = this.decoder.feed(chunk)
    if (inner === undefined || (inner.length === 0 && chunk.length > 0)) this.charge(chunk.length, 0)
    else {
      this.envelope += chunk.length - inner.length
      this.transcoder.write(inner)
      this.backlog.update(this.transcoder.waiting)
    }
    if (!end) return
    // Envoy's libraries are called once more for an end that comes apart, which shows in counters of a failed body.
    if (chunk.length > 0 && this.side.endsApart(this.slot)) this.transcoder.write(EMPTY)
    this.transcoder.finish()
  }

  /** The trailers have come: they go out when the body has. */
  end(trailers: HeaderMap): void {
    this.trailers = trailers
    this.transcoder.finish()
  }

  close(): void {
    this.transcoder.close()
  }

  onOutput(bytes: Buffer, taken: number, error: NodeJS.ErrnoException | undefined, left: Buffer | undefined): void {
    const whole = taken + this.envelope
    this.envelope = 0
    const good = this.decoder.settle(bytes, whole, error, left)
    this.charge(whole, good.length)
    this.backlog.update(this.transcoder.waiting)
    if (good.length > 0) this.side.inject(this.slot, good, false)
  }

  onFinished(): void {
    const { trailers, slot, side } = this
    if (trailers !== undefined) {
      this.report(trailers)
      side.resume(slot)
      return
    }
    const made = new HeaderMap(128)
    this.report(made)
    side.inject(slot, EMPTY, false)
    side.addTrailers(slot, made)
  }

  private charge(taken: number, made: number): void {
    this.bytesIn += taken
    this.bytesOut += made
    this.stats.bytesIn.add(taken)
    this.stats.bytesOut.add(made)
  }

  private report(trailers: HeaderMap): void {
    trailers.add(headerName(`${this.trailerPrefix}-compressed-bytes`), String(this.bytesIn))
    trailers.add(headerName(`${this.trailerPrefix}-uncompressed-bytes`), String(this.bytesOut))
  }
}
