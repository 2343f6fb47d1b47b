import type { Cluster_LbSubsetConfig } from '#gen/envoy/config/cluster/v3/cluster_pb.js'
import type { Subset as SubsetPolicy } from '#gen/envoy/extensions/load_balancing_policies/subset/v3/subset_pb.js'
import type { Problems } from '../../http/config.ts'
import type { LoadBalancerContext } from '../cluster.ts'
import type { HostSet, LocalityHosts } from '../priority-set.ts'
import type { UpstreamHost } from '../upstream-host.ts'
import type { BalancerStats, LoadBalancer } from './balancer.ts'

/** What to do when no subset matches. */
type Fallback = 'none' | 'any' | 'default' | 'keys' | 'unset'

interface Selector {
  /** Sorted. */
  readonly keys: readonly string[]
  readonly fallback: Fallback
  readonly fallbackKeys: readonly string[]
}

/** lb_subset_config, compiled. */
export interface SubsetSettings {
  readonly fallback: Fallback
  readonly defaultSubset: Labels
  readonly selectors: readonly Selector[]
  readonly panicModeAny: boolean
  readonly listAsAny: boolean
}

type Labels = Readonly<Record<string, unknown>>

const CLUSTER_FALLBACK: readonly Fallback[] = ['none', 'any', 'default']
const SELECTOR_FALLBACK: readonly Fallback[] = ['unset', 'none', 'any', 'default', 'keys']

/** Compiles the config; what is not supported is added to `problems`. */
export function compileSubsets(
  config: Cluster_LbSubsetConfig | SubsetPolicy,
  path: string,
  problems: Problems,
): SubsetSettings {
  if (config.localityWeightAware) problems.add(`${path}.locality_weight_aware`, 'not supported')
  if (config.metadataFallbackPolicy !== 0) problems.add(`${path}.metadata_fallback_policy`, 'not supported')
  config.subsetSelectors.forEach((s, i) => {
    if (s.singleHostPerSubset) problems.add(`${path}.subset_selectors[${i}].single_host_per_subset`, 'not supported')
  })
  return {
    fallback: CLUSTER_FALLBACK[config.fallbackPolicy] ?? 'none',
    defaultSubset: config.defaultSubset ?? {},
    selectors: config.subsetSelectors.map((s) => ({
      keys: [...new Set(s.keys)].sort(),
      fallback: SELECTOR_FALLBACK[s.fallbackPolicy] ?? 'unset',
      fallbackKeys: [...new Set(s.fallbackKeysSubset)].sort(),
    })),
    panicModeAny: config.panicModeAny,
    listAsAny: config.listAsAny,
  }
}

interface Subset {
  readonly labels: readonly (readonly [string, string])[]
  readonly balancer: LoadBalancer
}

/**
 * Balances within the hosts whose `envoy.lb` metadata has what the route asks for
 * (source/extensions/load_balancing_policies/subset/subset_lb.cc).
 */
export class SubsetBalancer implements LoadBalancer {
  private readonly settings: SubsetSettings
  private readonly create: () => LoadBalancer
  private readonly stats: BalancerStats
  private subsets = new Map<string, Subset>()
  private readonly any: LoadBalancer
  private readonly byDefault: LoadBalancer

  constructor(settings: SubsetSettings, create: () => LoadBalancer, stats: BalancerStats) {
    this.settings = settings
    this.create = create
    this.stats = stats
    this.any = create()
    this.byDefault = create()
  }

  update(sets: readonly HostSet[]): void {
    const found = new Map<string, Subset>()
    for (const set of sets) {
      for (const host of set.all) {
        for (const selector of this.settings.selectors) {
          for (const labels of this.labelsOf(host, selector.keys)) {
            const key = keyOf(labels)
            if (found.has(key)) continue
            found.set(key, this.subsets.get(key) ?? { labels, balancer: this.create() })
            if (!this.subsets.has(key)) this.stats.subsetsCreated.inc()
          }
        }
      }
    }
    for (const key of this.subsets.keys()) if (!found.has(key)) this.stats.subsetsRemoved.inc()
    this.subsets = found
    this.stats.subsetsActive.set(found.size)
    for (const subset of found.values()) subset.balancer.update(restrict(sets, (h) => this.matches(h, subset.labels)))
    this.any.update(sets)
    const wanted = pairs(this.settings.defaultSubset)
    this.byDefault.update(restrict(sets, (h) => this.matches(h, wanted)))
  }

