import { DataStatus, HeadersStatus, type HttpFilter, TrailersStatus } from '../filters/filter.ts'
import { BodyBuffer, EMPTY } from './body-buffer.ts'
import type { FilterSlot } from './filter-slot.ts'
import type { HeaderMap } from './headers.ts'

/** Where a filter stands in one direction. */
export class SlotState {
  /** 0 passing, 1 stopped but taking data, 2 and 3 stopped altogether (buffer, watermark). */
  stopped: 0 | 1 | 2 | 3 = 0
  /** The head has gone past it. */
  headersPassed = false
}

/**
 * One direction of a filter chain (source/common/http/filter_manager.cc): heads, data and trailers run through
 * the slots in order until one stops them; what waits is kept in one buffer per direction.
 */
export abstract class FilterPath<Head extends HeaderMap> {
  slots: readonly FilterSlot[] = []
  /** Set once nothing more may run: a local reply was sent, or the exchange is over. */
  ended = true
  readonly buffer = new BodyBuffer()
  private head: Head | undefined
  private headEnds = false
  /** End of stream came with data that waits. */
  private endWaits = false
  /** The filter that took the end of stream with a chunk, and gives it on itself; -1: it waits with the buffer. */
  private endTaker = -1
  private complete = false
  private trailers: HeaderMap | undefined
  private watermarked = false

  protected abstract callHeaders(filter: HttpFilter, head: Head, end: boolean, slot: FilterSlot): HeadersStatus
  protected abstract callData(filter: HttpFilter, chunk: Uint8Array, end: boolean, slot: FilterSlot): DataStatus
  protected abstract callTrailers(filter: HttpFilter, trailers: HeaderMap, slot: FilterSlot): TrailersStatus
  protected abstract stateOf(slot: FilterSlot): SlotState
  protected abstract finishHeaders(head: Head, end: boolean): void
  protected abstract finishData(chunk: Uint8Array, end: boolean): void
  protected abstract finishTrailers(trailers: HeaderMap): void
  protected abstract readonly limit: number
  /** The buffer is over its limit; false: go on regardless. */
  protected abstract onOverflow(): void
  protected abstract setReading(on: boolean): void

  /** Ready for a new exchange. */
  begin(slots: readonly FilterSlot[]): void {
    this.slots = slots
    this.ended = false
    if (this.buffer.length > 0) this.buffer.clear()
    this.head = undefined
    this.headEnds = false
    this.endWaits = false
    this.complete = false
    this.trailers = undefined
    this.watermarked = false
  }

  /** A head enters the chain. */
  startHeaders(head: Head, end: boolean): void {
    this.head = head
    this.headEnds = end
    this.complete = end
    this.runHeaders(0)
  }

  /** Data enters the chain. */
  startData(chunk: Uint8Array, end: boolean): void {
    if (end) this.complete = true
    this.runData(0, chunk, end)
  }

  /** Trailers enter the chain. */
  startTrailers(trailers: HeaderMap): void {
    this.complete = true
    this.trailers = trailers
    this.runTrailers(0)
  }

  /** Data that a filter made or held enters behind it. */
  inject(index: number, chunk: Uint8Array, end: boolean): void {
    if (this.ended) return
    if (end && this.endTaker === index) this.endWaits = false
    this.runData(index + 1, chunk, end)
  }

  /** The message ends with trailers that a filter made, which enter behind it; all its data has gone on before. */
  addTrailers(index: number, trailers: HeaderMap): void {
    if (this.ended) return
    this.endWaits = false
    this.trailers = trailers
    this.runTrailers(index + 1)
  }

  private runHeaders(from: number): void {
    const { slots } = this
    let addedAt = -1
    let i = from
    for (; i < slots.length; i++) {
      const slot = slots[i]!
      const state = this.stateOf(slot)
      const end = this.headEnds && this.buffer.length === 0
      const status = this.callHeaders(slot.filter, this.head!, end, slot)
      if (this.ended) return
      if (end && this.buffer.length > 0) addedAt = i // the filter gave the message a body
      if (status !== HeadersStatus.CONTINUE) {
        state.stopped = status
        break
      }
      state.headersPassed = true
    }
    if (i === slots.length) {
      this.finishHeaders(this.head!, this.headEnds && this.buffer.length === 0)
      if (this.ended) return
    }
    if (addedAt >= 0 && (i === slots.length || i > addedAt)) this.runBuffered(addedAt + 1, addedAt)
  }

