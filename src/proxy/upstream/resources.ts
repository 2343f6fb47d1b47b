import type { CircuitBreakers, CircuitBreakers_Thresholds } from '#gen/envoy/config/cluster/v3/circuit_breaker_pb.js'
import type { Gauge, StatsStore } from '../observe/stats.ts'
import type { ResourceManager, RoutingPriority } from './cluster.ts'

/** One limit and how much of it is taken. The gauges follow. */
export class Resource {
  readonly max: number
  count = 0
  private readonly open: Gauge
  private readonly remaining: Gauge | undefined

  constructor(max: number, open: Gauge, remaining: Gauge | undefined) {
    this.max = max
    this.open = open
    this.remaining = remaining
    this.show()
  }

  get canCreate(): boolean {
    return this.count < this.max
  }
  inc(): void {
    this.count++
    if (this.count >= this.max || this.remaining !== undefined) this.show()
  }
  dec(): void {
    this.count--
    if (this.count === this.max - 1 || this.remaining !== undefined) this.show()
  }
  private show(): void {
    this.open.value = this.count < this.max ? 0 : 1
    if (this.remaining !== undefined) this.remaining.value = Math.max(0, this.max - this.count)
  }
}

/** The five limits of one priority. */
export class PriorityResources {
  readonly connections: Resource
  readonly pending: Resource
  readonly requests: Resource
  readonly retries: Resource
  readonly pools: Resource
  private readonly budgetPercent: number | undefined
  private readonly minRetryConcurrency: number

  constructor(t: CircuitBreakers_Thresholds | undefined, prefix: string, stats: StatsStore) {
    const make = (max: number, name: string, open: string) => {
      const remaining = stats.gauge(`${prefix}remaining_${name}`)
      return new Resource(max, stats.gauge(`${prefix}${open}`), t?.trackRemaining ? remaining : undefined)
    }
    this.connections = make(t?.maxConnections ?? 1024, 'cx', 'cx_open')
    this.pending = make(t?.maxPendingRequests ?? 1024, 'pending', 'rq_pending_open')
    this.requests = make(t?.maxRequests ?? 1024, 'rq', 'rq_open')
    this.retries = make(t?.maxRetries ?? 3, 'retries', 'rq_retry_open')
    this.pools = make(t?.maxConnectionPools ?? Number.POSITIVE_INFINITY, 'cx_pools', 'cx_pool_open')
    const budget = t?.retryBudget
    this.budgetPercent = budget ? (budget.budgetPercent?.value ?? 20) : undefined
    this.minRetryConcurrency = budget?.minRetryConcurrency ?? 3
  }

  /** Whether one more retry may run: a fixed number, or a share of the active and waiting requests. */
  get canRetry(): boolean {
    if (this.budgetPercent === undefined) return this.retries.canCreate
    const active = this.requests.count + this.pending.count
    const allowed = Math.max(Math.floor((this.budgetPercent / 100) * active), this.minRetryConcurrency)
    return this.retries.count < allowed
  }
}

const HIGH = 1

/** Circuit breakers of a cluster (source/common/upstream/resource_manager_impl.h, upstream_impl.cc ResourceManagers). */
export class Resources implements ResourceManager {
  readonly default: PriorityResources
  readonly high: PriorityResources
  /** Most connections to one host, from per_host_thresholds. */
  readonly maxConnectionsPerHost: number

  /** `prefix`: the cluster's stat prefix with its dot. */
  constructor(config: CircuitBreakers | undefined, prefix: string, stats: StatsStore) {
    const of = (priority: number) => config?.thresholds.find((t) => t.priority === priority)
    this.default = new PriorityResources(of(0), `${prefix}circuit_breakers.default.`, stats)
    this.high = new PriorityResources(of(HIGH), `${prefix}circuit_breakers.high.`, stats)
    this.maxConnectionsPerHost =
      config?.perHostThresholds.find((t) => t.priority === 0)?.maxConnections ?? Number.POSITIVE_INFINITY
  }

  of(priority: RoutingPriority): PriorityResources {
    return priority === 'high' ? this.high : this.default
  }

  tryRetry(priority: RoutingPriority): boolean {
    const r = this.of(priority)
    if (!r.canRetry) return false
    r.retries.inc()
    return true
  }

  retryDone(priority: RoutingPriority): void {
    this.of(priority).retries.dec()
  }
}
