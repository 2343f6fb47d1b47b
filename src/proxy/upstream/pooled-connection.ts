import type { Runtime, Timer } from '../../runtime.ts'
import type { ClientConnection, ClientConnectionHandler, ResetReason } from '../http/codec.ts'
import type { Transport } from '../listener/connection.ts'
import type { ClusterStats } from './cluster-stats.ts'
import type { HttpOptions } from './protocol-options.ts'

/** What connecting reports, once, unless cancelled before. */
export interface ConnectionOpened {
  onOpen(connection: ClientConnection, transport: Transport): void
  /** `remote`: the peer refused or closed; else this side could not even try. */
  onError(remote: boolean, details: string | undefined): void
}

/** Opens connections of one kind to one host: with its address, transport socket, SNI, ALPN and codec. */
export interface ConnectionFactory {
  /** `auto`: what TLS agrees on. */
  readonly protocol: 'HTTP/1.1' | 'HTTP/2' | 'auto'
  /** Streams that one connection carries at a time. */
  readonly concurrency: number
  open(handler: ClientConnectionHandler, opened: ConnectionOpened): { cancel(): void }
}

/** What connections need of their cluster. */
export interface ConnectionOwner {
  readonly runtime: Runtime
  readonly stats: ClusterStats
  readonly http: HttpOptions
  /** ms. */
  readonly connectTimeout: number
}

/** What connections need of their pool. */
export interface ConnectionKeeper {
  readonly owner: ConnectionOwner
  readonly factory: ConnectionFactory
  /** The pool itself is going away. */
  readonly isDrained: boolean
  connected(c: PooledConnection): void
  makeReady(c: PooledConnection): void
  serve(): void
  becameIdle(c: PooledConnection): void
  setDraining(c: PooledConnection): void
  setBusy(c: PooledConnection): void
  release(streams: number): void
  closed(c: PooledConnection, remote: boolean, interrupted: boolean, failure: ConnectFailure | undefined): void
}

/** Why a connection never came to be. */
export interface ConnectFailure {
  readonly reason: ResetReason
  readonly details: string | undefined
}

/** Where in its life a pooled connection is; numbers, for they are compared on every request. */
export const ConnectionState = { CONNECTING: 0, READY: 1, BUSY: 2, DRAINING: 3, CLOSED: 4 } as const
export type ConnectionState = (typeof ConnectionState)[keyof typeof ConnectionState]

/** One connection of a pool, from the first attempt to its end. */
export class PooledConnection implements ClientConnectionHandler, ConnectionOpened {
  readonly pool: ConnectionKeeper
  readonly startedAt: number
  state: ConnectionState = ConnectionState.CONNECTING
  connection: ClientConnection | undefined
  /** Streams it may still carry. */
  remaining: number
  /** Streams that it carries at a time. */
  limit: number
  /** Streams that it has carried. */
  carried = 0
  /** Streams on it now. */
  streams = 0
  idleSince = 0
  newer: PooledConnection | undefined
  older: PooledConnection | undefined
  private transport: Transport | undefined
  /** The stream that ends now did not come to its end. */
  private streamWasReset = false
  private received = 0
  private sent = 0
  private attempt: { cancel(): void } | undefined
  private connectTimer: Timer | undefined
  private durationTimer: Timer | undefined

  constructor(pool: ConnectionKeeper) {
    this.pool = pool
    this.startedAt = pool.owner.runtime.now()
    this.limit = pool.factory.concurrency
    const { maxRequestsPerConnection } = pool.owner.http
    this.remaining = maxRequestsPerConnection === 0 ? Number.POSITIVE_INFINITY : maxRequestsPerConnection
  }

  start(): void {
    const { owner } = this.pool
    this.connectTimer = owner.runtime.after(owner.connectTimeout, () => {
      owner.stats.cxConnectTimeout.inc()
      this.attempt?.cancel()
      this.fail(false, 'connection timeout', undefined)
    })
    const attempt = this.pool.factory.open(this, this)
    if (this.state === ConnectionState.CONNECTING) this.attempt = attempt
  }

  onOpen(connection: ClientConnection, transport: Transport): void {
    this.connectTimer?.cancel()
    this.attempt = undefined
    this.connection = connection
    this.transport = transport
    if (this.pool.factory.protocol === 'auto') this.settleProtocol(connection)
    const { owner } = this.pool
    if (owner.http.maxConnectionDuration > 0) {
      this.durationTimer = owner.runtime.after(owner.http.maxConnectionDuration, () => {
        owner.stats.cxMaxDuration.inc()
        this.drain()
      })
    }
    this.pool.connected(this)
  }

