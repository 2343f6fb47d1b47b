import net from 'node:net'
import tls from 'node:tls'
import type { Runtime } from '../../runtime.ts'
import type { Address, AddressBook, Transport } from '../listener/connection.ts'
import { afterAccepts } from './accepts.ts'
import { ConnectionFacts, localAddress } from './facts.ts'
import { applyKeepAlive, type KeepAlive } from './keep-alive.ts'
import { SocketTransport, type TransportVariant } from './socket-transport.ts'
import { type ClientTlsOptions, checkPeer } from './tls.ts'
import { tlsErrorOf, tlsSystemErrorText } from './tls-errors.ts'
import { TlsFacts } from './tls-facts.ts'
import { enterTurn, leaveTurn } from './turn.ts'

/** Where to connect: a logical address (dialled through the book) or a unix-domain path. */
export interface ConnectTarget {
  readonly address: Address
  readonly pipe?: string | undefined
  /** Logical address to bind. */
  readonly bind?: string | undefined
  /** Source port; 0 or undefined: any. */
  readonly bindPort?: number | undefined
}

/** How to connect, and what the connection is then like. */
export interface ConnectOptions {
  readonly runtime: Runtime
  readonly book: AddressBook
  /** High-water mark of what waits to be written, bytes. Default 1 MiB. */
  readonly bufferLimit?: number
  /** TLS over it; `onConnected` then comes after the handshake and its checks. */
  readonly tls?: ClientTlsOptions | undefined
  /** Bytes that go first, before TLS. */
  readonly preface?: ((local: Address, remote: Address) => Buffer | undefined) | undefined
  readonly keepAlive?: KeepAlive | undefined
  readonly variant?: TransportVariant
  /** Says that it is connected only after the requests that wait at the listeners are known: tight limits count them. */
  readonly yieldToAccepts?: boolean
}

/** Learns how an attempt ended; one of the two is called, once, never before `connectTransport` returns. */
export interface ConnectWatcher {
  /** The watcher sets `transport.handler` in here. */
  onConnected(transport: Transport): void
  /**
   * `error` is a system code such as ECONNREFUSED, or `TLS`; `details` Envoy's words for the log (`delayed connect
   * error: Connection refused`, `TLS_error:…`), undefined where it has none.
   */
  onFailed(error: string, details: string | undefined): void
}

/** An attempt under way. */
export interface ConnectAttempt {
  /** Gives up; no callback follows. Timeouts are the caller's. */
  cancel(): void
}

/** Opens a connection. */
export function connectTransport(
  target: ConnectTarget,
  options: ConnectOptions,
  watcher: ConnectWatcher,
): ConnectAttempt {
  const attempt = new Attempt(target, options, watcher)
  attempt.begin()
  return attempt
}

class Attempt implements ConnectAttempt {
  private over = false
  /** The TCP connection was made. */
  private reached = false
  private socket: net.Socket
  private prefaceBytes = 0
  private readonly startedAt: number
  private readonly target: ConnectTarget
  private readonly options: ConnectOptions
  private readonly watcher: ConnectWatcher

  constructor(target: ConnectTarget, options: ConnectOptions, watcher: ConnectWatcher) {
    this.target = target
    this.options = options
    this.watcher = watcher
    this.startedAt = options.runtime.now()
    this.socket =
      options.tls === undefined || options.preface !== undefined
        ? net.connect(this.dial())
        : this.dialTls(options.tls, this.dial())
  }

  begin(): void {
    const { socket, options } = this
    const { keepAlive } = options
    socket.on('error', this.onError)
    socket.on('close', this.onClose)
    if (keepAlive !== undefined) socket.once('connect', () => applyKeepAlive(socket, keepAlive))
    if (options.preface !== undefined) {
      socket.pause()
      socket.on('connect', this.onConnectedFirst)
    } else if (options.tls === undefined) {
      socket.pause()
      socket.on('connect', this.onConnect)
    } else this.secure(socket, options.tls)
  }

  private secure(socket: net.Socket, options: ClientTlsOptions): void {
    if (this.options.preface !== undefined) this.reached = true
    else
      socket.once('connect', () => {
        this.reached = true
      })
    socket.on('secureConnect', this.onSecure)
    const keep = options.onSession
    if (keep !== undefined) socket.on('session', keep)
  }

  /** Sends the preface; only then TLS begins, if there is any. */
  private readonly onConnectedFirst = (): void => {
    if (this.over) return
    const { socket, options, target } = this
    const bytes = options.preface?.(localAddress(socket, options.book), target.address)
    if (bytes !== undefined) {
      this.prefaceBytes = bytes.length
      socket.write(bytes)
    }
    socket.off('connect', this.onConnectedFirst)
    if (options.tls === undefined) {
      this.onConnect()
      return
    }
    socket.off('error', this.onError).off('close', this.onClose)
    const secured = this.dialTls(options.tls, { socket })
    this.socket = secured
    secured.on('error', this.onError)
    secured.on('close', this.onClose)
    this.secure(secured, options.tls)
  }

  cancel(): void {
    if (this.over) return
    this.over = true
    this.socket.off('close', this.onClose)
    this.socket.destroy()
  }

