import type { Message } from '@bufbuild/protobuf'
import type { Runtime } from '../../runtime.ts'
import type { ProxyContext } from '../context.ts'
import type { FilterSlot } from '../http/filter-slot.ts'
import type { HeaderMap, RequestHead, ResponseHead } from '../http/headers.ts'

/** What a filter answers to a head (envoy/http/filter.h FilterHeadersStatus). */
export const HeadersStatus = {
  CONTINUE: 0,
  /** Later filters wait for the head; this filter goes on getting data. */
  STOP: 1,
  /** Nothing more comes, not even to this filter, until it continues; data waits in the buffer, up to its limit. */
  STOP_ALL_AND_BUFFER: 2,
  /** The same, but a full buffer stops reading instead of failing the request. */
  STOP_ALL_AND_WATERMARK: 3,
} as const
export type HeadersStatus = (typeof HeadersStatus)[keyof typeof HeadersStatus]

/** What a filter answers to data (FilterDataStatus). */
export const DataStatus = {
  /** Pass on, the head first where it waits. */
  CONTINUE: 0,
  STOP_AND_BUFFER: 1,
  STOP_AND_WATERMARK: 2,
  /** The filter has taken the chunk. */
  STOP_NO_BUFFER: 3,
  /** The filter has put the chunk into the buffer: all that is there passes on. */
  CONTINUE_BUFFERED: 4,
} as const
export type DataStatus = (typeof DataStatus)[keyof typeof DataStatus]

/** What a filter answers to trailers. */
export const TrailersStatus = { CONTINUE: 0, STOP: 1 } as const
export type TrailersStatus = (typeof TrailersStatus)[keyof typeof TrailersStatus]

/**
 * An HTTP filter, for one exchange or, when it keeps nothing, for all of them: everything of the exchange is
 * reached through `slot`. A filter that answered STOP resumes with `slot.continueDecoding()` or
 * `continueEncoding()`, or ends the exchange with `slot.sendLocalReply()`. Methods left out pass everything on.
 * Chunks are valid during the call only.
 */
export interface HttpFilter {
  decodeHeaders?(head: RequestHead, endStream: boolean, slot: FilterSlot): HeadersStatus
  decodeData?(chunk: Uint8Array, endStream: boolean, slot: FilterSlot): DataStatus
  decodeTrailers?(trailers: HeaderMap, slot: FilterSlot): TrailersStatus
  encodeHeaders?(head: ResponseHead, endStream: boolean, slot: FilterSlot): HeadersStatus
  encodeData?(chunk: Uint8Array, endStream: boolean, slot: FilterSlot): DataStatus
  encodeTrailers?(trailers: HeaderMap, slot: FilterSlot): TrailersStatus
  /** The exchange is over; before the access log. Stop timers and pending calls. */
  onDestroy?(slot: FilterSlot): void
}

/** Builds the filters of one entry of `http_filters`. */
export interface HttpFilterFactory {
  /** The filter for an exchange: a new one, or a shared one that keeps nothing. */
  create(): HttpFilter
  /** True for the last filter of a chain: it answers every request. */
  readonly terminal?: boolean
  /** The config is in force from now on; calls `ready` once the listener may take connections. Called once. */
  whenWarm?(ready: () => void): void
  /** The filter chain is gone: stop what runs beside requests. Exchanges that are open go on. */
  close?(): void
}

/** What a factory is built with. */
export interface HttpFilterContext {
  readonly proxy: ProxyContext
  /** `http.<stat_prefix>.` */
  readonly statPrefix: string
  /** The entry's name: the key of its per-route configs. */
  readonly filterName: string
  readonly direction: 'inbound' | 'outbound' | undefined
  /** The connection manager passes interim responses on. */
  readonly proxy100Continue: boolean
}

/** An HTTP filter as the registry holds it. */
export interface HttpFilterKind {
  /** Full name of its config message, without the `type.googleapis.com/`. */
  readonly type: string
  /** The canonical filter name, `envoy.filters.http.…`. */
  readonly name: string
  /** Throws ConfigError. */
  build(config: Message, context: HttpFilterContext): HttpFilterFactory
  /** Full name of its per-route message; undefined: it takes none. */
  readonly perRouteType?: string
  /** Compiles a per-route message. Throws ConfigError. */
  buildPerRoute?(config: Message, runtime: Runtime, proxy: ProxyContext): unknown
}
