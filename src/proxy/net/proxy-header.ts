import net from 'node:net'
import { parseIp } from '../listener/cidr.ts'
import type { Address } from '../listener/connection.ts'

/** One type-length-value of a version 2 header. */
export interface ProxyTlv {
  readonly type: number
  readonly value: Uint8Array
}

/** Whose connection a header speaks of. */
export interface ProxiedAddresses {
  readonly source: Address
  readonly destination: Address
  readonly tlvs?: readonly ProxyTlv[]
}

const SIGNATURE = Buffer.from([0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a])
const LOCAL = 0x20
const PROXY = 0x21
const TCP4 = 0x11
const TCP6 = 0x21
const MAX_TLVS = 65_535

/**
 * A PROXY protocol header (source/extensions/common/proxy_protocol/proxy_protocol_header.cc). Without addresses:
 * LOCAL in version 2, UNKNOWN in version 1.
 */
export function writeProxyHeader(version: 1 | 2, addresses: ProxiedAddresses | undefined): Buffer {
  if (version === 1) {
    if (addresses === undefined) return Buffer.from('PROXY UNKNOWN\r\n', 'latin1')
    const { source, destination } = addresses
    const family = isV6(source.ip) ? 'TCP6' : 'TCP4'
    return Buffer.from(
      `PROXY ${family} ${source.ip} ${destination.ip} ${source.port} ${destination.port}\r\n`,
      'latin1',
    )
  }
  if (addresses === undefined) return Buffer.concat([SIGNATURE, Buffer.from([LOCAL, 0, 0, 0])])
  const { source, destination, tlvs = [] } = addresses
  const v6 = isV6(source.ip)
  const body = Buffer.concat([
    addressBytes(source.ip, v6),
    addressBytes(destination.ip, v6),
    port(source.port),
    port(destination.port),
    ...tlvs.map(({ type, value }) => Buffer.concat([Buffer.from([type]), port(value.length), value])),
  ])
  return Buffer.concat([SIGNATURE, Buffer.from([PROXY, v6 ? TCP6 : TCP4]), port(body.length), body])
}

/** The first of each type, as many as fit into a header; `complete` is false when some did not. */
export function fittingTlvs(tlvs: readonly ProxyTlv[]): { tlvs: ProxyTlv[]; complete: boolean } {
  const seen = new Set<number>()
  const fitting: ProxyTlv[] = []
  let size = 0
  let complete = true
  for (const tlv of tlvs) {
    if (seen.has(tlv.type)) continue
    seen.add(tlv.type)
    const next = size + 3 + tlv.value.length
    if (next > MAX_TLVS) complete = false
    else {
      size = next
      fitting.push(tlv)
    }
  }
  return { tlvs: fitting, complete }
}

function isV6(ip: string): boolean {
  return net.isIPv6(ip)
}

/** Big-endian 16 bits: a port, or a length. */
function port(n: number): Buffer {
  const bytes = Buffer.alloc(2)
  bytes.writeUInt16BE(n & 0xffff)
  return bytes
}

/** An IPv4 address in a header of IPv6 is a mapped one. */
function addressBytes(ip: string, v6: boolean): Buffer {
  const words = parseIp(ip) ?? [0]
  const all = v6 && words.length === 1 ? [0, 0, 0xffff, ...words] : words
  const bytes = Buffer.alloc(v6 ? 16 : 4)
  all.slice(v6 ? 0 : -1).forEach((word, i) => {
    bytes.writeUInt32BE(word, i * 4)
  })
  return bytes
}
