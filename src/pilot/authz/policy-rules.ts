import type { ApiObject } from '../../api/objects.ts'
import type { Init } from '../../xds/messages.ts'
import type { PushContext } from '../scope/push-context.ts'
import { NEVER, rbacPolicy } from './rule.ts'

/** Rules as Envoy's RBAC filters take them. */
export type Rbac = Init<'envoy.config.rbac.v3.RBAC'>
/** The values of RBAC.Action: ALLOW, DENY, LOG. */
export type RbacAction = 0 | 1 | 2
type Policy = ApiObject<'AuthorizationPolicy'>

const DRY_RUN = 'istio.io/dry-run'

/** Whether a policy only tells what it would do. */
export const isDryRun = ({ metadata }: Policy): boolean =>
  /^(?:1|t|T|true|True|TRUE)$/.test(metadata.annotations?.[DRY_RUN] ?? '')

/** What of policies with one action is made. */
export interface RulesOptions {
  action: RbacAction
  /** Of a TCP chain, where HTTP attributes mean nothing. */
  tcp: boolean
  /** Before the name of each policy. */
  prefix?: string
}

/** The rules of policies; undefined for no policies (pilot/pkg/security/authz/builder build). */
export function rbac(push: PushContext, policies: readonly Policy[], options: RulesOptions): Rbac | undefined {
  if (policies.length === 0) return undefined
  const { action, tcp, prefix = '' } = options
  const { trustDomain, trustDomainAliases } = push.mesh
  const trustDomains = [trustDomain, ...trustDomainAliases]
  const out: Record<string, Init<'envoy.config.rbac.v3.Policy'>> = {}
  for (const { metadata, spec } of policies) {
    const { namespace = '', name } = metadata
    const key = (rule: number): string => `${prefix}ns[${namespace}]-policy[${name}]-rule[${rule}]`
    if (!spec.rules?.length) out[key(0)] = NEVER
    spec.rules?.forEach((rule, index) => {
      const made = rbacPolicy(rule, { tcp, allow: action === 0, namespace, trustDomains })
      if (made) out[key(index)] = made
    })
  }
  return { action, policies: out }
}
