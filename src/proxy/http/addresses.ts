import net from 'node:net'
import { ConfigError } from '../context.ts'
import { type Cidr, inBlock, parseCidr, parseWrittenIp } from '../listener/cidr.ts'

/** An IP address without port or brackets, or undefined when the text is none. */
export function bareIp(text: string): string | undefined {
  return net.isIP(text) === 0 ? undefined : text
}

/** Whether an address is on the loopback interface. */
export function isLoopback(ip: string): boolean {
  return ip.startsWith('127.') || ip === '::1'
}

/** The entry of an `x-forwarded-for` list that is `skip` places from its right end; undefined when there is none. */
export function forwardedEntry(list: string, skip: number): string | undefined {
  let end = list.length
  for (let i = 0; ; i++) {
    const comma = list.lastIndexOf(',', end - 1)
    const start = end === 0 ? 0 : comma + 1
    if (i === skip) return list.slice(start, end).trim()
    if (end === 0 || comma < 0) return undefined
    end = comma
  }
}

/** Blocks of addresses, as configs give them. */
export class IpRanges {
  private readonly blocks: readonly Cidr[]
  // The same few addresses are asked about again and again.
  private lastIp = ''
  private last = false

  constructor(blocks: readonly Cidr[]) {
    this.blocks = blocks
  }

  /** Reads a config's CidrRanges. Throws ConfigError for a prefix that is no address. */
  static of(ranges: readonly { readonly addressPrefix: string; readonly prefixLen?: number }[]): IpRanges {
    const blocks = ranges.map(({ addressPrefix, prefixLen = 0 }) => {
      const block = parseCidr(addressPrefix, prefixLen)
      if (block === undefined) throw new ConfigError([`malformed IP address: ${addressPrefix}`])
      return block
    })
    return new IpRanges(blocks)
  }

  has(ip: string): boolean {
    if (this.blocks.length === 0) return false
    if (ip !== this.lastIp) {
      const words = parseWrittenIp(ip)
      this.last = words !== undefined && this.blocks.some((block) => inBlock(block, words))
      this.lastIp = ip
    }
    return this.last
  }
}
