import type { Compressor, CompressorPerRoute } from '#gen/envoy/extensions/filters/http/compressor/v3/compressor_pb.js'
import type { FilterSlot } from '../../http/filter-slot.ts'
import type { HeaderMap, RequestHead, ResponseHead } from '../../http/headers.ts'
import { H } from '../../http/names.ts'
import { requestSide, responseSide } from '../body-side.ts'
import { DataStatus, HeadersStatus, type HttpFilter, type HttpFilterKind, TrailersStatus } from '../filter.ts'
import { type Candidate, chooseEncoding, type Decision } from './accept-encoding.ts'
import { CompressedBody } from './compressed-body.ts'
import { CompressorConfig, CompressorOverride } from './compressor-config.ts'
import { before, C, forbidsTransform, joined, transferCompressed } from './header-values.ts'
import type { CompressorLibrary } from './libraries.ts'

/** `envoy.filters.http.compressor` for one exchange (source/extensions/filters/http/compressor/compressor_filter.cc). */
class CompressorFilter implements HttpFilter {
  readonly config: CompressorConfig
  /** What the filters of this chain agreed on; kept by the one that was asked first. */
  decision: Decision | undefined = undefined
  private override: CompressorOverride | undefined = undefined
  private acceptEncoding: string | undefined = undefined
  private request: CompressedBody | undefined = undefined
  private response: CompressedBody | undefined = undefined

  constructor(config: CompressorConfig) {
    this.config = config
  }

  private get library(): CompressorLibrary {
    return this.override?.library ?? this.config.library
  }

  private get enabled(): boolean {
    return this.override?.enabled ?? this.config.response.enabled
  }

  decodeHeaders(head: RequestHead, end: boolean, slot: FilterSlot): HeadersStatus {
    const { config } = this
    const { request } = config
    this.override = slot.perRoute()?.config as CompressorOverride | undefined
    this.acceptEncoding = joined(head, C.acceptEncoding)
    if (this.enabled && (this.override?.removeAcceptEncoding ?? config.removeAcceptEncoding))
      head.remove(C.acceptEncoding)
    const compress =
      !end &&
      config.requestsToo &&
      !asksUpgrade(head) &&
      request.isLongEnough(head) &&
      request.takesType(head) &&
      !head.has(C.contentEncoding) &&
      !transferCompressed(head, this.library.encoding)
    if (!compress) {
      request.stats.notCompressed.inc()
      return HeadersStatus.CONTINUE
    }
    head.remove(H.contentLength)
    head.set(C.contentEncoding, this.library.encoding)
    request.stats.compressed.inc()
    this.request = new CompressedBody(slot, requestSide, this.library, request.stats)
    return HeadersStatus.CONTINUE
  }

  decodeData(chunk: Uint8Array, end: boolean): DataStatus {
    if (this.request === undefined) return DataStatus.CONTINUE
    this.request.write(chunk, end)
    return DataStatus.STOP_NO_BUFFER
  }

  decodeTrailers(): TrailersStatus {
    if (this.request === undefined) return TrailersStatus.CONTINUE
    this.request.end()
    return TrailersStatus.STOP
  }

  encodeHeaders(head: ResponseHead, end: boolean, slot: FilterSlot): HeadersStatus {
    this.override ??= slot.perRoute()?.config as CompressorOverride | undefined
    if (this.config.tellsStatus) this.encodeTelling(head, end, slot)
    else this.encodePlainly(head, end, slot)
    return HeadersStatus.CONTINUE
  }

  private encodePlainly(head: ResponseHead, end: boolean, slot: FilterSlot): void {
    const { config } = this
    const { response } = config
    const worthIt = this.enabled && response.isLongEnough(head)
    const compressible =
      worthIt &&
      !asksUpgrade(head) &&
      response.takesType(head) &&
      !forbidsTransform(head) &&
      this.etagAllows(head, true) &&
      !head.has(C.contentEncoding) &&
      !config.uncompressibleCodes.has(head.status)
    const wanted = !end && worthIt && this.isChosen(head, slot)
    if (wanted && compressible && !transferCompressed(head, this.library.encoding)) this.begin(head, slot, this.library)
    else response.stats.notCompressed.inc()
    // Also where this client takes no compression: the next one may, and caches have to know.
    if (compressible) insertVary(head)
  }

  /** The same with `x-envoy-compression-status`, for which Envoy asks its questions in another order. */
  private encodeTelling(head: ResponseHead, end: boolean, slot: FilterSlot): void {
    const { config } = this
    const { response, uncompressibleCodes } = config
    const { encoding } = this.library
    const open = this.enabled && !asksUpgrade(head) && !forbidsTransform(head) && !head.has(C.contentEncoding)
    const compressible =
      open &&
      response.isLongEnough(head) &&
      response.takesType(head) &&
      this.etagAllows(head, false) &&
      !uncompressibleCodes.has(head.status)
    if (compressible) insertVary(head)
    if (end || !open || transferCompressed(head, encoding)) {
      response.stats.notCompressed.inc()
      return
    }
    const reason = compressible ? undefined : this.whyNot(head)
    if (reason !== undefined) {
      head.add(C.status, `${encoding};${reason}`)
      response.stats.notCompressed.inc()
      return
    }
    if (!this.isChosen(head, slot)) {
      response.stats.notCompressed.inc()
      return
    }
    const length = head.get(H.contentLength) ?? ''
    this.begin(head, slot, config.library) // Envoy forgets the route's own library here, though not its name
    head.add(C.status, `${encoding};Compressed;OriginalLength=${length}`)
  }

