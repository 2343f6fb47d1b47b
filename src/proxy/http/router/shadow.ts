import type { Cluster } from '../../upstream/cluster.ts'
import { BodyBuffer, EMPTY } from '../body-buffer.ts'
import type { ClientStream } from '../codec.ts'
import type { Exchange } from '../exchange.ts'
import type { HeaderMap, RequestHead, ResponseHead } from '../headers.ts'
import { H } from '../names.ts'
import { OwnRequest } from '../own-request.ts'
import type { MirrorPolicy } from './mirror-policy.ts'
import type { Forward } from './route.ts'
import type { RouterSettings } from './router-settings.ts'

/** Bytes that a copy may lag behind before it is given up; the original never waits for it. */
const LONGEST_LAG = 1 << 20

/** A copy of a request, sent for its effect: the response is read and dropped (source/common/router/shadow_writer_impl.cc). */
export class ShadowRequest extends OwnRequest {
  private sentAll = false
  /** When the whole of it had been sent; `Runtime.now()`. */
  private sentAt = 0
  /** Its response has begun. */
  private begun = false
  private readonly waiting = new BodyBuffer()
  private readonly bodyless: boolean
  /** Bytes since its connection was full. */
  private lag = 0
  private waitingEnd = false
  private waitingTrailers: HeaderMap | undefined

  private constructor(cluster: Cluster, head: RequestHead, exchange: Exchange, bodyless: boolean) {
    const { runtime, connection: downstream, upstreamAlpn } = exchange
    super(cluster, head, { runtime, downstream, upstreamAlpn })
    this.bodyless = bodyless
  }

  /** Sends the copy; undefined when the cluster has no host for it. `timeout` in ms, 0 is none. */
  static start(
    cluster: Cluster,
    original: RequestHead,
    policy: MirrorPolicy,
    exchange: Exchange,
    settings: RouterSettings,
    timeout: number,
    end: boolean,
  ): ShadowRequest | undefined {
    const head = original.clone()
    policy.change(head, exchange.info)
    head.set(H.internal, 'true')
    if (timeout > 0 && !settings.suppressEnvoyHeaders) head.set(H.expectedTimeout, String(timeout))
    const { ownAddress } = settings
    const forwarded = head.get(H.xff)
    head.set(H.xff, forwarded === undefined || forwarded === '' ? ownAddress : `${forwarded},${ownAddress}`)
    settings.countShadow()
    const shadow = new ShadowRequest(cluster, head, exchange, end)
    if (shadow.open(timeout, exchange.info.protocol ?? 'HTTP/1.1')) return shadow
    cluster.stats.chargeResponse(503, true, false)
    return undefined
  }

  protected send(stream: ClientStream): void {
    if (this.bodyless) {
      this.sent()
      stream.sendHeaders(this.headers, true)
      return
    }
    stream.sendHeaders(this.headers, false)
    const end = this.waitingEnd && this.waitingTrailers === undefined
    const chunks = this.waiting.take()
    if (end) {
      this.sent()
      if (chunks.length === 0) chunks.push(EMPTY)
    }
    for (let i = 0; i < chunks.length && !this.over; i++) stream.sendData(chunks[i]!, end && i === chunks.length - 1)
    if (this.waitingTrailers !== undefined && !this.over) {
      this.sent()
      stream.sendTrailers(this.waitingTrailers)
    }
  }

  protected failed(): void {
    this.report('connect-failed')
    this.cluster.stats.chargeResponse(503, true, false)
    this.detach()
  }

  /** Part of the original's body. */
  copy(chunk: Uint8Array, end: boolean): void {
    if (this.over) return
    if (this.stream === undefined) {
      this.waiting.append(chunk)
      if (end) this.waitingEnd = true
      if (this.waiting.length > LONGEST_LAG) this.cancel()
      return
    }
    if (end) this.sent()
    if (this.stream.sendData(chunk, end)) return
    this.lag += chunk.length
    if (this.lag > LONGEST_LAG) this.cancel()
  }

  /** The original's trailers. */
  copyTrailers(trailers: HeaderMap): void {
    if (this.over) return
    if (this.stream === undefined) {
      this.waitingTrailers = trailers
      this.waitingEnd = true
      return
    }
    this.sent()
    this.stream.sendTrailers(trailers)
  }

  override onWritable(): void {
    this.lag = 0
  }

  onHeaders(head: ResponseHead, endStream: boolean): void {
    if (this.over) return
    this.begun = true
    const { errorMatcher } = this.cluster
    if (errorMatcher === undefined) this.report(head.status)
    else this.report(errorMatcher(head) ? Math.max(head.status, 500) : 200)
    this.cluster.stats.chargeResponse(head.status, true, false)
    if (endStream) this.answered()
  }

  onData(_chunk: Uint8Array, endStream: boolean): void {
    if (endStream) this.answered()
  }

  onTrailers(): void {
    this.answered()
  }

  onReset(): void {
    if (this.over) return
    this.report('connect-failed')
    if (!this.begun) this.cluster.stats.chargeResponse(503, true, false)
    this.detach()
  }

  onTimer(): void {
    this.cluster.stats.counter('upstream_rq_timeout').inc()
    if (!this.begun) {
      this.report('timeout')
      this.cluster.stats.chargeResponse(504, true, false)
    }
    this.cancel()
  }

  /** The exchange is over. A copy that was sent whole goes on; one that will never be complete is dropped. */
  downstreamGone(complete: boolean): void {
    if (!complete) this.cancel()
  }

  private sent(): void {
    this.sentAll = true
    this.sentAt = this.runtime.now()
  }

  private answered(): void {
    if (this.over) return
    if (this.sentAll) {
      this.cluster.stats.recordRequestTime(
        Math.round(this.runtime.now() - this.sentAt),
        true,
        this.host?.canary === true,
      )
    }
    if (this.sentAll) this.detach()
    else this.cancel()
  }

  private detach(): void {
    this.finish()
    this.waiting.clear()
  }

  private cancel(): void {
    if (this.over) return
    this.detach()
    this.abandon()
  }
}

/** Starts the copies that a route asks for and chance grants; a cluster that is not there is passed over. */
export function startShadows(
  forward: Forward,
  head: RequestHead,
  exchange: Exchange,
  settings: RouterSettings,
  timeout: number,
  end: boolean,
): ShadowRequest[] | undefined {
  const shadows: ShadowRequest[] = []
  for (const policy of forward.mirrors) {
    if (!policy.fraction.hit(exchange.random())) continue
    const cluster = settings.clusters.get(policy.clusterName(head))
    if (cluster === undefined) continue
    const shadow = ShadowRequest.start(cluster, head, policy, exchange, settings, timeout, end)
    if (shadow !== undefined) shadows.push(shadow)
  }
  return shadows.length === 0 ? undefined : shadows
}
