import type { Runtime } from '../../runtime.ts'
import type { HttpFilter } from '../filters/filter.ts'
import type { ConnectionInfo } from '../listener/connection.ts'
import { mergeDynamicMetadata } from '../stream-info.ts'
import type { BodyBuffer } from './body-buffer.ts'
import type { Exchange } from './exchange.ts'
import type { ExchangeInfo } from './exchange-info.ts'
import { SlotState } from './filter-path.ts'
import type { HeaderMap, RequestHead, ResponseHead } from './headers.ts'
import type { LocalReply } from './local-replies.ts'
import type { PerRouteFilter, Route } from './router/route.ts'

/** A filter's place in the chain of one exchange, and what the filter may ask for there (Envoy's filter callbacks). */
export class FilterSlot {
  readonly exchange: Exchange
  readonly name: string
  readonly filter: HttpFilter
  readonly decoding = new SlotState()
  readonly encoding = new SlotState()
  decodeIndex = 0
  encodeIndex = 0
  /** Whatever a shared filter wants to remember of this exchange. */
  memory: unknown = undefined

  constructor(exchange: Exchange, name: string, filter: HttpFilter) {
    this.exchange = exchange
    this.name = name
    this.filter = filter
  }

  get info(): ExchangeInfo {
    return this.exchange.info
  }
  get connection(): ConnectionInfo {
    return this.exchange.connection
  }
  get runtime(): Runtime {
    return this.exchange.runtime
  }
  get request(): RequestHead {
    return this.exchange.request
  }
  get response(): ResponseHead | undefined {
    return this.exchange.response
  }

  /** The route in force, or undefined. */
  route(): Route | undefined {
    return this.exchange.route()
  }

  /** Makes the next `route()` look again: the request was changed. */
  clearRouteCache(): void {
    this.exchange.routing.clear()
  }

  /** This filter's most specific config on the route. */
  perRoute(): PerRouteFilter | undefined {
    return this.exchange.route()?.filters.get(this.name)
  }

  /** Its config at every level, most specific first. */
  perRouteAll(): unknown[] {
    return this.exchange.route()?.filters.all(this.name) ?? []
  }

  /** Goes on after a stop in the request direction. */
  continueDecoding(): void {
    this.exchange.decode.continueFrom(this.decodeIndex)
  }

  /** Goes on after a stop in the response direction. */
  continueEncoding(): void {
    this.exchange.encode.continueFrom(this.encodeIndex)
  }

  /** Sends response bytes on from here, past the buffer. */
  injectEncodedData(chunk: Uint8Array, end: boolean): void {
    this.exchange.encode.inject(this.encodeIndex, chunk, end)
  }

  /** Sends request bytes on from here, past the buffer. */
  injectDecodedData(chunk: Uint8Array, end: boolean): void {
    this.exchange.decode.inject(this.decodeIndex, chunk, end)
  }

  /** Ends the request with trailers made here. */
  addDecodedTrailers(trailers: HeaderMap): void {
    if (this.exchange.decode.ended) return
    this.info.requestTrailers = trailers
    this.exchange.decode.addTrailers(this.decodeIndex, trailers)
  }

  /** Ends the response with trailers made here. */
  addEncodedTrailers(trailers: HeaderMap): void {
    if (this.exchange.encode.ended) return
    this.info.responseTrailers = trailers
    this.exchange.encode.addTrailers(this.encodeIndex, trailers)
  }

  /** Request body bytes that wait. */
  get decodingBuffer(): BodyBuffer {
    return this.exchange.decode.buffer
  }

  /** Lets so many bytes of the request body wait for this request, instead of what the connection allows. */
  setDecodingLimit(bytes: number): void {
    this.exchange.decode.ownLimit = bytes
  }

  /** Refuses the request, whose body is too long. */
  refuseBody(): void {
    this.exchange.decode.onOverflow()
  }

  /** Response body bytes that wait. */
  get encodingBuffer(): BodyBuffer {
    return this.exchange.encode.buffer
  }

  /** Answers the request here. Nothing of it goes further. */
  sendLocalReply(reply: LocalReply, modify?: (head: ResponseHead) => void): void {
    this.exchange.sendLocalReply(reply, modify)
  }

  /** Answers the request here with a response like an upstream's, without body. Nothing of the request goes further. */
  respond(head: ResponseHead, details: string): void {
    this.exchange.info.responseCodeDetails = details
    this.exchange.decode.ended = true
    this.exchange.encodeHeaders(head, true)
  }

  /** Merges values into a namespace of the dynamic metadata. */
  setMetadata(namespace: string, values: Record<string, unknown>): void {
    mergeDynamicMetadata(this.exchange.info, namespace, values)
  }

  /** ALPN to offer upstream instead of the cluster's own. */
  setUpstreamAlpn(protocols: readonly string[]): void {
    this.exchange.upstreamAlpn = protocols
  }

  /** The host that goes before the balancer's choice, by address; `strict`: or none. */
  setUpstreamOverride(address: string, strict: boolean): void {
    this.exchange.upstreamOverride = { address, strict }
  }
}
