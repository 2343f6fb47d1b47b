import net from 'node:net'

/** Host names with wildcards, as Istio compares them (pkg/config/host). */

/** Whether the name starts with `*`. */
export const isWildcard = (host: string): boolean => host.startsWith('*')

/** Whether one of the two covers the other: `*.com` and `a.com`, `*` and `*.com`. */
export function hostsOverlap(a: string, b: string): boolean {
  if (isWildcard(a)) {
    if (!isWildcard(b)) return b.endsWith(a.slice(1))
    return a.length < b.length ? b.slice(1).endsWith(a.slice(1)) : a.slice(1).endsWith(b.slice(1))
  }
  return isWildcard(b) ? a.endsWith(b.slice(1)) : a === b
}

/** Whether `inner` is covered by `outer`. */
export function hostWithin(inner: string, outer: string): boolean {
  if (isWildcard(inner)) {
    return isWildcard(outer) && inner.length >= outer.length && inner.slice(1).endsWith(outer.slice(1))
  }
  return isWildcard(outer) ? inner.endsWith(outer.slice(1)) : inner === outer
}

/** The value under the most specific key that covers `needle`: itself, else the longest wildcard. */
export function mostSpecific<V>(needle: string, byHost: ReadonlyMap<string, V>): V | undefined {
  const exact = byHost.get(needle)
  if (exact !== undefined) return exact
  const name = isWildcard(needle) ? needle.slice(1) : needle
  let best: string | undefined
  for (const host of byHost.keys()) {
    if (isWildcard(host) && name.endsWith(host.slice(1)) && (best === undefined || host.length > best.length))
      best = host
  }
  return best === undefined ? undefined : byHost.get(best)
}

/** A short name becomes `name.<namespace>.svc.<domain>`; one with a dot, a wildcard or an address stays as it is. */
export function resolveShortName(host: string, namespace: string, domain: string): string {
  if (host === '' || host === '*' || host.includes('.') || net.isIP(host) !== 0) return host
  return `${host}.${namespace}.svc.${domain}`
}

/** The fully qualified name of a Kubernetes service. */
export function serviceHostname(name: string, namespace: string, domain: string): string {
  return `${name}.${namespace}.svc.${domain}`
}
