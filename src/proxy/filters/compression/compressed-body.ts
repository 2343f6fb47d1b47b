import type { FilterSlot } from '../../http/filter-slot.ts'
import { Backlog } from '../backlog.ts'
import type { BodySide } from '../body-side.ts'
import type { DirectionStats } from './direction.ts'
import type { CompressorLibrary } from './libraries.ts'
import { Transcoder, type TranscoderSink } from './transcoder.ts'

/** One body on its way through a compressor: what has come out goes on at once, as events of a stream must. */
export class CompressedBody implements TranscoderSink {
  private readonly slot: FilterSlot
  private readonly side: BodySide
  private readonly stats: DirectionStats
  private readonly transcoder: Transcoder
  private readonly backlog: Backlog
  private trailersWait = false

  constructor(slot: FilterSlot, side: BodySide, library: CompressorLibrary, stats: DirectionStats) {
    this.slot = slot
    this.side = side
    this.stats = stats
    // Where the end comes apart, it is compressed apart.
    const flushing = side.endsApart(slot)
    const flushKind = flushing ? undefined : library.flushKind
    this.transcoder = new Transcoder(library.create(flushing), this, { writesEnd: true, flushKind })
    this.backlog = new Backlog(slot, side)
  }

  /** Takes a chunk. It goes out later. */
  write(chunk: Uint8Array, end: boolean): void {
    this.stats.bytesIn.add(chunk.length)
    if (chunk.length > 0) this.transcoder.write(chunk, end)
    else if (end) this.transcoder.finish()
    this.backlog.update(this.transcoder.waiting)
  }

  /** The trailers have come: they go out when the body has. */
  end(): void {
    this.trailersWait = true
    this.transcoder.finish()
  }

  close(): void {
    this.transcoder.close()
  }

  onOutput(bytes: Buffer): void {
    this.stats.bytesOut.add(bytes.length)
    this.backlog.update(this.transcoder.waiting)
    if (bytes.length > 0) this.side.inject(this.slot, bytes, false)
  }

  onFinished(bytes: Buffer): void {
    this.stats.bytesOut.add(bytes.length)
    this.side.inject(this.slot, bytes, !this.trailersWait)
    if (this.trailersWait) this.side.resume(this.slot)
  }
}
