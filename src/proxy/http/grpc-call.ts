import type { Counter } from '../observe/stats.ts'
import type { Cluster } from '../upstream/cluster.ts'
import type { ClientStream, ResetReason } from './codec.ts'
import { FrameReader } from './grpc-frames.ts'
import { GrpcStatus } from './grpc-status.ts'
import type { HeaderMap, RequestHead, ResponseHead } from './headers.ts'
import { grpcStatusOf, httpStatusOf } from './local-replies.ts'
import { H } from './names.ts'
import { OwnRequest, type OwnRequestOrigin } from './own-request.ts'

/** What a call came to: its gRPC status, and the bytes of the message if there was one. */
type CallEnd = (status: number, message: Buffer | undefined) => void

/** One unary gRPC call on its way (source/common/grpc/async_client_impl.cc AsyncRequestImpl). */
export class GrpcCall extends OwnRequest {
  private readonly frame: Buffer
  private readonly reader: FrameReader
  /** Counts answers that broke off. */
  private readonly cutOffs: Counter
  private readonly done: CallEnd
  private responded = false
  /** When the call had been sent; `Runtime.now()`. */
  private sentAt = 0

  constructor(
    cluster: Cluster,
    head: RequestHead,
    origin: OwnRequestOrigin,
    frame: Buffer,
    maxMessage: number,
    cutOffs: Counter,
    done: CallEnd,
  ) {
    super(cluster, head, origin)
    this.frame = frame
    this.reader = new FrameReader(maxMessage)
    this.cutOffs = cutOffs
    this.done = done
  }

  /** `timeout` in ms, 0 is none. */
  start(timeout: number): void {
    if (this.open(timeout, 'HTTP/1.1')) return
    this.cluster.stats.chargeResponse(503, this.internal, false)
    this.end(GrpcStatus.UNAVAILABLE)
  }

  /** Drops it: nobody is told. */
  cancel(): void {
    if (this.over) return
    this.finish()
    this.abandon()
  }

  protected send(stream: ClientStream): void {
    stream.sendHeaders(this.headers, false)
    stream.sendData(this.frame, true)
    this.sentAt = this.runtime.now()
  }

  protected failed(reason: ResetReason): void {
    if (reason !== 'overflow') this.report('connect-failed')
    if (!this.retriesAfterReset(reason)) this.replaced(503)
  }

  onHeaders(head: ResponseHead, end: boolean): void {
    if (this.over || this.retriesAfter(head, end)) return
    this.responded = true
    this.cluster.stats.chargeResponse(head.status, this.internal, this.canary(head))
    const status = statusOf(head)
    this.report(status === undefined ? head.status : httpStatusOf(status))
    if (end) this.answered(head)
    if (head.status !== 200) {
      this.host!.stats[head.status >= 500 ? 'rqError' : 'rqSuccess'].inc()
      if (end) this.end(status ?? grpcStatusOf(head.status))
      else this.breakOff(grpcStatusOf(head.status))
    } else if (end) this.close(head)
  }

  onData(chunk: Uint8Array, end: boolean): void {
    if (this.over) return
    const error = this.reader.push(chunk)
    if (error !== undefined) {
      if (end) this.end(error)
      else this.breakOff(error)
    } else if (end) {
      // A call ends with trailers, not with data.
      this.answered(undefined)
      this.end(GrpcStatus.UNKNOWN)
    }
  }

  onTrailers(trailers: HeaderMap): void {
    if (this.over) return
    this.answered(trailers)
    this.close(trailers)
  }

  onReset(reason: ResetReason): void {
    if (this.over) return
    this.report('connect-failed')
    if (this.responded) this.cutOff()
    else if (!this.retriesAfterReset(reason)) this.replaced(503)
  }

  onTimer(): void {
    if (this.over) return
    this.cluster.stats.counter('upstream_rq_timeout').inc()
    this.host?.stats.rqTimeout.inc()
    this.report('timeout')
    this.abandon()
    if (this.responded) this.cutOff()
    else this.replaced(504)
  }

  protected override tryTimedOut(): void {
    if (this.responded) this.cutOff()
    else this.replaced(504)
  }

  /** The response had begun. */
  private cutOff(): void {
    this.cutOffs.inc()
    this.end(GrpcStatus.INTERNAL)
  }

  /** What Envoy would have answered in the upstream's place. */
  private replaced(status: number): void {
    this.cluster.stats.chargeResponse(status, this.internal, false)
    this.host?.stats.rqError.inc()
    this.end(GrpcStatus.UNAVAILABLE)
  }

  /** The whole response is here, be it good or bad. */
  private answered(trailers: HeaderMap | undefined): void {
    const status = trailers && statusOf(trailers)
    const failed = status === undefined || httpStatusOf(status) >= 500
    this.host!.stats[failed ? 'rqError' : 'rqSuccess'].inc()
    this.cluster.stats.recordRequestTime(
      Math.floor(this.runtime.now() - this.sentAt),
      this.internal,
      this.canary(undefined),
    )
  }

  private canary(head: ResponseHead | undefined): boolean {
    return this.host?.canary === true || head?.get(H.upstreamCanary) === 'true'
  }

  private close(trailers: HeaderMap | undefined): void {
    const status = (trailers && statusOf(trailers)) ?? GrpcStatus.UNKNOWN
    this.end(status)
  }

  private breakOff(status: number): void {
    this.abandon()
    this.end(status)
  }

  private end(status: number): void {
    if (this.over) return
    this.finish()
    this.done(status, this.reader.message)
  }
}

/** The `grpc-status` of headers or trailers; one that is none counts as unknown (source/common/grpc/common.cc getGrpcStatus). */
function statusOf(trailers: HeaderMap): number | undefined {
  const text = trailers.get(H.grpcStatus)
  if (text === undefined || text === '') return undefined
  return /^\d{1,9}$/.test(text) ? Number(text) : -1
}
