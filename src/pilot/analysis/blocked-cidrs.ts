import type { Analyzer } from './analyzer.ts'
import { JWKS_FETCH_UNRESTRICTED } from './catalogue.ts'

/** How many names are shown. */
const MAX_NAMES = 5

/** Whether an istiod in the files may fetch JWKS from anywhere (analyzers/authn/blockedcidrs.go). */
export const blockedCidrs: Analyzer = {
  name: 'authn.BlockedCIDRsAnalyzer',
  description:
    'Checks that BLOCKED_CIDRS_IN_JWKS_URIS is configured on istiod when RequestAuthentication resources exist',
  types: [JWKS_FETCH_UNRESTRICTED],
  analyze(context) {
    const { snapshot } = context.push
    const names = snapshot
      .list('RequestAuthentication')
      .map(({ metadata }) => `${metadata.namespace}/${metadata.name}`)
      .sort()
    if (names.length === 0) return
    const more = names.length > MAX_NAMES ? `, and ${names.length - MAX_NAMES} more` : ''
    const shown = `${names.slice(0, MAX_NAMES).join(', ')}${more}`
    for (const object of snapshot.list('Deployment')) {
      if (object.metadata.labels.app !== 'istiod') continue
      const set = object.spec.template.spec.containers.some(({ env }) =>
        env?.some(({ name, value }) => name === 'BLOCKED_CIDRS_IN_JWKS_URIS' && value),
      )
      if (!set) context.report(JWKS_FETCH_UNRESTRICTED, object, [], names.length, shown)
    }
  },
}