  private whyNot(head: ResponseHead): string | undefined {
    const { config } = this
    const { response } = config
    if (!response.isLongEnough(head)) return 'ContentLengthTooSmall'
    if (!response.takesType(head)) return 'ContentTypeNotAllowed'
    if (!this.etagAllows(head, true)) return 'EtagNotAllowed'
    return config.uncompressibleCodes.has(head.status) ? 'StatusCodeNotAllowed' : undefined
  }

  private etagAllows(head: ResponseHead, counts: boolean): boolean {
    const { config } = this
    const allowed = !config.disableOnEtag || config.weakenEtag || !head.has(C.etag)
    if (!allowed && counts) config.accept.etag.inc()
    return allowed
  }

  private begin(head: ResponseHead, slot: FilterSlot, library: CompressorLibrary): void {
    const { stats } = this.config.response
    this.settleEtag(head)
    head.remove(H.contentLength)
    head.set(C.contentEncoding, this.library.encoding)
    stats.compressed.inc()
    this.response = new CompressedBody(slot, responseSide, library, stats)
  }

  /** A strong tag vouches for bytes that are no longer the same. */
  private settleEtag(head: ResponseHead): void {
    const tag = head.get(C.etag)
    if (tag === undefined || /^w\//i.test(tag)) return
    if (this.config.weakenEtag) head.set(C.etag, `W/${tag}`)
    else head.remove(C.etag)
  }

  /** Whether the client wants this filter's encoding rather than another's or none; counts what it wants. */
  private isChosen(head: ResponseHead, slot: FilterSlot): boolean {
    const { accept } = this.config
    if (this.acceptEncoding === undefined) {
      accept.noHeader.inc()
      return false
    }
    const { encoding, stat } = this.decide(this.acceptEncoding, head, slot)
    const chosen = encoding.toLowerCase() === this.library.encoding
    if (stat === 'compressor') (chosen ? accept.used : accept.overshadowed).inc()
    else if (stat === 'identity') accept.identity.inc()
    else if (stat === 'wildcard') accept.wildcard.inc()
    else accept.notValid.inc()
    return chosen
  }

  private decide(acceptEncoding: string, head: ResponseHead, slot: FilterSlot): Decision {
    const type = before(head.get(H.contentType) ?? '', ';')
    const allowed = new Map<string, Candidate>()
    for (const { filter } of slot.exchange.decode.slots) {
      if (!(filter instanceof CompressorFilter)) continue
      if (filter.decision !== undefined) return filter.decision
      const { config } = filter
      // Others are on offer with what their filter says; the routes' own libraries count for the one that asks.
      const { encoding } = filter === this ? this.library : config.library
      if (!config.response.isOnOffer(type) || allowed.has(encoding)) continue
      allowed.set(encoding, { order: allowed.size, chooseFirst: config.chooseFirst })
    }
    this.decision = chooseEncoding(acceptEncoding, allowed)
    return this.decision
  }

  encodeData(chunk: Uint8Array, end: boolean): DataStatus {
    if (this.response === undefined) return DataStatus.CONTINUE
    this.response.write(chunk, end)
    return DataStatus.STOP_NO_BUFFER
  }

  encodeTrailers(): TrailersStatus {
    if (this.response === undefined) return TrailersStatus.CONTINUE
    this.response.end()
    return TrailersStatus.STOP
  }

  onDestroy(): void {
    this.request?.close()
    this.response?.close()
  }
}

function asksUpgrade(head: HeaderMap): boolean {
  return head.has(H.upgrade) && head.hasToken(H.connection, 'upgrade')
}

function insertVary(head: ResponseHead): void {
  const vary = joined(head, C.vary)
  if (vary === undefined) head.set(C.vary, 'Accept-Encoding')
  else if (!vary.split(',').some((token) => token.trim() === 'Accept-Encoding'))
    head.set(C.vary, `${vary}, Accept-Encoding`)
}

/** `envoy.filters.http.compressor`: compresses bodies, of responses where clients take it. */
export const compressorFilter: HttpFilterKind = {
  type: 'envoy.extensions.filters.http.compressor.v3.Compressor',
  name: 'envoy.filters.http.compressor',
  build(message, { proxy, statPrefix }) {
    const config = new CompressorConfig(message as Compressor, proxy.stats, statPrefix, proxy.runtimeValues)
    return { create: () => new CompressorFilter(config) }
  },
  perRouteType: 'envoy.extensions.filters.http.compressor.v3.CompressorPerRoute',
  buildPerRoute: (message) => new CompressorOverride(message as CompressorPerRoute),
}
