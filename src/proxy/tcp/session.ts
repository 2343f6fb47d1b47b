import type { Timer } from '../../runtime.ts'
import type { Transport } from '../listener/connection.ts'
import { PER_CONNECTION_CLUSTER } from '../listener/network/sni-cluster.ts'
import type { AccessLogType, ResponseFlag, StreamInfo } from '../stream-info.ts'
import type { Cluster, ConnectCallbacks, LoadBalancerContext, Pending } from '../upstream/cluster.ts'
import type { Host } from '../upstream/host.ts'
import type { TcpRoute } from './config.ts'
import type { TcpProxyShared } from './shared.ts'
import { connectionStreamInfo } from './stream-info.ts'
import { openTunnel } from './tunnel.ts'

/** The code of a connection that the peer has reset. */
const RESET = 'ECONNRESET'

/** Filter state by which a filter before this one sets the idle timeout of one connection, ms (source/common/tcp_proxy/tcp_proxy.cc). */
const PER_CONNECTION_IDLE_TIMEOUT = 'envoy.tcp_proxy.per_connection_idle_timeout_ms'

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
  private retryTimer: Timer | undefined
  /** ms; 0: none. */
  private idleTimeout: number
  /** ms up to which the next wait is drawn; 0 before the first. */
  private nextBackoff = 0
  private asked = false
  /** What the client has said before the upstream was connected. */
  private early: Buffer[] | undefined
  private earlyBytes = 0
  private clientEnded = false
  private finished = false

  constructor(shared: TcpProxyShared, downstream: Transport) {
    this.shared = shared
    this.downstream = downstream
    this.info = connectionStreamInfo(shared.context.runtime, downstream.info)
    this.info.listenerName = shared.listenerName
    const own = Number(this.info.filterState?.get(PER_CONNECTION_IDLE_TIMEOUT) ?? Number.NaN)
    this.idleTimeout = Number.isNaN(own) ? shared.config.idleTimeout : own
    if (shared.loggers.length > 0) this.info.streamId = shared.context.runtime.uuid()
  }

  start(): void {
    const { shared, downstream } = this
    const { config } = shared
    const { runtime } = shared.context
    shared.sessions.add(this)
    shared.stats.cxTotal.inc()
    if (config.earlyData > 0 || config.waitForData) this.early = []
    else downstream.pause()
    downstream.handler = {
      onData: (chunk) => this.onDownstreamData(chunk),
      onEnd: () => this.onDownstreamEnd(),
      onDrain: () => this.upstream?.resume(),
      onClose: (error) => this.onDownstreamClose(error),
    }
    if (config.logOnStart) this.log('TcpConnectionStart')
    if (config.maxDuration > 0) {
      const jitter = config.maxDurationJitter > 0 ? 1 + (runtime.random() * config.maxDurationJitter) / 100 : 1
      this.durationTimer = runtime.after(config.maxDuration * jitter, () => this.onMaxDuration())
    }
    if (config.logInterval > 0) this.armLog()
    this.touch()
    if (this.idleTimeout > 0) this.armIdle(this.idleTimeout)
    const cluster = this.info.filterState?.get(PER_CONNECTION_CLUSTER)
    this.route =
      typeof cluster === 'string' && cluster !== '' ? { cluster, metadataMatch: undefined } : config.pickRoute(runtime)
    if (!config.waitForData) this.connect()
  }

  /** The connection was closed by a filter before this one: it is counted and logged all the same. */
  endUnstarted(): void {
    this.shared.stats.cxTotal.inc()
    this.finish()
  }

  /** Bytes that Envoy believes to be in the buffer of reads: those of the last one. */
  get buffered(): number {
    return this.downstream.lastRead ?? 0
  }

  private connect(): void {
    const { context, stats, config } = this.shared
    this.asked = true
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
    const pending = config.tunnel
      ? openTunnel({ cluster, host, balancing, config: config.tunnel, info: this.info, runtime: context.runtime }, this)
      : cluster.connect(host, balancing, this)
    if (!this.upstream && !this.finished && pending) this.pending = pending
  }

  private balancerContext(route: TcpRoute): LoadBalancerContext {
    return {
      hash: this.shared.config.hash?.(this.info),
      metadataMatch: route.metadataMatch,
      downstream: this.downstream.info,
      headers: undefined,
      shouldSelectAnotherHost: () => false,
      hostSelectionRetryCount: 0,
      upstreamServerName: undefined,
      upstreamAlpn: undefined,
      overrideHost: undefined,
      dynamicPort: this.info.filterState?.get('envoy.upstream.dynamic_port') as number | undefined,
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
    this.sendEarly(upstream)
  }

  /** Sends what was read before, and reads on. */
  private sendEarly(upstream: Transport): void {
    const { early } = this
    this.early = undefined
    let room = true
    for (const chunk of early ?? []) room = upstream.write(chunk)
    if (this.clientEnded) upstream.end()
    if (room) this.downstream.resume()
    else {
      this.downstream.pause()
      this.shared.stats.pausedReading.inc()
    }
  }

  onConnectFailure(
    reason: 'overflow' | 'pending overflow' | 'connection failure' | 'timeout',
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
    if (reason !== 'pending overflow') this.flag('UF')
    if (this.info.upstreamAttempts < this.shared.config.maxConnectAttempts) {
      this.tryAgain()
      return
    }
    this.cluster?.stats.counter('upstream_cx_connect_attempts_exceeded').inc()
    this.refuse('URX')
  }

  /** The next attempt, after a while if so configured (source/common/common/backoff_strategy.cc JitteredExponentialBackOff). */
  private tryAgain(): void {
    const { config, context } = this.shared
    if (!config.backoff) {
      this.connect()
      return
    }
    const { base, max } = config.backoff
    this.nextBackoff = this.nextBackoff === 0 ? base : Math.min(this.nextBackoff * 2, max)
    const wait = Math.floor(context.runtime.random() * this.nextBackoff)
    this.retryTimer = context.runtime.after(wait, () => this.connect())
  }

  private onDownstreamData(chunk: Buffer): void {
    this.info.bytesReceived += chunk.length
    this.shared.stats.rxBytes.add(chunk.length)
    this.touch()
    if (this.early) {
      this.keepEarly(this.early, chunk)
      return
    }
    if (this.upstream && !this.upstream.write(chunk)) {
      this.shared.stats.pausedReading.inc()
      this.downstream.pause()
    }
  }

  private keepEarly(early: Buffer[], chunk: Buffer): void {
    if (early.length === 0) this.shared.stats.earlyData.inc()
    early.push(Buffer.from(chunk))
    this.earlyBytes += chunk.length
    if (this.earlyBytes > this.shared.config.earlyData) this.downstream.pause()
    if (!this.asked) this.connect()
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
    this.clientEnded = true
    this.upstream?.end()
    // For Envoy the end is something said as well, but not one that asks for an upstream.
    if (!this.asked) this.shared.stats.earlyData.inc()
  }

  /** A reset of one side is a reset of the other (envoy.reloadable_features.detect_and_raise_rst_tcp_connection). */
  private onDownstreamClose(error: string | undefined): void {
    if (error === RESET) this.upstream?.destroy(true)
    else this.upstream?.close()
    this.finish()
  }

  private onUpstreamClose(error: string | undefined): void {
    if (this.finished) return
    if (error !== RESET) {
      this.downstream.close()
      return
    }
    this.flag('UR')
    this.downstream.destroy(true)
    this.finish()
  }

  /** The connection cannot be proxied. */
  private refuse(flag: ResponseFlag): void {
    this.flag(flag)
    // Envoy mostly closes before the client's first bytes are there, and so without a reset; here they may have come
    // meanwhile.
    if (this.downstream.bytesRead === 0) this.downstream.close()
    else this.downstream.destroy()
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
      const left = this.lastActivity + this.idleTimeout - runtime.now()
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
    this.retryTimer?.cancel()
    this.idleTimer?.cancel()
    this.durationTimer?.cancel()
    this.logTimer?.cancel()
    this.info.end = this.shared.context.runtime.now()
    // What a filter before this one has kept to itself.
    this.shared.stats.rxBytes.add(Math.max(0, this.downstream.bytesRead - this.info.bytesReceived))
    this.shared.sessions.delete(this)
    this.log('TcpConnectionEnd')
  }
}
