import { cidr } from '../proto.ts'
import { quoteMeta } from '../quote-meta.ts'
import {
  claimMatcher,
  claimsMatcher,
  endsWith,
  exactly,
  filterMetadataMatcher,
  headerMatcher,
  type Permission,
  type Principal,
  pathTemplate,
  regex,
  startsWith,
  stringMatcher,
} from './matchers.ts'

/** What an attribute is made for. */
export interface AttributeContext {
  /** A TCP chain, where HTTP attributes mean nothing. */
  tcp: boolean
  /** Namespace of the policy: where a service account without one lives. */
  namespace: string
}

/**
 * The matchers that the values of one attribute become: alternatives. Undefined: the attribute says nothing here
 * (an HTTP one on TCP, or a key of another form), which drops an ALLOW rule and is passed over in others.
 */
type Generator<T> = (key: string, values: readonly string[], context: AttributeContext) => T[] | undefined

/** An attribute, on the side of the rule where it stands (pilot/pkg/security/authz/model/generator.go). */
export type Attribute = (
  | { side: 'permission'; generate: Generator<Permission> }
  | { side: 'principal'; generate: Generator<Principal> }
) & {
  /** A single matcher stands for itself; those of other attributes are always a list of alternatives. */
  bare?: boolean
}

const permission = (one: (value: string, key: string) => Permission | undefined, http = false): Attribute => ({
  side: 'permission',
  generate: (key, values, { tcp }) => (http && tcp ? undefined : all(values, (value) => one(value, key))),
})

const principal = (one: (value: string, context: AttributeContext) => Principal | undefined): Attribute => ({
  side: 'principal',
  generate: (_key, values, context) => all(values, (value) => one(value, context)),
})

const httpPrincipal = (make: (key: string, values: readonly string[]) => Principal[] | undefined): Attribute => ({
  side: 'principal',
  generate: (key, values, { tcp }) => (tcp ? undefined : make(key, values)),
  bare: true,
})

function all<T>(values: readonly string[], one: (value: string) => T | undefined): T[] | undefined {
  const out = values.map(one)
  return out.includes(undefined) ? undefined : (out as T[])
}

const authenticated = (principalName: ReturnType<typeof exactly>): Principal => ({
  identifier: { case: 'authenticated', value: { principalName } },
})
const claims = (value: ReturnType<typeof claimsMatcher>): Principal => ({ identifier: { case: 'metadata', value } })

const directRemoteIp = principal((value) => {
  const block = cidr(value)
  return block && { identifier: { case: 'directRemoteIp', value: block } }
})
const remoteIp = principal((value) => {
  const block = cidr(value)
  return block && { identifier: { case: 'remoteIp', value: block } }
})
const namespaces = principal((value) => authenticated(regex(`.*/ns/${value.split('*').map(quoteMeta).join('.*')}/.*`)))
const serviceAccounts = principal((value, { namespace }) => {
  const [ns, account] = value.includes('/') ? value.split('/', 2) : [namespace, value]
  return authenticated(regex(`spiffe://.+/ns/${quoteMeta(ns!)}/(.+/|)sa/${quoteMeta(account!)}(/.+)?`))
})
const trustDomains = principal((value) => {
  if (value === '*') return authenticated(startsWith('spiffe://'))
  if (!value.includes('*')) return authenticated(startsWith(`spiffe://${value}/`))
  const star = value.indexOf('*')
  return authenticated(regex(`spiffe://${quoteMeta(value.slice(0, star))}[^/]*${quoteMeta(value.slice(star + 1))}/.*`))
})
const principals = principal((value) => authenticated(stringMatcher(value, 'spiffe://')))

const ANYTHING = regex('.+')

/** `issuer/subject`, parted at the last slash since an issuer may be a URL. */
function requestPrincipal(value: string): Principal {
  const slash = value.lastIndexOf('/')
  const [issuer, subject] = slash < 0 ? [value, ''] : [value.slice(0, slash), value.slice(slash + 1)]
  let iss = exactly(issuer)
  let sub = exactly(subject)
  if (value === '*') iss = sub = ANYTHING
  else if (value.startsWith('*')) {
    if (slash < 0) [iss, sub] = [ANYTHING, endsWith(value.slice(1))]
    else iss = issuer === '*' ? ANYTHING : endsWith(issuer.slice(1))
  } else if (value.endsWith('*')) {
    if (slash < 0) [iss, sub] = [startsWith(value.slice(0, -1)), ANYTHING]
    else sub = subject === '*' ? ANYTHING : startsWith(subject.slice(0, -1))
  }
  return {
    identifier: {
      case: 'andIds',
      value: { ids: [claims(claimMatcher('iss', iss)), claims(claimMatcher('sub', sub))] },
    },
  }
}

