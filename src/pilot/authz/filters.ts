import type { Init } from '../../xds/messages.ts'
import type { HttpFilter } from '../listener/http-filters.ts'
import type { ProxyNode } from '../proxy.ts'
import type { PushContext } from '../scope/push-context.ts'
import { httpRbac, networkRbac } from './custom.ts'
import type { Action } from './policies.ts'
import { isDryRun, type Rbac, type RbacAction, rbac } from './policy-rules.ts'

type NetworkFilter = Init<'envoy.config.listener.v3.Filter'>

const ALLOW_PREFIX = 'istio_dry_run_allow_'

/** In the order in which requests meet them, with the values of RBAC.Action. */
const ACTIONS = [
  ['AUDIT', 2, ''],
  ['DENY', 1, 'istio_dry_run_deny_'],
  ['ALLOW', 0, ALLOW_PREFIX],
] as const satisfies readonly (readonly [Action, RbacAction, string])[]

/** The rules of one filter. */
interface Rules {
  rules: Rbac | undefined
  shadowRules: Rbac | undefined
  shadowRulesStatPrefix: string
}

/**
 * The filters that enforce the AuthorizationPolicies of a workload: AUDIT, then DENY, then ALLOW, each if there is any
 * (pilot/pkg/security/authz/builder). They come after authentication; CUSTOM ones, which come before, are not among them.
 */
export const httpAuthorization = (push: PushContext, proxy: ProxyNode): HttpFilter[] =>
  rulesOf(push, proxy, false).map(httpRbac)

/** The same for a TCP chain. */
export const tcpAuthorization = (push: PushContext, proxy: ProxyNode): NetworkFilter[] =>
  rulesOf(push, proxy, true).map(networkRbac)

function rulesOf(push: PushContext, proxy: ProxyNode, tcp: boolean): Rules[] {
  const policies = push.authorizationPolicies.forProxy(proxy)
  const out: Rules[] = []
  for (const [name, action, prefix] of ACTIONS) {
    const list = policies.get(name)
    if (!list) continue
    const [dry, enforced] = [list.filter(isDryRun), list.filter((policy) => !isDryRun(policy))]
    out.push({
      rules: rbac(push, enforced, { action, tcp }),
      shadowRules: rbac(push, dry, { action, tcp }),
      // istiod asks the rules for their action even when there are none, which reads as ALLOW.
      shadowRulesStatPrefix: dry.length > 0 ? prefix : ALLOW_PREFIX,
    })
  }
  return out
}
