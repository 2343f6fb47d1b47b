import type { Runtime } from '../../runtime.ts'
import type { ProxyContext } from '../context.ts'
import type { Cluster } from '../upstream/cluster.ts'
import { BodyBuffer } from './body-buffer.ts'
import type { ClientStream, ResetReason } from './codec.ts'
import { localAddress } from './hcm-config.ts'
import { type RequestHead, ResponseHead } from './headers.ts'
import { type LocalReply, REPLY, resetReply } from './local-replies.ts'
import { H } from './names.ts'
import { OwnRequest, timeoutOfTry } from './own-request.ts'
import type { RetryPolicy } from './router/retry-policy.ts'

/** Told of the answer: the upstream's, or what Envoy would have answered in its place. */
export type AsyncCallback = (head: ResponseHead, body: Buffer) => void

/** The request that a filter makes on its own account (source/common/http/async_client_impl.cc). */
export interface AsyncRequest {
  readonly cluster: string
  readonly head: RequestHead
  readonly body: Buffer
  /** ms; 0 is none. */
  readonly timeout: number
  /** Says in `x-forwarded-for` who asks. Default true. */
  readonly sendXff?: boolean
  /** Says whether the attempt is dropped for another one, which whoever asks makes. */
  readonly retry?: AsyncRetry | undefined
  /** When the request is made again, without whoever asks being asked; undefined: never. */
  readonly retryPolicy?: RetryPolicy | undefined
}

/** Decides about the attempts of one request. True: nobody is told of this one, it counts as retried. */
export interface AsyncRetry {
  /** The attempt is not the first one. */
  readonly again: boolean
  onHeaders(head: ResponseHead): boolean
  onReset(reason: ResetReason): boolean
}

/** Bytes of the longest body that is read; a response with a longer one failed. */
const RESPONSE_LIMIT = 32 * 1024 * 1024
/** What stands for a response that broke off (source/extensions/filters/http/lua/lua_filter.cc onFailure). */
const BROKEN_OFF: LocalReply = { ...REPLY.upstreamTimeout, status: 503, body: 'upstream failure' }

/** Sends a request to a cluster; undefined when there is no such cluster. `done` is called once unless cancelled, maybe before this returns. */
export function sendAsync(
  proxy: Pick<ProxyContext, 'clusters' | 'runtime' | 'node' | 'stats'>,
  request: AsyncRequest,
  done: AsyncCallback,
): { cancel(): void } | undefined {
  const cluster = proxy.clusters.get(request.cluster)
  if (cluster === undefined) return undefined
  const { head, body, timeout, sendXff = true, retry } = request
  if (body.length > 0) head.set(H.contentLength, String(body.length))
  head.set(H.internal, 'true')
  if (sendXff) head.set(H.xff, localAddress(proxy.node))
  const expected = timeoutOfTry(timeout, request.retryPolicy)
  if (expected > 0) head.set(H.expectedTimeout, String(expected))
  if (retry?.again !== true) proxy.stats.counter('http.async-client.rq_total').inc()
  return new AsyncCall(cluster, proxy.runtime, request, done).start()
}

class AsyncCall extends OwnRequest {
  private readonly request: AsyncRequest
  private readonly done: AsyncCallback
  private readonly body = new BodyBuffer()
  private response: ResponseHead | undefined
  /** When the request had been sent; `Runtime.now()`. */
  private sentAt = 0

  constructor(cluster: Cluster, runtime: Runtime, request: AsyncRequest, done: AsyncCallback) {
    const { retryPolicy } = request
    super(cluster, request.head, { runtime, downstream: undefined, upstreamAlpn: undefined, retryPolicy })
    this.request = request
    this.done = done
  }

  start(): this {
    if (!this.open(this.request.timeout, 'HTTP/1.1')) this.answer(REPLY.noHealthyHost)
    return this
  }

  /** Drops it: nobody is told. */
  cancel(): void {
    if (this.over) return
    this.finish()
    this.abandon()
  }

  protected send(stream: ClientStream): void {
    const { body, retry } = this.request
    // Envoy does not know any more that there was no body when it sends a request again.
    const headOnly = body.length === 0 && retry?.again !== true && !this.retried
    stream.sendHeaders(this.headers, headOnly)
    if (!headOnly) stream.sendData(body, true)
    this.sentAt = this.runtime.now()
  }

  protected failed(reason: ResetReason, details: string | undefined): void {
    if (reason !== 'overflow') this.report('connect-failed')
    if (!this.dropped(reason)) this.answer(resetReply(reason, details, false))
  }

  protected override tryTimedOut(): void {
    if (this.response !== undefined) this.brokenOff()
    else this.answer(REPLY.perTryTimeout)
  }

  onHeaders(head: ResponseHead, end: boolean): void {
    if (this.over || this.retriesAfter(head, end)) return
    if (this.request.retry?.onHeaders(head)) {
      this.report(head.status)
      this.host?.stats.rqError.inc()
      this.cluster.stats.chargeRetriedResponse(head.status)
      this.finish()
      if (!end) this.abandon()
      return
    }
    this.response = head.clone()
    this.response.set(H.upstreamServiceTime, String(Math.floor(this.runtime.now() - this.sentAt)))
    this.report(head.status)
    this.host?.stats[head.status >= 500 ? 'rqError' : 'rqSuccess'].inc()
    this.cluster.stats.chargeResponse(head.status, true, false)
    if (end) this.complete()
  }

  onData(chunk: Uint8Array, end: boolean): void {
    if (this.over) return
    this.body.append(chunk)
    if (this.body.length > RESPONSE_LIMIT) {
      this.abandon()
      this.brokenOff()
    } else if (end) this.complete()
  }

  onTrailers(): void {
    this.complete()
  }

  onReset(reason: ResetReason, details: string | undefined): void {
    if (this.over) return
    this.report('connect-failed')
    if (this.response !== undefined) this.brokenOff()
    else if (!this.dropped(reason)) this.answer(resetReply(reason, details, false))
  }

  onTimer(): void {
    if (this.over) return
    this.cluster.stats.counter('upstream_rq_timeout').inc()
    this.host?.stats.rqTimeout.inc()
    this.report('timeout')
    this.abandon()
    if (this.response !== undefined) this.brokenOff()
    else if (this.request.retry === undefined || !this.dropped('local reset')) this.answer(REPLY.upstreamTimeout)
  }

  /** There will be another attempt in place of this one, which broke off. */
  private dropped(reason: ResetReason): boolean {
    if (this.retriesAfterReset(reason)) return true
    if (!this.request.retry?.onReset(reason)) return false
    this.host?.stats.rqError.inc()
    this.finish()
    return true
  }

  private complete(): void {
    if (this.over || this.response === undefined) return
    this.finish()
    this.cluster.stats.recordRequestTime(Math.floor(this.runtime.now() - this.sentAt), true, false)
    this.done(this.response, this.body.bytes())
  }

  /** What Envoy would have answered in the upstream's place. */
  private answer(reply: LocalReply): void {
    this.finish()
    this.cluster.stats.chargeResponse(reply.status, true, false)
    this.host?.stats.rqError.inc()
    this.replace(reply)
  }

  /** The response had begun. */
  private brokenOff(): void {
    this.finish()
    this.replace(BROKEN_OFF)
  }

  private replace({ status, body }: LocalReply): void {
    const head = ResponseHead.create(status)
    const bytes = Buffer.from(body)
    if (bytes.length > 0) {
      head.set(H.contentLength, String(bytes.length))
      head.set(H.contentType, 'text/plain')
    }
    this.done(head, bytes)
  }
}
