import net from 'node:net'
import type { ProxyTlv } from '../net/proxy-header.ts'
import type { Address } from './connection.ts'

/** A PROXY protocol header at the start of a connection (haproxy's proxy-protocol.txt). */
export interface ProxyHeader {
  readonly version: 1 | 2
  /** Bytes that the header takes; what follows is the connection's own. */
  readonly length: number
  /** Undefined for LOCAL and UNKNOWN: the socket's own addresses stand. */
  readonly addresses: { readonly remote: Address; readonly local: Address } | undefined
  /** Version 2: what follows the addresses. */
  readonly tlvs?: readonly ProxyTlv[]
}

/** What the bytes seen so far are. `none`: they cannot become a header. */
export type ProxyVerdict = 'more' | 'none' | 'error' | ProxyHeader

const V1_START = Buffer.from('PROXY ', 'latin1')
const V1_MAX = 107
const V2_SIGNATURE = Buffer.from([0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a])
const V2_HEADER = 16
const LOCAL = 0
const PROXY = 1
const INET = 1
const INET6 = 2

/** Reads a version 1 or 2 header, as source/extensions/filters/listener/proxy_protocol does. */
export function readProxyHeader(bytes: Buffer): ProxyVerdict {
  if (startsLike(bytes, V2_SIGNATURE)) return bytes.length < V2_HEADER ? 'more' : readV2(bytes)
  if (startsLike(bytes, V1_START)) return bytes.length < V1_START.length ? 'more' : readV1(bytes)
  return 'none'
}

/** Both have the same first bytes, as far as both go. */
function startsLike(bytes: Buffer, prefix: Buffer): boolean {
  const n = Math.min(bytes.length, prefix.length)
  return bytes.compare(prefix, 0, n, 0, n) === 0
}

function readV1(bytes: Buffer): ProxyVerdict {
  const end = bytes.indexOf('\r\n', 0, 'latin1')
  if (end < 0) return bytes.length >= V1_MAX ? 'error' : 'more'
  if (end + 2 > V1_MAX) return 'error'
  const length = end + 2
  const parts = bytes.toString('latin1', 0, end).split(' ')
  if (parts[1] === 'UNKNOWN') return { version: 1, length, addresses: undefined }
  const isFamily = parts[1] === 'TCP4' ? net.isIPv4 : parts[1] === 'TCP6' ? net.isIPv6 : undefined
  const [, , source, destination, sourcePort, destinationPort] = parts
  if (parts.length !== 6 || !isFamily?.(source!) || !isFamily(destination!)) return 'error'
  const from = portOf(sourcePort!)
  const to = portOf(destinationPort!)
  if (from === undefined || to === undefined) return 'error'
  return checked({
    version: 1,
    length,
    addresses: { remote: { ip: source!, port: from }, local: { ip: destination!, port: to } },
  })
}

function portOf(text: string): number | undefined {
  return /^\d{1,5}$/.test(text) && Number(text) <= 65535 ? Number(text) : undefined
}

function readV2(bytes: Buffer): ProxyVerdict {
  const command = bytes[12]! & 0xf
  if (bytes[12]! >> 4 !== 2) return 'error'
  const length = V2_HEADER + bytes.readUInt16BE(14)
  if (command === LOCAL) return bytes.length < length ? 'more' : { version: 2, length, addresses: undefined }
  if (command !== PROXY) return 'error'
  const family = bytes[13]! >> 4
  const size = family === INET ? 4 : family === INET6 ? 16 : 0
  if (size === 0 || length < V2_HEADER + 2 * size + 4) return 'error'
  if (bytes.length < length) return 'more'
  const at = V2_HEADER + 2 * size
  return checked({
    version: 2,
    length,
    addresses: {
      remote: { ip: ipText(bytes, V2_HEADER, size), port: bytes.readUInt16BE(at) },
      local: { ip: ipText(bytes, V2_HEADER + size, size), port: bytes.readUInt16BE(at + 2) },
    },
    tlvs: readTlvs(bytes.subarray(at + 4, length)),
  })
}

/** Type, length and value, until the bytes are used up; what is cut off is left out. */
function readTlvs(bytes: Buffer): ProxyTlv[] {
  const tlvs: ProxyTlv[] = []
  for (let at = 0; at + 3 <= bytes.length; ) {
    const end = at + 3 + bytes.readUInt16BE(at + 1)
    if (end > bytes.length) break
    tlvs.push({ type: bytes[at]!, value: Buffer.from(bytes.subarray(at + 3, end)) })
    at = end
  }
  return tlvs
}

function ipText(bytes: Buffer, at: number, size: number): string {
  if (size === 4) return bytes.subarray(at, at + 4).join('.')
  const groups: string[] = []
  for (let i = 0; i < 16; i += 2) groups.push(bytes.readUInt16BE(at + i).toString(16))
  return new net.SocketAddress({ address: groups.join(':'), family: 'ipv6' }).address
}

/** Neither side may be the wildcard, a broadcast or a multicast address. */
function checked(header: ProxyHeader): ProxyVerdict {
  const { remote, local } = header.addresses!
  return isUnicast(remote.ip) && isUnicast(local.ip) ? header : 'error'
}

function isUnicast(ip: string): boolean {
  if (net.isIPv6(ip)) return ip !== '::' && !ip.toLowerCase().startsWith('ff')
  const first = Number(ip.slice(0, ip.indexOf('.')))
  return ip !== '0.0.0.0' && ip !== '255.255.255.255' && !(first >= 224 && first < 240)
}
