import type { Runtime } from '../../../runtime.ts'
import type { ConnectionInfo } from '../../listener/connection.ts'
import type { Cluster, Pending, PoolCallbacks } from '../../upstream/cluster.ts'
import type { Host } from '../../upstream/host.ts'
import { BodyBuffer, EMPTY } from '../body-buffer.ts'
import type { ClientStream, ClientStreamHandler, ResetReason } from '../codec.ts'
import type { Exchange } from '../exchange.ts'
import type { ResponseSource } from '../exchange-flow.ts'
import type { HeaderMap, ResponseHead } from '../headers.ts'
import { type TimerOwner, type TimerWheel, WheelTimer } from '../timer-wheel.ts'
import type { RouterBalancing } from './lb-context.ts'
import { updateAuthority } from './rewrite.ts'
import type { Forward } from './route.ts'
import { countAll, type RouteStats } from './route-stats.ts'
import { openTcpUpstream, terminates } from './tcp-upstream.ts'
import type { RequestTimeouts } from './timeouts.ts'

const PER_TRY = 1
const PER_TRY_IDLE = 2
const MAX_DURATION = 3
const NO_CHUNKS: readonly Buffer[] = []

/** What an attempt knows of the router, and tells it. */
export interface AttemptOwner {
  readonly runtime: Runtime
  readonly wheel: TimerWheel
  readonly exchange: Exchange
  readonly forward: Forward
  readonly balancing: RouterBalancing
  readonly timeouts: RequestTimeouts
  /** Virtual cluster and route that count beside the cluster. */
  readonly watching: readonly RouteStats[]
  /** The request has come in whole. */
  readonly complete: boolean
  /** No x-envoy-* headers of our own. */
  readonly quiet: boolean
  onInterim(request: UpstreamRequest, head: ResponseHead): void
  onHeaders(request: UpstreamRequest, head: ResponseHead, end: boolean): void
  onUpstreamData(request: UpstreamRequest, chunk: Uint8Array, end: boolean): void
  onUpstreamTrailers(request: UpstreamRequest, trailers: HeaderMap): void
  onReset(request: UpstreamRequest, reason: ResetReason, transport: string | undefined): void
  onPerTryTimeout(request: UpstreamRequest, idle: boolean): void
  onMaxDuration(request: UpstreamRequest): void
}

/**
 * One attempt to get a response from a host (source/common/router/upstream_request.cc): waits for a connection,
 * sends what there is and what comes, hands back what it hears. Once `over`, nothing it hears counts.
 */
export class UpstreamRequest implements ClientStreamHandler, PoolCallbacks, ResponseSource, TimerOwner {
  readonly router: AttemptOwner
  readonly cluster: Cluster
  host: Host
  /** Detached from the router: answered, reset or abandoned. */
  over = false
  awaitingHeaders = true
  /** The whole request has been handed to the connection. */
  sentAll = false
  /** The request, or some of it, has been handed to a connection. */
  started = false
  /** It failed before it was for any one host. */
  unassigned = false
  /** Another attempt was started because this one took too long; it still may win. */
  retried = false
  /** Its timeout has been reported already. */
  timeoutReported = false
  /** A gRPC response whose status comes with its trailers. */
  statusPending = false
  /** The host marked itself as a canary, or is one. */
  canary = false
  /** The connection, once there is one. */
  connection: ConnectionInfo | undefined = undefined
  private protocol: 'HTTP/1.1' | 'HTTP/2' | undefined = undefined
  private stream: ClientStream | undefined
  private pending: Pending | undefined
  private waiting: BodyBuffer | undefined = undefined
  private bodyless = false
  private waitingEnd = false
  private waitingTrailers: HeaderMap | undefined
  private pausedDownstream = false
  private pausedQuietly = false
  /** An upgrade sends no body before the upstream agrees. */
  private held: boolean
  // Most requests need none of these.
  private perTry: WheelTimer | undefined = undefined
  private perTryIdle: WheelTimer | undefined = undefined
  private duration: WheelTimer | undefined = undefined

