import type { Runtime } from '../../runtime.ts'
import type { ProxyContext } from '../context.ts'
import type { Cluster } from '../upstream/cluster.ts'
import { BodyBuffer } from './body-buffer.ts'
import type { ClientStream, ResetReason } from './codec.ts'
import { localAddress } from './hcm-config.ts'
import { type RequestHead, ResponseHead } from './headers.ts'
import { type LocalReply, REPLY, resetReply } from './local-replies.ts'
import { H } from './names.ts'
import { OwnRequest } from './own-request.ts'

/** Told of the answer: the upstream's, or what Envoy would have answered in its place. */
export type AsyncCallback = (head: ResponseHead, body: Buffer) => void

/** The request that a filter makes on its own account (source/common/http/async_client_impl.cc). */
export interface AsyncRequest {
  readonly cluster: string
  readonly head: RequestHead
  readonly body: Buffer
  /** ms; 0 is none. */
  readonly timeout: number
}

/** Sends a request to a cluster; undefined when there is no such cluster. `done` is called once unless cancelled, maybe before this returns. */
export function sendAsync(
  proxy: Pick<ProxyContext, 'clusters' | 'runtime' | 'node' | 'stats'>,
  request: AsyncRequest,
  done: AsyncCallback,
): { cancel(): void } | undefined {
  const cluster = proxy.clusters.get(request.cluster)
  if (cluster === undefined) return undefined
  const { head, body, timeout } = request
  if (body.length > 0) head.set(H.contentLength, String(body.length))
  head.set(H.internal, 'true')
  head.set(H.xff, localAddress(proxy.node))
  if (timeout > 0) head.set(H.expectedTimeout, String(timeout))
  proxy.stats.counter('http.async-client.rq_total').inc()
  return new AsyncCall(cluster, proxy.runtime, request, done).start()
}

class AsyncCall extends OwnRequest {
  private readonly request: AsyncRequest
  private readonly done: AsyncCallback
  private readonly body = new BodyBuffer()
  private response: ResponseHead | undefined

  constructor(cluster: Cluster, runtime: Runtime, request: AsyncRequest, done: AsyncCallback) {
    super(cluster, request.head, { runtime, downstream: undefined, upstreamAlpn: undefined })
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
    const { body } = this.request
    stream.sendHeaders(this.headers, body.length === 0)
    if (body.length > 0) stream.sendData(body, true)
  }

  protected failed(reason: ResetReason, details: string | undefined): void {
    if (reason !== 'overflow') this.report('connect-failed')
    this.answer(resetReply(reason, details, false))
  }

  onHeaders(head: ResponseHead, end: boolean): void {
    this.response = head.clone()
    this.report(head.status)
    this.cluster.stats.chargeResponse(head.status, true, false)
    if (end) this.complete()
  }

  onData(chunk: Uint8Array, end: boolean): void {
    this.body.append(chunk)
    if (end) this.complete()
  }

  onTrailers(): void {
    this.complete()
  }

  onReset(reason: ResetReason, details: string | undefined): void {
    if (this.over) return
    this.report('connect-failed')
    this.answer(resetReply(reason, details, false))
  }

  onTimer(): void {
    if (this.over) return
    this.cluster.stats.counter('upstream_rq_timeout').inc()
    this.report('timeout')
    this.answer(REPLY.upstreamTimeout)
    this.abandon()
  }

  private complete(): void {
    if (this.over || this.response === undefined) return
    this.finish()
    this.done(this.response, this.body.bytes())
  }

  private answer({ status, body }: LocalReply): void {
    this.finish()
    this.cluster.stats.chargeResponse(status, true, false)
    const head = ResponseHead.create(status)
    const bytes = Buffer.from(body)
    if (bytes.length > 0) {
      head.set(H.contentLength, String(bytes.length))
      head.set(H.contentType, 'text/plain')
    }
    this.done(head, bytes)
  }
}
