import type { Cluster_LbSubsetConfig } from '#gen/envoy/config/cluster/v3/cluster_pb.js'
import type { Subset as SubsetPolicy } from '#gen/envoy/extensions/load_balancing_policies/subset/v3/subset_pb.js'
import type { Problems } from '../../http/config.ts'

/** What to do when no subset matches. */
export type Fallback = 'none' | 'any' | 'default' | 'keys' | 'unset'

/** The keys by which hosts are sorted into subsets. */
export interface Selector {
  /** Sorted. */
  readonly keys: readonly string[]
  readonly fallback: Fallback
  readonly fallbackKeys: readonly string[]
  readonly singleHost: boolean
}

/** lb_subset_config, compiled. */
export interface SubsetSettings {
  readonly fallback: Fallback
  readonly defaultSubset: Labels
  readonly selectors: readonly Selector[]
  readonly panicModeAny: boolean
  readonly listAsAny: boolean
  /** Keys of a route that no selector has are passed over. */
  readonly allowRedundantKeys: boolean
  /** A route's `fallback_list` is tried entry by entry. */
  readonly fallbackList: boolean
  readonly localityWeightAware: boolean
  readonly scaleLocalityWeight: boolean
}

/** Metadata under `envoy.lb`. */
export type Labels = Readonly<Record<string, unknown>>

const CLUSTER_FALLBACK: readonly Fallback[] = ['none', 'any', 'default']
const SELECTOR_FALLBACK: readonly Fallback[] = ['unset', 'none', 'any', 'default', 'keys']
const FALLBACK_LIST = 1

/** Compiles the config of a cluster, or of the policy extension. */
export function compileSubsets(
  config: Cluster_LbSubsetConfig | SubsetPolicy,
  path: string,
  problems: Problems,
): SubsetSettings {
  const settings: SubsetSettings = {
    fallback: CLUSTER_FALLBACK[config.fallbackPolicy] ?? 'none',
    defaultSubset: config.defaultSubset ?? {},
    selectors: config.subsetSelectors.map((s) => ({
      keys: [...new Set(s.keys)].sort(),
      fallback: SELECTOR_FALLBACK[s.fallbackPolicy] ?? 'unset',
      fallbackKeys: [...new Set(s.fallbackKeysSubset)].sort(),
      singleHost: s.singleHostPerSubset,
    })),
    panicModeAny: config.panicModeAny,
    listAsAny: config.listAsAny,
    allowRedundantKeys: 'allowRedundantKeys' in config && config.allowRedundantKeys,
    fallbackList: (config.metadataFallbackPolicy as number) === FALLBACK_LIST,
    localityWeightAware: config.localityWeightAware,
    scaleLocalityWeight: config.scaleLocalityWeight,
  }
  settings.selectors.forEach((s, i) => {
    const wrong = wrongFallback(s)
    if (wrong !== undefined) problems.add(`${path}.subset_selectors[${i}]`, wrong)
  })
  return settings
}

/** What is wrong with a selector's fallback (subset_lb_config.cc SubsetSelector). */
function wrongFallback({ keys, fallback, fallbackKeys }: Selector): string | undefined {
  if (fallback !== 'keys')
    return fallbackKeys.length === 0
      ? undefined
      : 'fallback_keys_subset can be set only for KEYS_SUBSET fallback_policy'
  if (fallbackKeys.length === 0) return 'fallback_keys_subset cannot be empty'
  if (!fallbackKeys.every((key) => keys.includes(key))) return 'fallback_keys_subset must be a subset of selector keys'
  return keys.length === fallbackKeys.length ? 'fallback_keys_subset cannot be equal to keys' : undefined
}
