import type {
  Decompressor,
  Decompressor_CommonDirectionConfig,
} from '#gen/envoy/extensions/filters/http/decompressor/v3/decompressor_pb.js'
import type { FilterSlot } from '../../http/filter-slot.ts'
import type { HeaderMap, RequestHead, ResponseHead } from '../../http/headers.ts'
import { H } from '../../http/names.ts'
import type { StatsStore } from '../../observe/stats.ts'
import { featureEnabled, type RuntimeValues } from '../../runtime-values.ts'
import { type BodySide, requestSide, responseSide } from '../body-side.ts'
import { DataStatus, HeadersStatus, type HttpFilter, type HttpFilterKind, TrailersStatus } from '../filter.ts'
import { DecompressedBody } from './decompressed-body.ts'
import { compileDecompressorLibrary, type DecompressorLibrary } from './decompressor-libraries.ts'
import { DecompressorStats } from './decompressor-stats.ts'
import { after, before, C, forbidsTransform, joined } from './header-values.ts'

/** One direction's settings. */
interface Direction {
  readonly enabled: boolean
  readonly ignoreNoTransform: boolean
  readonly stats: DecompressorStats
}

/** Names of trailers are those of the first decompressor a process ever uses (statics in decompressor_filter.h). */
const trailerPrefixes = new WeakMap<StatsStore, string>()

class DecompressorConfig {
  readonly library: DecompressorLibrary
  readonly request: Direction
  readonly response: Direction
  readonly advertises: boolean
  readonly store: StatsStore
  readonly libraryPrefix: string
  private readonly name: string

  constructor(config: Decompressor, store: StatsStore, prefix: string, values: RuntimeValues | undefined) {
    this.library = compileDecompressorLibrary(config.decompressorLibrary)
    this.store = store
    this.name = config.decompressorLibrary?.name ?? ''
    const own = `${prefix}decompressor.${this.name}.${this.library.statsPrefix}.`
    this.libraryPrefix = `${own}decompressor_library.`
    const direction = (common: Decompressor_CommonDirectionConfig | undefined, which: string): Direction => ({
      enabled: featureEnabled(common?.enabled, values),
      ignoreNoTransform: common?.ignoreNoTransformHeader ?? false,
      stats: new DecompressorStats(store, `${own}${which}.`),
    })
    this.request = direction(config.requestDirectionConfig?.commonConfig, 'request')
    this.response = direction(config.responseDirectionConfig?.commonConfig, 'response')
    this.advertises = this.response.enabled && (config.requestDirectionConfig?.advertiseAcceptEncoding ?? true)
  }

  get trailerPrefix(): string {
    let prefix = trailerPrefixes.get(this.store)
    if (prefix === undefined) {
      prefix = `x-envoy-decompressor-${this.name}`
      trailerPrefixes.set(this.store, prefix)
    }
    return prefix
  }
}

/** `envoy.filters.http.decompressor` for one exchange (source/extensions/filters/http/decompressor/decompressor_filter.cc). */
class DecompressorFilter implements HttpFilter {
  private readonly config: DecompressorConfig
  private readonly trailerPrefix: string
  private request: DecompressedBody | undefined = undefined
  private response: DecompressedBody | undefined = undefined

  constructor(config: DecompressorConfig) {
    this.config = config
    this.trailerPrefix = config.trailerPrefix
  }

  decodeHeaders(head: RequestHead, end: boolean, slot: FilterSlot): HeadersStatus {
    const { config } = this
    if (config.advertises) advertise(head, config.library.encoding)
    if (!end) this.request = this.begin(config.request, head, slot, requestSide)
    return HeadersStatus.CONTINUE
  }

  decodeData(chunk: Uint8Array, end: boolean): DataStatus {
    if (this.request === undefined) return DataStatus.CONTINUE
    this.request.write(chunk, end)
    return DataStatus.STOP_NO_BUFFER
  }

  decodeTrailers(trailers: HeaderMap): TrailersStatus {
    if (this.request === undefined) return TrailersStatus.CONTINUE
    this.request.end(trailers)
    return TrailersStatus.STOP
  }

  encodeHeaders(head: ResponseHead, end: boolean, slot: FilterSlot): HeadersStatus {
    if (!end) this.response = this.begin(this.config.response, head, slot, responseSide)
    return HeadersStatus.CONTINUE
  }

  encodeData(chunk: Uint8Array, end: boolean): DataStatus {
    if (this.response === undefined) return DataStatus.CONTINUE
    this.response.write(chunk, end)
    return DataStatus.STOP_NO_BUFFER
  }

  encodeTrailers(trailers: HeaderMap): TrailersStatus {
    if (this.response === undefined) return TrailersStatus.CONTINUE
    this.response.end(trailers)
    return TrailersStatus.STOP
  }

  private begin(direction: Direction, head: HeaderMap, slot: FilterSlot, side: BodySide): DecompressedBody | undefined {
    const { library, store, libraryPrefix } = this.config
    const codings = joined(head, C.contentEncoding)
    const wanted =
      direction.enabled &&
      (direction.ignoreNoTransform || !forbidsTransform(head)) &&
      codings !== undefined &&
      before(codings, ',').toLowerCase() === library.encoding
    if (!wanted) {
      direction.stats.notDecompressed.inc()
      return undefined
    }
    direction.stats.decompressed.inc()
    head.remove(H.contentLength)
    const others = after(codings, ',')
    if (others === undefined) head.remove(C.contentEncoding)
    else head.set(C.contentEncoding, others.trim())
    const decoder = library.create(store, libraryPrefix)
    return new DecompressedBody(slot, side, library, decoder, direction.stats, this.trailerPrefix)
  }

  onDestroy(): void {
    this.request?.close()
    this.response?.close()
  }
}

/** Says upstream that this encoding is welcome, with nothing preferred to it. */
function advertise(head: RequestHead, encoding: string): void {
  const given = (joined(head, C.acceptEncoding) ?? '').split(',').map((token) => token.trim())
  const others = given.filter((token) => token !== '' && before(token, ';') !== encoding)
  head.set(C.acceptEncoding, [...others, encoding].join(','))
}

/** `envoy.filters.http.decompressor`: decompresses bodies in either direction. */
export const decompressorFilter: HttpFilterKind = {
  type: 'envoy.extensions.filters.http.decompressor.v3.Decompressor',
  name: 'envoy.filters.http.decompressor',
  build(message, { proxy, statPrefix }) {
    const config = new DecompressorConfig(message as Decompressor, proxy.stats, statPrefix, proxy.runtimeValues)
    return { create: () => new DecompressorFilter(config) }
  },
}
