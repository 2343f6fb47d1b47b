import type { Timer } from '../../runtime.ts'
import type { ClientStreamHandler, ResetReason } from '../http/codec.ts'
import type { Pending, PoolCallbacks } from './cluster.ts'
import { PendingRequest } from './pending-request.ts'
import {
  type ConnectFailure,
  type ConnectionFactory,
  type ConnectionOwner,
  ConnectionState,
  PooledConnection,
} from './pooled-connection.ts'
import type { PriorityResources } from './resources.ts'
import type { UpstreamHost } from './upstream-host.ts'

/** What a pool needs of its cluster. */
export interface PoolOwner extends ConnectionOwner {
  /** The pool has neither connections nor waiting requests. */
  onPoolEmpty(pool: HttpPool): void
}

/**
 * Connections to one host for one priority (source/common/conn_pool/conn_pool_base.cc): the most recently
 * used free connection goes first; requests that find none wait in order.
 */
export class HttpPool {
  readonly owner: PoolOwner
  readonly host: UpstreamHost
  readonly resources: PriorityResources
  readonly factory: ConnectionFactory
  private readonly connections = new Set<PooledConnection>()
  private connecting = 0
  /** Intrusive list of free connections, the last used first. */
  private readyHead: PooledConnection | undefined
  private readyTail: PooledConnection | undefined
  /** Intrusive queue of requests that wait. */
  private pendingHead: PendingRequest | undefined
  private pendingTail: PendingRequest | undefined
  private pendingCount = 0
  private idleTimer: Timer | undefined
  /** Counted among the pools of the cluster: from its first request until it is empty. */
  private counted = false
  private drained = false

  constructor(owner: PoolOwner, host: UpstreamHost, resources: PriorityResources, factory: ConnectionFactory) {
    this.owner = owner
    this.host = host
    this.resources = resources
    this.factory = factory
  }

  /** Answers through `callbacks`, maybe before it returns. */
  newStream(handler: ClientStreamHandler, callbacks: PoolCallbacks): Pending | undefined {
    const ready = this.readyHead
    if (ready !== undefined) {
      this.attach(ready, handler, callbacks)
      return undefined
    }
    const { pending } = this.resources
    if (!pending.canCreate) {
      this.owner.stats.rqPendingOverflow.inc()
      callbacks.onPoolFailure('overflow', undefined, undefined)
      return undefined
    }
    const request = new PendingRequest(this, handler, callbacks)
    this.enqueue(request)
    this.openIfNeeded()
    return request.pool === undefined ? undefined : request
  }

  /** It is about to be used. */
  count(): void {
    if (this.counted) return
    this.counted = true
    this.resources.pools.inc()
  }

  /** It is empty, and is as good as gone. */
  uncount(): void {
    if (!this.counted) return
    this.counted = false
    this.resources.pools.dec()
  }

  get isCounted(): boolean {
    return this.counted
  }

  /** Nothing waits, and no connection carries anything. */
  get idle(): boolean {
    if (this.pendingCount > 0) return false
    for (const c of this.connections) if (c.streams > 0) return false
    return true
  }

  /** Closes free connections, lets busy ones finish, then goes away. Requests that wait are still served. */
  drain(): void {
    this.drained = true
    for (const c of [...this.connections]) {
      if (c.state === ConnectionState.READY && c.streams === 0) c.close()
      else if (c.state === ConnectionState.READY || c.state === ConnectionState.BUSY) this.setDraining(c)
    }
    this.checkEmpty()
  }

  /** Closes everything now. */
  closeAll(): void {
    this.drained = true
    for (const c of [...this.connections]) c.close()
  }

  /** Counts the bytes of all connections up to now; returns how many Envoy believes to be in their buffers. */
  countBytes(): number {
    let buffered = 0
    for (const c of this.connections) {
      c.countBytes()
      buffered += c.buffered
    }
    return buffered
  }

  /** Requests in the queue. */
  get waiting(): number {
    return this.pendingCount
  }
  get empty(): boolean {
    return this.connections.size === 0 && this.pendingCount === 0
  }

