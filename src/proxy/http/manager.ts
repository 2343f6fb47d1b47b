import type { ListenerContext, ProxyContext } from '../context.ts'
import type { AccessLogger } from '../observe/formatter.ts'
import type { StreamInfo } from '../stream-info.ts'
import type { HttpFilterChain } from './filter-chain.ts'
import type { HcmConfig } from './hcm-config.ts'
import { HcmStats } from './hcm-stats.ts'
import type { LocalReplyRewriter } from './local-reply-config.ts'
import type { RouteTable } from './router/route-table.ts'
import type { ScopedRoutes } from './router/scoped-routes.ts'
import { type TimerWheel, timerWheel } from './timer-wheel.ts'

/** What all connections of one HttpConnectionManager share. */
export class HttpManager {
  readonly config: HcmConfig
  readonly context: ProxyContext
  readonly listener: ListenerContext
  readonly chain: HttpFilterChain
  readonly stats: HcmStats
  readonly wheel: TimerWheel
  readonly direction: ListenerContext['direction']
  readonly bufferLimit: number
  /** Undefined without local_reply_config. */
  readonly localReplies: LocalReplyRewriter | undefined
  /** The route table in force; undefined until RDS has answered. Swapped as a whole. */
  routes: RouteTable | ScopedRoutes | undefined = undefined
  private readonly loggers: readonly AccessLogger[]

  constructor(
    config: HcmConfig,
    context: ProxyContext,
    listener: ListenerContext,
    chain: HttpFilterChain,
    loggers: readonly AccessLogger[],
    localReplies: LocalReplyRewriter | undefined,
  ) {
    this.config = config
    this.context = context
    this.listener = listener
    this.chain = chain
    this.loggers = loggers
    this.localReplies = localReplies
    this.direction = listener.direction
    this.bufferLimit = listener.perConnectionBufferLimit
    this.stats = new HcmStats(context.stats, config.statPrefix, listener.statPrefix)
    this.wheel = timerWheel(context.runtime)
  }

  /** Whether new responses should close their connections. */
  get closing(): boolean {
    return this.context.draining()
  }

  log(info: StreamInfo): void {
    for (let i = 0; i < this.loggers.length; i++) this.loggers[i]!.log(info)
  }

  /** A request is over: log and counters. */
  complete(info: StreamInfo): void {
    const { stats } = this
    stats.rqActive.dec()
    if (info.healthCheck === true) stats.tracingHealthCheck.inc()
    stats.rqTime.record(Math.round(info.end - info.start))
    this.log(info)
    this.context.onStreamComplete?.(info, this.listener)
  }
}
