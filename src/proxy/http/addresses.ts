import net from 'node:net'

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

/** IP ranges, as configs give them. */
export class IpRanges {
  private readonly list = new net.BlockList()
  readonly empty: boolean

  constructor(ranges: readonly { readonly addressPrefix: string; readonly prefixLen?: number }[]) {
    this.empty = ranges.length === 0
    for (const range of ranges) {
      const family = net.isIPv6(range.addressPrefix) ? 'ipv6' : 'ipv4'
      this.list.addSubnet(range.addressPrefix, range.prefixLen ?? 0, family)
    }
  }

  has(ip: string): boolean {
    return !this.empty && this.list.check(ip, net.isIPv6(ip) ? 'ipv6' : 'ipv4')
  }
}
