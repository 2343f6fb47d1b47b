import type { ApiObject } from '../../api/objects.ts'
import { selects } from '../../registry/labels.ts'
import { gatewayName } from '../scope/short-names.ts'
import { MESH_GATEWAY } from '../scope/virtual-services.ts'
import type { Analyzer } from './analyzer.ts'
import { JWT_ROUTING_WITHOUT_AUTHN } from './catalogue.ts'

/** Routes on claims of tokens that nothing validates (analyzers/virtualservice/jwtclaimroute.go). */
export const jwtRoutes: Analyzer = {
  name: 'virtualservice.JWTClaimRouteAnalyzer',
  description: 'Checks the VirtualService using JWT claim based routing has corresponding RequestAuthentication',
  types: [JWT_ROUTING_WITHOUT_AUTHN],
  analyze(context) {
    const { snapshot, mesh } = context.push
    const authentications = snapshot.list('RequestAuthentication')
    for (const route of snapshot.list('VirtualService')) {
      const claim = claimRoute(route)
      if (!claim) continue
      for (const written of route.spec.gateways ?? []) {
        const full = gatewayName(written, route.metadata.namespace)
        const [namespace = '', name = ''] = full.split('/')
        const gateway = full === MESH_GATEWAY ? undefined : snapshot.get('Gateway', namespace, name)
        if (!gateway) continue
        for (const pod of context.pods(gateway.spec.selector)) {
          const validated = authentications.some(
            ({ metadata, spec }) =>
              (metadata.namespace === mesh.rootNamespace || metadata.namespace === pod.namespace) &&
              selects(spec.selector?.matchLabels, pod.labels),
          )
          if (!validated) context.report(JWT_ROUTING_WITHOUT_AUTHN, route, claim.path, claim.key, full, pod.name)
        }
      }
    }
  },
}

/** The first match on `@request.auth.claims…`, in the form that Istio knows (pkg/jwt/routing.go). */
function claimRoute({ spec }: ApiObject<'VirtualService'>): { key: string; path: (string | number)[] } | undefined {
  for (const [i, { match }] of (spec.http ?? []).entries())
    for (const [j, matches] of (match ?? []).entries())
      for (const field of ['headers', 'withoutHeaders'] as const)
        for (const key of Object.keys(matches[field] ?? {}))
          if (/^@request\.auth\.claims(?:\..|\[.+\]$)/i.test(key))
            return { key, path: ['spec', 'http', i, 'match', j, field, key] }
  return undefined
}