  /** What the connection speaks was open until now. */
  private settleProtocol(connection: ClientConnection): void {
    const { stats } = this.pool.owner
    if (connection.protocol === 'HTTP/2') stats.cxHttp2Total.inc()
    else {
      stats.cxHttp1Total.inc()
      this.limit = 1
    }
  }

  /** The server says how many streams it takes. */
  onStreamLimit(streams: number): void {
    this.limit = Math.min(this.pool.factory.concurrency, streams)
    if (this.state === ConnectionState.READY && this.streams >= this.limit) this.pool.setBusy(this)
    else if (this.state === ConnectionState.BUSY && this.streams < this.limit) this.pool.makeReady(this)
  }

  onError(remote: boolean, details: string | undefined): void {
    this.fail(remote, remote ? 'remote connection failure' : 'local connection failure', details)
  }

  private fail(remote: boolean, reason: ResetReason, details: string | undefined): void {
    this.connectTimer?.cancel()
    this.pool.closed(this, remote, false, { reason, details })
  }

  onIdle(): void {
    const complete = !this.streamWasReset
    this.streamWasReset = false
    this.countBytes()
    this.settle()
    if (this.state === ConnectionState.DRAINING) {
      if (this.streams === 0) {
        // Envoy counts one where an HTTP/2 connection is closed from within its last response.
        if (complete && this.connection?.protocol === 'HTTP/2') this.pool.owner.stats.cxProtocolError.inc()
        this.close()
        // Envoy asks again for those that wait, once by the close and once by the answer.
        this.pool.serve()
      }
    } else if (this.state === ConnectionState.BUSY) {
      if (this.pool.isDrained && this.streams === 0) this.close()
      else if (this.pool.isDrained) this.pool.setDraining(this)
      else if (this.streams < this.limit) this.pool.makeReady(this)
    } else if (this.state === ConnectionState.READY && this.streams === 0) this.pool.becameIdle(this)
  }

  onDrain(told: boolean): void {
    if (told) this.pool.owner.stats.counter('upstream_cx_close_notify').inc()
    this.drain()
  }

  onStreamReset(reason: ResetReason): void {
    const { stats } = this.pool.owner
    this.streamWasReset = true
    if (reason === 'remote reset') stats.counter('upstream_rq_rx_reset').inc()
    else if (reason === 'local reset' || reason === 'protocol error') stats.counter('upstream_rq_tx_reset').inc()
    else if (reason === 'connection termination') stats.rqPendingFailureEject.inc()
  }

  onProtocolError(): void {
    this.pool.owner.stats.cxProtocolError.inc()
  }

  onClose(remote: boolean, interrupted: boolean): void {
    this.durationTimer?.cancel()
    this.countBytes()
    this.pool.closed(this, remote, interrupted, undefined)
  }

  /** Takes no more streams, and closes once the last is over. */
  private drain(): void {
    if (this.state === ConnectionState.READY && this.streams === 0) this.close()
    else if (this.state === ConnectionState.BUSY || this.state === ConnectionState.READY) this.pool.setDraining(this)
  }

  close(): void {
    this.durationTimer?.cancel()
    if (this.connection !== undefined) this.connection.close()
    else {
      this.attempt?.cancel()
      this.fail(false, 'local connection failure', undefined)
    }
    // The codec may report the close later; here it is gone already.
    this.pool.closed(this, false, this.streams > 0, undefined)
  }

  /** Bytes that Envoy believes to be in the buffer of reads: those of the last one. */
  get buffered(): number {
    return this.transport?.lastRead ?? 0
  }

  /** Adds what was read and written since the last time to the cluster's counters. */
  countBytes(): void {
    const { transport } = this
    if (transport === undefined) return
    const { cxRxBytes, cxTxBytes } = this.pool.owner.stats
    cxRxBytes.value += transport.bytesRead - this.received
    cxTxBytes.value += transport.bytesWritten - this.sent
    this.received = transport.bytesRead
    this.sent = transport.bytesWritten
  }

  /** Accounts for streams that ended since the last look. */
  private settle(): void {
    const ended = this.streams - this.connection!.activeStreams
    if (ended <= 0) return
    this.streams -= ended
    this.pool.release(ended)
  }
}