  private attach(c: PooledConnection, handler: ClientStreamHandler, callbacks: PoolCallbacks): void {
    const { stats } = this.owner
    const { requests } = this.resources
    if (!requests.canCreate) {
      stats.rqActiveOverflow.inc()
      callbacks.onPoolFailure('overflow', undefined, this.host)
      return
    }
    c.remaining--
    if (c.remaining === 0) {
      stats.cxMaxRequests.inc()
      this.unready(c)
      c.state = ConnectionState.DRAINING
    } else if (c.streams + 1 >= c.limit) {
      this.unready(c)
      c.state = ConnectionState.BUSY
    }
    c.streams++
    c.carried++
    const { stats: hostStats } = this.host
    hostStats.rqTotal.value++
    hostStats.rqActive.value++
    stats.rqTotal.value++
    stats.rqActive.value++
    requests.inc()
    const connection = c.connection!
    callbacks.onPoolReady(connection.newStream(handler), this.host, connection.info, connection.protocol)
  }

  /** `n` streams of a connection are over. */
  release(n: number): void {
    for (let i = 0; i < n; i++) {
      this.host.stats.rqActive.value--
      this.owner.stats.rqActive.value--
      this.resources.requests.dec()
    }
  }

  makeReady(c: PooledConnection): void {
    c.state = ConnectionState.READY
    c.idleSince = this.owner.runtime.now()
    c.older = this.readyHead
    c.newer = undefined
    if (this.readyHead !== undefined) this.readyHead.newer = c
    else this.readyTail = c
    this.readyHead = c
    this.serve()
    if (this.idleTimer === undefined && c.state === ConnectionState.READY) this.armIdleTimer()
  }

  /** It carries as many streams as it can. */
  setBusy(c: PooledConnection): void {
    this.unready(c)
    c.state = ConnectionState.BUSY
  }

  setDraining(c: PooledConnection): void {
    this.unready(c)
    c.state = ConnectionState.DRAINING
  }

  private unready(c: PooledConnection): void {
    if (c.state !== ConnectionState.READY) return
    if (c.newer !== undefined) c.newer.older = c.older
    else this.readyHead = c.older
    if (c.older !== undefined) c.older.newer = c.newer
    else this.readyTail = c.newer
    c.older = undefined
    c.newer = undefined
  }

  /** Gives free connections to waiting requests, the longest waiting first; where none is free, asks for one. */
  serve(): void {
    while (this.pendingHead !== undefined && this.readyHead !== undefined) {
      const request = this.pendingHead
      this.dequeue(request)
      this.attach(this.readyHead, request.handler, request.callbacks)
    }
    this.openIfNeeded()
  }

  private openIfNeeded(): void {
    // At most three at a time, as Envoy: what fails at once must not be repeated without end.
    for (let i = 0; i < 3 && this.pendingCount > this.connecting * this.factory.concurrency; i++) {
      if (!this.openOne()) return
    }
  }

  private openOne(): boolean {
    const { connections, connectionsPerHost } = this.resources
    const { cxActive } = this.host.stats
    const allowed = connections.canCreate && cxActive.value < connectionsPerHost
    if (!allowed) {
      this.owner.stats.cxOverflow.inc()
      // A pool without any connection may always have one: nothing else would ever serve its requests.
      if (this.connections.size > 0) return false
    }
    const c = new PooledConnection(this)
    this.connections.add(c)
    this.connecting++
    connections.inc()
    const { stats } = this.owner
    stats.cxTotal.inc()
    stats.cxActive.inc()
    if (this.factory.protocol === 'HTTP/2') stats.cxHttp2Total.inc()
    else if (this.factory.protocol === 'HTTP/1.1') stats.cxHttp1Total.inc()
    this.host.stats.cxTotal.inc()
    cxActive.inc()
    c.start()
    return allowed
  }

  connected(c: PooledConnection): void {
    this.connecting--
    this.owner.stats.connectMs.record(this.owner.runtime.now() - c.startedAt)
    this.makeReady(c)
    if (this.drained && c.state === ConnectionState.READY) {
      if (c.streams === 0) c.close()
      else this.setDraining(c)
    }
  }

