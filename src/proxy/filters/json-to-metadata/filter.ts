import type {
  JsonToMetadata,
  JsonToMetadata_MatchRules,
} from '#gen/envoy/extensions/filters/http/json_to_metadata/v3/json_to_metadata_pb.js'
import { ConfigError, type ProxyContext } from '../../context.ts'
import type { BodyBuffer } from '../../http/body-buffer.ts'
import { Problems } from '../../http/config.ts'
import type { FilterSlot } from '../../http/filter-slot.ts'
import type { HeaderMap, RequestHead, ResponseHead } from '../../http/headers.ts'
import { H } from '../../http/names.ts'
import { compileFullMatch, type FullMatch } from '../../http/router/regex.ts'
import type { Counter, StatsStore } from '../../observe/stats.ts'
import { DataStatus, HeadersStatus, type HttpFilter, type HttpFilterKind, TrailersStatus } from '../filter.ts'
import { readJsonBody } from './body.ts'
import { type Found, Rule } from './rule.ts'

/** A compiled `MatchRules`: what is taken out of requests, or out of responses. */
class Side {
  readonly rules: readonly Rule[]
  private readonly types: ReadonlySet<string>
  private readonly pattern: FullMatch | undefined
  private readonly empty: boolean
  private readonly success: Counter
  private readonly mismatched: Counter
  private readonly noBody: Counter
  private readonly invalid: Counter

  constructor(config: JsonToMetadata_MatchRules | undefined, field: string, stats: StatsStore, prefix: string) {
    const problems = new Problems()
    this.rules = (config?.rules ?? []).flatMap(
      (rule, i) => problems.collect(`${field}.rules[${i}]`, () => new Rule(rule)) ?? [],
    )
    this.types = new Set(config?.allowContentTypes.length ? config.allowContentTypes : ['application/json'])
    this.empty = config?.allowEmptyContentType ?? false
    const regex = config?.allowContentTypesRegex
    this.pattern = regex && problems.collect(`${field}.allow_content_types_regex`, () => compileFullMatch(regex.regex))
    problems.throwIfAny()
    this.success = stats.counter(`${prefix}.success`)
    this.mismatched = stats.counter(`${prefix}.mismatched_content_type`)
    this.noBody = stats.counter(`${prefix}.no_body`)
    this.invalid = stats.counter(`${prefix}.invalid_json_body`)
  }

  /** Whether the body is wanted; else all is done. */
  onHead(head: HeaderMap, end: boolean, slot: FilterSlot): boolean {
    const type = head.get(H.contentType) ?? ''
    const allowed = type === '' ? this.empty : this.types.has(type) || (this.pattern?.matches(type) ?? false)
    if (allowed && !end) return true
    if (allowed) this.missing(slot)
    else {
      this.keep(slot, (rule, found) => rule.onError(found, slot.info))
      this.mismatched.inc()
    }
    return false
  }

  onBody(bytes: Buffer, slot: FilterSlot): void {
    if (bytes.length === 0) {
      this.missing(slot)
      return
    }
    const document = readJsonBody(bytes)
    if (document === undefined) {
      this.invalid.inc()
      this.keep(slot, (rule, found) => rule.onError(found, slot.info))
      return
    }
    const hasParts = Array.isArray(document) || document instanceof Map
    this.keep(slot, (rule, found) =>
      hasParts ? rule.apply(document, found, slot.info) : rule.onMissing(found, slot.info),
    )
    this.success.inc()
  }

  private missing(slot: FilterSlot): void {
    this.keep(slot, (rule, found) => rule.onMissing(found, slot.info))
    this.noBody.inc()
  }

  private keep(slot: FilterSlot, take: (rule: Rule, found: Found) => void): void {
    const found: Found = new Map()
    for (const rule of this.rules) take(rule, found)
    for (const [namespace, values] of found) slot.setMetadata(namespace, values)
    if (found.size > 0 && slot.response === undefined) slot.clearRouteCache()
  }
}

/** A compiled config, of the filter or of a route. */
class Sides {
  readonly request: Side
  readonly response: Side

