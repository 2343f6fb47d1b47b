import type { UpstreamHost } from '../upstream-host.ts'
import type { BalancerStats } from './balancer.ts'
import type { HashTable, WeightedHost } from './hashing.ts'

/**
 * Consistent hashing with bounded loads: a host that carries more than its share times the balance factor passes
 * requests on, to the next host of a sequence that depends on the hash alone
 * (thread_aware_lb_impl.cc BoundedLoadHashingLoadBalancer).
 */
export class BoundedLoadTable implements HashTable {
  private readonly table: HashTable
  private readonly weighted: readonly WeightedHost[]
  private readonly weights: ReadonlyMap<UpstreamHost, number>
  private readonly factor: number
  private readonly stats: BalancerStats

  /** `factor`: percent of the average load, at least 100. */
  constructor(table: HashTable, weighted: readonly WeightedHost[], factor: number, stats: BalancerStats) {
    this.table = table
    this.weighted = weighted
    this.weights = new Map(weighted.map((w) => [w.host, w.weight]))
    this.factor = factor
    this.stats = stats
  }

  choose(hash: bigint, attempt: number): UpstreamHost | undefined {
    const host = this.table.choose(hash, attempt)
    if (host === undefined) return undefined
    let least = this.overload(host, this.weights.get(host)!)
    if (least <= 1) return host
    let best = host
    const { weighted } = this
    const order = weighted.map((_, i) => i)
    const random = new MersenneTwister(Number(hash & 0xffff_ffffn))
    for (let i = 0; i < order.length; i++) {
      const j = i + below(random, order.length - i)
      const k = order[j]!
      order[j] = order[i]!
      order[i] = k
      const other = weighted[k]!
      if (other.host === host) continue
      const overload = this.overload(other.host, other.weight)
      if (overload <= 1) return other.host
      if (overload < least) {
        best = other.host
        least = overload
      }
    }
    return best
  }

  /** Active requests of the host in relation to its slots. */
  private overload(host: UpstreamHost, weight: number): number {
    const total = Math.floor(((this.stats.requestsActive.value + 1) * this.factor + 99) / 100)
    const slots = Math.max(Math.ceil(total * weight), 1)
    return host.stats.rqActive.value / slots
  }
}

/** Uniform in [0, k), drawn as Envoy does. */
function below(random: MersenneTwister, k: number): number {
  const divisor = Math.floor(2 ** 32 / k)
  for (;;) {
    const x = Math.floor(random.next() / divisor)
    if (x < k) return x
  }
}

const N = 624
const M = 397

/** The 32-bit Mersenne twister, as `std::mt19937`. */
export class MersenneTwister {
  private readonly state = new Uint32Array(N)
  private index = N

  constructor(seed: number) {
    this.state[0] = seed
    for (let i = 1; i < N; i++) {
      const before = this.state[i - 1]!
      this.state[i] = Math.imul(1812433253, before ^ (before >>> 30)) + i
    }
  }

  /** The next unsigned 32-bit integer. */
  next(): number {
    if (this.index === N) this.generate()
    let y = this.state[this.index++]!
    y ^= y >>> 11
    y ^= (y << 7) & 0x9d2c5680
    y ^= (y << 15) & 0xefc60000
    y ^= y >>> 18
    return y >>> 0
  }

  private generate(): void {
    const { state } = this
    for (let i = 0; i < N; i++) {
      const y = (state[i]! & 0x80000000) | (state[(i + 1) % N]! & 0x7fffffff)
      state[i] = state[(i + M) % N]! ^ (y >>> 1) ^ (y & 1 ? 0x9908b0df : 0)
    }
    this.index = 0
  }
}
