import type { LoadBalancerContext } from '../cluster.ts'
import type { HostSet, LocalityHosts } from '../priority-set.ts'
import type { UpstreamHost } from '../upstream-host.ts'
import type { BalancerStats, LoadBalancer } from './balancer.ts'
import type { Fallback, Labels, Selector, SubsetSettings } from './subset-config.ts'

/** Keys and values, as JSON, sorted by key. */
type Pairs = readonly (readonly [key: string, value: string])[]

interface Subset {
  readonly labels: Pairs
  /** Undefined for a subset of a single host. */
  readonly balancer: LoadBalancer | undefined
  /** The host of a subset that has one only. */
  single: UpstreamHost | undefined
  /** It has a host, healthy or not. */
  active: boolean
}

/** Selectors by their keys in order: what a selector does when its keys are a route's, but no subset is. */
interface SelectorNode {
  selector: Selector | undefined
  readonly next: Map<string, SelectorNode>
}

/**
 * Balances within the hosts whose `envoy.lb` metadata has what the route asks for
 * (source/extensions/load_balancing_policies/subset/subset_lb.cc).
 */
export class SubsetBalancer implements LoadBalancer {
  private readonly settings: SubsetSettings
  private readonly create: () => LoadBalancer
  private readonly stats: BalancerStats
  private readonly selectors: SelectorNode
  private subsets = new Map<string, Subset>()
  private readonly any: LoadBalancer
  private readonly byDefault: LoadBalancer

  constructor(settings: SubsetSettings, create: () => LoadBalancer, stats: BalancerStats) {
    this.settings = settings
    this.create = create
    this.stats = stats
    this.selectors = selectorTree(settings.selectors)
    this.any = create()
    this.byDefault = create()
  }

  update(sets: readonly HostSet[]): void {
    const found = this.sort(sets)
    for (const [key, subset] of this.subsets) {
      if (found.has(key)) continue
      countTwice(this.stats.subsetsRemoved)
      subset.balancer?.close?.()
    }
    this.subsets = found
    this.stats.subsetsActive.set(2 * found.size)
    for (const { balancer, labels } of found.values()) balancer?.update(this.restrict(sets, labels))
    if (this.uses('any')) this.any.update(this.restrict(sets, []))
    if (this.uses('default')) this.byDefault.update(this.restrict(sets, pairs(this.settings.defaultSubset)))
  }

  chooseHost(context: LoadBalancerContext): UpstreamHost | undefined {
    const match = context.metadataMatch
    const list = this.settings.fallbackList ? match?.[FALLBACK_LIST] : undefined
    if (!Array.isArray(list)) return this.choose(context, match && pairs(match))
    const { [FALLBACK_LIST]: _list, ...rest } = match as Record<string, unknown>
    if (list.length === 0) return this.choose(context, pairs(rest))
    for (const entry of list) {
      const override = typeof entry === 'object' && entry !== null && !Array.isArray(entry) ? entry : {}
      const host = this.choose(context, pairs({ ...rest, ...override }))
      if (host !== undefined) return host
    }
    return undefined
  }

  close(): void {
    for (const { balancer } of this.subsets.values()) balancer?.close?.()
    this.any.close?.()
    this.byDefault.close?.()
  }

  private choose(context: LoadBalancerContext, asked: Pairs | undefined): UpstreamHost | undefined {
    const wanted = this.settings.allowRedundantKeys && asked !== undefined ? this.relevant(asked) : asked
    if (wanted !== undefined) {
      const subset = this.subsets.get(keyOf(wanted))
      if (subset?.active) {
        this.stats.subsetsSelected.inc()
        return subset.balancer === undefined ? subset.single : subset.balancer.chooseHost(context)
      }
      const selector = this.selectorFor(wanted)
      if (selector !== undefined && selector.fallback !== 'unset') return this.bySelector(selector, context, wanted)
    }
    return this.byCluster(this.settings.fallback, context)
  }

  private uses(fallback: Fallback): boolean {
    const { settings } = this
    if (settings.fallback === fallback || (fallback === 'any' && settings.panicModeAny)) return true
    return settings.selectors.some((s) => s.fallback === fallback)
  }

  private byCluster(fallback: Fallback, context: LoadBalancerContext): UpstreamHost | undefined {
    if (fallback !== 'any' && fallback !== 'default') return undefined
    const host = (fallback === 'any' ? this.any : this.byDefault).chooseHost(context)
    if (host !== undefined) {
      this.stats.subsetsFallback.inc()
      return host
    }
    if (!this.settings.panicModeAny) return undefined
    const panic = this.any.chooseHost(context)
    if (panic !== undefined) this.stats.subsetsFallbackPanic.inc()
    return panic
  }

  private bySelector(selector: Selector, context: LoadBalancerContext, wanted: Pairs): UpstreamHost | undefined {
    switch (selector.fallback) {
      case 'any':
        return this.any.chooseHost(context)
      case 'default':
        return this.byDefault.chooseHost(context)
      case 'keys':
        return this.choose(
          context,
          wanted.filter(([key]) => selector.fallbackKeys.includes(key)),
        )
      default:
        return undefined
    }
  }

