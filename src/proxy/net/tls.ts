import type tls from 'node:tls'
import type { CertificateInfo, Transport } from '../listener/connection.ts'
import type { SocketTransport } from './socket-transport.ts'

/** TLS towards an upstream. */
export interface ClientTlsOptions {
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
  /** Whether the chain must lead to a root of `context`. False when no trusted_ca is configured. */
  readonly verifyChain: boolean
  /** Further checks of the peer's certificate (SANs, hashes): undefined accepts, a text is why not (`verify cert failed: SAN matcher, …`). */
  readonly verify?: ((peer: CertificateInfo | undefined) => string | undefined) | undefined
}

/** TLS towards a downstream. */
export interface ServerTlsOptions {
  readonly context: tls.SecureContext
  /** Protocols offered, best first; empty: no ALPN. The server's order decides. */
  readonly alpn: readonly string[]
  /** Ask for a client certificate. */
  readonly requestCert: boolean
  /** Refuse clients that show none. */
  readonly requireCert: boolean
  /** Whether a shown certificate must lead to a root of `context`. */
  readonly verifyChain: boolean
  readonly verify?: ((peer: CertificateInfo | undefined) => string | undefined) | undefined
}

/** Learns how a server handshake ended; one of the two is called, once. */
export interface ServerTlsWatcher {
  /** The watcher sets `transport.handler` in here. */
  onSecure(transport: Transport): void
  /** `details` are Envoy's words (`TLS_error:…`), also in `info.transportFailure` of the accepted transport. The connection is closed. */
  onFailed(details: string): void
}

/** Runs the server side of a handshake over an accepted transport, which must not be used afterwards. Peeked bytes go to it first. */
export function serverTls(accepted: SocketTransport, options: ServerTlsOptions, watcher: ServerTlsWatcher): { cancel(): void } {
  void accepted, options, watcher
  throw new Error('being written')
}
