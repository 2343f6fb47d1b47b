import type { Runtime } from '../../runtime.ts'
import type { ClientConnectionHandler } from '../http/codec.ts'
import { createClientConnection } from '../http1/client.ts'
import type { Http1ClientSettings } from '../http1/settings.ts'
import { createHttp2ClientConnection, type Http2ClientOptions } from '../http2/client.ts'
import type { AddressBook, Transport, TransportHandler } from '../listener/connection.ts'
import type { KeepAlive } from '../net/keep-alive.ts'
import { type ConnectAttempt, connectTransport } from '../net/transport.ts'
import type { UpstreamBind } from './cluster-config.ts'
import type { ClusterStats } from './cluster-stats.ts'
import type { ConnectionFactory, ConnectionOpened } from './pooled-connection.ts'
import type { UpstreamSocket } from './transport-socket.ts'
import type { UpstreamHost } from './upstream-host.ts'

/** What is the same for all connections of a cluster. */
export interface DialSettings {
  readonly runtime: Runtime
  readonly book: AddressBook
  /** Logical source address from upstream_bind_config. */
  readonly bind: UpstreamBind | undefined
  readonly bufferLimit: number
  /** Undefined: no probes. */
  readonly keepAlive: KeepAlive | undefined
  readonly stats: ClusterStats
  /** Some limit is tight enough for the order of accepting and connecting to show. */
  readonly tightLimits: boolean
}

/** How one attempt ended. */
export interface DialWatcher {
  onConnected(transport: Transport): void
  /** `remote`: the peer's doing. */
  onFailed(remote: boolean, details: string | undefined): void
}

/** Words of a connection whose secrets have not arrived (source/common/tls/ssl_socket.cc NotReadyReason). */
export const SECRET_MISSING = 'TLS error: Secret is not supplied by SDS'

const LOCAL_ERRORS: ReadonlySet<string> = new Set([
  'EADDRNOTAVAIL',
  'EADDRINUSE',
  'EACCES',
  'EMFILE',
  'ENFILE',
  'EINVAL',
])
const NOTHING: ConnectAttempt = { cancel: () => {} }

/** What to connect to, and how. */
export interface DialTarget {
  readonly host: Pick<UpstreamHost, 'address' | 'pipe'>
  readonly socket: UpstreamSocket
  readonly sni: string | undefined
  /** Replaces the configured ALPN list. */
  readonly alpn: readonly string[] | undefined
  /** Offered when neither config nor `alpn` says any. */
  readonly fallbackAlpn: readonly string[]
}

/** Connects to a host, with TLS where its socket says so. A missing secret fails before this returns. */
export function dial(target: DialTarget, settings: DialSettings, watcher: DialWatcher): ConnectAttempt {
  const { host, socket } = target
  const tls = socket.tlsOptions(target.sni, target.alpn, target.fallbackAlpn)
  if (socket.secure && tls === undefined) {
    settings.stats.counter('client_ssl_socket_factory.upstream_context_secrets_not_ready').inc()
    watcher.onFailed(true, SECRET_MISSING)
    return NOTHING
  }
  return connectTransport(
    { address: host.address, pipe: host.pipe, bind: settings.bind?.ip, bindPort: settings.bind?.port },
    {
      runtime: settings.runtime,
      book: settings.book,
      bufferLimit: settings.bufferLimit,
      tls,
      yieldToAccepts: settings.tightLimits,
      preface: socket.preface && ((local, remote) => socket.preface?.(local, remote)),
      keepAlive: settings.keepAlive,
    },
    {
      onConnected: (transport) => {
        if (socket.secure) socket.chargeHandshake(transport.info.tls)
        watcher.onConnected(transport)
      },
      onFailed: (error, details) => {
        if (error === 'TLS' && details !== undefined) socket.chargeFailure(details)
        const local = LOCAL_ERRORS.has(error)
        if (local) settings.stats.counter('bind_errors').inc()
        watcher.onFailed(!local, details)
      },
    },
  )
}

/** Opens HTTP/1.1 connections to one host. */
export class Http1Factory implements ConnectionFactory {
  readonly protocol = 'HTTP/1.1'
  readonly concurrency = 1
  private readonly target: DialTarget
  private readonly dialing: DialSettings
  private readonly http1: Http1ClientSettings

  constructor(target: DialTarget, dialing: DialSettings, http1: Http1ClientSettings) {
    this.target = target
    this.dialing = dialing
    this.http1 = http1
  }

  open(handler: ClientConnectionHandler, opened: ConnectionOpened): ConnectAttempt {
    this.dialing.stats.beginHttp1()
    return dial(this.target, this.dialing, {
      onConnected: (transport) => opened.onOpen(createClientConnection(transport, this.http1, handler), transport),
      onFailed: (remote, details) => opened.onError(remote, details),
    })
  }
}

