import type { AdmissionControl } from '#gen/envoy/extensions/filters/http/admission_control/v3/admission_control_pb.js'
import type { FilterSlot } from '../../http/filter-slot.ts'
import type { HeaderMap, RequestHead, ResponseHead } from '../../http/headers.ts'
import { H } from '../../http/names.ts'
import { isGrpcContentType } from '../../http/router/route-match.ts'
import type { Counter } from '../../observe/stats.ts'
import {
  HeadersStatus,
  type HttpFilter,
  type HttpFilterContext,
  type HttpFilterKind,
  TrailersStatus,
} from '../filter.ts'
import { AdmissionConfig } from './config.ts'
import { SuccessWindow } from './controller.ts'

/** Digits of the probability that count. */
const ACCURACY = 10_000

/** What a filter remembers of an exchange that it does not watch, or whose gRPC status is still to come. */
const UNWATCHED = 'unwatched'
const STATUS_IN_TRAILERS = 'status in trailers'

/**
 * `envoy.filters.http.admission_control`, for all exchanges (source/extensions/filters/http/admission_control/admission_control.cc):
 * refuses requests by chance, the more of them the fewer have succeeded of late.
 */
class AdmissionControlFilter implements HttpFilter {
  private readonly config: AdmissionConfig
  private readonly window: SuccessWindow
  private readonly rejected: Counter
  private readonly succeeded: Counter
  private readonly failed: Counter

  constructor(config: AdmissionConfig, { proxy, statPrefix }: HttpFilterContext) {
    this.config = config
    this.window = new SuccessWindow(proxy.runtime, config.window)
    this.rejected = proxy.stats.counter(`${statPrefix}admission_control.rq_rejected`)
    this.succeeded = proxy.stats.counter(`${statPrefix}admission_control.rq_success`)
    this.failed = proxy.stats.counter(`${statPrefix}admission_control.rq_failure`)
  }

  decodeHeaders(_head: RequestHead, _end: boolean, slot: FilterSlot): HeadersStatus {
    const { config, window } = this
    if (!config.enabled || slot.info.healthCheck) {
      slot.memory = UNWATCHED
      return HeadersStatus.CONTINUE
    }
    if (window.averageRps() < config.rpsThreshold || !this.refuses(slot)) return HeadersStatus.CONTINUE
    slot.memory = UNWATCHED // refusals say nothing of the server, and would keep themselves up
    this.rejected.inc()
    slot.sendLocalReply({ status: 503, body: '', details: 'denied_by_admission_control', flag: undefined })
    return HeadersStatus.STOP
  }

  private refuses(slot: FilterSlot): boolean {
    const { config } = this
    const { requests, successes } = this.window.counts()
    let probability = (requests - successes / config.successThreshold) / (requests + 1)
    if (config.aggression !== 1) probability = probability ** (1 / config.aggression)
    // A root of what is below 0 is no number, which std::min and std::max pass over as they stand there.
    if (Number.isNaN(probability)) probability = 0
    probability = Math.max(0, Math.min(probability, config.maxRejection))
    return ACCURACY * probability > slot.runtime.randomU32() % ACCURACY
  }

  encodeHeaders(head: ResponseHead, end: boolean, slot: FilterSlot): HeadersStatus {
    if (slot.memory === UNWATCHED) return HeadersStatus.CONTINUE
    const { config } = this
    if (!isGrpc(head, end)) {
      this.record(config.isHttpSuccess(head.status))
      return HeadersStatus.CONTINUE
    }
    const code = grpcCode(head)
    if (code === undefined) slot.memory = STATUS_IN_TRAILERS
    else this.record(config.isGrpcSuccess(code))
    return HeadersStatus.CONTINUE
  }

  encodeTrailers(trailers: HeaderMap, slot: FilterSlot): TrailersStatus {
    if (slot.memory !== STATUS_IN_TRAILERS) return TrailersStatus.CONTINUE
    const code = grpcCode(trailers)
    this.record(code !== undefined && this.config.isGrpcSuccess(code))
    return TrailersStatus.CONTINUE
  }

  private record(success: boolean): void {
    if (success) this.succeeded.inc()
    else this.failed.inc()
    this.window.record(success)
  }
}

/** source/common/grpc/common.cc isGrpcResponseHeaders */
function isGrpc(head: ResponseHead, end: boolean): boolean {
  if (end) return head.has(H.grpcStatus)
  return head.status === 200 && isGrpcContentType(head.get(H.contentType))
}

/** The status of a gRPC answer; what is no number counts as invalid, which none is a success. */
function grpcCode(from: HeaderMap): number | undefined {
  const text = from.get(H.grpcStatus)
  if (text === undefined) return undefined
  return /^\d{1,10}$/.test(text) ? Number(text) : -1
}

/** `envoy.filters.http.admission_control`. */
export const admissionControlFilter: HttpFilterKind = {
  type: 'envoy.extensions.filters.http.admission_control.v3.AdmissionControl',
  name: 'envoy.filters.http.admission_control',
  build(message, context) {
    const config = new AdmissionConfig(message as AdmissionControl, context.proxy.runtimeValues)
    let filter: AdmissionControlFilter | undefined // its counters are there from the first request on
    return { create: () => (filter ??= new AdmissionControlFilter(config, context)) }
  },
}
