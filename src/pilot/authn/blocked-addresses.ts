import net from 'node:net'

/** Addresses that nobody serves keys from, and where a cloud's secrets are: link-local ones and metadata services. */
const ALWAYS = ['169.254.0.0/16', '224.0.0.0/24', 'fe80::/10', 'ff02::/16', '100.100.100.200/32', 'fd00:ec2::/32']

/**
 * Why a URL of keys may not lead to an address; undefined when it may (jwks_resolver.go jwksBlockedIP). `more`: what
 * BLOCKED_CIDRS_IN_JWKS_URIS says, ranges with commas between; what is none is ignored.
 */
export function addressGuard(more: string): (ip: string) => string | undefined {
  const always = blockList(ALWAYS)
  const stated = blockList(more.split(',').map((range) => range.trim()))
  return (ip) => {
    const family = net.isIPv6(ip) ? 'ipv6' : 'ipv4'
    if (always.check(ip, family))
      return `${ip} is link-local, or a cloud's metadata service: no keys are fetched from there`
    return stated.check(ip, family) ? `${ip} is in a range of BLOCKED_CIDRS_IN_JWKS_URIS` : undefined
  }
}

function blockList(ranges: readonly string[]): net.BlockList {
  const list = new net.BlockList()
  for (const range of ranges) {
    const [address = '', bits = ''] = range.split('/')
    const family = net.isIP(address)
    if (!family || !/^\d+$/.test(bits) || Number(bits) > (family === 6 ? 128 : 32)) continue
    list.addSubnet(address, Number(bits), family === 6 ? 'ipv6' : 'ipv4')
  }
  return list
}
