import type { Runtime } from '../../runtime.ts'
import type { ProxyContext } from '../context.ts'
import type { ConnectionInfo } from '../listener/connection.ts'
import type { Cluster, LoadBalancerContext, Pending, PoolCallbacks } from '../upstream/cluster.ts'
import type { Host } from '../upstream/host.ts'
import { BodyBuffer } from './body-buffer.ts'
import type { ClientStream, ClientStreamHandler } from './codec.ts'
import { localAddress } from './hcm-config.ts'
import { type RequestHead, ResponseHead } from './headers.ts'
import { REPLY, resetReply } from './local-replies.ts'
import { H } from './names.ts'
import { type TimerOwner, timerWheel, WheelTimer } from './timer-wheel.ts'

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

class AsyncCall implements ClientStreamHandler, PoolCallbacks, LoadBalancerContext, TimerOwner {
  readonly hash = undefined
  readonly metadataMatch = undefined
  readonly downstream: ConnectionInfo | undefined = undefined
  readonly headers: RequestHead
  readonly hostSelectionRetryCount = 0
  readonly upstreamServerName = undefined
  readonly upstreamAlpn = undefined
  readonly overrideHost = undefined
  private readonly cluster: Cluster
  private readonly runtime: Runtime
  private readonly request: AsyncRequest
  private readonly done: AsyncCallback
  private readonly body = new BodyBuffer()
  private readonly timer = new WheelTimer(this, 1)
  private host: Host | undefined
  private stream: ClientStream | undefined
  private pending: Pending | undefined
  private response: ResponseHead | undefined
  private over = false

  constructor(cluster: Cluster, runtime: Runtime, request: AsyncRequest, done: AsyncCallback) {
    this.cluster = cluster
    this.runtime = runtime
    this.request = request
    this.headers = request.head
    this.done = done
  }

  start(): this {
    this.host = this.cluster.chooseHost(this)
    if (this.host === undefined) {
      this.answer(REPLY.noHealthyHost.status, REPLY.noHealthyHost.body)
      return this
    }
    if (this.request.timeout > 0) timerWheel(this.runtime).start(this.timer, this.request.timeout)
    const pending = this.cluster.newStream(this.host, this, 'default', 'HTTP/1.1', this, this)
    if (this.stream === undefined && !this.over) this.pending = pending
    return this
  }

  /** Drops it: nobody is told. */
  cancel(): void {
    if (this.over) return
    this.finish()
    if (this.pending !== undefined) this.pending.cancel()
    else this.stream?.reset()
  }

  shouldSelectAnotherHost(): boolean {
    return false
  }

  onPoolReady(stream: ClientStream, host: Host): void {
    this.pending = undefined
    this.host = host
    this.stream = stream
    const { body } = this.request
    stream.sendHeaders(this.headers, body.length === 0)
    if (body.length > 0) stream.sendData(body, true)
  }

  onPoolFailure(reason: Parameters<PoolCallbacks['onPoolFailure']>[0], details: string | undefined): void {
    this.pending = undefined
    if (this.host !== undefined && reason !== 'overflow') this.cluster.reportResult(this.host, 'connect-failed')
    const reply = resetReply(reason, details, false)
    this.answer(reply.status, String(reply.body))
  }

  onInterim(): void {}
  onWritable(): void {}

  onHeaders(head: ResponseHead, end: boolean): void {
    this.response = head.clone()
    this.cluster.reportResult(this.host!, head.status)
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

  onReset(reason: Parameters<ClientStreamHandler['onReset']>[0], details: string | undefined): void {
    if (this.over) return
    this.cluster.reportResult(this.host!, 'connect-failed')
    const reply = resetReply(reason, details, false)
    this.answer(reply.status, String(reply.body))
  }

  onTimer(): void {
    if (this.over) return
    this.cluster.stats.counter('upstream_rq_timeout').inc()
    if (this.host !== undefined) this.cluster.reportResult(this.host, 'timeout')
    const { pending, stream } = this
    this.answer(REPLY.upstreamTimeout.status, String(REPLY.upstreamTimeout.body))
    if (pending !== undefined) pending.cancel()
    else stream?.reset()
  }

  private complete(): void {
    if (this.over || this.response === undefined) return
    this.finish()
    this.done(this.response, this.body.bytes())
  }

  private answer(status: number, body: string | Uint8Array): void {
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

  private finish(): void {
    this.over = true
    this.timer.stop()
  }
}