  private selectorFor(wanted: Pairs): Selector | undefined {
    let node: SelectorNode | undefined = this.selectors
    for (const [key] of wanted) node = node?.next.get(key)
    return node?.selector
  }

  /** What of the route's keys the first selector has that they cover. */
  private relevant(asked: Pairs): Pairs {
    for (const { keys } of this.settings.selectors) {
      const kept = asked.filter(([key]) => keys.includes(key))
      if (kept.length > 0 && kept.length === keys.length) return kept
    }
    return asked
  }

  /** The subsets that hosts have labels for; those that were there before keep their balancers. */
  private sort(sets: readonly HostSet[]): Map<string, Subset> {
    const found = new Map<string, Subset>()
    let duplicates = 0
    for (const set of sets) {
      const singles = new Set<Subset>()
      for (const host of set.all) {
        for (const selector of this.settings.selectors) {
          for (const labels of this.labelsOf(host, selector.keys)) {
            const subset = this.subsetOf(labels, selector.singleHost, found)
            if (subset.balancer !== undefined) continue
            if (singles.has(subset)) duplicates++
            else subset.single ??= host
            singles.add(subset)
          }
        }
      }
    }
    this.stats.subsetsDuplicates.set(duplicates)
    return found
  }

  private subsetOf(labels: Pairs, single: boolean, found: Map<string, Subset>): Subset {
    const key = keyOf(labels)
    let subset = found.get(key)
    if (subset !== undefined) return subset
    subset = this.subsets.get(key)
    if (subset === undefined) {
      countTwice(this.stats.subsetsCreated)
      subset = { labels, balancer: single ? undefined : this.create(), single: undefined, active: true }
    }
    subset.single = undefined
    found.set(key, subset)
    return subset
  }

  /** The label sets that a host has for a selector: none, one, or one per element of lists (list_as_any). */
  private labelsOf(host: UpstreamHost, keys: readonly string[]): Pairs[] {
    const metadata = host.metadata.get('envoy.lb')
    let all: (readonly [string, string])[][] = [[]]
    for (const key of keys) {
      const value = metadata?.[key]
      if (value === undefined) return []
      const values = this.settings.listAsAny && Array.isArray(value) ? value : [value]
      all = all.flatMap((labels) => values.map((v) => [...labels, [key, canonical(v)] as const]))
    }
    return keys.length === 0 ? [] : all
  }

  private matches(host: UpstreamHost, labels: Pairs): boolean {
    const metadata = host.metadata.get('envoy.lb')
    return labels.every(([key, wanted]) => {
      const value = metadata?.[key]
      if (this.settings.listAsAny && Array.isArray(value)) return value.some((v) => canonical(v) === wanted)
      return value !== undefined && canonical(value) === wanted
    })
  }

  /** The hosts with these labels. Weights of localities count only where the config says so. */
  private restrict(sets: readonly HostSet[], labels: Pairs): HostSet[] {
    const { localityWeightAware, scaleLocalityWeight } = this.settings
    const keep = (host: UpstreamHost) => this.matches(host, labels)
    return sets.map((set) => ({
      ...set,
      ...filtered(set, keep),
      weighted: localityWeightAware && set.weighted,
      localities: set.localities.map((l) => {
        const part = filtered(l, keep)
        const weight =
          scaleLocalityWeight && l.all.length > 0 ? Math.round((l.weight * part.all.length) / l.all.length) : l.weight
        return { ...l, ...part, weight }
      }),
    }))
  }
}

const FALLBACK_LIST = 'fallback_list'

/** Envoy's main thread has subsets of its own, which count beside the worker's. */
function countTwice(counter: { inc(): void }): void {
  counter.inc()
  counter.inc()
}

/** As Envoy builds it: a node that a longer selector made first never gets the fallback of the shorter one. */
function selectorTree(selectors: readonly Selector[]): SelectorNode {
  const root: SelectorNode = { selector: undefined, next: new Map() }
  for (const selector of selectors) {
    let node = root
    selector.keys.forEach((key, i) => {
      let next = node.next.get(key)
      if (next === undefined) {
        next = { selector: i === selector.keys.length - 1 ? selector : undefined, next: new Map() }
        node.next.set(key, next)
      }
      node = next
    })
  }
  return root
}

/** JSON that is the same for equal values, whatever the order of their fields. */
function canonical(value: unknown): string {
  return JSON.stringify(value, (_key, v: unknown) =>
    typeof v === 'object' && v !== null && !Array.isArray(v)
      ? Object.fromEntries(Object.entries(v).sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0)))
      : v,
  )
}

function pairs(labels: Labels): Pairs {
  return Object.entries(labels)
    .map(([key, value]) => [key, canonical(value)] as const)
    .sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0))
}

function keyOf(labels: Pairs): string {
  return labels.map(([key, value]) => `${key}=${value}`).join('\0')
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
