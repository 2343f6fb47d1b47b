import { isIP } from 'node:net'

/**
 * An IP address and port as config and logs speak of them (through the address book, not the socket's). A unix socket
 * that is listened on has its path for an IP, and port 0.
 */
export interface Address {
  readonly ip: string
  readonly port: number
}

/** Whether an address is the path of a unix socket. */
export const isPipe = (a: Address): boolean => a.ip.charCodeAt(0) === 47 || a.ip.charCodeAt(0) === 64

/** `ip:port`, with brackets around IPv6; a path as it is. */
export function formatAddress(a: Address): string {
  if (isPipe(a)) return a.ip
  return a.ip.includes(':') ? `[${a.ip}]:${a.port}` : `${a.ip}:${a.port}`
}

/** `ip:port`, with brackets around IPv6; undefined for anything else, names included. */
export function parseAddress(text: string): Address | undefined {
  const colon = text.lastIndexOf(':')
  const digits = text.slice(colon + 1)
  if (colon < 0 || !/^\d{1,5}$/.test(digits)) return undefined
  const port = Number(digits)
  const host = text.slice(0, colon)
  const bracketed = host.startsWith('[') && host.endsWith(']')
  const ip = bracketed ? host.slice(1, -1) : host
  return port <= 65_535 && isIP(ip) === (bracketed ? 6 : 4) ? { ip, port } : undefined
}

/** What TLS says of a connection. Certificate facts are computed when first asked for. */
export interface TlsInfo {
  readonly version: string
  readonly cipher: string
  readonly sni: string
  readonly alpn: string
  readonly sessionId: string
  /** Key exchange group, such as X25519; unset when unknown. */
  readonly group?: string
  readonly peer: CertificateInfo | undefined
  /** Whether the peer's certificate was found to be good; it may also have been taken unseen. */
  readonly peerValidated?: boolean
  readonly local: CertificateInfo | undefined
}

/** What logs, XFCC and policies need of a certificate (source/common/tls/connection_info_impl_base.cc). */
export interface CertificateInfo {
  readonly uriSans: readonly string[]
  readonly dnsSans: readonly string[]
  readonly ipSans: readonly string[]
  readonly emailSans: readonly string[]
  readonly otherNameSans?: readonly string[]
  /** RFC 2253. */
  readonly subject: string
  readonly issuer: string
  readonly serial: string
  /** Lower-case hex. */
  readonly sha256: string
  readonly sha1: string
  readonly pem: string
  /** Leaf and intermediates. */
  readonly chainPem: string
  readonly validFrom: Date
  readonly validTo: Date
}

/** The facts of one connection, downstream or upstream, that matching, logs and policies read. */
export interface ConnectionInfo {
  /** Process-wide, increasing. */
  readonly id: number
  /** The peer. Proxy protocol or the address book may have restored it. */
  readonly remote: Address
  /** The peer of the socket itself, before any filter restored another. */
  readonly directRemote: Address
  /** The local address: the original destination where one was restored. */
  readonly local: Address
  /** What the TLS inspector read; empty without one, even if the handshake had a name. Lower case. */
  readonly sni: string
  /** Undefined on plaintext. */
  readonly tls: TlsInfo | undefined
  /** Why the transport failed, for logs; undefined if it did not. */
  readonly transportFailure: string | undefined

  // For access logs; a missing one is logged as `-`.

  /** The socket's own local address, where another was restored; unset: `local`. */
  readonly directLocal?: Address
  /** When connecting began, when it was connected or accepted, and when TLS was up; `Runtime.now()` ms. */
  readonly connectStart?: number
  readonly connected?: number
  readonly handshakeComplete?: number
  /** How the connection ended, as the proxy saw it, and why it ended it itself. */
  readonly detectedCloseType?: 'Normal' | 'LocalReset' | 'RemoteReset'
  readonly localCloseReason?: string
  /** TLS fingerprints of the client, when the inspector was told to compute them. */
  readonly ja3?: string
  readonly ja4?: string
  /** What a PROXY header told beside the addresses, as far as the listener keeps it. */
  readonly proxyTlvs?: readonly { readonly type: number; readonly value: Uint8Array }[]
  /** Objects that network filters keep with the connection; each request on it begins with them. */
  filterState?: ReadonlyMap<string, unknown> | undefined
}

/**
 * A byte connection, plaintext or past its TLS handshake. Chunks given to `onData` are valid during the
 * call; chunks given to `write` may be reused once it returns.
 */
export interface Transport {
  readonly info: ConnectionInfo
  handler: TransportHandler
  /** False: above the high-water mark; `onDrain` follows. Bytes are taken either way. */
  write(bytes: Uint8Array): boolean
  /** Half-close: sends FIN after what was written. */
  end(): void
  /** Full close: what was written is flushed first, then FIN; never lingers longer than a second. */
  close(): void
  /** Closes at once; `reset`: with RST. */
  destroy(reset?: boolean): void
  pause(): void
  resume(): void
  readonly bytesRead: number
  /** Bytes of the last read, where that is known. */
  readonly lastRead?: number
  /** It was destroyed from this side, before the peer ended it. */
  readonly closedHere?: boolean
  /** Bytes that came were given back, and wait to be read. */
  readonly hasUnread?: boolean
  readonly bytesWritten: number
}

/** Events of a transport. */
export interface TransportHandler {
  onData(chunk: Buffer): void
  /** The peer half-closed. */
  onEnd(): void
  onDrain(): void
  /** Last event. `error` is a system code such as ECONNRESET, or undefined after an orderly end. */
  onClose(error: string | undefined): void
}

/**
 * Where logical addresses live on this machine, and back. Without a mesh it is the identity. The proxy
 * dials through it and names peers through it; nothing else knows of loopback addresses.
 */
export interface AddressBook {
  /** Where to connect to reach a logical address, and the address to bind, if any. */
  dial(to: Address, bind: string | undefined): { host: string; port: number; localAddress: string | undefined }
  /** The logical address of a socket's peer or own side. */
  logical(socket: Address): Address
}

/** The address book of a machine that has real addresses. */
export const identityBook: AddressBook = {
  dial: (to, bind) => ({ host: to.ip, port: to.port, localAddress: bind }),
  logical: (socket) => socket,
}
