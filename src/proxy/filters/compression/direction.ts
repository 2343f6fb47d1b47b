import type { Compressor_CommonDirectionConfig } from '#gen/envoy/extensions/filters/http/compressor/v3/compressor_pb.js'
import type { HeaderMap } from '../../http/headers.ts'
import { H } from '../../http/names.ts'
import { compileStringMatcher, type StringMatcher } from '../../http/router/string-matcher.ts'
import type { Counter, StatsStore } from '../../observe/stats.ts'
import { featureEnabled, type RuntimeValues } from '../../runtime-values.ts'
import { before } from './header-values.ts'

const DEFAULT_MIN_LENGTH = 30

const DEFAULT_TYPES = [
  'text/html',
  'text/plain',
  'text/css',
  'application/javascript',
  'application/x-javascript',
  'text/javascript',
  'text/x-javascript',
  'text/ecmascript',
  'text/js',
  'text/jscript',
  'text/x-js',
  'application/ecmascript',
  'application/x-json',
  'application/xml',
  'application/json',
  'image/svg+xml',
  'text/xml',
  'application/xhtml+xml',
  'application/grpc-web',
  'application/grpc-web+proto',
]

/** What a direction counts. */
export class DirectionStats {
  readonly compressed: Counter
  readonly notCompressed: Counter
  readonly bytesIn: Counter
  readonly bytesOut: Counter
  readonly tooSmall: Counter

  constructor(store: StatsStore, prefix: string) {
    this.compressed = store.counter(`${prefix}compressed`)
    this.notCompressed = store.counter(`${prefix}not_compressed`)
    this.bytesIn = store.counter(`${prefix}total_uncompressed_bytes`)
    this.bytesOut = store.counter(`${prefix}total_compressed_bytes`)
    this.tooSmall = store.counter(`${prefix}content_length_too_small`)
  }
}

/** What decides, in either direction, whether a body is worth compressing. */
export class Direction {
  readonly enabled: boolean
  readonly stats: DirectionStats
  private readonly minLength: number
  private readonly types: ReadonlySet<string>
  /** Where there are any, they decide instead of `types`. */
  private readonly matchers: readonly StringMatcher[]

  constructor(
    config: Compressor_CommonDirectionConfig | undefined,
    stats: DirectionStats,
    values: RuntimeValues | undefined,
  ) {
    this.enabled = featureEnabled(config?.enabled, values)
    this.stats = stats
    this.minLength = config?.minContentLength || DEFAULT_MIN_LENGTH
    const types = config?.contentType ?? []
    this.types = new Set(types.length > 0 ? types.map((type) => type.toLowerCase()) : DEFAULT_TYPES)
    this.matchers = (config?.contentTypeMatcher ?? []).map(compileStringMatcher)
  }

  /** Counts each body that is too short. A body whose length is not known is not. */
  isLongEnough(head: HeaderMap): boolean {
    const at = head.find(H.contentLength, 0)
    if (at < 0) return true
    const long = head.unsignedAt(at) >= this.minLength
    if (!long) this.stats.tooSmall.inc()
    return long
  }

  /** A message without a content type has any. */
  takesType(head: HeaderMap): boolean {
    const value = head.get(H.contentType)
    return value === undefined || this.takes(before(value, ';'))
  }

  /** Whether a filter so configured is on offer for that type; '' is any. */
  isOnOffer(type: string): boolean {
    return type === '' || this.takes(type)
  }

  private takes(type: string): boolean {
    if (this.matchers.length > 0) return this.matchers.some((matcher) => matcher.matches(type))
    return this.types.has(type.toLowerCase())
  }
}
