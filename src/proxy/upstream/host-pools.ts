import type { RoutingPriority } from './cluster.ts'
import type { HttpPool } from './http-pool.ts'
import type { ConnectionFactory } from './pooled-connection.ts'
import type { Resource } from './resources.ts'
import type { UpstreamSocket } from './transport-socket.ts'
import type { UpstreamHost } from './upstream-host.ts'

/** What makes two requests to one host share a pool. */
export interface PoolKey {
  readonly priority: RoutingPriority
  readonly protocol: ConnectionFactory['protocol']
  readonly socket: UpstreamSocket
  readonly sni: string | undefined
  readonly alpn: readonly string[] | undefined
}

interface Entry {
  readonly key: PoolKey
  readonly pool: HttpPool
}

/** The pools of a cluster's hosts. Few per host, so a scan is quicker than a key that would have to be built. */
export class HostPools {
  private readonly byHost = new Map<UpstreamHost, Entry[]>()
  private readonly create: (host: UpstreamHost, key: PoolKey) => HttpPool

  constructor(create: (host: UpstreamHost, key: PoolKey) => HttpPool) {
    this.create = create
  }

  /**
   * Whether the limit of pools lets a request of this priority go to the host: it has one, or there is room for one, or
   * one that is idle makes room (source/common/upstream/conn_pool_map_impl.h).
   */
  admits(host: UpstreamHost, priority: RoutingPriority, pools: Resource): boolean {
    if (pools.canCreate) return true
    const mine = this.byHost.get(host)?.filter(({ key, pool }) => key.priority === priority && pool.isCounted) ?? []
    return mine.length > 0
  }

  /** The pool for a request, made when there is none. */
  get(
    host: UpstreamHost,
    priority: RoutingPriority,
    protocol: ConnectionFactory['protocol'],
    socket: UpstreamSocket,
    sni: string | undefined,
    alpn: readonly string[] | undefined,
  ): HttpPool {
    let entries = this.byHost.get(host)
    if (entries === undefined) {
      entries = []
      this.byHost.set(host, entries)
    }
    for (let i = 0; i < entries.length; i++) {
      const { key, pool } = entries[i]!
      if (
        key.priority === priority &&
        key.protocol === protocol &&
        key.socket === socket &&
        key.sni === sni &&
        sameList(key.alpn, alpn)
      ) {
        pool.count()
        return pool
      }
    }
    const key = { priority, protocol, socket, sni, alpn }
    const pool = this.create(host, key)
    if (!pool.resources.pools.canCreate)
      entries.find((e) => e.key.priority === priority && e.pool.idle)?.pool.closeAll()
    entries.push({ key, pool })
    pool.count()
    return pool
  }

  /** As `HttpPool.countBytes`, of all pools. */
  countBytes(): number {
    let buffered = 0
    for (const entries of this.byHost.values()) for (const { pool } of entries) buffered += pool.countBytes()
    return buffered
  }

  /** Forgets a pool that is empty, unless it is the plain one that the next request will want again. */
  onEmpty(pool: HttpPool): void {
    pool.uncount()
    const entries = this.byHost.get(pool.host)
    const index = entries?.findIndex((e) => e.pool === pool) ?? -1
    if (entries === undefined || index < 0) return
    const { key } = entries[index]!
    if (key.sni !== undefined || key.socket.transient === true || pool.isDrained) entries.splice(index, 1)
    if (entries.length === 0) this.byHost.delete(pool.host)
  }

  inUse(host: UpstreamHost): boolean {
    return this.byHost.get(host)?.some((e) => !e.pool.empty) ?? false
  }

  pendingOf(host: UpstreamHost): number {
    return this.byHost.get(host)?.reduce((n, e) => n + e.pool.waiting, 0) ?? 0
  }

  /** Lets a host's connections finish, then drops them. New requests get new pools. */
  drain(host: UpstreamHost): void {
    const entries = this.byHost.get(host)
    this.byHost.delete(host)
    for (const { pool } of entries ?? []) pool.drain()
  }

  /** Closes a host's connections, whatever they do. */
  closeAll(host: UpstreamHost): void {
    const entries = this.byHost.get(host)
    this.byHost.delete(host)
    for (const { pool } of entries ?? []) pool.closeAll()
  }

  /** Every host that has pools. */
  hosts(): UpstreamHost[] {
    return [...this.byHost.keys()]
  }
}

function sameList(a: readonly string[] | undefined, b: readonly string[] | undefined): boolean {
  if (a === b) return true
  if (a === undefined || b === undefined || a.length !== b.length) return false
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false
  return true
}