  constructor(router: AttemptOwner, cluster: Cluster, host: Host) {
    this.router = router
    this.cluster = cluster
    this.host = host
    this.held = router.exchange.upgrade
  }

  /** Asks the pool. `end`: the request has no body. Answers may come before this returns. */
  start(end: boolean): void {
    const { router } = this
    this.bodyless = end
    const pending = terminates(router.forward.connect, router.exchange.request)
      ? openTcpUpstream(this.cluster, this.host, router.balancing, this, this)
      : this.cluster.newStream(
          this.host,
          router.balancing,
          router.forward.priority,
          router.exchange.info.protocol ?? 'HTTP/1.1',
          this,
          this,
        )
    if (this.stream === undefined && !this.over) this.pending = pending
    if (this.held) this.pauseDownstream()
  }

  onPoolReady(
    stream: ClientStream,
    host: Host,
    info: ConnectionInfo,
    protocol: 'HTTP/1.1' | 'HTTP/2' | undefined,
  ): void {
    const { router } = this
    this.pending = undefined
    if (this.over) {
      stream.reset()
      return
    }
    this.stream = stream
    this.host = host
    this.connection = info
    this.protocol = protocol
    this.describe()
    const stats = router.exchange.info
    const now = router.runtime.now()
    if (stats.upstreamFirstTx === 0) stats.upstreamFirstTx = now
    countAll(router.watching, 'rqTotal')
    this.cluster.reportResult(host, 'connect-success')
    stats.upstreamTransportFailure = undefined
    this.nameHost(host)
    this.started = true
    if (router.complete) this.armPerTry()
    this.armStream()
    if (this.bodyless) this.finishedSending()
    stream.sendHeaders(router.exchange.request, this.bodyless)
    stats.upstreamHeaderBytesSent = router.exchange.request.wireSize
    if (this.bodyless || this.over || this.held) return
    this.flush()
  }

  /** Makes this attempt the one that logs and header variables speak of. */
  describe(): void {
    const { info } = this.router.exchange
    info.upstreamHost = this.host
    info.upstream = this.connection
    info.upstreamProtocol = this.protocol
  }

  private flush(): void {
    const stream = this.stream!
    const end = this.waitingEnd && this.waitingTrailers === undefined
    const chunks = this.waiting?.take() ?? NO_CHUNKS
    if (end) this.finishedSending()
    let room = true
    for (let i = 0; i < chunks.length && !this.over; i++) {
      room = stream.sendData(chunks[i]!, end && i === chunks.length - 1)
    }
    if (chunks.length === 0 && end && !this.over) stream.sendData(EMPTY, true)
    if (this.waitingTrailers !== undefined && !this.over) {
      this.finishedSending()
      stream.sendTrailers(this.waitingTrailers)
    } else if (room) this.resumeDownstream()
  }

  private finishedSending(): void {
    this.sentAll = true
    this.router.exchange.info.upstreamLastTx = this.router.runtime.now()
  }

  onPoolFailure(reason: ResetReason, details: string | undefined, host: Host | undefined): void {
    this.pending = undefined
    if (this.over) return
    if (host !== undefined) this.host = host
    else this.unassigned = true
    this.router.onReset(this, reason, details)
  }

  /** More of the request's body. */
  send(chunk: Uint8Array, end: boolean): void {
    if (this.over) return
    const { stream } = this
    if (stream === undefined || this.held) {
      this.waiting ??= new BodyBuffer()
      this.waiting.append(chunk)
      if (end) this.waitingEnd = true
      const limit = this.router.exchange.bufferLimit
      if (limit > 0 && this.waiting.length > limit) this.pauseDownstream()
      return
    }
    if (end) this.finishedSending()
    if (!stream.sendData(chunk, end) && !end) this.pauseDownstream()
  }

  sendTrailers(trailers: HeaderMap): void {
    if (this.over) return
    if (this.stream === undefined || this.held) {
      this.waitingTrailers = trailers
      this.waitingEnd = true
      return
    }
    this.finishedSending()
    this.stream.sendTrailers(trailers)
  }