/** Opens HTTP/2 connections to one host. */
export class Http2Factory implements ConnectionFactory {
  readonly protocol = 'HTTP/2'
  readonly concurrency: number
  private readonly target: DialTarget
  private readonly dialing: DialSettings
  private readonly http2: Http2ClientOptions

  constructor(target: DialTarget, dialing: DialSettings, http2: Http2ClientOptions) {
    this.target = target
    this.dialing = dialing
    this.concurrency = http2.settings.maxConcurrentStreams
    this.http2 = http2
  }

  open(handler: ClientConnectionHandler, opened: ConnectionOpened): ConnectAttempt {
    return dial(this.target, this.dialing, {
      onConnected: (transport) => opened.onOpen(createHttp2ClientConnection(transport, this.http2, handler), transport),
      onFailed: (remote, details) => opened.onError(remote, details),
    })
  }
}

/** Opens connections to one host that speak what TLS agrees on (source/common/http/mixed_conn_pool.cc). */
export class AutoFactory implements ConnectionFactory {
  readonly protocol = 'auto'
  readonly concurrency: number
  private readonly target: DialTarget
  private readonly dialing: DialSettings
  private readonly http1: Http1ClientSettings
  private readonly http2: Http2ClientOptions

  constructor(target: DialTarget, dialing: DialSettings, http1: Http1ClientSettings, http2: Http2ClientOptions) {
    this.target = target
    this.dialing = dialing
    this.concurrency = http2.settings.maxConcurrentStreams
    this.http1 = http1
    this.http2 = http2
  }

  open(handler: ClientConnectionHandler, opened: ConnectionOpened): ConnectAttempt {
    return dial(this.target, this.dialing, {
      onConnected: (transport) => {
        const connection =
          transport.info.tls?.alpn === 'h2'
            ? createHttp2ClientConnection(transport, this.http2, handler)
            : createClientConnection(transport, this.http1, handler)
        if (connection.protocol !== 'HTTP/2') this.dialing.stats.beginHttp1()
        opened.onOpen(connection, transport)
      },
      onFailed: (remote, details) => opened.onError(remote, details),
    })
  }
}

/** A transport that tells its cluster when it closes; for byte connections, whose user sets the handler. */
export class TrackedTransport implements Transport, TransportHandler {
  /** The transport itself; what is done to it looks like the peer's doing. */
  readonly inner: Transport
  private readonly onGone: (remote: boolean, transport: Transport) => void
  private received = 0
  private sent = 0
  private closing = false
  private sentEnd = false
  private gotEnd = false
  /** Both sides have half-closed, the peer last. */
  private peerEndedLast = false
  handler: TransportHandler = IDLE

  constructor(inner: Transport, onGone: (remote: boolean, transport: Transport) => void) {
    this.inner = inner
    this.onGone = onGone
    inner.handler = this
  }
  get info(): Transport['info'] {
    return this.inner.info
  }
  /** Adds what was read and written since the last time to the cluster's counters. */
  countBytes({ cxRxBytes, cxTxBytes }: ClusterStats): void {
    const { bytesRead, bytesWritten } = this.inner
    cxRxBytes.value += bytesRead - this.received
    cxTxBytes.value += bytesWritten - this.sent
    this.received = bytesRead
    this.sent = bytesWritten
  }

  get bytesRead(): number {
    return this.inner.bytesRead
  }
  get bytesWritten(): number {
    return this.inner.bytesWritten
  }
  write(bytes: Uint8Array): boolean {
    return this.inner.write(bytes)
  }
  end(): void {
    this.sentEnd = true
    this.inner.end()
  }
  close(): void {
    this.closing = true
    this.inner.close()
  }
  destroy(reset?: boolean): void {
    this.closing = true
    this.inner.destroy(reset)
  }
  pause(): void {
    this.inner.pause()
  }
  resume(): void {
    this.inner.resume()
  }
  onData(chunk: Buffer): void {
    this.handler.onData(chunk)
  }
  onEnd(): void {
    this.gotEnd = true
    this.peerEndedLast = this.sentEnd
    this.handler.onEnd()
  }
  onDrain(): void {
    this.handler.onDrain()
  }
  onClose(error: string | undefined): void {
    this.onGone(this.sentEnd && this.gotEnd ? this.peerEndedLast : !this.closing, this.inner)
    this.handler.onClose(error)
  }
}

const IDLE: TransportHandler = { onData: () => {}, onEnd: () => {}, onDrain: () => {}, onClose: () => {} }
