import type { Runtime } from '../../runtime.ts'
import type { Address, AddressBook, Transport } from '../listener/connection.ts'
import type { TransportVariant } from './socket-transport.ts'
import type { ClientTlsOptions } from './tls.ts'

/** Where to connect: a logical address (dialled through the book) or a unix-domain path. */
export interface ConnectTarget {
  readonly address: Address
  readonly pipe?: string | undefined
  /** Logical address to bind. */
  readonly bind?: string | undefined
}

export interface ConnectOptions {
  readonly runtime: Runtime
  readonly book: AddressBook
  /** High-water mark of what waits to be written, bytes. Default 1 MiB. */
  readonly bufferLimit?: number
  /** TLS over it; `onConnected` then comes after the handshake and its checks. */
  readonly tls?: ClientTlsOptions | undefined
  readonly keepAlive?: { readonly initialDelayMs: number } | undefined
  readonly variant?: TransportVariant
}

/** Learns how an attempt ended; one of the two is called, once, never before `connectTransport` returns. */
export interface ConnectWatcher {
  /** The watcher sets `transport.handler` in here. */
  onConnected(transport: Transport): void
  /** `error` is a system code such as ECONNREFUSED, or `TLS`; `details` Envoy's words for the log (`delayed connect error: Connection refused`, `TLS_error:…`). */
  onFailed(error: string, details: string): void
}

/** An attempt under way. */
export interface ConnectAttempt {
  /** Gives up; no callback follows. Timeouts are the caller's. */
  cancel(): void
}

/** Opens a connection. */
export function connectTransport(target: ConnectTarget, options: ConnectOptions, watcher: ConnectWatcher): ConnectAttempt {
  void target, options, watcher
  throw new Error('being written')
}
