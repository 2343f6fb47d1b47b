/** What a ClientHello says before anyone answers it. */
export interface ClientHello {
  /** Lower case; empty when the client named none. */
  readonly sni: string
  readonly alpn: readonly string[]
}

/** What the bytes seen so far are. */
export type TlsVerdict = 'more' | 'not-tls' | ClientHello

/** The most that a ClientHello may take (source/extensions/filters/listener/tls_inspector/tls_inspector.h). */
export const MAX_CLIENT_HELLO_BYTES = 16 * 1024

const RECORD_HEADER = 5
const HANDSHAKE = 22
const CLIENT_HELLO = 1
const EXTENSION_SERVER_NAME = 0
const EXTENSION_ALPN = 16
const HOST_NAME = 0

/**
 * Looks for a ClientHello at the start of a connection. Fewer bytes than a record header decide nothing,
 * as in BoringSSL, which Envoy's inspector runs on the same bytes.
 */
export function inspectTls(bytes: Uint8Array): TlsVerdict {
  if (bytes.length < RECORD_HEADER) return 'more'
  const message = new HandshakeBytes(bytes)
  const header = message.take(4)
  if (header === undefined) return message.verdict
  if (header[0] !== CLIENT_HELLO) return 'not-tls'
  const body = message.take((header[1]! << 16) | (header[2]! << 8) | header[3]!)
  if (body === undefined) return message.verdict
  return parseClientHello(body) ?? 'not-tls'
}

/** The handshake stream inside TLS records: a message may be cut over several of them. */
class HandshakeBytes {
  /** Why `take` had nothing to give. */
  verdict: 'more' | 'not-tls' = 'more'
  private readonly bytes: Uint8Array
  private at = 0
  private recordLeft = 0

  constructor(bytes: Uint8Array) {
    this.bytes = bytes
  }

  take(count: number): Uint8Array | undefined {
    if (count > MAX_CLIENT_HELLO_BYTES) return this.fail('not-tls')
    const out = new Uint8Array(count)
    let filled = 0
    while (filled < count) {
      if (this.recordLeft === 0 && !this.openRecord()) return undefined
      const n = Math.min(count - filled, this.recordLeft, this.bytes.length - this.at)
      if (n === 0) return this.fail('more')
      out.set(this.bytes.subarray(this.at, this.at + n), filled)
      filled += n
      this.at += n
      this.recordLeft -= n
    }
    return out
  }

  private openRecord(): boolean {
    const { bytes, at } = this
    if (bytes.length - at < RECORD_HEADER) {
      this.verdict = 'more'
      return false
    }
    const length = (bytes[at + 3]! << 8) | bytes[at + 4]!
    if (bytes[at] !== HANDSHAKE || bytes[at + 1] !== 3 || length === 0 || length > MAX_CLIENT_HELLO_BYTES) {
      this.verdict = 'not-tls'
      return false
    }
    this.at += RECORD_HEADER
    this.recordLeft = length
    return true
  }

  private fail(verdict: 'more' | 'not-tls'): undefined {
    this.verdict = verdict
    return undefined
  }
}

/** A cursor over length-prefixed fields; every read answers undefined past the end. */
class Fields {
  private readonly bytes: Uint8Array
  private at = 0

  constructor(bytes: Uint8Array) {
    this.bytes = bytes
  }

  get done(): boolean {
    return this.at >= this.bytes.length
  }

  skip(n: number): boolean {
    this.at += n
    return this.at <= this.bytes.length
  }

  uint(size: 1 | 2): number | undefined {
    if (this.at + size > this.bytes.length) return undefined
    const value = size === 1 ? this.bytes[this.at]! : (this.bytes[this.at]! << 8) | this.bytes[this.at + 1]!
    this.at += size
    return value
  }

  prefixed(size: 1 | 2): Uint8Array | undefined {
    const length = this.uint(size)
    if (length === undefined || this.at + length > this.bytes.length) return undefined
    this.at += length
    return this.bytes.subarray(this.at - length, this.at)
  }
}

function parseClientHello(body: Uint8Array): ClientHello | undefined {
  const hello = new Fields(body)
  if (!hello.skip(2 + 32)) return undefined // version, random
  if (!hello.prefixed(1) || !hello.prefixed(2) || !hello.prefixed(1)) return undefined // session, ciphers, compression
  let sni = ''
  let alpn: string[] = []
  if (hello.done) return { sni, alpn }
  const block = hello.prefixed(2)
  if (!block) return undefined
  const extensions = new Fields(block)
  while (!extensions.done) {
    const type = extensions.uint(2)
    const value = extensions.prefixed(2)
    if (type === undefined || !value) return undefined
    if (type === EXTENSION_SERVER_NAME) sni = serverName(value)
    else if (type === EXTENSION_ALPN) alpn = protocolNames(value)
  }
  return { sni, alpn }
}

function serverName(value: Uint8Array): string {
  const list = new Fields(value).prefixed(2)
  if (!list) return ''
  const names = new Fields(list)
  const type = names.uint(1)
  const name = names.prefixed(2)
  if (type !== HOST_NAME || !name) return ''
  return Buffer.from(name).toString('latin1').toLowerCase()
}

function protocolNames(value: Uint8Array): string[] {
  const list = new Fields(value).prefixed(2)
  const names: string[] = []
  if (!list) return names
  const fields = new Fields(list)
  while (!fields.done) {
    const name = fields.prefixed(1)
    if (!name || name.length === 0) return []
    names.push(Buffer.from(name).toString('latin1'))
  }
  return names
}
