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
    const why = customProblem(context, together.get(policy) ?? new Set([provider]), provider)
    if (why === undefined) return []
    const message = `denies all that it matches, as nobody can be asked: ${why}`
    return [{ severity: 'warning' as const, message, ...policy.origin.locate(['spec', 'provider', 'name']) }]
  })
}

const isKnown = ({ mesh }: PushContext, name: string): boolean =>
  mesh.extensionProviders.some((known) => known.name === name && (known.envoyExtAuthzHttp ?? known.envoyExtAuthzGrpc))

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
