import { hostsOverlap, hostWithin } from '../../registry/host.ts'

/** The hosts of a server that are for a namespace, without it (pkg/config/host NamesForNamespace). */
export function hostsForNamespace(hosts: readonly string[], namespace: string): string[] {
  return hosts.flatMap((entry) => {
    const slash = entry.indexOf('/')
    if (slash < 0) return [entry]
    const place = entry.slice(0, slash)
    return place === namespace || place === '*' ? [entry.slice(slash + 1)] : []
  })
}

/** Of each pair of which one covers the other, the narrower (Names.Intersection). */
export function intersection(a: readonly string[], b: readonly string[]): string[] {
  const out = new Set<string>()
  for (const one of a) {
    for (const other of b) {
      if (hostWithin(one, other)) out.add(one)
      else if (hostWithin(other, one)) out.add(other)
    }
  }
  return [...out]
}

/** Whether a VirtualService of a namespace has a host that a server takes (pickMatchingGatewayHosts). */
export function serves(serverHosts: readonly string[], namespace: string, hosts: readonly string[]): boolean {
  return serverHosts.some((entry) => {
    const slash = entry.indexOf('/')
    if (slash >= 0 && entry.slice(0, slash) !== namespace) return false
    return hosts.some((host) => hostsOverlap(entry.slice(slash + 1), host))
  })
}

/** The order of hosts: wildcards last, longer ones first (host.MoreSpecific). */
export function bySpecificity(a: string, b: string): number {
  const wild = Number(a.startsWith('*')) - Number(b.startsWith('*'))
  return wild || b.length - a.length || (a < b ? -1 : a > b ? 1 : 0)
}
