import type { RetryPolicy as RetryPolicyProto } from '#gen/envoy/config/route/v3/route_components_pb.js'
import type { PreviousPrioritiesConfig } from '#gen/envoy/extensions/retry/priority/previous_priorities/v3/previous_priorities_config_pb.js'
import { configTypeName, resolveTypedConfig } from '../../../xds/typed-config.ts'
import { ConfigError } from '../../context.ts'
import type { PriorityLoad } from '../../upstream/balancers/priority-load.ts'
import { distributeLoad, priorityAvailability } from '../../upstream/balancers/priority-load.ts'
import type { Host } from '../../upstream/host.ts'
import type { HostSet } from '../../upstream/priority-set.ts'

const PREVIOUS_PRIORITIES = 'envoy.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig'

/** The `update_frequency` of a `retry_priority`; undefined without one. Throws ConfigError for a type that is not known. */
export function compileRetryPriority(config: RetryPolicyProto['retryPriority']): number | undefined {
  if (config === undefined) return undefined
  const any = config.configType.case === 'typedConfig' ? config.configType.value : undefined
  const type = any === undefined ? '' : configTypeName(any)
  if (any === undefined || type !== PREVIOUS_PRIORITIES) {
    throw new ConfigError([
      `retry_priority: Didn't find a registered implementation for '${config.name}' with type URL: '${type}'`,
    ])
  }
  return (resolveTypedConfig(any).message as PreviousPrioritiesConfig).updateFrequency
}

/**
 * Sends retries to priorities that were not tried, by their health; once all were, starts over
 * (source/extensions/retry/priority/previous_priorities). One for each request that is retried.
 */
export class PreviousPriorities {
  /** The choice changes with every so many attempts. */
  private readonly frequency: number
  private attempted: Host[] = []
  private excluded: boolean[] = []
  private load: PriorityLoad | undefined

  constructor(frequency: number) {
    this.frequency = frequency
  }

  /** A host was tried. */
  remember(host: Host): void {
    this.attempted.push(host)
  }

  /** How a retry divides over the priorities; `original` is how first attempts do. */
  determine(sets: readonly HostSet[], original: PriorityLoad): PriorityLoad {
    if (this.attempted.length < this.frequency) return original
    if (this.attempted.length % this.frequency === 0) {
      for (const host of this.attempted) this.excluded[host.priority] = true
      if (!this.adjust(sets, original)) return original
    }
    return this.load ?? original
  }

  private adjust(sets: readonly HostSet[], original: PriorityLoad): boolean {
    let parts = this.available(sets)
    if (parts.total === 0) {
      this.excluded = []
      this.attempted = []
      parts = this.available(sets)
    }
    if (parts.total === 0) return false
    const healthy = sets.map(() => 0)
    const degraded = sets.map(() => 0)
    let remaining = 100
    while (remaining > 0) {
      remaining = distributeLoad(healthy, parts.healthy, parts.total, remaining)
      remaining = distributeLoad(degraded, parts.degraded, parts.total, remaining)
    }
    this.load = { healthy, degraded, panic: original.panic }
    return true
  }

  private available(sets: readonly HostSet[]): { healthy: number[]; degraded: number[]; total: number } {
    const of = (part: 'healthy' | 'degraded') =>
      sets.map((set, i) => (this.excluded[i] === true ? 0 : priorityAvailability(set, set[part])))
    const healthy = of('healthy')
    const degraded = of('degraded')
    const sum = (values: readonly number[]) => values.reduce((a, b) => a + b, 0)
    return { healthy, degraded, total: Math.min(100, sum(healthy) + sum(degraded)) }
  }
}
