import tls from 'node:tls'
import type { CertificateInfo, Transport } from '../listener/connection.ts'
import { SocketTransport } from './socket-transport.ts'
import { chainErrorText, tlsErrorOf, verifyErrorText } from './tls-errors.ts'
import { TlsFacts } from './tls-facts.ts'
import { enterTurn, leaveTurn } from './turn.ts'

/** Checks of the peer that both sides share. */
export interface PeerChecks {
  /** Whether a shown certificate must lead to a root of the context. False when no trusted_ca is configured. */
  readonly verifyChain: boolean
  /** Further checks of the peer's certificate (SANs, hashes): undefined accepts, a text is why not (`verify cert failed: SAN matcher, …`). */
  readonly verify?: ((peer: CertificateInfo | undefined) => string | undefined) | undefined
}

/** TLS towards an upstream. */
export interface ClientTlsOptions extends PeerChecks {
  /** Made by the caller: trusted roots, client certificate, versions, ciphers. */
  readonly context: tls.SecureContext
  /** Empty: no SNI is sent. */
  readonly sni: string
  /** Empty: no ALPN is offered. */
  readonly alpn: readonly string[]
  /** A session to resume. */
  readonly session?: Buffer | undefined
  /** New sessions, to keep for `session`. */
  readonly onSession?: ((session: Buffer) => void) | undefined
}

/** TLS towards a downstream. */
export interface ServerTlsOptions extends PeerChecks {
  readonly context: tls.SecureContext
  /** Protocols offered, best first; empty: no ALPN. The server's order decides. */
  readonly alpn: readonly string[]
  /**
   * What the client offers, when an inspector has read it. With nothing in common the handshake then goes on
   * without ALPN, as Envoy's does; otherwise it fails with an alert.
   */
  readonly clientAlpn?: readonly string[] | undefined
  /** Ask for a client certificate. */
  readonly requestCert: boolean
  /** Refuse clients that show none. */
  readonly requireCert: boolean
}

/** Learns how a server handshake ended; one of the two is called, once. */
export interface ServerTlsWatcher {
  /** The watcher sets `transport.handler` in here. */
  onSecure(transport: Transport): void
  /** `details` are Envoy's words (`TLS_error:…`), also in `info.transportFailure` of the accepted transport. The connection is closed. */
  onFailed(details: string): void
}

/** Runs the server side of a handshake over an accepted transport, which must not be used afterwards. Peeked bytes go to it first. */
export function serverTls(
  accepted: SocketTransport,
  options: ServerTlsOptions,
  watcher: ServerTlsWatcher,
): { cancel(): void } {
  const handshake = new ServerHandshake(accepted, options, watcher)
  handshake.begin()
  return handshake
}

class ServerHandshake {
  private over = false
  private socket: tls.TLSSocket | undefined = undefined
  private readonly accepted: SocketTransport
  private readonly options: ServerTlsOptions
  private readonly watcher: ServerTlsWatcher

  constructor(accepted: SocketTransport, options: ServerTlsOptions, watcher: ServerTlsWatcher) {
    this.accepted = accepted
    this.options = options
    this.watcher = watcher
  }

  begin(): void {
    const { accepted, options } = this
    const raw = accepted.socket
    const early = accepted.detach()
    raw.on('error', ignore)
    if (early !== undefined) raw.unshift(early)
    const alpn = options.clientAlpn?.some((p) => options.alpn.includes(p)) === false ? [] : options.alpn
    const socket = new tls.TLSSocket(raw, {
      isServer: true,
      secureContext: options.context,
      requestCert: options.requestCert,
      rejectUnauthorized: options.requestCert && options.requireCert,
      ...(alpn.length > 0 ? { ALPNProtocols: [...alpn] } : {}),
    })
    this.socket = socket
    socket.on('secure', this.onSecure)
    socket.on('_tlsError', this.onError)
    socket.on('error', this.onError)
    socket.on('close', this.onClose)
    // With half-open sockets the end of the stream alone does not close one.
    socket.on('end', this.onClose)
  }

  cancel(): void {
    if (this.over) return
    this.over = true
    this.socket?.destroy()
  }

  private readonly onSecure = (): void => {
    const socket = this.socket!
    if (this.over) return
    const info = this.accepted.info
    const sni = ((socket as unknown as { servername?: string | false }).servername || info.sni).toLowerCase()
    const facts = new TlsFacts(socket, sni)
    const why = checkPeer(facts, this.options, verifyResult(socket))
    if (why !== undefined) {
      this.fail(why)
      return
    }
    this.over = true
    socket.off('secure', this.onSecure).off('_tlsError', this.onError).off('error', this.onError)
    socket.off('close', this.onClose).off('end', this.onClose)
    releaseControl(socket)
    info.tls = facts
    info.handshakeComplete = this.accepted.options.runtime.now()
    const transport = new SocketTransport(socket, info, this.accepted.options)
    enterTurn()
    try {
      this.watcher.onSecure(transport)
    } finally {
      leaveTurn()
    }
  }

  private readonly onError = (error: NodeJS.ErrnoException): void => {
    this.fail(tlsErrorOf(error) ?? (error.code === 'ECONNRESET' ? '' : error.message))
  }

  private readonly onClose = (): void => this.fail('')

  private fail(details: string): void {
    if (this.over) return
    this.over = true
    if (details !== '') this.accepted.info.transportFailure = details
    this.socket?.destroy()
    enterTurn()
    try {
      this.watcher.onFailed(details)
    } finally {
      leaveTurn()
    }
  }
}

/** The checks after a handshake; undefined when all pass, else words for the log. */
export function checkPeer(facts: TlsFacts, checks: PeerChecks, chainError: string | undefined): string | undefined {
  const peer = facts.peer
  facts.peerValidated = peer !== undefined && chainError === undefined
  if (peer !== undefined && checks.verifyChain && chainError !== undefined) {
    return verifyErrorText(`verify cert failed: ${chainErrorText(chainError)}`)
  }
  const why = checks.verify?.(peer)
  return why === undefined ? undefined : verifyErrorText(why)
}

/** What the library found when it verified the peer's chain; undefined if nothing was wrong. */
function verifyResult(socket: tls.TLSSocket): string | undefined {
  const found = (socket as unknown as { ssl?: { verifyError?: () => Error | null } }).ssl?.verifyError?.()
  return found ? ((found as NodeJS.ErrnoException).code ?? found.message) : undefined
}

/** Errors after the handshake then come as `error` events, as on any socket. */
function releaseControl(socket: tls.TLSSocket): void {
  ;(socket as unknown as { _releaseControl?: () => void })._releaseControl?.()
}

const ignore = (): void => {}
