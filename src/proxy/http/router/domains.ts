import { portAt } from './redirect.ts'

/**
 * Virtual hosts by domain (source/common/router/config_impl.cc findVirtualHost): exact, then the longest suffix
 * (`*.foo.com`), then the longest prefix (`www.*`), then `*`. A wildcard stands for one character or more.
 */
export class Domains<T> {
  private readonly exact = new Map<string, T>()
  /** By length of the fixed part, longest first. */
  private suffixes: { length: number; hosts: Map<string, T> }[] = []
  private prefixes: { length: number; hosts: Map<string, T> }[] = []
  private fallback: T | undefined
  private readonly ignorePort: boolean
  /** Only `*`: the authority need not be looked at. */
  private onlyFallback = true

  constructor(ignorePort: boolean) {
    this.ignorePort = ignorePort
  }

  /** Adds one domain; false if it is already there. Call before the first lookup. */
  add(domain: string, value: T): boolean {
    const name = domain.toLowerCase()
    if (name === '*') {
      if (this.fallback !== undefined) return false
      this.fallback = value
      return true
    }
    this.onlyFallback = false
    if (name.startsWith('*')) return addByLength(this.suffixes, name.slice(1), value)
    if (name.endsWith('*')) return addByLength(this.prefixes, name.slice(0, -1), value)
    if (this.exact.has(name)) return false
    this.exact.set(name, value)
    return true
  }

  /** The value for an authority as the request has it. */
  find(authority: string): T | undefined {
    if (this.onlyFallback) return this.fallback
    let host = authority
    if (this.ignorePort) {
      const colon = portAt(host)
      if (colon >= 0) host = host.slice(0, colon)
    }
    const direct = this.exact.get(host)
    if (direct !== undefined) return direct
    const lower = host.toLowerCase()
    const exact = lower === host ? undefined : this.exact.get(lower)
    if (exact !== undefined) return exact
    for (const { length, hosts } of this.suffixes) {
      const found = lower.length > length ? hosts.get(lower.slice(lower.length - length)) : undefined
      if (found !== undefined) return found
    }
    for (const { length, hosts } of this.prefixes) {
      const found = lower.length > length ? hosts.get(lower.slice(0, length)) : undefined
      if (found !== undefined) return found
    }
    return this.fallback
  }
}

function addByLength<T>(groups: { length: number; hosts: Map<string, T> }[], part: string, value: T): boolean {
  let group = groups.find((g) => g.length === part.length)
  if (group === undefined) {
    group = { length: part.length, hosts: new Map() }
    groups.push(group)
    groups.sort((a, b) => b.length - a.length)
  }
  if (group.hosts.has(part)) return false
  group.hosts.set(part, value)
  return true
}
