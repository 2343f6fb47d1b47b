import type { ApiObject } from '../../api/objects.ts'
import { type Init, packed } from '../../xds/messages.ts'
import type { HttpFilter } from '../listener/http-filters.ts'
import type { ProxyNode } from '../proxy.ts'
import type { PushContext } from '../scope/push-context.ts'
import type { Action } from './policies.ts'
import { NEVER, rbacPolicy } from './rule.ts'

type Rbac = Init<'envoy.config.rbac.v3.RBAC'>
type NetworkFilter = Init<'envoy.config.listener.v3.Filter'>

const ALLOW_PREFIX = 'istio_dry_run_allow_'

/** In the order in which requests meet them, with the values of RBAC.Action. */
const ACTIONS = [
  ['AUDIT', 2, ''],
  ['DENY', 1, 'istio_dry_run_deny_'],
  ['ALLOW', 0, ALLOW_PREFIX],
] as const satisfies readonly (readonly [Action, 0 | 1 | 2, string])[]

const DRY_RUN = 'istio.io/dry-run'

/** The rules of one filter. */
interface Rules {
  rules: Rbac | undefined
  shadowRules: Rbac | undefined
  shadowRulesStatPrefix: string
}

/**
 * The filters that enforce the AuthorizationPolicies of a workload: AUDIT, then DENY, then ALLOW, each if there is any
 * (pilot/pkg/security/authz/builder). CUSTOM ones are not among them.
 */
export function httpAuthorization(push: PushContext, proxy: ProxyNode): HttpFilter[] {
  return rulesOf(push, proxy, false).map((rules) => ({
    name: 'envoy.filters.http.rbac',
    configType: { case: 'typedConfig', value: packed('envoy.extensions.filters.http.rbac.v3.RBAC', rules) },
  }))
}

/** The same for a TCP chain. */
export function tcpAuthorization(push: PushContext, proxy: ProxyNode): NetworkFilter[] {
  return rulesOf(push, proxy, true).map((rules) => ({
    name: 'envoy.filters.network.rbac',
    configType: {
      case: 'typedConfig',
      value: packed('envoy.extensions.filters.network.rbac.v3.RBAC', { ...rules, statPrefix: 'tcp.' }),
    },
  }))
}

function rulesOf(push: PushContext, proxy: ProxyNode, tcp: boolean): Rules[] {
  const policies = push.authorizationPolicies.forProxy(proxy)
  const out: Rules[] = []
  for (const [action, number, prefix] of ACTIONS) {
    const list = policies.get(action)
    if (!list) continue
    const [dry, enforced] = [list.filter(isDryRun), list.filter((policy) => !isDryRun(policy))]
    out.push({
      rules: rbac(push, enforced, number, tcp),
      shadowRules: rbac(push, dry, number, tcp),
      // istiod asks the rules for their action even when there are none, which reads as ALLOW.
      shadowRulesStatPrefix: dry.length > 0 ? prefix : ALLOW_PREFIX,
    })
  }
  return out
}

type Policy = ApiObject<'AuthorizationPolicy'>

const isDryRun = ({ metadata }: Policy): boolean =>
  /^(?:1|t|T|true|True|TRUE)$/.test(metadata.annotations?.[DRY_RUN] ?? '')

function rbac(push: PushContext, policies: readonly Policy[], action: 0 | 1 | 2, tcp: boolean): Rbac | undefined {
  if (policies.length === 0) return undefined
  const { trustDomain, trustDomainAliases } = push.mesh
  const trustDomains = [trustDomain, ...trustDomainAliases]
  const out: Record<string, Init<'envoy.config.rbac.v3.Policy'>> = {}
  for (const { metadata, spec } of policies) {
    const { namespace = '', name } = metadata
    const key = (rule: number): string => `ns[${namespace}]-policy[${name}]-rule[${rule}]`
    if (!spec.rules?.length) out[key(0)] = NEVER
    spec.rules?.forEach((rule, index) => {
      const made = rbacPolicy(rule, { tcp, allow: action === 0, namespace, trustDomains })
      if (made) out[key(index)] = made
    })
  }
  return { action, policies: out }
}
