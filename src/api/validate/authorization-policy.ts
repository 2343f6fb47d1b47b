import type {
  AuthorizationPolicy,
  AuthorizationRule,
  Condition,
  Operation,
  Source,
} from '../kinds/authorization-policy.ts'
import { own } from '../own.ts'
import { closest } from '../suggest.ts'
import { checkSelector, isAddress, isCidr } from './names.ts'
import type { Scope } from './scope.ts'
import { each } from './scope.ts'
import { checkTargets } from './values.ts'

/** AuthorizationPolicy (ValidateAuthorizationPolicy). */
export function checkAuthorizationPolicy(scope: Scope, spec: AuthorizationPolicy): void {
  const { action = 'ALLOW', rules, provider } = spec
  checkTargets(scope, spec)
  checkSelector(scope.at('selector'), spec.selector)
  if (action === 'CUSTOM') {
    if (!rules)
      scope.error('the action CUSTOM needs rules: without any it never happens ("rules: [{}]" is for every request)')
    else if (!provider?.name) scope.error('the action CUSTOM needs provider.name')
  } else if (provider) scope.at('provider').errorAtKey(`goes with the action CUSTOM alone, not ${action}`)
  if (action === 'DENY' && !rules)
    scope.error('the action DENY needs rules: without any it never happens ("rules: [{}]" is for every request)')
  each(scope.at('rules'), rules, (at, rule) => {
    checkRule(at, rule)
    if (action === 'CUSTOM') checkCustom(at, rule)
    if (action === 'DENY') warnTcp(at, rule)
  })
}

function checkRule(scope: Scope, rule: AuthorizationRule): void {
  if (rule.from?.length === 0) scope.at('from').errorAtKey('must not be empty')
  each(scope.at('from'), rule.from, (at, { source }) => {
    if (!source) at.error('source is needed')
    else checkSource(at.at('source'), source)
  })
  if (rule.to?.length === 0) scope.at('to').errorAtKey('must not be empty')
  each(scope.at('to'), rule.to, (at, { operation }) => {
    if (!operation) at.error('operation is needed')
    else checkOperation(at.at('operation'), operation)
  })
  each(scope.at('when'), rule.when, checkCondition)
}

function checkSource(scope: Scope, source: Source): void {
  const fields = Object.entries(source) as [keyof Source, string[]][]
  if (fields.every(([, values]) => values.length === 0)) scope.errorAtKey('must not be empty')
  const accounts = [...(source.serviceAccounts ?? []), ...(source.notServiceAccounts ?? [])]
  for (const field of ['principals', 'notPrincipals', 'namespaces', 'notNamespaces'] as const) {
    if (accounts.length > 0 && source[field]?.length) scope.at(field).errorAtKey('excludes serviceAccounts')
  }
  for (const [field, values] of fields) {
    const at = scope.at(field)
    if (/ipBlocks$/i.test(field)) checkIps(at, values)
    else if (/serviceAccounts$/i.test(field)) checkServiceAccounts(at, values)
    else if (/trustDomains$/i.test(field)) {
      checkWildcards(at, values)
      each(at, values, (place, value) => {
        if (value.includes('/')) place.error(`"${value}": a trust domain has no "/"`)
      })
    } else checkNotEmpty(at, values)
  }
}

function checkOperation(scope: Scope, operation: Operation): void {
  const fields = Object.entries(operation) as [keyof Operation, string[]][]
  if (fields.every(([, values]) => values.length === 0)) scope.errorAtKey('must not be empty')
  for (const [field, values] of fields) {
    const at = scope.at(field)
    if (/ports$/i.test(field)) checkPorts(at, values)
    else checkNotEmpty(at, values)
    if (/paths$/i.test(field)) each(at, values, checkPathTemplate)
  }
}

function checkNotEmpty(scope: Scope, values: readonly string[]): void {
  each(scope, values, (at, value) => {
    if (value === '') at.error('must not be empty')
  })
}

function checkIps(scope: Scope, values: readonly string[]): void {
  each(scope, values, (at, value) => {
    if (value.includes('/') ? !isCidr(value) : !isAddress(value)) at.error(`"${value}" is no IP address or CIDR block`)
  })
}

function checkPorts(scope: Scope, values: readonly string[]): void {
  each(scope, values, (at, value) => {
    if (!/^\d+$/.test(value) || Number(value) > 65535) at.error(`"${value}" is no port number`)
  })
}

function checkServiceAccounts(scope: Scope, values: readonly string[]): void {
  if (values.length > 16) scope.errorAtKey('16 service accounts at most')
  each(scope, values, (at, value) => {
    if (value.includes('*')) at.error(`"${value}": a service account has no wildcard`)
    else if (!/^([^/]+\/)?[^/]+$/.test(value))
      at.error(`"${value}": must be <service account> or <namespace>/<service account>`)
    else if (value.length > 320) at.error('320 characters at most')
  })
}

function checkWildcards(scope: Scope, values: readonly string[]): void {
  each(scope, values, (at, value) => {
    const stars = value.split('*').length - 1
    if (value === '') at.error('must not be empty')
    else if (stars > 1) at.error(`"${value}": one "*" at most`)
    else if (stars === 1 && !value.startsWith('*') && !value.endsWith('*'))
      at.error(`"${value}": "*" stands at the start or at the end`)
  })
}

