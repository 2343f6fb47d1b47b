import type { AuthorizationPolicy } from '../../api/kinds/authorization-policy.ts'
import type { ApiObject } from '../../api/objects.ts'
import { attachesTo } from '../policy-attachment.ts'
import type { ProxyNode } from '../proxy.ts'

/** An action, ALLOW when the policy states none. */
export type Action = NonNullable<AuthorizationPolicy['action']>

type Policy = ApiObject<'AuthorizationPolicy'>
/** What of a proxy decides on its policies. */
type Bound = Pick<ProxyNode, 'namespace' | 'labels'>

/** The AuthorizationPolicies of a snapshot, oldest first (pilot/pkg/model/authorization.go). */
export class AuthorizationPolicies {
  readonly #policies: readonly Policy[]
  readonly #rootNamespace: string

  /** `policies`: sorted as the store lists them, oldest first. */
  constructor(policies: readonly Policy[], rootNamespace: string) {
    this.#policies = policies
    this.#rootNamespace = rootNamespace
  }

  /** Those that bind a workload, by action: the root namespace's first, then its own namespace's. */
  forProxy(proxy: Bound): ReadonlyMap<Action, readonly Policy[]> {
    const out = new Map<Action, Policy[]>()
    for (const namespace of new Set([this.#rootNamespace, proxy.namespace])) {
      for (const policy of this.#policies) {
        if (policy.metadata.namespace !== namespace || !attaches(policy, proxy)) continue
        const action = policy.spec.action ?? 'ALLOW'
        const known = out.get(action)
        if (known) known.push(policy)
        else out.set(action, [policy])
      }
    }
    return out
  }
}

function attaches({ spec, metadata }: Policy, proxy: Bound): boolean {
  const targetRefs = spec.targetRefs?.length ? spec.targetRefs : spec.targetRef ? [spec.targetRef] : []
  return attachesTo({ targetRefs, labels: spec.selector?.matchLabels }, metadata.namespace, proxy)
}
