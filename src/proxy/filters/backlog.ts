import type { FilterSlot } from '../http/filter-slot.ts'
import type { BodySide } from './body-side.ts'

/** What may wait to be worked on where the connection names no limit. */
const DEFAULT_LIMIT = 65_536

/** Holds the sender of a body back while more of it waits than the connection allows. */
export class Backlog {
  private readonly slot: FilterSlot
  private readonly side: BodySide
  private readonly limit: number
  private paused = false

  constructor(slot: FilterSlot, side: BodySide) {
    this.slot = slot
    this.side = side
    this.limit = slot.exchange.bufferLimit || DEFAULT_LIMIT
  }

  /** So many bytes wait now. */
  update(waiting: number): void {
    if (!this.paused && waiting > this.limit) {
      this.paused = true
      this.side.setReading(this.slot, false)
    } else if (this.paused && waiting <= this.limit / 2) {
      this.paused = false
      this.side.setReading(this.slot, true)
    }
  }
}
