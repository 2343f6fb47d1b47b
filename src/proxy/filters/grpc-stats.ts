import type { FilterConfig } from '#gen/envoy/extensions/filters/http/grpc_stats/v3/config_pb.js'
import type { FilterSlot } from '../http/filter-slot.ts'
import type { HeaderMap, RequestHead, ResponseHead } from '../http/headers.ts'
import { H } from '../http/names.ts'
import { isGrpcContentType } from '../http/router/route-match.ts'
import type { StatsStore } from '../observe/stats.ts'
import { DataStatus, HeadersStatus, type HttpFilter, type HttpFilterKind, TrailersStatus } from './filter.ts'

/** Counts gRPC messages by their five-byte frame heads. */
export class GrpcFrames {
  count = 0
  private head = 0
  private length = 0
  private left = 0

  add(chunk: Uint8Array): void {
    for (let i = 0; i < chunk.length; ) {
      if (this.left > 0) {
        const n = Math.min(this.left, chunk.length - i)
        this.left -= n
        i += n
        continue
      }
      const byte = chunk[i++]!
      if (this.head > 0) this.length = this.length * 256 + byte
      this.head++
      if (this.head < 5) continue
      this.count++
      this.left = this.length
      this.head = 0
      this.length = 0
    }
  }
}

interface Settings {
  readonly stats: StatsStore
  readonly allMethods: boolean
  readonly allowed: ReadonlySet<string>
  readonly replaceDots: boolean
  readonly emitState: boolean
}

class GrpcStatsFilter implements HttpFilter {
  private readonly settings: Settings
  private watches = false
  /** What access logs show: the fields of FilterObject that are set, 64-bit numbers as text. */
  private state: { requestMessageCount?: string; responseMessageCount?: string } | undefined
  private prefix = ''
  private cluster = ''
  private readonly requests = new GrpcFrames()
  private readonly responses = new GrpcFrames()

  constructor(settings: Settings) {
    this.settings = settings
  }

  decodeHeaders(head: RequestHead, _end: boolean, slot: FilterSlot): HeadersStatus {
    if (!isGrpcContentType(head.get(H.contentType))) return HeadersStatus.CONTINUE
    const forward = slot.route()?.forward
    if (forward === undefined) return HeadersStatus.CONTINUE
    this.watches = true
    this.cluster = forward.clusterHeader?.first(head) ?? forward.cluster
    const [, service, method] = /^\/([^/]+)\/([^/?]+)/.exec(head.path) ?? []
    // A path that names no method is counted nowhere.
    if (service !== undefined && method !== undefined) {
      const named = this.settings.allMethods || this.settings.allowed.has(`${service}/${method}`)
      const scope = named ? `${this.settings.replaceDots ? service.replaceAll('.', '_') : service}.${method}.` : ''
      this.prefix = `cluster.${this.cluster.replaceAll(':', '_')}.grpc.${scope}`
    }
    if (this.settings.emitState) {
      slot.info.filterState ??= new Map()
      this.state = {}
      slot.info.filterState.set('envoy.filters.http.grpc_stats', this.state)
    }
    return HeadersStatus.CONTINUE
  }

  decodeData(chunk: Uint8Array): DataStatus {
    if (this.watches) this.requests.add(chunk)
    return DataStatus.CONTINUE
  }

  encodeHeaders(head: ResponseHead, end: boolean): HeadersStatus {
    if (this.prefix !== '' && end) this.charge(head)
    return HeadersStatus.CONTINUE
  }

  encodeData(chunk: Uint8Array): DataStatus {
    if (this.watches) this.responses.add(chunk)
    return DataStatus.CONTINUE
  }

  encodeTrailers(trailers: HeaderMap): TrailersStatus {
    if (this.prefix !== '') this.charge(trailers)
    return TrailersStatus.CONTINUE
  }

  private charge(from: HeaderMap): void {
    const status = from.get(H.grpcStatus)
    if (status === undefined) return
    const { stats } = this.settings
    stats.counter(`${this.prefix}${status}`).inc()
    stats.counter(`${this.prefix}${status === '0' ? 'success' : 'failure'}`).inc()
    stats.counter(`${this.prefix}total`).inc()
  }

  onDestroy(): void {
    const { state, requests, responses } = this
    if (state !== undefined && requests.count > 0) state.requestMessageCount = String(requests.count)
    if (state !== undefined && responses.count > 0) state.responseMessageCount = String(responses.count)
    if (this.prefix === '') return
    const { stats } = this.settings
    const count = (name: string, messages: number): void => {
      if (messages > 0) stats.counter(this.prefix + name).add(messages)
    }
    count('request_message_count', requests.count)
    count('response_message_count', responses.count)
    this.prefix = ''
  }
}

/** `envoy.filters.http.grpc_stats`: counts calls and messages per cluster and method (source/extensions/filters/http/grpc_stats). */
export const grpcStatsFilter: HttpFilterKind = {
  type: 'envoy.extensions.filters.http.grpc_stats.v3.FilterConfig',
  name: 'envoy.filters.http.grpc_stats',
  build(message, context) {
    const config = message as FilterConfig
    const spec = config.perMethodStatSpecifier
    const allowed = new Set<string>()
    if (spec.case === 'individualMethodStatsAllowlist') {
      for (const service of spec.value.services)
        for (const m of service.methodNames) allowed.add(`${service.name}/${m}`)
    }
    if (config.enableUpstreamStats) context.proxy.notEnforced?.('grpc_stats.enable_upstream_stats')
    const settings: Settings = {
      stats: context.proxy.stats,
      allMethods: spec.case === 'statsForAllMethods' && spec.value.value,
      allowed,
      replaceDots: config.replaceDotsInGrpcServiceName,
      emitState: config.emitFilterState,
    }
    return { create: () => new GrpcStatsFilter(settings) }
  },
}
