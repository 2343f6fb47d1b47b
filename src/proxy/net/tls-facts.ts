import { X509Certificate } from 'node:crypto'
import type tls from 'node:tls'
import type { TlsInfo } from '../listener/connection.ts'
import { LazyCertificate } from './certificate.ts'

/** What Envoy calls groups that have other names here. */
const GROUPS: Readonly<Record<string, string>> = { prime256v1: 'P-256', secp384r1: 'P-384', secp521r1: 'P-521' }

/** TlsInfo of a socket past its handshake. Certificates are looked at when first asked for. */
export class TlsFacts implements TlsInfo {
  readonly version: string
  readonly cipher: string
  readonly sni: string
  readonly alpn: string
  peerValidated = false
  private readonly socket: tls.TLSSocket
  private peerKnown = false
  private localKnown = false
  private peerFacts: LazyCertificate | undefined = undefined
  private localFacts: LazyCertificate | undefined = undefined
  private session: string | undefined = undefined

  constructor(socket: tls.TLSSocket, sni: string) {
    this.socket = socket
    this.version = socket.getProtocol() ?? ''
    this.cipher = socket.getCipher()?.name ?? ''
    this.sni = sni
    this.alpn = socket.alpnProtocol || ''
  }

  get peer(): LazyCertificate | undefined {
    if (!this.peerKnown) {
      const certificate = this.socket.getPeerX509Certificate() ?? this.resumedPeer()
      if (certificate !== undefined) this.peerFacts = new LazyCertificate(certificate)
      this.peerKnown = true
    }
    return this.peerFacts
  }

  get local(): LazyCertificate | undefined {
    if (!this.localKnown) {
      const certificate = this.socket.getX509Certificate()
      if (certificate !== undefined) this.localFacts = new LazyCertificate(certificate)
      this.localKnown = true
    }
    return this.localFacts
  }

  /** Only a client is told. */
  get group(): string | undefined {
    const key = this.socket.getEphemeralKeyInfo() as tls.EphemeralKeyInfo | Record<string, never> | null
    if (key?.type === undefined) return undefined
    return key.type === 'ECDH' ? (GROUPS[key.name ?? ''] ?? key.name) : key.type
  }

  private resumedPeer(): X509Certificate | undefined {
    return this.socket.isSessionReused() ? sessionPeer(this.socket.getSession()) : undefined
  }

  get sessionId(): string {
    this.session ??= sessionId(this.socket.getSession())
    return this.session
  }
}

/** The serialised SSL_SESSION: SEQUENCE { version, protocol, cipher, id, … }. Node 24 puts a header of its own before it. */
function sessionDer(session: Buffer | undefined): Buffer | undefined {
  if (session === undefined) return undefined
  for (let at = 0; at < session.length; at++) {
    if (session[at] === 0x30 && skipHeader(session, at).end === session.length) return session.subarray(at)
  }
  return undefined
}

/** The id within it, in hex. */
function sessionId(session: Buffer | undefined): string {
  const der = sessionDer(session)
  if (der === undefined) return ''
  let at = skipHeader(der, 0).start
  for (let field = 0; field < 3; field++) at = skipHeader(der, at).end
  const id = skipHeader(der, at)
  return der.subarray(id.start, id.end).toString('hex')
}

/** The peer's certificate within one: field [3]. A resumed handshake shows none itself. */
function sessionPeer(session: Buffer | undefined): X509Certificate | undefined {
  const der = sessionDer(session)
  if (der === undefined) return undefined
  const whole = skipHeader(der, 0)
  for (let at = whole.start; at < whole.end; at = skipHeader(der, at).end) {
    if (der[at] !== 0xa3) continue
    const field = skipHeader(der, at)
    return new X509Certificate(der.subarray(field.start, field.end))
  }
  return undefined
}

function skipHeader(der: Buffer, at: number): { start: number; end: number } {
  const first = der[at + 1] ?? 0
  if (first < 128) return { start: at + 2, end: at + 2 + first }
  let length = 0
  const bytes = first & 127
  for (let i = 0; i < bytes; i++) length = length * 256 + (der[at + 2 + i] ?? 0)
  return { start: at + 2 + bytes, end: at + 2 + bytes + length }
}