  private runData(from: number, chunk: Uint8Array, end: boolean): void {
    const { slots } = this
    for (let i = from; i < slots.length; i++) {
      const slot = slots[i]!
      const state = this.stateOf(slot)
      if (state.stopped >= HeadersStatus.STOP_ALL_AND_BUFFER) {
        this.hold(chunk, end, state.stopped === HeadersStatus.STOP_ALL_AND_WATERMARK)
        return
      }
      const status = this.callData(slot.filter, chunk, end, slot)
      if (this.ended) return
      if (status === DataStatus.CONTINUE) {
        if (state.stopped === 0) continue
        this.hold(chunk, end, true)
        if (!this.ended) this.continueFrom(i)
        return
      }
      if (status === DataStatus.CONTINUE_BUFFERED) {
        if (end) this.endComes(-1)
        this.continueFrom(i)
        return
      }
      state.stopped = HeadersStatus.STOP
      if (status !== DataStatus.STOP_NO_BUFFER) this.hold(chunk, end, status === DataStatus.STOP_AND_WATERMARK)
      else if (end) this.endComes(i)
      return
    }
    this.finishData(chunk, end)
  }

  private runTrailers(from: number): void {
    const { slots } = this
    for (let i = from; i < slots.length; i++) {
      const slot = slots[i]!
      const state = this.stateOf(slot)
      if (state.stopped >= HeadersStatus.STOP_ALL_AND_BUFFER) return
      const status = this.callTrailers(slot.filter, this.trailers!, slot)
      if (this.ended) return
      if (status !== TrailersStatus.CONTINUE) {
        state.stopped = HeadersStatus.STOP
        return
      }
      if (state.stopped !== 0) {
        this.continueFrom(i)
        return
      }
    }
    this.finishTrailers(this.trailers!)
  }

  private hold(chunk: Uint8Array, end: boolean, watermark: boolean): void {
    this.buffer.append(chunk)
    if (end) this.endComes(-1)
    if (this.limit === 0 || this.buffer.length <= this.limit) return
    if (!watermark) this.onOverflow()
    else if (!this.watermarked) {
      this.watermarked = true
      this.setReading(false)
    }
  }

  /** Resumes at a slot that had stopped. */
  continueFrom(index: number): void {
    if (this.ended) return
    const state = this.stateOf(this.slots[index]!)
    const unseen = state.stopped >= HeadersStatus.STOP_ALL_AND_BUFFER
    state.stopped = 0
    if (!state.headersPassed) {
      state.headersPassed = true
      this.runHeaders(index + 1)
      if (this.ended) return
    }
    const next = unseen ? index : index + 1
    this.runBuffered(next, index)
    if (this.trailers !== undefined && !this.ended) this.runTrailers(next)
  }

  private endComes(taker: number): void {
    this.endWaits = true
    this.endTaker = taker
  }

  /** `index`: the filter that lets go. An end that another has taken is not its to give. */
  private runBuffered(from: number, index: number): void {
    const ends = this.endWaits && (this.endTaker < 0 || this.endTaker === index)
    const end = (ends || this.headEnds) && this.trailers === undefined
    if (this.buffer.length === 0 && !ends) return
    if (ends) this.endWaits = false
    const chunks = this.buffer.take()
    if (this.watermarked) {
      this.watermarked = false
      this.setReading(true)
    }
    if (chunks.length === 0) this.runData(from, EMPTY, end)
    for (let i = 0; i < chunks.length && !this.ended; i++)
      this.runData(from, chunks[i]!, end && i === chunks.length - 1)
  }

  /** Whether the last byte has entered. */
  get isComplete(): boolean {
    return this.complete
  }
}
