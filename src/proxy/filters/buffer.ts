import type { Buffer, BufferPerRoute } from '#gen/envoy/extensions/filters/http/buffer/v3/buffer_pb.js'
import type { FilterSlot } from '../http/filter-slot.ts'
import type { RequestHead } from '../http/headers.ts'
import { H } from '../http/names.ts'
import { DataStatus, HeadersStatus, type HttpFilter, type HttpFilterKind, TrailersStatus } from './filter.ts'

/** Longest request body, bytes; undefined: this route does not buffer. */
type Limit = number | undefined

const limitOf = (config: Buffer): number => Number(config.maxRequestBytes ?? 0)

/**
 * `envoy.filters.http.buffer` for one exchange: lets a request go on when all of it is there, and gives it a
 * content-length (source/extensions/filters/http/buffer/buffer_filter.cc). What is too long for the limit is refused by
 * the chain, with 413.
 */
class BufferFilter implements HttpFilter {
  private limit: number
  private head: RequestHead | undefined = undefined
  private length = 0

  constructor(limit: number) {
    this.limit = limit
  }

  decodeHeaders(head: RequestHead, end: boolean, slot: FilterSlot): HeadersStatus {
    if (end) return HeadersStatus.CONTINUE
    const own = slot.perRoute()
    const limit = own === undefined ? this.limit : (own.config as { limit: Limit }).limit
    if (limit === undefined) return HeadersStatus.CONTINUE
    slot.setDecodingLimit(limit)
    this.limit = limit
    this.head = head
    return HeadersStatus.STOP
  }

  decodeData(chunk: Uint8Array, end: boolean, slot: FilterSlot): DataStatus {
    if (this.head === undefined) return DataStatus.CONTINUE
    this.length += chunk.length
    if (!end) return DataStatus.STOP_AND_BUFFER
    if (this.length > this.limit) {
      slot.refuseBody()
      return DataStatus.STOP_NO_BUFFER
    }
    this.tellLength(this.head)
    return DataStatus.CONTINUE
  }

  decodeTrailers(): TrailersStatus {
    if (this.head !== undefined) this.tellLength(this.head)
    return TrailersStatus.CONTINUE
  }

  private tellLength(head: RequestHead): void {
    if (!head.has(H.contentLength)) head.set(H.contentLength, String(this.length))
  }
}

/** `envoy.filters.http.buffer`: holds requests back until they are complete, up to a length. */
export const bufferFilter: HttpFilterKind = {
  type: 'envoy.extensions.filters.http.buffer.v3.Buffer',
  name: 'envoy.filters.http.buffer',
  build(message) {
    const limit = limitOf(message as Buffer)
    return { create: () => new BufferFilter(limit) }
  },
  perRouteType: 'envoy.extensions.filters.http.buffer.v3.BufferPerRoute',
  buildPerRoute(message) {
    const { override } = message as BufferPerRoute
    return { limit: override.case === 'buffer' ? limitOf(override.value) : undefined } satisfies { limit: Limit }
  },
}
