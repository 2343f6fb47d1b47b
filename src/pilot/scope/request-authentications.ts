import type { JWTRule } from '../../api/kinds/request-authentication.ts'
import type { ApiObject, Position } from '../../api/objects.ts'
import { attachesTo } from '../policy-attachment.ts'
import type { ProxyNode } from '../proxy.ts'

type Policy = ApiObject<'RequestAuthentication'>

/** One rule of a policy. */
export interface BoundRule {
  readonly rule: JWTRule
  readonly policy: Policy
  /** Its place among the policy's rules. */
  readonly index: number
}

/** The RequestAuthentications of a snapshot (pilot/pkg/model/authentication.go). */
export class RequestAuthentications {
  readonly #policies: readonly Policy[]
  readonly #rootNamespace: string

  /** `policies`: sorted as the store lists them, oldest first. */
  constructor(policies: readonly Policy[], rootNamespace: string) {
    this.#policies = policies
    this.#rootNamespace = rootNamespace
  }

  /** Whether there are none at all. */
  get isEmpty(): boolean {
    return this.#policies.length === 0
  }

  /**
   * The rules that hold for a workload: those of its own namespace, then those of the root namespace, sorted by issuer;
   * rules of one issuer stay in that order (pilot/pkg/security/authn/policy_applier.go newPolicyApplier).
   */
  forProxy(proxy: ProxyNode): BoundRule[] {
    if (this.isEmpty) return []
    const out: BoundRule[] = []
    for (const namespace of new Set([proxy.namespace, this.#rootNamespace])) {
      for (const policy of this.#policies) {
        if (policy.metadata.namespace !== namespace || !binds(policy, proxy)) continue
        for (const [index, rule] of (policy.spec.jwtRules ?? []).entries()) out.push({ rule, policy, index })
      }
    }
    return out.sort((a, b) => compare(a.rule.issuer ?? '', b.rule.issuer ?? ''))
  }
}

/** Where a rule says who signs: what a message about its keys points at. */
export function placeOf({ rule, policy, index }: BoundRule): Position {
  const field = rule.jwksUri ? 'jwksUri' : 'issuer'
  return policy.origin.locate(['spec', 'jwtRules', index, field])
}

function binds({ spec, metadata }: Policy, proxy: ProxyNode): boolean {
  const targetRefs = spec.targetRefs?.length ? spec.targetRefs : spec.targetRef ? [spec.targetRef] : []
  return attachesTo({ targetRefs, labels: spec.selector?.matchLabels }, metadata.namespace, proxy)
}

/** By bytes, as Go compares strings. */
const compare = (a: string, b: string): number => Buffer.compare(Buffer.from(a), Buffer.from(b))
