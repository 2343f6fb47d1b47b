import type { EnvoyConfigObjectPatch } from '../../api/kinds/envoy-filter.ts'
import type { Analyzer } from './analyzer.ts'
import {
  ENVOY_FILTER_ADD,
  ENVOY_FILTER_RELATIVE,
  ENVOY_FILTER_RELATIVE_WITH_VERSION,
  ENVOY_FILTER_REMOVE,
  ENVOY_FILTER_REPLACE,
} from './catalogue.ts'

/** Operations that look for something that another EnvoyFilter may have to put there first. */
const RELATIVE: readonly string[] = ['REMOVE', 'REPLACE', 'INSERT_BEFORE', 'INSERT_AFTER']
const REPLACEABLE: readonly string[] = ['NETWORK_FILTER', 'HTTP_FILTER', 'VIRTUAL_HOST']
const ROUTING: readonly string[] = ['ROUTE_CONFIGURATION', 'HTTP_ROUTE']

/**
 * Operations of EnvoyFilters that depend on their order, or are not for what they are applied to, by the lights of
 * istioctl (analyzers/envoyfilter/envoyfilter.go), which are not in each case those of istiod: that adds routes.
 */
export const envoyFilters: Analyzer = {
  name: 'envoyfilter.EnvoyPatchAnalyzer',
  description: 'Checks an envoyFilters ',
  types: [
    ENVOY_FILTER_RELATIVE,
    ENVOY_FILTER_REPLACE,
    ENVOY_FILTER_ADD,
    ENVOY_FILTER_REMOVE,
    ENVOY_FILTER_RELATIVE_WITH_VERSION,
  ],
  analyze(context) {
    // Of patches that are for a version of the proxy, and have been seen already.
    const versioned = new Set<string>()
    for (const filter of context.push.snapshot.list('EnvoyFilter')) {
      for (const [index, entry] of (filter.spec.configPatches ?? []).entries()) {
        const { patch, applyTo = '' } = entry
        if (!patch) break
        const path = ['spec', 'configPatches', index]
        const name = subject(entry)
        const operation: string = patch.operation ?? ''
        if (operation === 'ADD' && ROUTING.includes(applyTo)) context.report(ENVOY_FILTER_ADD, filter, path)
        else if (operation === 'REMOVE' && ROUTING.includes(applyTo)) context.report(ENVOY_FILTER_REMOVE, filter, path)
        else if (operation === 'REPLACE' && !REPLACEABLE.includes(applyTo))
          context.report(ENVOY_FILTER_REPLACE, filter, path)
        else if (RELATIVE.includes(operation) && !filter.spec.priority)
          context.report(versioned.has(name) ? ENVOY_FILTER_RELATIVE_WITH_VERSION : ENVOY_FILTER_RELATIVE, filter, path)
        if (entry.match?.proxy?.proxyVersion) versioned.add(name)
      }
    }
  },
}

/** What a patch is about: the name of its value, or of the network filter that it looks for. The two are never equal. */
function subject({ match, patch }: EnvoyConfigObjectPatch): string {
  const value = patch?.value
  if (!value) return ''
  if (value.name !== undefined) return `value ${JSON.stringify(value.name)}`
  return match?.listener?.filterChain?.filter?.name ?? ''
}
