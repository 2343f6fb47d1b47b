import { DataStatus, HeadersStatus, type HttpFilter, TrailersStatus } from '../filters/filter.ts'
import type { Exchange } from './exchange.ts'
import { FilterPath, type SlotState } from './filter-path.ts'
import type { FilterSlot } from './filter-slot.ts'
import type { HeaderMap, RequestHead, ResponseHead } from './headers.ts'
import { REPLY } from './local-replies.ts'

/** The request's way: first filter to last, which answers it. */
export class DecodePath extends FilterPath<RequestHead> {
  /** Most bytes that may wait, where a filter has asked for another limit than the connection's; 0: it has not. */
  ownLimit = 0
  private readonly exchange: Exchange
  constructor(exchange: Exchange) {
    super()
    this.exchange = exchange
  }
  override begin(slots: readonly FilterSlot[]): void {
    this.ownLimit = 0
    super.begin(slots)
  }
  protected get limit(): number {
    return this.ownLimit || this.exchange.bufferLimit
  }
  protected callHeaders(filter: HttpFilter, head: RequestHead, end: boolean, slot: FilterSlot): HeadersStatus {
    return filter.decodeHeaders === undefined ? HeadersStatus.CONTINUE : filter.decodeHeaders(head, end, slot)
  }
  protected callData(filter: HttpFilter, chunk: Uint8Array, end: boolean, slot: FilterSlot): DataStatus {
    return filter.decodeData === undefined ? DataStatus.CONTINUE : filter.decodeData(chunk, end, slot)
  }
  protected callTrailers(filter: HttpFilter, trailers: HeaderMap, slot: FilterSlot): TrailersStatus {
    return filter.decodeTrailers === undefined ? TrailersStatus.CONTINUE : filter.decodeTrailers(trailers, slot)
  }
  protected stateOf(slot: FilterSlot): SlotState {
    return slot.decoding
  }
  // The last filter of a chain is terminal and takes everything.
  protected finishHeaders(): void {}
  protected finishData(): void {}
  protected finishTrailers(): void {}
  /** Refuses a body that is longer than may wait. */
  onOverflow(): void {
    const { exchange } = this
    exchange.manager.stats.rqTooLarge.inc()
    // HTTP/1 tells of the end of a body after its last byte: what is refused for its length has not ended.
    if (exchange.info.protocol !== 'HTTP/2') exchange.requestComplete = false
    exchange.sendLocalReply(REPLY.requestTooLarge)
  }
  protected setReading(on: boolean): void {
    if (on) this.exchange.flow.resumeRequest()
    else this.exchange.flow.pauseRequest()
  }
}

/** The response's way: last filter to first, then the connection. */
export class EncodePath extends FilterPath<ResponseHead> {
  private readonly exchange: Exchange
  constructor(exchange: Exchange) {
    super()
    this.exchange = exchange
  }
  protected get limit(): number {
    return this.exchange.bufferLimit
  }
  protected callHeaders(filter: HttpFilter, head: ResponseHead, end: boolean, slot: FilterSlot): HeadersStatus {
    return filter.encodeHeaders === undefined ? HeadersStatus.CONTINUE : filter.encodeHeaders(head, end, slot)
  }
  protected callData(filter: HttpFilter, chunk: Uint8Array, end: boolean, slot: FilterSlot): DataStatus {
    return filter.encodeData === undefined ? DataStatus.CONTINUE : filter.encodeData(chunk, end, slot)
  }
  protected callTrailers(filter: HttpFilter, trailers: HeaderMap, slot: FilterSlot): TrailersStatus {
    return filter.encodeTrailers === undefined ? TrailersStatus.CONTINUE : filter.encodeTrailers(trailers, slot)
  }
  protected stateOf(slot: FilterSlot): SlotState {
    return slot.encoding
  }
  protected finishHeaders(head: ResponseHead, end: boolean): void {
    this.exchange.sendHead(head, end)
  }
  protected finishData(chunk: Uint8Array, end: boolean): void {
    this.exchange.sendBody(chunk, end)
  }
  protected finishTrailers(trailers: HeaderMap): void {
    this.exchange.sendTrailers(trailers)
  }
  protected onOverflow(): void {
    this.exchange.responseOverflow()
  }
  protected setReading(on: boolean): void {
    if (on) this.exchange.flow.resumeResponse()
    else this.exchange.flow.pauseResponse()
  }
}