  private pauseDownstream(): void {
    if (this.pausedDownstream) return
    this.pausedDownstream = true
    this.pausedQuietly = this.held
    this.router.exchange.flow.pauseRequest(this.held)
  }

  private resumeDownstream(): void {
    if (!this.pausedDownstream) return
    this.pausedDownstream = false
    this.router.exchange.flow.resumeRequest(this.pausedQuietly)
  }

  onWritable(): void {
    if (!this.over && !this.held) this.resumeDownstream()
  }

  onInterim(head: ResponseHead): void {
    if (!this.over) this.router.onInterim(this, head)
  }

  onHeaders(head: ResponseHead, endStream: boolean): void {
    this.router.exchange.info.upstreamHeaderBytesReceived = head.wireSize
    if (this.over) return
    this.awaitingHeaders = false
    this.perTry?.stop()
    this.touch()
    this.router.onHeaders(this, head, endStream)
  }

  /** The upstream agreed to an upgrade: what was held goes out. */
  release(): void {
    if (!this.held) return
    this.held = false
    if (this.stream !== undefined) this.flush()
  }

  onData(chunk: Uint8Array, endStream: boolean): void {
    if (this.over) return
    this.touch()
    this.router.onUpstreamData(this, chunk, endStream)
  }

  onTrailers(trailers: HeaderMap): void {
    if (!this.over) this.router.onUpstreamTrailers(this, trailers)
  }

  onReset(reason: ResetReason, details: string | undefined): void {
    if (!this.over) this.router.onReset(this, reason, details)
  }

  pauseResponse(): void {
    this.stream?.pauseReading()
  }

  resumeResponse(): void {
    if (!this.over) this.stream?.resumeReading()
  }

  /** The timeouts of a try run from here: the connection is there and the request complete. */
  armPerTry(): void {
    if (this.stream === undefined) return
    const { timeouts, wheel, forward } = this.router
    if (timeouts.perTry > 0 && this.awaitingHeaders) {
      this.perTry ??= new WheelTimer(this, PER_TRY)
      if (!this.perTry.running) wheel.start(this.perTry, timeouts.perTry)
    }
    const idle = forward.retryPolicy.perTryIdleTimeout
    if (idle > 0 && this.perTryIdle === undefined) {
      this.perTryIdle = new WheelTimer(this, PER_TRY_IDLE)
      wheel.start(this.perTryIdle, idle)
    }
  }

  /** The request goes by the host's own name where the route says so. */
  private nameHost(host: Host): void {
    const { forward, exchange, quiet } = this.router
    if (!forward.hostRewrite.auto || host.hostname === '') return
    updateAuthority(exchange.request, host.hostname, forward.appendForwardedHost, !quiet)
  }

  /** The time that the stream may take runs from the moment it is there. */
  private armStream(): void {
    const { wheel, timeouts } = this.router
    const duration = timeouts.stream ?? this.cluster.maxStreamDuration
    if (duration <= 0) return
    this.duration = new WheelTimer(this, MAX_DURATION)
    wheel.start(this.duration, duration)
  }

  private touch(): void {
    if (this.perTryIdle?.running)
      this.router.wheel.start(this.perTryIdle, this.router.forward.retryPolicy.perTryIdleTimeout)
  }

  onTimer(kind: number): void {
    if (this.over) return
    if (kind === PER_TRY) {
      this.perTryIdle?.stop()
      this.router.onPerTryTimeout(this, false)
    } else if (kind === PER_TRY_IDLE) {
      this.perTry?.stop()
      this.router.onPerTryTimeout(this, true)
    } else this.router.onMaxDuration(this)
  }

  /** No longer the router's concern. */
  detach(): void {
    this.over = true
    this.perTry?.stop()
    this.perTryIdle?.stop()
    this.duration?.stop()
    this.waiting?.clear()
    this.resumeDownstream()
  }

  /** Gives up: a waiting request is cancelled, an open stream reset. */
  abandon(): void {
    if (this.over) return
    this.detach()
    const { pending, stream } = this
    this.pending = undefined
    this.stream = undefined
    if (pending !== undefined) pending.cancel()
    else stream?.reset()
  }
}
