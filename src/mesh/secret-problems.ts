import type { ApiObject } from '../api/objects.ts'
import type { Problem } from '../api/problems.ts'
import { keyPairProblem, secretData } from '../pilot/gateway-api/certificates.ts'
import type { PushContext } from '../pilot/scope/push-context.ts'

const KUBERNETES = 'kubernetes://'
const judged = new WeakMap<ApiObject<'Secret'>, string | undefined>()

/**
 * What is wrong with the Secrets that servers of Gateways name: sidecars refuse those, and go on with what they had
 * before. Each secret is looked at once.
 */
export function secretProblems({ gateways, registry, snapshot }: PushContext): Problem[] {
  const namespaces = new Set(registry.workloads.flatMap(({ gateway, namespace }) => (gateway ? [namespace] : [])))
  const named = new Set<ApiObject<'Secret'>>()
  for (const { spec } of gateways.objects) {
    for (const { tls } of spec.servers ?? []) {
      for (const credential of [tls?.credentialName ?? '', ...(tls?.credentialNames ?? [])]) {
        const name = credential.startsWith(KUBERNETES) ? credential.slice(KUBERNETES.length) : credential
        if (name === '' || name.includes('/')) continue
        for (const namespace of namespaces) {
          const secret = snapshot.get('Secret', namespace, name)
          if (secret) named.add(secret)
        }
      }
    }
  }
  return [...named].flatMap((secret) => {
    if (!judged.has(secret)) judged.set(secret, keyPairProblem(secretData(secret)))
    const problem = judged.get(secret)
    if (problem === undefined) return []
    const message = `${problem}; gateways go on with what they had before`
    return [
      { severity: 'warning' as const, message, ...secret.origin.locate([secret.stringData ? 'stringData' : 'data']) },
    ]
  })
}
