import type { ApiObject } from '../../api/objects.ts'
import { type Init, packed } from '../../xds/messages.ts'
import type { HttpFilter } from '../listener/http-filters.ts'
import type { ProxyNode } from '../proxy.ts'
import type { PushContext } from '../scope/push-context.ts'
import { type Authorizer, authorizerOf } from './ext-authz.ts'
import { type Rbac, rbac } from './policy-rules.ts'

type NetworkFilter = Init<'envoy.config.listener.v3.Filter'>
type Policy = ApiObject<'AuthorizationPolicy'>

const DENY = 1
const MARK = 'istio-ext-authz'
const SHADOW_PREFIX = 'istio_ext_authz_'
const BAD = '-deny-due-to-bad-CUSTOM-action'

/** The policies of one provider, as rules and as who decides: an authorizer, or why there is none. */
interface Group {
  provider: string
  rules: Rbac
  authorizer: Authorizer | string
}

/**
 * The filters of CUSTOM policies: for each provider one that marks what is to be asked about, without deciding, and
 * one that asks about what is marked. Without a provider to ask, what the policies match is denied
 * (pilot/pkg/security/authz/builder buildHTTP). They come before authentication.
 */
export function httpCustomAuthorization(push: PushContext, proxy: ProxyNode): HttpFilter[] {
  return groups(push, proxy, false).flatMap(({ provider, rules, authorizer }) => {
    if (typeof authorizer === 'string') return [httpRbac({ rules: denied(rules) })]
    const filterEnabledMetadata = marked('envoy.filters.http.rbac', provider)
    return [
      httpRbac({ shadowRules: rules, shadowRulesStatPrefix: SHADOW_PREFIX }),
      {
        name: 'envoy.filters.http.ext_authz',
        configType: {
          case: 'typedConfig',
          value: packed('envoy.extensions.filters.http.ext_authz.v3.ExtAuthz', {
            ...authorizer.http,
            filterEnabledMetadata,
          }),
        },
      },
    ]
  })
}

/** The same for a TCP chain, where an authorizer over HTTP is not asked. */
export function tcpCustomAuthorization(push: PushContext, proxy: ProxyNode): NetworkFilter[] {
  return groups(push, proxy, true).flatMap(({ provider, rules, authorizer }) => {
    if (typeof authorizer === 'string') return [networkRbac({ rules: denied(rules) })]
    if (!authorizer.tcp) return []
    const filterEnabledMetadata = marked('envoy.filters.network.rbac', provider)
    return [
      networkRbac({ shadowRules: rules, shadowRulesStatPrefix: SHADOW_PREFIX }),
      {
        name: 'envoy.filters.network.ext_authz',
        configType: {
          case: 'typedConfig',
          value: packed('envoy.extensions.filters.network.ext_authz.v3.ExtAuthz', {
            ...authorizer.tcp,
            filterEnabledMetadata,
          }),
        },
      },
    ]
  })
}

/** Why nobody can be asked about what CUSTOM policies match, so that it is denied; undefined if somebody can. */
export function customProblem(push: PushContext, providers: ReadonlySet<string>, name: string): string | undefined {
  if (providers.size > 1 && !push.env.multipleAuthorizers) {
    const all = [...providers].sort().join(', ')
    return `a workload has more than one provider (${all}), which needs PILOT_ENABLE_MULTIPLE_CUSTOM_AUTHZ_PROVIDERS`
  }
  const authorizer = authorizerOf(push, name)
  return typeof authorizer === 'string' ? authorizer : undefined
}

/** The name of a CUSTOM policy's provider. */
export const providerOf = ({ spec }: Policy): string => spec.provider?.name ?? ''

function groups(push: PushContext, proxy: ProxyNode, tcp: boolean): Group[] {
  const policies = push.authorizationPolicies.forProxy(proxy).get('CUSTOM') ?? []
  const providers = new Set(policies.map(providerOf))
  return [...providers].sort().map((provider) => {
    const own = policies.filter((policy) => providerOf(policy) === provider)
    const prefix = provider ? `${MARK}-${provider}-` : `${MARK}-`
    return {
      provider,
      rules: rbac(push, own, { action: DENY, tcp, prefix }) ?? { action: DENY },
      authorizer: customProblem(push, providers, provider) ?? authorizerOf(push, provider),
    }
  })
}

function denied({ policies = {} }: Rbac): Rbac {
  return {
    action: DENY,
    policies: Object.fromEntries(Object.entries(policies).map(([key, made]) => [key + BAD, made])),
  }
}

/** What an RBAC filter before wrote of the policies of a provider. */
const marked = (filter: string, provider: string): Init<'envoy.type.matcher.v3.MetadataMatcher'> => ({
  filter,
  path: [{ segment: { case: 'key', value: `${SHADOW_PREFIX}shadow_effective_policy_id` } }],
  value: {
    matchPattern: {
      case: 'stringMatch',
      value: { matchPattern: { case: 'prefix', value: `${MARK}-${provider}` } },
    },
  },
})

interface Rules {
  rules?: Rbac | undefined
  shadowRules?: Rbac | undefined
  shadowRulesStatPrefix?: string
}

/** An HTTP RBAC filter. */
export const httpRbac = (rules: Rules): HttpFilter => ({
  name: 'envoy.filters.http.rbac',
  configType: { case: 'typedConfig', value: packed('envoy.extensions.filters.http.rbac.v3.RBAC', rules) },
})

/** A network RBAC filter. */
export const networkRbac = (rules: Rules): NetworkFilter => ({
  name: 'envoy.filters.network.rbac',
  configType: {
    case: 'typedConfig',
    value: packed('envoy.extensions.filters.network.rbac.v3.RBAC', { ...rules, statPrefix: 'tcp.' }),
  },
})
