import type {
  RateLimitPerRoute,
  RateLimit as RateLimitProto,
} from '#gen/envoy/extensions/filters/http/ratelimit/v3/rate_limit_pb.js'
import type { ProxyContext } from '../../context.ts'
import type { FilterSlot } from '../../http/filter-slot.ts'
import type { GrpcPending } from '../../http/grpc-client.ts'
import type { HeaderMap, RequestHead, ResponseHead } from '../../http/headers.ts'
import type { Descriptor, DescriptorSubject } from '../../http/rate-limit/descriptor.ts'
import { descriptorSubject } from '../../http/rate-limit/subject.ts'
import type { Route } from '../../http/router/route.ts'
import type { Cluster } from '../../upstream/cluster.ts'
import { DataStatus, HeadersStatus, type HttpFilter, type HttpFilterKind, TrailersStatus } from '../filter.ts'
import { changeRequest, changeResponse, type HeaderPair, outcomeOf } from './answer.ts'
import { RateLimitPlan } from './plan.ts'
import type { LimitVerdict } from './service.ts'
import { RateLimitSettings, RouteRateLimit } from './settings.ts'

/** What is remembered of a request that has rate limits. */
interface LimitedRequest {
  readonly plan: RateLimitPlan
  readonly subject: DescriptorSubject
  readonly cluster: Cluster
  state: 'idle' | 'calling' | 'answered' | 'passed'
  /** The service is being asked this moment, and may answer at once. */
  asking: boolean
  call: GrpcPending | undefined
  /** What the service, and this filter, add to the response. */
  headers: readonly HeaderPair[]
}

/** Filter state in which others may say how many hits a request stands for. */
const HITS_ADDEND = 'envoy.ratelimit.hits_addend'

/** Asks a rate limit service whether a request may pass (source/extensions/filters/http/ratelimit/ratelimit.cc). */
class RateLimitFilter implements HttpFilter {
  private readonly settings: RateLimitSettings
  private readonly proxy: ProxyContext
  /** By route, made when it is first taken. */
  private readonly plans = new WeakMap<Route, RateLimitPlan>()

  constructor(settings: RateLimitSettings, proxy: ProxyContext) {
    this.settings = settings
    this.proxy = proxy
  }

  decodeHeaders(_head: RequestHead, _end: boolean, slot: FilterSlot): HeadersStatus {
    const { settings } = this
    const route = slot.route()
    const plan = route && this.planOf(route, slot)
    if (plan === undefined || plan.empty) return HeadersStatus.CONTINUE
    if (!settings.enabled.hit(slot.runtime.randomU32()) || !this.isAbout(slot)) return HeadersStatus.CONTINUE
    const subject = descriptorSubject(slot, route!, this.proxy)
    const cluster = this.proxy.clusters.get(subject.routeCluster!)
    if (cluster === undefined) return HeadersStatus.CONTINUE
    const request: LimitedRequest = {
      plan,
      subject,
      cluster,
      state: 'idle',
      asking: false,
      call: undefined,
      headers: [],
    }
    slot.memory = request
    const descriptors = this.descriptors(request, slot, false)
    if (descriptors.length === 0) return HeadersStatus.CONTINUE
    this.ask(request, descriptors, slot)
    return stops(request) ? HeadersStatus.STOP : HeadersStatus.CONTINUE
  }

  decodeData(_chunk: Uint8Array, _end: boolean, slot: FilterSlot): DataStatus {
    const request = slot.memory as LimitedRequest | undefined
    return request?.state === 'calling' ? DataStatus.STOP_AND_WATERMARK : DataStatus.CONTINUE
  }

  decodeTrailers(_trailers: HeaderMap, slot: FilterSlot): TrailersStatus {
    const request = slot.memory as LimitedRequest | undefined
    return request?.state === 'calling' ? TrailersStatus.STOP : TrailersStatus.CONTINUE
  }

  encodeHeaders(head: ResponseHead, _end: boolean, slot: FilterSlot): HeadersStatus {
    const request = slot.memory as LimitedRequest | undefined
    if (request !== undefined) {
      changeResponse(head, request.headers)
      request.headers = []
    }
    return HeadersStatus.CONTINUE
  }