  chooseHost(context: LoadBalancerContext): UpstreamHost | undefined {
    const match = context.metadataMatch
    if (match !== undefined) {
      const labels = pairs(match)
      const subset = this.subsets.get(keyOf(labels))
      if (subset !== undefined) {
        const host = subset.balancer.chooseHost(context)
        if (host !== undefined) {
          this.stats.subsetsSelected.inc()
          return host
        }
      }
      const selector = this.selectorFor(labels.map(([key]) => key))
      if (selector !== undefined && selector.fallback !== 'unset')
        return this.fallBack(selector.fallback, context, selector)
    }
    return this.fallBack(this.settings.fallback, context, undefined)
  }

  private fallBack(
    how: Fallback,
    context: LoadBalancerContext,
    selector: Selector | undefined,
  ): UpstreamHost | undefined {
    if (how === 'keys' && selector !== undefined) {
      const all = context.metadataMatch ?? {}
      const fewer = Object.fromEntries(Object.entries(all).filter(([key]) => selector.fallbackKeys.includes(key)))
      const subset = this.subsets.get(keyOf(pairs(fewer)))
      this.stats.subsetsFallback.inc()
      return subset?.balancer.chooseHost(context)
    }
    if (how === 'any' || how === 'default') {
      const host = (how === 'any' ? this.any : this.byDefault).chooseHost(context)
      if (host !== undefined) {
        this.stats.subsetsFallback.inc()
        return host
      }
    }
    if (!this.settings.panicModeAny) return undefined
    const host = this.any.chooseHost(context)
    if (host !== undefined) this.stats.subsetsFallbackPanic.inc()
    return host
  }

  private selectorFor(keys: readonly string[]): Selector | undefined {
    return this.settings.selectors.find((s) => s.keys.length === keys.length && s.keys.every((k, i) => k === keys[i]))
  }

  /** The label sets that a host has for a selector: none, one, or one per element of lists (list_as_any). */
  private labelsOf(host: UpstreamHost, keys: readonly string[]): (readonly [string, string])[][] {
    const metadata = host.metadata.get('envoy.lb')
    let all: (readonly [string, string])[][] = [[]]
    for (const key of keys) {
      const value = metadata?.[key]
      if (value === undefined) return []
      const values = this.settings.listAsAny && Array.isArray(value) ? value : [value]
      all = all.flatMap((labels) => values.map((v) => [...labels, [key, JSON.stringify(v)] as const]))
    }
    return all
  }

  private matches(host: UpstreamHost, labels: readonly (readonly [string, string])[]): boolean {
    const metadata = host.metadata.get('envoy.lb')
    return labels.every(([key, wanted]) => {
      const value = metadata?.[key]
      if (this.settings.listAsAny && Array.isArray(value)) return value.some((v) => JSON.stringify(v) === wanted)
      return value !== undefined && JSON.stringify(value) === wanted
    })
  }
}

function pairs(labels: Labels): (readonly [string, string])[] {
  return Object.entries(labels)
    .map(([key, value]) => [key, JSON.stringify(value)] as const)
    .sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0))
}

function keyOf(labels: readonly (readonly [string, string])[]): string {
  return labels.map(([key, value]) => `${key}=${value}`).join('\0')
}

function restrict(sets: readonly HostSet[], keep: (host: UpstreamHost) => boolean): HostSet[] {
  return sets.map((set) => ({
    ...set,
    ...filtered(set, keep),
    localities: set.localities.map((l) => ({ ...l, ...filtered(l, keep) })),
  }))
}

function filtered(
  from: HostSet | LocalityHosts,
  keep: (host: UpstreamHost) => boolean,
): Pick<HostSet, 'all' | 'healthy' | 'degraded' | 'excluded'> {
  const all = from.all.filter(keep)
  return {
    all,
    healthy: from.healthy.filter(keep),
    degraded: from.degraded.filter(keep),
    excluded: all.reduce((n, h) => n + (h.excluded ? 1 : 0), 0),
  }
}
