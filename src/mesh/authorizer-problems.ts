import type { ApiObject } from '../api/objects.ts'
import type { Problem } from '../api/problems.ts'
import { customProblem, providerOf } from '../pilot/authz/custom.ts'
import type { PushContext } from '../pilot/scope/push-context.ts'

type Policy = ApiObject<'AuthorizationPolicy'>

/** What is to be said of policies that ask an authorizer: why nobody is asked, so that what they match is denied. */
export function authorizerProblems(context: PushContext): Problem[] {
  const policies = context.snapshot.list('AuthorizationPolicy').filter(({ spec }) => spec.action === 'CUSTOM')
  if (policies.length === 0) return []
  const together = providersTogether(context)
  return policies.flatMap((policy) => {
    const provider = providerOf(policy)
    if (!isKnown(context, provider)) return [] // the analysis says so
    const none = customProblem(context, together.get(policy) ?? new Set([provider]), provider)
    const why = none ?? unreachable(context, policy, provider)
    if (why === undefined) return []
    const open = none === undefined && failsOpen(context, provider)
    const message = `${open ? 'lets everything pass (failOpen)' : 'denies all'} that it matches, as nobody can be asked: ${why}`
    return [{ severity: 'warning' as const, message, ...policy.origin.locate(['spec', 'provider', 'name']) }]
  })
}

const isKnown = ({ mesh }: PushContext, name: string): boolean =>
  mesh.extensionProviders.some((known) => known.name === name && (known.envoyExtAuthzHttp ?? known.envoyExtAuthzGrpc))

function failsOpen({ mesh }: PushContext, name: string): boolean {
  const provider = mesh.extensionProviders.find((known) => known.name === name)
  return (provider?.envoyExtAuthzHttp ?? provider?.envoyExtAuthzGrpc)?.failOpen === true
}

/** For each policy the providers that a workload has which it binds; the most, if several workloads differ. */
function providersTogether({ registry, authorizationPolicies }: PushContext): Map<Policy, Set<string>> {
  const out = new Map<Policy, Set<string>>()
  for (const { namespace, labels } of registry.workloads) {
    const bound = authorizationPolicies.forProxy({ namespace, labels }).get('CUSTOM') ?? []
    const providers = new Set(bound.map(providerOf))
    for (const policy of bound) {
      if ((out.get(policy)?.size ?? 0) < providers.size) out.set(policy, providers)
    }
  }
  return out
}

/**
 * Why a sidecar that asks has no cluster for the authorizer, so that all requests end as of one that is down (403, or
 * 200 with failOpen): its Sidecar leaves the service out, or the service has no such port. istiod says nothing of it.
 */
function unreachable(context: PushContext, policy: Policy, name: string): string | undefined {
  const { registry, authorizationPolicies, mesh } = context
  const provider = mesh.extensionProviders.find((known) => known.name === name)
  const { service = '', port } = provider?.envoyExtAuthzHttp ?? provider?.envoyExtAuthzGrpc ?? {}
  const hostname = service.slice(service.indexOf('/') + 1)
  for (const { namespace, labels, gateway } of registry.workloads) {
    if (!authorizationPolicies.forProxy({ namespace, labels }).get('CUSTOM')?.includes(policy)) continue
    const scope = context.scopeOf({ type: gateway ? 'router' : 'sidecar', namespace, labels })
    const found = scope.byHostname.get(hostname)
    if (!found) {
      const by = scope.object?.metadata
      const reason = by ? `Sidecar ${by.namespace}/${by.name} leaves it out` : 'it is not exported there'
      return `workloads of namespace ${namespace} do not see the service "${service}" of extension provider "${name}": ${reason}`
    }
    if (!found.ports.some((known) => known.port === port))
      return `extension provider "${name}": the service "${service}" has no port ${port}`
  }
  return undefined
}