  onDestroy(slot: FilterSlot): void {
    const request = slot.memory as LimitedRequest | undefined
    if (request === undefined) return
    if (request.state === 'calling') {
      request.state = 'passed'
      request.call?.cancel()
      return
    }
    if (!request.plan.anyOnStreamDone) return
    const descriptors = this.descriptors(request, slot, true)
    if (descriptors.length > 0) this.limit(request, descriptors, slot, () => {})
  }

  /** Undefined for a route that sends requests nowhere. */
  private planOf(route: Route, slot: FilterSlot): RateLimitPlan | undefined {
    const { forward } = route
    if (forward === undefined) return undefined
    let plan = this.plans.get(route)
    if (plan === undefined) {
      const own = slot.perRoute()?.config as RouteRateLimit | undefined
      plan = new RateLimitPlan(this.settings, route, forward, own)
      this.plans.set(route, plan)
    }
    return plan
  }

  /** Whether the filter's request_type covers it. */
  private isAbout({ exchange }: FilterSlot): boolean {
    const { requestType } = this.settings
    return requestType === 'both' || exchange.internal === (requestType === 'internal')
  }

  private descriptors({ plan, subject }: LimitedRequest, slot: FilterSlot, onStreamDone: boolean): Descriptor[] {
    const { runtime } = slot
    return plan.descriptors(subject, onStreamDone, this.proxy.runtimeValues, () => runtime.randomU32())
  }

  private ask(request: LimitedRequest, descriptors: readonly Descriptor[], slot: FilterSlot): void {
    request.state = 'calling'
    request.asking = true
    const call = this.limit(request, descriptors, slot, (verdict) => this.answered(verdict, request, descriptors, slot))
    request.asking = false
    if (request.state === 'calling') request.call = call
  }

  private limit(
    { plan, subject }: LimitedRequest,
    descriptors: readonly Descriptor[],
    slot: FilterSlot,
    done: (verdict: LimitVerdict) => void,
  ): GrpcPending {
    const options = {
      info: slot.info,
      downstream: subject.connection,
      metadataMatch: plan.metadataMatch,
    }
    const hits = slot.info.filterState?.get(HITS_ADDEND)
    // Other kinds of objects, be they texts of numbers, do not count.
    const addend = typeof hits === 'number' ? hits : 0
    return this.settings.service.limit(plan.domain, descriptors, addend, options, done)
  }

  private answered(
    verdict: LimitVerdict,
    request: LimitedRequest,
    descriptors: readonly Descriptor[],
    slot: FilterSlot,
  ): void {
    request.call = undefined
    request.state = 'passed'
    const { settings } = this
    const { reply, headers } = outcomeOf(verdict, descriptors, settings, request.cluster, slot)
    if (reply !== undefined) {
      request.state = 'answered'
      slot.sendLocalReply(reply, (head) => {
        changeResponse(head, headers)
        slot.info.response = head // the formats of headers may speak of it
        if (verdict.result === 'over limit') settings.limitedHeaders.apply(head, slot.info)
      })
      return
    }
    request.headers = headers
    if (request.asking) return
    changeRequest(slot.request, verdict)
    slot.continueDecoding()
  }
}

const stops = ({ state }: LimitedRequest): boolean => state === 'calling' || state === 'answered'

/** `envoy.filters.http.ratelimit`. */
export const rateLimitFilter: HttpFilterKind = {
  type: 'envoy.extensions.filters.http.ratelimit.v3.RateLimit',
  name: 'envoy.filters.http.ratelimit',
  build(message, { proxy }) {
    const filter = new RateLimitFilter(new RateLimitSettings(message as RateLimitProto, proxy), proxy)
    return { create: () => filter }
  },
  perRouteType: 'envoy.extensions.filters.http.ratelimit.v3.RateLimitPerRoute',
  buildPerRoute: (message, _runtime, proxy) => new RouteRateLimit(message as RateLimitPerRoute, proxy),
}
