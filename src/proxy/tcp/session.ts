import type { Timer } from '../../runtime.ts'
import type { Transport } from '../listener/connection.ts'
import type { AccessLogType, ResponseFlag, StreamInfo } from '../stream-info.ts'
import type { Cluster, ConnectCallbacks, LoadBalancerContext, Pending } from '../upstream/cluster.ts'
import { xxHash64 } from '../upstream/hash.ts'
import type { Host } from '../upstream/host.ts'
import type { TcpRoute } from './config.ts'
import type { TcpProxyShared } from './shared.ts'
import { connectionStreamInfo } from './stream-info.ts'

/**
 * One proxied connection. It reads nothing from the client until the upstream is connected: a client that is
 * turned away then sees the reset that its unread bytes bring about, as with Envoy.
 */
export class TcpSession implements ConnectCallbacks {
  readonly info: StreamInfo
  private readonly shared: TcpProxyShared
  private readonly downstream: Transport
  private upstream: Transport | undefined
  private pending: Pending | undefined
  private cluster: Cluster | undefined
  private route: TcpRoute | undefined
  private lastActivity = 0
  private idleTimer: Timer | undefined
  private durationTimer: Timer | undefined
  private logTimer: Timer | undefined
  private finished = false

  constructor(shared: TcpProxyShared, downstream: Transport) {
    this.shared = shared
    this.downstream = downstream
    this.info = connectionStreamInfo(shared.context.runtime, downstream.info)
    this.info.listenerName = shared.listenerName
    if (shared.loggers.length > 0) this.info.streamId = shared.context.runtime.uuid()
  }

  start(): void {
    const { shared, downstream } = this
    const { config } = shared
    const { runtime } = shared.context
    shared.sessions.add(this)
    shared.stats.cxTotal.inc()
    downstream.pause()
    downstream.handler = {
      onData: (chunk) => this.onDownstreamData(chunk),
      onEnd: () => this.onDownstreamEnd(),
      onDrain: () => this.upstream?.resume(),
      onClose: (error) => this.onDownstreamClose(error),
    }
    if (config.maxDuration > 0) this.durationTimer = runtime.after(config.maxDuration, () => this.onMaxDuration())
    if (config.logInterval > 0) this.armLog()
    this.touch()
    if (config.idleTimeout > 0) this.armIdle(config.idleTimeout)
    this.route = config.pickRoute(runtime)
    this.connect()
  }

  private connect(): void {
    const { context, stats } = this.shared
    const cluster = this.route && context.clusters.get(this.route.cluster)
    if (!this.route || !cluster) {
      stats.noRoute.inc()
      this.refuse('NC')
      return
    }
    this.cluster = cluster
    this.info.clusterName = cluster.name
    this.info.clusterObservabilityName = cluster.observabilityName
    const balancing = this.balancerContext(this.route)
    const host = cluster.chooseHost(balancing)
    if (!host) {
      this.refuse('UH')
      return
    }
    this.info.upstreamAttempts++
    const pending = cluster.connect(host, balancing, this)
    if (!this.upstream && !this.finished && pending) this.pending = pending
  }

  private balancerContext(route: TcpRoute): LoadBalancerContext {
    return {
      hash: this.shared.config.hashSourceIp ? xxHash64(this.downstream.info.remote.ip) : undefined,
      metadataMatch: route.metadataMatch,
      downstream: this.downstream.info,
      headers: undefined,
      shouldSelectAnotherHost: () => false,
      hostSelectionRetryCount: 0,
      upstreamServerName: undefined,
      upstreamAlpn: undefined,
      overrideHost: undefined,
    }
  }

