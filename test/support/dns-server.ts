import dgram from 'node:dgram'
import net from 'node:net'

/** What a name server says of a name. */
export interface DnsAnswer {
  readonly addresses?: readonly string[]
  /** Seconds; default 30. */
  readonly ttl?: number
  /** Default 0, or 3 (no such name) without an answer. */
  readonly rcode?: number
  /** Say nothing at all. */
  readonly drop?: boolean
}

/** A name server on a port of 127.0.0.1, for A and AAAA. */
export interface DnsServer {
  /** `ip:port`. */
  readonly address: string
  readonly port: number
  /** Names that were asked for, with the type (`a.test/1`). */
  readonly queries: string[]
  close(): void
}

/** Starts one. */
export async function startDnsServer(
  answer: (name: string, type: number) => DnsAnswer | undefined,
): Promise<DnsServer> {
  const queries: string[] = []
  const socket = dgram.createSocket('udp4')
  socket.on('message', (query, from) => {
    const { name, type, end } = question(query)
    queries.push(`${name}/${type}`)
    const found = answer(name, type) ?? { rcode: 3 }
    if (!found.drop) socket.send(response(query, end, type, found), from.port, from.address)
  })
  await new Promise<void>((resolve) => socket.bind(0, '127.0.0.1', resolve))
  const { port } = socket.address()
  return { address: `127.0.0.1:${port}`, port, queries, close: () => socket.close() }
}

function question(query: Buffer): { name: string; type: number; end: number } {
  const labels: string[] = []
  let at = 12
  for (let length = query[at]!; length > 0; length = query[at]!) {
    labels.push(query.toString('latin1', at + 1, at + 1 + length))
    at += length + 1
  }
  return { name: labels.join('.'), type: query.readUInt16BE(at + 1), end: at + 5 }
}

function response(
  query: Buffer,
  end: number,
  type: number,
  { addresses = [], ttl = 30, rcode = 0 }: DnsAnswer,
): Buffer {
  const wanted = addresses.filter((ip) => (net.isIPv6(ip) ? 28 : 1) === type)
  const head = Buffer.alloc(12)
  query.copy(head, 0, 0, 2)
  head.writeUInt16BE(0x8180 | rcode, 2)
  head.writeUInt16BE(1, 4)
  head.writeUInt16BE(wanted.length, 6)
  const records = wanted.map((ip) => {
    const data = net.isIPv6(ip) ? loopback6 : Buffer.from(ip.split('.').map(Number))
    const record = Buffer.alloc(12)
    record.writeUInt16BE(0xc00c, 0)
    record.writeUInt16BE(type, 2)
    record.writeUInt16BE(1, 4)
    record.writeUInt32BE(ttl, 6)
    record.writeUInt16BE(data.length, 10)
    return Buffer.concat([record, data])
  })
  return Buffer.concat([head, query.subarray(12, end), ...records])
}

/** ::1, the one IPv6 address that tests need. */
const loopback6 = Buffer.concat([Buffer.alloc(15), Buffer.from([1])])
