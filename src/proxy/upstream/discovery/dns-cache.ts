import { isIP } from 'node:net'
import type { Runtime, Timer } from '../../../runtime.ts'
import type { Address } from '../../listener/connection.ts'
import type { Counter, Gauge, StatsStore } from '../../observe/stats.ts'
import type { DnsFamily } from '../cluster-config.ts'
import type { Resolved, Resolver } from '../resolver.ts'
import { type DnsBackoff, dnsBackoff } from './dns-backoff.ts'

/** A DNS cache's config, compiled; times in ms. */
export interface DnsCacheSettings {
  readonly name: string
  readonly family: DnsFamily
  readonly refresh: number
  readonly minRefresh: number
  readonly failure: DnsBackoff
  /** An entry that nobody asked for in that time goes. */
  readonly hostTtl: number
  readonly queryTimeout: number
  readonly maxHosts: number
  readonly maxPending: number
  readonly preresolve: readonly Address[]
}

/** A name, and what it is known to resolve to. */
export interface DnsEntry {
  /** `name:port`. */
  readonly key: string
  readonly name: string
  readonly port: number
  /** All addresses of the last answer that had any. */
  addresses: readonly string[]
  /** The first lookup is over, however it ended. */
  resolved: boolean
  /** Why there is no address. */
  details: string
  lastUsed: number
}

/** A request that waits for a name. */
export interface DnsWait {
  cancel(): void
}

/** What the cache answers: an entry, a wait for one, or that it is full. */
export type DnsLookup = DnsEntry | DnsWait | 'overflow'

/** Hears of names that got an address, got another, or went. */
export interface DnsCacheListener {
  onHostChanged(entry: DnsEntry): void
  onHostRemoved(entry: DnsEntry): void
}

interface Held extends DnsEntry {
  timer: Timer | undefined
  timeout: Timer | undefined
  failures: number
  /** Distinguishes the answer that is waited for from one that came too late. */
  query: number
  waiting: Set<(entry: DnsEntry) => void>
}

class CacheStats {
  readonly queryAttempt: Counter
  readonly queryFailure: Counter
  readonly querySuccess: Counter
  readonly queryTimeout: Counter
  readonly hostAdded: Counter
  readonly addressChanged: Counter
  readonly hostOverflow: Counter
  readonly hostRemoved: Counter
  readonly pendingOverflow: Counter
  readonly hosts: Gauge
  readonly pendingOpen: Gauge
  readonly pendingRemaining: Gauge

  constructor(name: string, store: StatsStore) {
    const counter = (n: string) => store.counter(`dns_cache.${name}.${n}`)
    const gauge = (n: string) => store.gauge(`dns_cache.${name}.${n}`)
    counter('cache_load')
    counter('dns_address_filter_out')
    this.queryAttempt = counter('dns_query_attempt')
    this.queryFailure = counter('dns_query_failure')
    this.querySuccess = counter('dns_query_success')
    this.queryTimeout = counter('dns_query_timeout')
    this.hostAdded = counter('host_added')
    this.addressChanged = counter('host_address_changed')
    this.hostOverflow = counter('host_overflow')
    this.hostRemoved = counter('host_removed')
    this.pendingOverflow = counter('dns_rq_pending_overflow')
    this.hosts = gauge('num_hosts')
    this.pendingOpen = gauge('circuit_breakers.rq_pending_open')
    this.pendingRemaining = gauge('circuit_breakers.rq_pending_remaining')
  }
}

/**
 * Names that requests ask for, resolved when first asked and kept fresh
 * (source/extensions/common/dynamic_forward_proxy/dns_cache_impl.cc). Shared by the cluster and the filters that
 * name it.
 */
export class DnsCache {
  readonly settings: DnsCacheSettings
  private readonly runtime: Runtime
  private readonly resolver: Resolver
  private readonly stats: CacheStats
  private readonly entries = new Map<string, Held>()
  private readonly listeners = new Set<DnsCacheListener>()
  private pending = 0
  private closed = false

  constructor(settings: DnsCacheSettings, runtime: Runtime, store: StatsStore, resolver: Resolver) {
    this.settings = settings
    this.runtime = runtime
    this.resolver = resolver
    this.stats = new CacheStats(settings.name, store)
    this.stats.pendingRemaining.set(settings.maxPending)
    for (const { ip, port } of settings.preresolve) this.resolve(this.create(hostPort(ip, port), ip, port))
  }

  /** Finds a name; `done` is called, later, when the answer is a wait. Counts as one pending request meanwhile. */
  load(host: string, port: number, done: (entry: DnsEntry) => void): DnsLookup | 'busy' {
    if (this.pending >= this.settings.maxPending) {
      this.stats.pendingOverflow.inc()
      return 'busy'
    }
    const key = hostPort(host, port)
    let entry = this.entries.get(key)
    if (entry?.resolved) {
      entry.lastUsed = this.runtime.now()
      return entry
    }
    if (this.entries.size >= this.settings.maxHosts) {
      this.stats.hostOverflow.inc()
      return 'overflow'
    }
    const isNew = entry === undefined
    entry ??= this.create(key, host, port)
    const { waiting } = entry
    const answer = (e: DnsEntry) => {
      this.countPending(-1)
      done(e)
    }
    waiting.add(answer)
    this.countPending(1)
    if (isNew) this.resolve(entry)
    return {
      cancel: () => {
        if (waiting.delete(answer)) this.countPending(-1)
      },
    }
  }

