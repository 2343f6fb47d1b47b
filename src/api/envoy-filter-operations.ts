import type { EnvoyConfigObjectPatch } from './kinds/envoy-filter.ts'
import { own } from './own.ts'

const MERGES = ['MERGE', 'MERGE_AND_REPLACE_LIST']
const INSERTS = ['INSERT_BEFORE', 'INSERT_AFTER', 'INSERT_FIRST']
const FILTERS = ['MERGE', 'ADD', 'REMOVE', 'REPLACE', ...INSERTS]

/** What istiod applies to what; an insertion where there is no order is an ADD (networking/core/envoyfilter). */
const APPLIED: Readonly<Record<string, readonly string[]>> = {
  LISTENER: [...MERGES, 'ADD', 'REMOVE', ...INSERTS],
  LISTENER_FILTER: FILTERS,
  FILTER_CHAIN: [...MERGES, 'ADD', 'REMOVE', ...INSERTS],
  NETWORK_FILTER: FILTERS,
  HTTP_FILTER: FILTERS,
  ROUTE_CONFIGURATION: MERGES,
  VIRTUAL_HOST: [...MERGES, 'ADD', 'REMOVE', 'REPLACE', ...INSERTS],
  HTTP_ROUTE: [...MERGES, 'ADD', 'REMOVE', ...INSERTS],
  CLUSTER: [...MERGES, 'ADD', 'REMOVE', ...INSERTS],
  EXTENSION_CONFIG: ['ADD', ...INSERTS],
  BOOTSTRAP: ['MERGE'],
}

/** Why a patch can have no effect on whatever proxy: its operation is none for what it is applied to; undefined if it is. */
export function idleOperation({ applyTo = 'INVALID', match, patch }: EnvoyConfigObjectPatch): string | undefined {
  const operation: string = patch?.operation ?? ''
  const applied = own(APPLIED, applyTo)
  if (!applied) return undefined
  if (!applied.includes(operation)) return `has no effect: istiod applies only ${applied.join(', ')} to ${applyTo}`
  const filter = match?.listener?.filterChain?.filter
  const needed: Readonly<Record<string, [boolean, string, readonly string[]]>> = {
    LISTENER_FILTER: [!match?.listener?.listenerFilter, 'listener.listenerFilter', ['REMOVE', 'REPLACE', 'MERGE']],
    NETWORK_FILTER: [!filter, 'listener.filterChain.filter', ['REMOVE', 'REPLACE']],
    HTTP_FILTER: [!filter?.subFilter, 'listener.filterChain.filter.subFilter', ['REMOVE', 'REPLACE']],
  }
  const [missing, path, operations] = own(needed, applyTo) ?? [false, '', []]
  if (missing && operations.includes(operation)) return `has no effect without a match on ${path}`
  return undefined
}
