import type { Exchange } from './exchange.ts'
import { formatGrpcTimeout, grpcTimeout } from './grpc-timeout.ts'
import type { RequestHead } from './headers.ts'
import { TIMEOUT } from './local-replies.ts'
import type { HttpManager } from './manager.ts'
import { H } from './names.ts'
import type { Route } from './router/route.ts'
import { isGrpcContentType } from './router/route-match.ts'
import { type TimerOwner, WheelTimer } from './timer-wheel.ts'

const IDLE = 1
const REQUEST = 2
const MAX_DURATION = 3
/** The shortest time, ms. */
const IMMEDIATE = 0.01

/** The timeouts of one exchange: nothing moves, the request does not come in whole, all of it takes too long. */
export class ExchangeTimers implements TimerOwner {
  /** When something last moved, in either direction. */
  lastActive = 0
  private readonly exchange: Exchange
  private readonly manager: HttpManager
  private idleTimeout = 0
  private readonly idle = new WheelTimer(this, IDLE)
  private readonly request = new WheelTimer(this, REQUEST)
  private readonly duration = new WheelTimer(this, MAX_DURATION)

  constructor(exchange: Exchange, manager: HttpManager) {
    this.exchange = exchange
    this.manager = manager
  }

  /** The exchange starts now. */
  begin(now: number, requestComplete: boolean): void {
    const { config, wheel } = this.manager
    this.lastActive = now
    this.idleTimeout = config.streamIdleTimeout
    if (this.idleTimeout > 0) wheel.start(this.idle, this.idleTimeout)
    if (config.requestTimeout > 0 && !requestComplete) wheel.start(this.request, config.requestTimeout)
    if (config.maxStreamDuration > 0) wheel.start(this.duration, config.maxStreamDuration)
  }

  /** A route's own times replace the connection manager's. */
  adopt(route: Route, head: RequestHead): void {
    const forward = route.forward!
    const { wheel } = this.manager
    if (forward.idleTimeout !== undefined && forward.idleTimeout !== this.idleTimeout) {
      this.idleTimeout = forward.idleTimeout
      if (this.idleTimeout > 0) wheel.start(this.idle, this.idleTimeout)
      else this.idle.stop()
    }
    if (!forward.usesStreamDuration) return
    const duration = routeDuration(route, head)
    if (duration === undefined) return
    // The upstream is told what is left of the time (HCM refreshDurationTimeout).
    if (duration > 0 && isGrpcContentType(head.get(H.contentType))) {
      head.set(H.grpcTimeout, formatGrpcTimeout(Math.floor(duration)))
    }
    if (duration > 0) wheel.start(this.duration, duration)
    else this.duration.stop()
  }

  touch(now: number): void {
    this.lastActive = now
  }

  requestDone(now: number): void {
    this.lastActive = now
    this.request.stop()
  }

  stop(): void {
    this.idle.stop()
    this.request.stop()
    this.duration.stop()
  }

  onTimer(kind: number): void {
    const { stats, wheel, config } = this.manager
    switch (kind) {
      case IDLE: {
        // Activity only leaves a time behind; whether it was long enough ago is seen here.
        const left = this.lastActive + this.idleTimeout - config.runtime.now()
        if (left > 0.5) {
          wheel.start(this.idle, left)
          return
        }
        stats.rqIdleTimeout.inc()
        this.timeOut(TIMEOUT.streamIdle)
        return
      }
      case REQUEST:
        stats.rqTimeout.inc()
        this.timeOut(TIMEOUT.request)
        return
      default:
        stats.rqMaxDuration.inc()
        this.timeOut(TIMEOUT.maxDuration)
    }
  }

  private timeOut(reply: (typeof TIMEOUT)[keyof typeof TIMEOUT]): void {
    this.exchange.sendLocalReply({ ...reply, status: this.exchange.requestComplete ? 504 : 408 })
  }
}

/** A route's max_stream_duration for a request, the gRPC timeout header considered; undefined keeps the connection manager's. */
function routeDuration(route: Route, request: RequestHead): number | undefined {
  const forward = route.forward!
  if (forward.grpcTimeoutHeaderMax !== undefined) {
    const header = grpcTimeout(request)
    if (header !== undefined) {
      const max = forward.grpcTimeoutHeaderMax
      const capped = max > 0 && header > max ? max : header
      // What the offset uses up is over at once, which zero is not: that would be no timeout.
      return Math.max(capped - forward.grpcTimeoutHeaderOffset, IMMEDIATE)
    }
  }
  return forward.maxStreamDuration
}