  private dial(): net.NetConnectOpts {
    const { target, options } = this
    if (target.pipe !== undefined) return { path: target.pipe, allowHalfOpen: true }
    const { host, port, localAddress } = options.book.dial(target.address, target.bind)
    return {
      host,
      port,
      ...(localAddress === undefined ? {} : { localAddress }),
      ...(target.bindPort ? { localPort: target.bindPort } : {}),
      noDelay: true,
      allowHalfOpen: true,
    }
  }

  private dialTls(options: ClientTlsOptions, over: net.NetConnectOpts | { socket: net.Socket }): tls.TLSSocket {
    const socket = tls.connect({
      ...over,
      secureContext: options.context,
      // Names are checked by the caller's matchers, chains by `checkPeer`, so that failures have Envoy's words.
      rejectUnauthorized: false,
      checkServerIdentity: () => undefined,
      ...(options.sni === '' ? {} : { servername: options.sni }),
      ...(options.alpn.length === 0 ? {} : { ALPNProtocols: [...options.alpn] }),
      ...(options.session === undefined ? {} : { session: options.session }),
    })
    // tls.connect drops the option, and without it a request in two writes waits for the peer's delayed acknowledgement.
    socket.once('connect', () => socket.setNoDelay(true))
    return socket
  }

  private readonly onConnect = (): void => {
    if (this.options.yieldToAccepts) afterAccepts(() => this.succeed(undefined))
    else this.succeed(undefined)
  }

  private readonly onSecure = (): void => {
    if (this.over) return
    const tlsOptions = this.options.tls!
    const socket = this.socket as tls.TLSSocket
    const facts = new TlsFacts(socket, tlsOptions.sni)
    const found = socket.authorizationError as Error | string | null | undefined
    const chainError = found ? (typeof found === 'string' ? found : found.message) : undefined
    const why = checkPeer(facts, tlsOptions, chainError)
    if (why === undefined && this.options.yieldToAccepts) afterAccepts(() => this.succeed(facts))
    else if (why === undefined) this.succeed(facts)
    else this.fail('TLS', why)
  }

  private succeed(tlsFacts: TlsFacts | undefined): void {
    if (this.over) return
    this.over = true
    const { socket, options } = this
    socket.off('connect', this.onConnect).off('secureConnect', this.onSecure)
    socket.off('error', this.onError).off('close', this.onClose)
    const info = new ConnectionFacts(this.target.address, localAddress(socket, options.book))
    info.connectStart = this.startedAt
    info.connected = options.runtime.now()
    if (tlsFacts !== undefined) {
      info.tls = tlsFacts
      info.sni = tlsFacts.sni
      info.handshakeComplete = info.connected
    }
    const transport = new SocketTransport(socket, info, options)
    transport.bytesWritten += this.prefaceBytes
    enterTurn()
    try {
      this.watcher.onConnected(transport)
    } finally {
      leaveTurn()
    }
  }

  private readonly onError = (error: NodeJS.ErrnoException): void => {
    const words = tlsErrorOf(error) ?? this.handshakeError(error)
    if (words === '') this.fail('ECONNRESET', undefined)
    else if (words !== undefined) this.fail('TLS', words)
    else if (this.options.yieldToAccepts) {
      this.socket.off('close', this.onClose)
      afterAccepts(() => this.fail(error.code ?? 'ECONNRESET', connectErrorText(error)))
    } else this.fail(error.code ?? 'ECONNRESET', connectErrorText(error))
  }

  /** Of a connection that ends while TLS is agreed on; nothing is said of an orderly end. */
  private handshakeError(error: NodeJS.ErrnoException): string | undefined {
    if (!this.reached || this.options.tls === undefined) return undefined
    const { code = '' } = error
    return error.syscall === undefined ? '' : tlsSystemErrorText(Math.abs(error.errno ?? 0), errnoTexts[code] ?? code)
  }

  private readonly onClose = (): void => this.fail('ECONNRESET', connectErrorText({ code: 'ECONNRESET' }))

  private fail(code: string, details: string | undefined): void {
    if (this.over) return
    this.over = true
    this.socket.destroy()
    enterTurn()
    try {
      this.watcher.onFailed(code, details)
    } finally {
      leaveTurn()
    }
  }
}

/** Envoy's words (source/common/network/connection_impl.cc): `delayed connect error: Connection refused`. */
function connectErrorText(error: { code?: string | undefined; errno?: number | undefined }): string {
  const code = error.code ?? ''
  const text = errnoTexts[code]
  return `delayed connect error: ${text ?? code}`
}

/** strerror of what connecting can meet. */
const errnoTexts: Readonly<Record<string, string>> = {
  EACCES: 'Permission denied',
  EADDRINUSE: 'Address already in use',
  EADDRNOTAVAIL: 'Cannot assign requested address',
  ECONNREFUSED: 'Connection refused',
  ECONNRESET: 'Connection reset by peer',
  EHOSTUNREACH: 'No route to host',
  EMFILE: 'Too many open files',
  ENETUNREACH: 'Network is unreachable',
  ENOENT: 'No such file or directory',
  ETIMEDOUT: 'Connection timed out',
}
