import type { ExtAuthz, ExtAuthzPerRoute } from '#gen/envoy/extensions/filters/http/ext_authz/v3/ext_authz_pb.js'
import type { FilterSlot } from '../../http/filter-slot.ts'
import type { HeaderMap, RequestHead, ResponseHead } from '../../http/headers.ts'
import { H } from '../../http/names.ts'
import type { Cluster } from '../../upstream/cluster.ts'
import { DataStatus, HeadersStatus, type HttpFilter, type HttpFilterKind, TrailersStatus } from '../filter.ts'
import { answerCheck, INVALID } from './answer.ts'
import { type BodyLimit, mergedExtensions, RouteSettings } from './per-route.ts'
import { changeResponse } from './response-changes.ts'
import { ExtAuthzSettings } from './settings.ts'
import type { ExtAuthzShared } from './shared.ts'
import { makeShared } from './shared.ts'
import { visibleHeaders } from './subject.ts'
import type { Verdict } from './verdict.ts'

/**
 * Asks somebody else whether a request may pass (source/extensions/filters/http/ext_authz/ext_authz.cc). The request
 * waits meanwhile, its body with it, of which the authorizer may get a part.
 */
class ExtAuthzFilter implements HttpFilter {
  private readonly shared: ExtAuthzShared
  /** The body goes to the authorizer: it is not asked before there is enough of it. */
  private buffering = false
  private body: BodyLimit | undefined
  private calling = false
  /** The authorizer is being asked this moment, and may answer at once. */
  private asking = false
  private passed = false
  private call: { cancel(): void } | undefined
  /** The permission, while it has something for the response. */
  private verdict: Verdict | undefined

  constructor(shared: ExtAuthzShared) {
    this.shared = shared
  }

  decodeHeaders(head: RequestHead, end: boolean, slot: FilterSlot): HeadersStatus {
    const { settings } = this.shared
    if (slot.route() === undefined) return HeadersStatus.CONTINUE
    const own = slot.perRoute()?.config as RouteSettings | undefined
    if (own?.disabled) return HeadersStatus.CONTINUE
    if (!this.shared.enabledFor(slot)) {
      this.shared.stats.disabled.inc()
      if (!settings.denyAtDisable) return HeadersStatus.CONTINUE
      slot.sendLocalReply({ status: settings.statusOnError, body: '', details: 'ext_authz_error', flag: 'UAEX' })
      return HeadersStatus.STOP
    }
    this.body = own?.body ?? settings.body
    if (this.body !== undefined && own?.unbuffered !== true && !end && !isUpgrade(head)) {
      this.buffering = true
      if (!this.body.partial) slot.setDecodingLimit(this.body.max)
      return HeadersStatus.STOP
    }
    this.ask(slot)
    return this.passed ? HeadersStatus.CONTINUE : HeadersStatus.STOP_ALL_AND_WATERMARK
  }

  decodeData(chunk: Uint8Array, end: boolean, slot: FilterSlot): DataStatus {
    if (!this.buffering) return DataStatus.CONTINUE
    const { max, partial } = this.body!
    if (this.calling) return DataStatus.STOP_AND_WATERMARK
    const full = partial && slot.decodingBuffer.length + chunk.length >= max
    if (!end && !full) return DataStatus.STOP_AND_BUFFER
    // Over HTTP/2 the end may come with the last bytes, which are then taken whatever there is.
    if (!partial && slot.info.protocol !== 'HTTP/2' && slot.decodingBuffer.length + chunk.length > max) {
      slot.refuseBody()
      return DataStatus.STOP_NO_BUFFER
    }
    slot.decodingBuffer.append(chunk)
    this.ask(slot)
    return this.passed ? DataStatus.CONTINUE_BUFFERED : DataStatus.STOP_NO_BUFFER
  }

  decodeTrailers(_trailers: HeaderMap, slot: FilterSlot): TrailersStatus {
    if (!this.buffering) return TrailersStatus.CONTINUE
    if (!this.calling) this.ask(slot)
    return this.passed ? TrailersStatus.CONTINUE : TrailersStatus.STOP
  }

  encodeHeaders(head: ResponseHead, _end: boolean, slot: FilterSlot): HeadersStatus {
    const { verdict } = this
    if (verdict === undefined) return HeadersStatus.CONTINUE
    if (changeResponse(verdict, head, this.shared.responseRoom())) return HeadersStatus.CONTINUE
    this.shared.stats.responseLimits.inc()
    slot.sendLocalReply(INVALID)
    return HeadersStatus.STOP
  }

  onDestroy(): void {
    this.call?.cancel()
    this.call = undefined
  }

  private ask(slot: FilterSlot): void {
    const { shared } = this
    const { settings } = shared
    const head = slot.request
    const { body, partial } = this.bodyFor(slot)
    const cluster = shared.clusterOf(slot)
    this.calling = true
    this.asking = true
    const startedAt = slot.runtime.now()
    const subject = {
      slot,
      head,
      headers: visibleHeaders(head, settings.headers, partial),
      raw: settings.headers.raw,
      body,
      contextExtensions: mergedExtensions(slot),
    }
    const call = shared
      .authorizerFor(slot)
      .check(subject, (verdict) => this.answered(verdict, slot, cluster, slot.runtime.now() - startedAt))
    this.asking = false
    if (this.calling) this.call = call
  }

  /** What the authorizer gets of the body, and whether that is a part only. */
  private bodyFor(slot: FilterSlot): { body: Buffer | undefined; partial: boolean | undefined } {
    const { decodingBuffer: buffer } = slot
    if (this.body === undefined || buffer.length === 0) return { body: undefined, partial: undefined }
    const { max } = this.body
    const bytes = buffer.bytes()
    return bytes.length > max ? { body: bytes.subarray(0, max), partial: true } : { body: bytes, partial: false }
  }

  private answered(verdict: Verdict, slot: FilterSlot, cluster: Cluster | undefined, took: number): void {
    this.calling = false
    this.call = undefined
    const outcome = answerCheck(verdict, this.shared, slot, cluster, took)
    if (outcome === 'answered') return
    if (outcome === 'changes-response') this.verdict = verdict
    this.buffering = false
    this.passed = true
    if (!this.asking) slot.continueDecoding()
  }
}

/** Whether the body is no message of the request: a websocket. */
function isUpgrade(head: RequestHead): boolean {
  if (head.method === 'CONNECT' && head.protocol !== '') return true
  return head.hasToken(H.connection, 'upgrade') && head.get(H.upgrade)?.toLowerCase() === 'websocket'
}

/** `envoy.filters.http.ext_authz`. */
export const extAuthzFilter: HttpFilterKind = {
  type: 'envoy.extensions.filters.http.ext_authz.v3.ExtAuthz',
  name: 'envoy.filters.http.ext_authz',
  build(message, context) {
    const config = message as ExtAuthz
    const shared = makeShared(config, new ExtAuthzSettings(config, context), context)
    return { create: () => new ExtAuthzFilter(shared) }
  },
  perRouteType: 'envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute',
  buildPerRoute: (message, runtime) => new RouteSettings(message as ExtAuthzPerRoute, runtime),
}
