/** The prefix of everything the service itself counts. */
const SERVICE = 'ratelimit.service'

/** What is counted of a rule, as src/stats/manager.go of envoyproxy/ratelimit names it. */
export interface RuleStats {
  readonly totalHits: Counter
  readonly overLimit: Counter
  readonly nearLimit: Counter
  readonly overLimitWithLocalCache: Counter
  readonly withinLimit: Counter
  readonly shadowMode: Counter
}

/** A number that only grows; unsigned, 64 bits. */
export class Counter {
  value = 0n

  add(amount: bigint): void {
    this.value = BigInt.asUintN(64, this.value + amount)
  }

  inc(): void {
    this.value = BigInt.asUintN(64, this.value + 1n)
  }
}

/** How long calls took, in ms, as a histogram with the buckets that Prometheus' client has by default, in seconds. */
export class ResponseTimes {
  static readonly bounds = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10]
  readonly counts: number[] = ResponseTimes.bounds.map(() => 0)
  count = 0
  /** Seconds. */
  sum = 0

  observe(ms: number): void {
    const seconds = ms / 1000
    this.count++
    this.sum += seconds
    const at = ResponseTimes.bounds.findIndex((bound) => seconds <= bound)
    if (at >= 0) this.counts[at]!++
  }
}

/** Every counter of a service, by its name. They outlive the configuration that they count for. */
export class Stats {
  readonly #counters = new Map<string, Counter>()
  readonly #gauges = new Map<string, () => number>()
  readonly #rules = new Map<string, RuleStats>()
  readonly responseTimes = new ResponseTimes()
  readonly totalRequests = this.counter('ratelimit_server.ShouldRateLimit.total_requests')
  readonly configLoadSuccess = this.counter(`${SERVICE}.config_load_success`)
  readonly configLoadError = this.counter(`${SERVICE}.config_load_error`)
  readonly globalShadowMode = this.counter(`${SERVICE}.global_shadow_mode`)
  readonly redisError = this.counter(`${SERVICE}.call.should_rate_limit.redis_error`)
  readonly serviceError = this.counter(`${SERVICE}.call.should_rate_limit.service_error`)

  counter(name: string): Counter {
    let counter = this.#counters.get(name)
    if (!counter) {
      counter = new Counter()
      this.#counters.set(name, counter)
    }
    return counter
  }

  /** A number that is asked for when someone looks. */
  gauge(name: string, read: () => number): void {
    this.#gauges.set(name, read)
  }

  /** The counters of a rule, by its full key; the same for the same key. */
  rule(fullKey: string): RuleStats {
    let stats = this.#rules.get(fullKey)
    if (!stats) {
      const of = (stat: string) => this.counter(`${SERVICE}.rate_limit.${statName(fullKey)}.${stat}`)
      stats = {
        totalHits: of('total_hits'),
        overLimit: of('over_limit'),
        nearLimit: of('near_limit'),
        overLimitWithLocalCache: of('over_limit_with_local_cache'),
        withinLimit: of('within_limit'),
        shadowMode: of('shadow_mode'),
      }
      this.#rules.set(fullKey, stats)
    }
    return stats
  }

  /** A request has asked for a domain that there is none of. */
  domainNotFound(domain: string): void {
    this.counter(`${SERVICE}.rate_limit.${statName(domain)}.domain_not_found`).inc()
  }

  /** All counters and gauges by name, sorted. */
  all(): { readonly name: string; readonly value: bigint | number; readonly gauge: boolean }[] {
    const counters = [...this.#counters].map(([name, { value }]) => ({ name, value, gauge: false }))
    const gauges = [...this.#gauges].map(([name, read]) => ({ name, value: read(), gauge: true }))
    return [...counters, ...gauges].sort((a, b) => (a.name < b.name ? -1 : 1))
  }
}

/** Statistics have `:` and `|`, and the dots of IPv4 addresses, as `_` (SanitizeStatName). */
function statName(key: string): string {
  return key
    .replaceAll(/[:|]/g, '_')
    .replaceAll(/\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3}/g, (address) => address.replaceAll('.', '_'))
}