const SEGMENT = /^[a-zA-Z0-9\-._~%!$&'()+,;:@=]+$/

/** Paths with `{*}` for one segment and `{**}` for all that follow (security.CheckValidPathTemplate). */
function checkPathTemplate(scope: Scope, path: string): void {
  const template = path.includes('{*}') || path.includes('{**}')
  let rest = false
  for (const segment of path.replace(/^\/+|\/+$/g, '').split('/')) {
    if (segment === '{*}' || segment === '{**}') {
      if (rest) {
        scope.error(`"${path}": "{**}" must be the last one`)
        return
      }
      rest = segment === '{**}'
    } else if (/[{}]/.test(segment)) {
      scope.error(`"${path}": braces are for "{*}" and "{**}" alone, each a whole segment`)
      return
    } else if (template && !SEGMENT.test(segment)) {
      scope.error(`"${path}": "${segment}" is no path segment`)
      return
    }
  }
}

const PLAIN_KEYS = [
  'source.namespace',
  'source.principal',
  'request.auth.principal',
  'request.auth.audiences',
  'request.auth.presenter',
  'connection.sni',
]
const MAP_KEYS = ['request.headers', 'request.auth.claims', 'experimental.envoy.filters.']

function checkCondition(scope: Scope, condition: Condition): void {
  const { key, values = [], notValues = [] } = condition
  const at = scope.at('key')
  if (key === '') {
    at.error('must not be empty')
    return
  }
  if (values.length + notValues.length === 0) scope.error(`values or notValues are needed for "${key}"`)
  const map = MAP_KEYS.find((start) => key.startsWith(start))
  if (map !== undefined) {
    const open = key.indexOf('[')
    if (!key.endsWith(']') || open < 1 || open >= key.length - 2)
      at.error(`"${key}": must be of the form ${map.replace(/\.$/, '.NAME')}[…]`)
  } else if (key === 'destination.namespace') at.error('the namespace is that of the policy: leave this out')
  else if (key.startsWith('destination.labels')) at.error('write a selector instead')
  else if (!PLAIN_KEYS.includes(key) && own(KEYS, key) === undefined)
    at.error(`"${key}" is no attribute${nearestKey(key)}`)
  for (const [field, list] of [
    ['values', values],
    ['notValues', notValues],
  ] as const) {
    checkNotEmpty(scope.at(field), list)
    own(KEYS, key)?.(scope.at(field), list)
  }
}

/** What was meant, of the keys with a name in brackets with that name. */
function nearestKey(key: string): string {
  const [, start = key, name = ''] = /^([^[]*)(\[.*)$/.exec(key) ?? []
  const found = closest(start, name === '' ? [...PLAIN_KEYS, ...Object.keys(KEYS)] : MAP_KEYS)
  return found === undefined ? '' : `: did you mean "${found}${name}"?`
}

const KEYS: Record<string, (scope: Scope, values: readonly string[]) => void> = {
  'source.ip': checkIps,
  'remote.ip': checkIps,
  'destination.ip': checkIps,
  'destination.port': checkPorts,
  'source.serviceAccount': checkServiceAccounts,
  'source.trustDomain': checkWildcards,
}

/** What an external authorizer cannot be triggered by. */
const IDENTITY = [
  'namespaces',
  'notNamespaces',
  'serviceAccounts',
  'notServiceAccounts',
  'trustDomains',
  'notTrustDomains',
  'principals',
  'notPrincipals',
  'requestPrincipals',
  'notRequestPrincipals',
] as const

function checkCustom(scope: Scope, rule: AuthorizationRule): void {
  each(scope.at('from'), rule.from, (at, { source }) => {
    for (const field of IDENTITY)
      if (source?.[field]?.length) at.at('source', field).errorAtKey('is not supported with the action CUSTOM')
  })
  each(scope.at('when'), rule.when, (at, { key }) => {
    const identity = ['source.namespace', 'source.serviceAccount', 'source.trustDomain', 'source.principal']
    if (identity.includes(key) || key.startsWith('request.auth.'))
      at.at('key').error(`"${key}" is not supported with the action CUSTOM`)
  })
}

const TCP_SOURCE = [
  'principals',
  'notPrincipals',
  'ipBlocks',
  'notIpBlocks',
  'namespaces',
  'notNamespaces',
  'remoteIpBlocks',
  'notRemoteIpBlocks',
  'serviceAccounts',
  'notServiceAccounts',
] as const

/** On TCP the HTTP parts of a DENY rule are ignored, so that one with nothing else denies everything. */
function warnTcp(scope: Scope, rule: AuthorizationRule): void {
  const sources = (rule.from ?? []).flatMap(({ source }) => (source ? [source] : []))
  const operations = (rule.to ?? []).flatMap(({ operation }) => (operation ? [operation] : []))
  const tcpFrom = sources.some((source) => TCP_SOURCE.some((field) => source[field] !== undefined))
  const tcpTo = operations.some(({ ports, notPorts }) => ports !== undefined || notPorts !== undefined)
  if ((sources.length > 0 && operations.length === 0 && !tcpFrom) || (operations.length > 0 && !tcpTo)) {
    scope.warn('denies everything on TCP ports, since it has nothing but HTTP attributes: name the ports as well')
  }
}