  /** A connection is gone, or was never there (`failure`). */
  closed(c: PooledConnection, remote: boolean, interrupted: boolean, failure: ConnectFailure | undefined): void {
    if (c.state === ConnectionState.CLOSED) return
    const { stats, runtime } = this.owner
    this.unready(c)
    c.state = ConnectionState.CLOSED
    this.connections.delete(c)
    this.resources.connections.dec()
    stats.cxActive.dec()
    this.host.stats.cxActive.dec()
    stats.chargeDestroy(remote, interrupted)
    stats.lengthMs.record(runtime.now() - c.startedAt)
    stats.rqPerCx.record(c.carried)
    this.release(c.streams)
    c.streams = 0
    if (failure !== undefined) {
      this.connecting--
      stats.cxConnectFail.inc()
      this.host.stats.cxConnectFail.inc()
      this.failPending(failure.reason, failure.details)
    }
    if (this.pendingCount > 0) this.openIfNeeded()
    this.checkEmpty()
  }

  /** One failed connection fails all that wait: the host will most likely refuse the next one too. */
  private failPending(reason: ResetReason, details: string | undefined): void {
    let request = this.pendingHead
    // Emptied first: a retry that comes back to this pool at once must not be failed with the others.
    this.pendingHead = undefined
    this.pendingTail = undefined
    for (let r = request; r !== undefined; r = r.next) {
      r.pool = undefined
      this.forgetPending()
    }
    while (request !== undefined) {
      const { next } = request
      if (!request.cancelled) {
        this.owner.stats.rqPendingFailureEject.inc()
        request.callbacks.onPoolFailure(reason, details, this.host)
      }
      request = next
    }
  }

  private enqueue(request: PendingRequest): void {
    const { stats } = this.owner
    stats.rqPendingTotal.inc()
    stats.rqPendingActive.inc()
    this.resources.pending.inc()
    this.pendingCount++
    request.previous = this.pendingTail
    if (this.pendingTail !== undefined) this.pendingTail.next = request
    else this.pendingHead = request
    this.pendingTail = request
  }

  private dequeue(request: PendingRequest): void {
    if (request.previous !== undefined) request.previous.next = request.next
    else this.pendingHead = request.next
    if (request.next !== undefined) request.next.previous = request.previous
    else this.pendingTail = request.previous
    request.pool = undefined
    this.forgetPending()
  }

  private forgetPending(): void {
    this.pendingCount--
    this.owner.stats.rqPendingActive.dec()
    this.resources.pending.dec()
  }

  cancelPending(request: PendingRequest): void {
    this.owner.stats.rqCancelled.inc()
    this.dequeue(request)
    this.checkEmpty()
  }

  checkEmpty(): void {
    if (!this.empty) return
    this.idleTimer?.cancel()
    this.idleTimer = undefined
    this.owner.onPoolEmpty(this)
  }

  /** One timer per pool, for the connection that is free the longest. */
  private armIdleTimer(): void {
    const { idleTimeout } = this.owner.http
    if (idleTimeout === 0 || this.idleTimer !== undefined) return
    let since = Number.POSITIVE_INFINITY
    for (let c = this.readyTail; c !== undefined; c = c.newer) if (c.streams === 0) since = Math.min(since, c.idleSince)
    if (since === Number.POSITIVE_INFINITY) return
    const { runtime } = this.owner
    this.idleTimer = runtime.after(Math.max(1, Math.ceil(since + idleTimeout - runtime.now())), () => {
      this.idleTimer = undefined
      const now = runtime.now()
      for (let c = this.readyTail; c !== undefined; ) {
        const next = c.newer
        if (c.streams === 0 && now - c.idleSince >= idleTimeout) {
          this.owner.stats.cxIdleTimeout.inc()
          c.close()
        }
        c = next
      }
      this.armIdleTimer()
    })
  }

  /** A connection that carries several streams at a time has none now. */
  becameIdle(c: PooledConnection): void {
    c.idleSince = this.owner.runtime.now()
    if (this.idleTimer === undefined) this.armIdleTimer()
  }

  get isDrained(): boolean {
    return this.drained
  }
}