  onConnected(upstream: Transport, host: Host): void {
    this.pending = undefined
    if (this.finished) {
      upstream.destroy()
      return
    }
    this.upstream = upstream
    this.info.upstreamHost = host
    this.info.upstream = upstream.info
    upstream.handler = {
      onData: (chunk) => this.onUpstreamData(chunk),
      onEnd: () => this.downstream.end(),
      onDrain: () => this.resumeDownstream(),
      onClose: (error) => this.onUpstreamClose(error),
    }
    this.touch()
    if (this.shared.config.logOnConnected) this.log('TcpUpstreamConnected')
    this.downstream.resume()
  }

  onConnectFailure(
    reason: 'overflow' | 'connection failure' | 'timeout',
    details: string | undefined,
    host: Host | undefined,
  ): void {
    this.pending = undefined
    if (this.finished) return
    if (host) this.info.upstreamHost = host
    if (details !== undefined) this.info.upstreamTransportFailure = details
    if (reason === 'overflow') {
      this.refuse('UO')
      return
    }
    this.flag('UF')
    if (this.info.upstreamAttempts < this.shared.config.maxConnectAttempts) {
      this.connect()
      return
    }
    this.cluster?.stats.counter('upstream_cx_connect_attempts_exceeded').inc()
    this.refuse('URX')
  }

  private onDownstreamData(chunk: Buffer): void {
    this.info.bytesReceived += chunk.length
    this.shared.stats.rxBytes.add(chunk.length)
    this.touch()
    if (this.upstream && !this.upstream.write(chunk)) {
      this.shared.stats.pausedReading.inc()
      this.downstream.pause()
    }
  }

  private resumeDownstream(): void {
    this.shared.stats.resumedReading.inc()
    this.downstream.resume()
  }

  private onUpstreamData(chunk: Buffer): void {
    this.info.bytesSent += chunk.length
    this.shared.stats.txBytes.add(chunk.length)
    this.touch()
    if (!this.downstream.write(chunk)) this.upstream!.pause()
  }

  private onDownstreamEnd(): void {
    this.upstream?.end()
  }

  private onDownstreamClose(_error: string | undefined): void {
    this.upstream?.close()
    this.finish()
  }

  private onUpstreamClose(_error: string | undefined): void {
    if (!this.finished) this.downstream.close()
  }

  /** The connection cannot be proxied. */
  private refuse(flag: ResponseFlag): void {
    this.flag(flag)
    this.downstream.destroy()
    this.finish()
  }

  private flag(flag: ResponseFlag): void {
    if (!this.info.flags.includes(flag)) this.info.flags.push(flag)
  }

  private touch(): void {
    this.lastActivity = this.shared.context.runtime.now()
  }

  /** One timer that looks at the time of the last byte, instead of one re-armed at every byte. */
  private armIdle(ms: number): void {
    const { runtime } = this.shared.context
    this.idleTimer = runtime.after(ms, () => {
      const left = this.lastActivity + this.shared.config.idleTimeout - runtime.now()
      if (left > 0) {
        this.armIdle(left)
        return
      }
      this.shared.stats.idleTimeout.inc()
      this.closeBoth()
    })
  }

  private onMaxDuration(): void {
    this.shared.stats.maxDuration.inc()
    this.flag('DT')
    this.info.responseCodeDetails = 'max_duration_timeout'
    this.closeBoth()
  }

  private closeBoth(): void {
    const { upstream } = this
    this.downstream.destroy()
    upstream?.destroy()
    this.finish()
  }

  private armLog(): void {
    this.logTimer = this.shared.context.runtime.after(this.shared.config.logInterval, () => {
      this.log('TcpPeriodic')
      this.armLog()
    })
  }

  private log(type: AccessLogType): void {
    this.info.accessLogType = type
    for (const logger of this.shared.loggers) logger.log(this.info)
  }

  private finish(): void {
    if (this.finished) return
    this.finished = true
    this.pending?.cancel()
    this.idleTimer?.cancel()
    this.durationTimer?.cancel()
    this.logTimer?.cancel()
    this.info.end = this.shared.context.runtime.now()
    this.shared.sessions.delete(this)
    this.log('TcpConnectionEnd')
  }
}