const requestPrincipals = httpPrincipal((_key, values) => values.map(requestPrincipal))
const requestHeaders: Attribute = {
  side: 'principal',
  generate: (key, values, { tcp }) => {
    const name = /^request\.headers\[(.*)\]$/.exec(key)?.[1]
    if (tcp || name === undefined) return undefined
    return values.map((value): Principal => ({ identifier: { case: 'header', value: headerMatcher(name, value) } }))
  },
}
const requestClaims = httpPrincipal((key, values) => {
  const path = claimPath(key.slice('request.auth.claims'.length))
  return path && [claims(claimsMatcher(path, values))]
})

/** `[a][b]`, or what stands between the outermost brackets when they do not pair up so. */
function claimPath(text: string): string[] | undefined {
  if (/^(?:\[[^[\]]*\])+$/.test(text)) return text.slice(1, -1).split('][')
  const whole = /^\[(.*)\]$/.exec(text)?.[1]
  return whole === undefined ? undefined : [whole]
}

const destinationIp = permission((value) => {
  const block = cidr(value)
  return block && { rule: { case: 'destinationIp', value: block } }
})
const destinationPort = permission((value) => {
  const port = /^\d+$/.test(value) ? Number(value) : Number.NaN
  return port <= 65_535 ? { rule: { case: 'destinationPort', value: port } } : undefined
})
const sni = permission((value) => ({ rule: { case: 'requestedServerName', value: stringMatcher(value) } }))
const envoyFilter: Attribute = {
  side: 'permission',
  bare: true,
  generate: (key, values) => {
    const parts = /^experimental\.([^[]*)\[(.*?)\]?$/.exec(key)
    return parts
      ? [{ rule: { case: 'metadata', value: filterMetadataMatcher(parts[1]!, parts[2]!, values) } }]
      : undefined
  },
}
const hosts = permission(
  (value) => ({ rule: { case: 'header', value: headerMatcher(':authority', value, true) } }),
  true,
)
const methods = permission((value) => ({ rule: { case: 'header', value: headerMatcher(':method', value) } }), true)
const paths = permission(
  (value) =>
    value.includes('{*}') || value.includes('{**}')
      ? pathTemplate(value)
      : { rule: { case: 'urlPath', value: { rule: { case: 'path', value: stringMatcher(value) } } } },
  true,
)

/** Fields of a source, in the order in which istiod puts each before those it already has. */
export const SOURCE_FIELDS = [
  ['ipBlocks', 'notIpBlocks', directRemoteIp],
  ['remoteIpBlocks', 'notRemoteIpBlocks', remoteIp],
  ['namespaces', 'notNamespaces', namespaces],
  ['trustDomains', 'notTrustDomains', trustDomains],
  ['serviceAccounts', 'notServiceAccounts', serviceAccounts],
  ['requestPrincipals', 'notRequestPrincipals', requestPrincipals],
  ['principals', 'notPrincipals', principals],
] as const

/** Fields of an operation, likewise. */
export const OPERATION_FIELDS = [
  ['ports', 'notPorts', destinationPort],
  ['paths', 'notPaths', paths],
  ['methods', 'notMethods', methods],
  ['hosts', 'notHosts', hosts],
] as const

const CONDITIONS: Readonly<Record<string, Attribute>> = {
  'destination.ip': destinationIp,
  'destination.port': destinationPort,
  'connection.sni': sni,
  'source.ip': directRemoteIp,
  'remote.ip': remoteIp,
  'source.namespace': namespaces,
  'source.trustDomain': trustDomains,
  'source.serviceAccount': serviceAccounts,
  'source.principal': principals,
  'request.auth.principal': requestPrincipals,
  'request.auth.audiences': httpPrincipal((_key, values) => [claims(claimsMatcher(['aud'], values))]),
  'request.auth.presenter': httpPrincipal((_key, values) => [claims(claimsMatcher(['azp'], values))]),
}

/** The attribute that a condition's key names; undefined for none, which makes the whole rule invalid. */
export function conditionAttribute(key: string): Attribute | undefined {
  if (Object.hasOwn(CONDITIONS, key)) return CONDITIONS[key]
  if (key.startsWith('experimental.envoy.filters.')) return envoyFilter
  if (key.startsWith('request.headers')) return requestHeaders
  if (key.startsWith('request.auth.claims')) return requestClaims
  return undefined
}

/** Whether an attribute names principals, whose trust domain may have aliases, or trust domains themselves. */
export const aliasKind = (attribute: Attribute): 'principals' | 'trustDomains' | undefined =>
  attribute === principals ? 'principals' : attribute === trustDomains ? 'trustDomains' : undefined