  /** A name that has an address; asking for it keeps it. */
  find(key: string): DnsEntry | undefined {
    const entry = this.entries.get(key)
    if (entry === undefined || entry.addresses.length === 0) return undefined
    entry.lastUsed = this.runtime.now()
    return entry
  }

  /** Names that have an address. */
  all(): DnsEntry[] {
    return [...this.entries.values()].filter((e) => e.addresses.length > 0)
  }

  listen(listener: DnsCacheListener): { close(): void } {
    this.listeners.add(listener)
    return { close: () => this.listeners.delete(listener) }
  }

  close(): void {
    this.closed = true
    for (const entry of this.entries.values()) {
      entry.timer?.cancel()
      entry.timeout?.cancel()
    }
    this.entries.clear()
  }

  private create(key: string, name: string, port: number): Held {
    const entry: Held = {
      key,
      name: name.replace(/^\[|\]$/g, ''),
      port,
      addresses: [],
      resolved: false,
      details: '',
      lastUsed: this.runtime.now(),
      timer: undefined,
      timeout: undefined,
      failures: 0,
      query: 0,
      waiting: new Set(),
    }
    this.entries.set(key, entry)
    this.stats.hostAdded.inc()
    this.stats.hosts.inc()
    return entry
  }

  private resolve(entry: Held): void {
    const query = ++entry.query
    this.stats.queryAttempt.inc()
    const { queryTimeout, family } = this.settings
    if (queryTimeout > 0) {
      entry.timeout = this.runtime.after(queryTimeout, () => {
        this.stats.queryTimeout.inc()
        this.finish(entry, query, undefined, 'resolve_timeout')
      })
    }
    if (isIP(entry.name) !== 0) {
      const found = { addresses: [entry.name], ttl: undefined }
      process.nextTick(() => this.finish(entry, query, found, ''))
    } else {
      this.resolver.resolve(entry.name, family, true, (result, failure) =>
        this.finish(entry, query, result, failure ?? ''),
      )
    }
  }

  private finish(entry: Held, query: number, result: Resolved | undefined, details: string): void {
    if (this.closed || entry.query !== query) return
    entry.query++
    entry.timeout?.cancel()
    if (result === undefined) this.stats.queryFailure.inc()
    else this.stats.querySuccess.inc()
    const addresses = result?.addresses ?? []
    // An address once found stays, whatever later lookups say.
    if (addresses.length > 0 && addresses.join() !== entry.addresses.join()) {
      entry.addresses = addresses
      this.stats.addressChanged.inc()
      for (const listener of this.listeners) listener.onHostChanged(entry)
    } else if (entry.addresses.length === 0) {
      entry.details = `dns_resolution_failure{${details.replaceAll(' ', '_')}}`
    }
    entry.resolved = true
    const waiting = [...entry.waiting]
    entry.waiting.clear()
    for (const answer of waiting) answer(entry)
    entry.timer = this.runtime.after(this.next(entry, result), () => this.refresh(entry))
  }

  private next(entry: Held, result: Resolved | undefined): number {
    const { refresh, minRefresh, failure } = this.settings
    if (result !== undefined) {
      entry.failures = 0
      return result.addresses.length === 0 ? refresh : Math.max(minRefresh, result.ttl ?? refresh)
    }
    return dnsBackoff(failure, ++entry.failures, this.runtime)
  }

  private refresh(entry: Held): void {
    if (this.runtime.now() - entry.lastUsed <= this.settings.hostTtl) {
      this.resolve(entry)
      return
    }
    this.entries.delete(entry.key)
    this.stats.hostRemoved.inc()
    this.stats.hosts.dec()
    if (entry.addresses.length > 0) for (const listener of this.listeners) listener.onHostRemoved(entry)
  }

  private countPending(by: 1 | -1): void {
    this.pending += by
    const { maxPending } = this.settings
    this.stats.pendingOpen.set(this.pending >= maxPending ? 1 : 0)
    this.stats.pendingRemaining.set(Math.max(0, maxPending - this.pending))
  }
}

/** `host:port`; a host that already names its port keeps it, and addresses of IPv6 get brackets (normalizeHostForDfp). */
export function hostPort(host: string, defaultPort: number): string {
  const { name, port } = splitAuthority(host)
  return `${name.includes(':') ? `[${name}]` : name}:${port ?? defaultPort}`
}

/** The parts of an authority (source/common/http/utility.cc parseAuthority); brackets are taken off. */
export function splitAuthority(authority: string): { name: string; port: number | undefined } {
  if (isIP(authority) === 6) return { name: authority, port: undefined }
  const match = /^(.*?)(?::(\d{1,5}))?$/.exec(authority)!
  const name = match[1]!.replace(/^\[(.*)\]$/, '$1')
  const port = match[2] === undefined ? undefined : Number(match[2])
  return { name, port: port !== undefined && port <= 65_535 ? port : undefined }
}
