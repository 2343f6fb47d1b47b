import type { Runtime, Timer } from '../../runtime.ts'
import type { Transport } from '../listener/connection.ts'
import type { ConnectCallbacks, Pending } from './cluster.ts'
import type { ClusterStats } from './cluster-stats.ts'
import { type DialSettings, type DialTarget, dial, TrackedTransport } from './connect.ts'
import type { Resources } from './resources.ts'
import type { UpstreamHost } from './upstream-host.ts'

/** Which host to connect to, and how. */
export interface TcpTarget extends DialTarget {
  readonly host: UpstreamHost
}

/** What a byte connection needs of its cluster. */
export interface TcpOwner {
  readonly runtime: Runtime
  readonly stats: ClusterStats
  readonly resources: Resources
  /** ms. */
  readonly connectTimeout: number
  /** Its open byte connections, as they are to the network, and where to. */
  readonly byteConnections: Map<TrackedTransport, UpstreamHost>
  /** Outlier detection: an established TCP connection is a success of its own (LocalOriginConnectSuccessFinal). */
  reportConnect(host: UpstreamHost, result: 'success' | 'connect-failed' | 'timeout'): void
}

/**
 * Opens a connection for a TCP proxy, for it alone (source/common/tcp/conn_pool.cc). Undefined when it was answered
 * before this returns.
 */
export function openTcp(
  owner: TcpOwner,
  target: TcpTarget,
  dialing: DialSettings,
  callbacks: ConnectCallbacks,
): Pending | undefined {
  const { stats } = owner
  const { connections, pending } = owner.resources.default
  const { host } = target
  if (!connections.canCreate) {
    stats.cxOverflow.inc()
    callbacks.onConnectFailure('overflow', undefined, host)
    return undefined
  }
  if (!pending.canCreate) {
    stats.rqPendingOverflow.inc()
    callbacks.onConnectFailure('pending overflow', undefined, host)
    return undefined
  }
  const opening = new Opening(owner, target, callbacks)
  opening.start(dialing)
  return opening.over ? undefined : opening
}

/** Connections of one host, and who waits for one of them to close: only where each host has a limit of its own. */
interface HostQueue {
  open: number
  readonly waiting: Opening[]
}

const queues = new WeakMap<UpstreamHost, HostQueue>()

/** One byte connection: first the attempt, then the accounting until it closes. */
class Opening implements Pending {
  over = false
  private readonly owner: TcpOwner
  private readonly target: TcpTarget
  private readonly callbacks: ConnectCallbacks
  private readonly startedAt: number
  private attempt: { cancel(): void } | undefined
  private timer: Timer | undefined
  private queue: HostQueue | undefined
  /** Goes on with an attempt that waits. */
  private resume: (() => void) | undefined

  constructor(owner: TcpOwner, target: TcpTarget, callbacks: ConnectCallbacks) {
    this.owner = owner
    this.target = target
    this.callbacks = callbacks
    this.startedAt = owner.runtime.now()
  }

  start(dialing: DialSettings): void {
    const { stats, resources } = this.owner
    const { host } = this.target
    stats.rqPendingTotal.inc()
    stats.rqPendingActive.inc()
    resources.default.pending.inc()
    const { connectionsPerHost } = resources.default
    if (connectionsPerHost !== Number.POSITIVE_INFINITY) {
      this.queue = queues.get(host) ?? { open: 0, waiting: [] }
      queues.set(host, this.queue)
      if (host.stats.cxActive.value >= connectionsPerHost) {
        stats.cxOverflow.inc()
        // A host without any connection may always have one: nothing else would end the wait.
        if (this.queue.open > 0) {
          this.resume = () => this.open(dialing)
          this.queue.waiting.push(this)
          return
        }
      }
    }
    this.open(dialing)
  }

  private open(dialing: DialSettings): void {
    const { stats, resources, runtime, connectTimeout } = this.owner
    const { stats: hostStats } = this.target.host
    this.resume = undefined
    if (this.queue) this.queue.open++
    resources.default.connections.inc()
    stats.cxTotal.inc()
    stats.cxActive.inc()
    hostStats.cxTotal.inc()
    hostStats.cxActive.inc()
    this.timer = runtime.after(connectTimeout, () => {
      stats.cxConnectTimeout.inc()
      this.attempt?.cancel()
      this.fail('timeout', false, undefined)
    })
    const attempt = dial(this.target, dialing, {
      onConnected: (transport) => this.connected(transport),
      onFailed: (remote, details) => this.fail('connection failure', remote, details),
    })
    if (!this.over) this.attempt = attempt
  }

  cancel(): void {
    if (this.over) return
    this.owner.stats.rqCancelled.inc()
    this.attempt?.cancel()
    this.finish()
    if (this.resume === undefined) this.gone(false, false)
    else this.queue?.waiting.splice(this.queue.waiting.indexOf(this), 1)
  }

  private connected(transport: Transport): void {
    this.finish()
    const { stats, resources, runtime } = this.owner
    const { host } = this.target
    stats.connectMs.record(runtime.now() - this.startedAt)
    // Envoy looks again for those that wait.
    if (this.queue !== undefined && this.queue.waiting.length > 0) stats.cxOverflow.inc()
    stats.rqTotal.inc()
    stats.rqActive.inc()
    host.stats.rqTotal.inc()
    host.stats.rqActive.inc()
    resources.default.requests.inc()
    this.owner.reportConnect(host, 'success')
    const tracked: TrackedTransport = new TrackedTransport(transport, (remote) => {
      this.owner.byteConnections.delete(tracked)
      stats.rqActive.dec()
      host.stats.rqActive.dec()
      resources.default.requests.dec()
      tracked.countBytes(stats)
      stats.rqPerCx.record(1)
      this.gone(remote, true)
    })
    this.owner.byteConnections.set(tracked, host)
    this.callbacks.onConnected(tracked, host)
  }

  private fail(reason: 'connection failure' | 'timeout', remote: boolean, details: string | undefined): void {
    const { stats } = this.owner
    this.finish()
    stats.cxConnectFail.inc()
    this.target.host.stats.cxConnectFail.inc()
    stats.rqPendingFailureEject.inc()
    this.gone(remote, false)
    this.owner.reportConnect(this.target.host, reason === 'timeout' ? 'timeout' : 'connect-failed')
    this.callbacks.onConnectFailure(reason, details, this.target.host)
  }

  /** The request no longer waits. */
  private finish(): void {
    this.over = true
    this.timer?.cancel()
    this.owner.stats.rqPendingActive.dec()
    this.owner.resources.default.pending.dec()
  }

  /** The connection no longer is. */
  private gone(remote: boolean, active: boolean): void {
    const { stats, resources, runtime } = this.owner
    resources.default.connections.dec()
    stats.cxActive.dec()
    this.target.host.stats.cxActive.dec()
    stats.chargeDestroy(remote, active)
    stats.lengthMs.record(runtime.now() - this.startedAt)
    const { queue } = this
    if (queue === undefined) return
    queue.open--
    if (queue.waiting.length === 0) return
    queue.waiting.shift()!.resume?.()
    if (queue.waiting.length > 0) stats.cxOverflow.inc()
  }
}