  constructor(config: JsonToMetadata, { stats }: ProxyContext) {
    this.request = new Side(config.requestRules, 'request_rules', stats, 'json_to_metadata.rq')
    this.response = new Side(config.responseRules, 'response_rules', stats, 'json_to_metadata.resp')
  }
}

class JsonToMetadataFilter implements HttpFilter {
  private readonly sides: Sides
  /** In force for this exchange. */
  private own: Sides | undefined = undefined
  private waitsForRequest = false
  private waitsForResponse = false

  constructor(sides: Sides) {
    this.sides = sides
  }

  decodeHeaders(head: RequestHead, end: boolean, slot: FilterSlot): HeadersStatus {
    const { request } = this.inForce(slot)
    this.waitsForRequest = request.rules.length > 0 && request.onHead(head, end, slot)
    return this.waitsForRequest ? HeadersStatus.STOP : HeadersStatus.CONTINUE
  }

  decodeData(chunk: Uint8Array, end: boolean, slot: FilterSlot): DataStatus {
    if (!this.waitsForRequest) return DataStatus.CONTINUE
    if (!end) return DataStatus.STOP_AND_BUFFER
    this.waitsForRequest = false
    this.inForce(slot).request.onBody(whole(slot.decodingBuffer, chunk), slot)
    return DataStatus.CONTINUE
  }

  decodeTrailers(_trailers: HeaderMap, slot: FilterSlot): TrailersStatus {
    if (this.waitsForRequest) this.inForce(slot).request.onBody(slot.decodingBuffer.bytes(), slot)
    this.waitsForRequest = false
    return TrailersStatus.CONTINUE
  }

  encodeHeaders(head: ResponseHead, end: boolean, slot: FilterSlot): HeadersStatus {
    const { response } = this.inForce(slot)
    this.waitsForResponse = response.rules.length > 0 && response.onHead(head, end, slot)
    return this.waitsForResponse ? HeadersStatus.STOP : HeadersStatus.CONTINUE
  }

  encodeData(chunk: Uint8Array, end: boolean, slot: FilterSlot): DataStatus {
    if (!this.waitsForResponse) return DataStatus.CONTINUE
    if (!end) return DataStatus.STOP_AND_BUFFER
    this.waitsForResponse = false
    this.inForce(slot).response.onBody(whole(slot.encodingBuffer, chunk), slot)
    return DataStatus.CONTINUE
  }

  encodeTrailers(_trailers: HeaderMap, slot: FilterSlot): TrailersStatus {
    if (this.waitsForResponse) this.inForce(slot).response.onBody(slot.encodingBuffer.bytes(), slot)
    this.waitsForResponse = false
    return TrailersStatus.CONTINUE
  }

  private inForce(slot: FilterSlot): Sides {
    this.own ??= (slot.perRoute()?.config as Sides | undefined) ?? this.sides
    return this.own
  }
}

const whole = (buffer: BodyBuffer, last: Uint8Array): Buffer =>
  buffer.length === 0 ? Buffer.from(last) : Buffer.concat([buffer.bytes(), last])

const TYPE = 'envoy.extensions.filters.http.json_to_metadata.v3.JsonToMetadata'

/**
 * `envoy.filters.http.json_to_metadata`: puts values of JSON bodies into the dynamic metadata
 * (source/extensions/filters/http/json_to_metadata/filter.cc).
 */
export const jsonToMetadataFilter: HttpFilterKind = {
  type: TYPE,
  name: 'envoy.filters.http.json_to_metadata',
  build(message, { proxy }) {
    const sides = new Sides(message as JsonToMetadata, proxy)
    return { create: () => new JsonToMetadataFilter(sides) }
  },
  perRouteType: TYPE,
  buildPerRoute(message, _runtime, proxy) {
    const config = message as JsonToMetadata
    if (!config.requestRules && !config.responseRules) {
      throw new ConfigError([
        'json_to_metadata_filter: Per route configs must at least specify one of request_rules or response_rules.',
      ])
    }
    return new Sides(config, proxy)
  },
}
