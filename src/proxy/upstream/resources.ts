import type { CircuitBreakers, CircuitBreakers_Thresholds } from '#gen/envoy/config/cluster/v3/circuit_breaker_pb.js'
import type { Problems } from '../http/config.ts'
import type { Gauge, StatsStore } from '../observe/stats.ts'
import type { ResourceManager, RoutingPriority } from './cluster.ts'

/** One limit and how much of it is taken. The gauges follow once something is taken: until then none is open. */
export class Resource {
  readonly max: number
  count = 0
  private readonly open: Gauge
  private readonly remaining: Gauge | undefined

  constructor(max: number, open: Gauge, remaining: Gauge | undefined) {
    this.max = max
    this.open = open
    this.remaining = remaining
    this.showRemaining()
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
    this.showRemaining()
  }
  private showRemaining(): void {
    if (this.remaining === undefined) return
    // No limit is 2^64 - 1, which a gauge shows as -1.
    this.remaining.value = this.max === Number.POSITIVE_INFINITY ? -1 - this.count : Math.max(0, this.max - this.count)
  }
}

/** The five limits of one priority. */
export class PriorityResources {
  readonly connections: Resource
  readonly pending: Resource
  readonly requests: Resource
  readonly retries: Resource
  readonly pools: Resource
  /** Most connections to one host, from per_host_thresholds. */
  readonly connectionsPerHost: number
  private readonly budgetPercent: number | undefined
  private readonly minRetryConcurrency: number
  private readonly remainingRetries: Gauge | undefined

  constructor(
    t: CircuitBreakers_Thresholds | undefined,
    perHost: CircuitBreakers_Thresholds | undefined,
    prefix: string,
    stats: StatsStore,
  ) {
    const make = (max: number, name: string, open: string, track = t?.trackRemaining) => {
      const remaining = track ? stats.gauge(`${prefix}remaining_${name}`) : undefined
      return new Resource(max, stats.gauge(`${prefix}${open}`), remaining)
    }
    const budget = t?.retryBudget
    this.connections = make(t?.maxConnections ?? 1024, 'cx', 'cx_open')
    this.pending = make(t?.maxPendingRequests ?? 1024, 'pending', 'rq_pending_open')
    this.requests = make(t?.maxRequests ?? 1024, 'rq', 'rq_open')
    this.retries = make(t?.maxRetries ?? 3, 'retries', 'rq_retry_open', t?.trackRemaining && budget === undefined)
    // A budget depends on other requests: once it is asked, what remains of it is no longer told.
    if (budget && t?.trackRemaining) {
      this.remainingRetries = stats.gauge(`${prefix}remaining_retries`)
      this.remainingRetries.set(this.retries.max)
    }
    this.pools = make(t?.maxConnectionPools ?? Number.POSITIVE_INFINITY, 'cx_pools', 'cx_pool_open')
    this.connectionsPerHost = perHost?.maxConnections ?? Number.POSITIVE_INFINITY
    this.budgetPercent = budget ? (budget.budgetPercent?.value ?? 20) : undefined
    this.minRetryConcurrency = budget?.minRetryConcurrency ?? 3
  }

  /** Whether one more retry may run: a fixed number, or a share of the active and waiting requests. */
  get canRetry(): boolean {
    if (this.budgetPercent === undefined) return this.retries.canCreate
    this.remainingRetries?.set(0)
    const active = this.requests.count + this.pending.count
    const allowed = Math.max(Math.floor((this.budgetPercent / 100) * active), this.minRetryConcurrency)
    return this.retries.count < allowed
  }
}

const HIGH = 1
const DEFAULT_LIMIT = 1024

/** Circuit breakers of a cluster (source/common/upstream/resource_manager_impl.h, upstream_impl.cc ResourceManagers). */
export class Resources implements ResourceManager {
  readonly default: PriorityResources
  readonly high: PriorityResources

  /** `prefix`: the cluster's stat prefix with its dot. */
  constructor(config: CircuitBreakers | undefined, prefix: string, stats: StatsStore) {
    const of = (priority: number, name: string) => {
      const mine = (t: CircuitBreakers_Thresholds) => t.priority === priority
      const perHost = config?.perHostThresholds.find(mine)
      return new PriorityResources(config?.thresholds.find(mine), perHost, `${prefix}circuit_breakers.${name}.`, stats)
    }
    this.default = of(0, 'default')
    this.high = of(HIGH, 'high')
  }

  /** Whether a limit is low enough to be met by requests that arrive together. */
  get tight(): boolean {
    return [this.default, this.high].some((r) =>
      [r.connections.max, r.pending.max, r.requests.max, r.connectionsPerHost].some((max) => max < DEFAULT_LIMIT),
    )
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

/** Refuses what Envoy refuses of circuit breakers (upstream_impl.cc ResourceManagers::load). */
export function checkCircuitBreakers(config: CircuitBreakers | undefined, problems: Problems): void {
  for (const priority of [0, HIGH]) {
    const t = config?.perHostThresholds.find((threshold) => threshold.priority === priority)
    const only = [t?.maxPendingRequests, t?.maxRequests, t?.maxRetries, t?.maxConnectionPools, t?.retryBudget]
    if (only.some((field) => field !== undefined))
      problems.add('circuit_breakers.per_host_thresholds', 'Unsupported field in per_host_thresholds')
  }
}
