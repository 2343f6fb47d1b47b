import type { FilterSlot } from '../http/filter-slot.ts'
import type { HeaderMap } from '../http/headers.ts'

/** One of a message's two directions, for filters that treat both bodies alike. */
export interface BodySide {
  /** Sends bytes on, past this filter. */
  inject(slot: FilterSlot, chunk: Uint8Array, end: boolean): void
  /** Lets the trailers go that this filter stopped. */
  resume(slot: FilterSlot): void
  /** Ends the message with trailers made here. */
  addTrailers(slot: FilterSlot, trailers: HeaderMap): void
  /** Asks whoever sends the body to wait, or no longer to; calls come in pairs. */
  setReading(slot: FilterSlot, on: boolean): void
  /** The sender tells of the end of a body apart from its last byte: HTTP/1 does, HTTP/2 and the proxy itself do not. */
  endsApart(slot: FilterSlot): boolean
}

export const requestSide: BodySide = {
  inject: (slot, chunk, end) => slot.injectDecodedData(chunk, end),
  resume: (slot) => slot.continueDecoding(),
  addTrailers: (slot, trailers) => slot.addDecodedTrailers(trailers),
  setReading(slot, on) {
    if (on) slot.exchange.flow.resumeRequest()
    else slot.exchange.flow.pauseRequest()
  },
  endsApart: (slot) => slot.info.protocol !== 'HTTP/2',
}

export const responseSide: BodySide = {
  inject: (slot, chunk, end) => slot.injectEncodedData(chunk, end),
  resume: (slot) => slot.continueEncoding(),
  addTrailers: (slot, trailers) => slot.addEncodedTrailers(trailers),
  setReading(slot, on) {
    if (on) slot.exchange.flow.resumeResponse()
    else slot.exchange.flow.pauseResponse()
  },
  endsApart: (slot) => !slot.exchange.decode.ended && slot.info.upstreamProtocol === 'HTTP/1.1',
}
