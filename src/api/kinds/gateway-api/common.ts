import { z } from 'zod'
import { int32, list, message, oneOf } from '../../schema.ts'

/** The group of the Gateway API's kinds. */
export const GATEWAY_API_GROUP = 'gateway.networking.k8s.io'

const LABEL = '[a-z0-9]([-a-z0-9]*[a-z0-9])?'
const DOMAIN = `${LABEL}(\\.${LABEL})*`

/** A string of limited length that follows a pattern; `words` say what it should be. */
export function patterned(pattern: RegExp | string, words: string, max = 253, min = 1) {
  return z
    .string()
    .regex(new RegExp(pattern), { error: `expected ${words}` })
    .refine((text) => text.length >= min && text.length <= max, { error: `expected ${min} to ${max} characters` })
}

/** A string of limited length. */
export function sized(max: number, min = 0) {
  return z
    .string()
    .refine((text) => text.length >= min && text.length <= max, { error: `expected ${min} to ${max} characters` })
}

/** A list of limited length. */
export const sizedList = <T extends z.ZodType>(item: T, max: number, min = 0) =>
  list(item).refine((items) => items.length >= min && items.length <= max, {
    error: min > 0 ? `must have ${min} to ${max} entries` : `must have at most ${max} entries`,
  })

/** The API group of a referent; empty for Kubernetes' own. */
export const Group = patterned(`^$|^${DOMAIN}$`, 'an API group such as "gateway.networking.k8s.io", or ""', 253, 0)
/** A kind. */
export const KindName = patterned(/^[a-zA-Z]([-a-zA-Z0-9]*[a-zA-Z0-9])?$/, 'a kind such as "Service"', 63)
/** The name of an object. */
export const ObjectName = sized(253, 1)
/** A namespace. */
export const Namespace = patterned(`^${LABEL}$`, 'a namespace', 63)
/** The name of a listener, a port or a rule. */
export const SectionName = patterned(`^${DOMAIN}$`, 'a name of lower-case letters, digits, "-" and "."')
/** A port. */
export const PortNumber = int32.min(1).max(65535)
/** A host name, whose first label may be `*`. */
export const Hostname = patterned(`^(\\*\\.)?${DOMAIN}$`, 'a host name such as "example.com" or "*.example.com"')
/** A host name without wildcard. */
export const PreciseHostname = patterned(`^${DOMAIN}$`, 'a host name without wildcard')
/** A duration in Gateway API's notation (GEP-2257). */
export const GatewayDuration = patterned(
  /^([0-9]{1,5}(h|m|s|ms)){1,4}$/,
  'a duration such as "10s", "500ms" or "1h30m"',
  64,
)
/** The name of a header or query parameter. */
export const HeaderName = patterned(/^[A-Za-z0-9!#$%&'*+\-.^_\x60|~]+$/, 'a header name', 256)
/** The value of a header. */
export const HeaderValue = patterned(/^[!-~]+([\t ]?[!-~]+)*$/, 'a header value of printable characters', 4096)
/** The name of a controller: `domain/path`. */
export const ControllerName = patterned(
  `^${DOMAIN}\\/[A-Za-z0-9\\/\\-._~%!$&'()*+,;=:]+$`,
  'a controller name such as "istio.io/gateway-controller"',
)

/** What a route attaches to: a listener of a Gateway, or (mesh) a Service or ServiceEntry. */
export const ParentReference = message(
  {
    group: Group.default(GATEWAY_API_GROUP),
    kind: KindName.default('Gateway'),
    /** The route's own when unset. */
    namespace: Namespace,
    name: ObjectName,
    /** A listener's name; all listeners when unset. */
    sectionName: SectionName,
    port: PortNumber,
  },
  ['name'],
)
export type ParentReference = z.infer<typeof ParentReference>

const backendRef = {
  group: Group.default(''),
  kind: KindName.default('Service'),
  name: ObjectName,
  /** Another namespace than the route's needs a ReferenceGrant there. */
  namespace: Namespace,
  port: PortNumber,
}
/** A destination. */
export const BackendObjectReference = message(backendRef, ['name'])
export type BackendObjectReference = z.infer<typeof BackendObjectReference>

/** The fields of a weighted destination. */
export const weightedBackend = { ...backendRef, weight: int32.min(0).max(1_000_000).default(1) }
/** A weighted destination. */
export const BackendRef = message(weightedBackend, ['name'])
export type BackendRef = z.infer<typeof BackendRef>

/** A secret. */
export const SecretObjectReference = message(
  { group: Group.default(''), kind: KindName.default('Secret'), name: ObjectName, namespace: Namespace },
  ['name'],
)
export type SecretObjectReference = z.infer<typeof SecretObjectReference>

/** An object of any kind, in any namespace. */
export const ObjectReference = message({ group: Group, kind: KindName, name: ObjectName, namespace: Namespace }, [
  'group',
  'kind',
  'name',
])
export type ObjectReference = z.infer<typeof ObjectReference>

/** An object of any kind, in the same namespace. */
export const LocalObjectReference = message({ group: Group, kind: KindName, name: ObjectName }, [
  'group',
  'kind',
  'name',
])
export type LocalObjectReference = z.infer<typeof LocalObjectReference>

const HTTPHeader = message({ name: HeaderName, value: HeaderValue }, ['name', 'value'])
/** A header with its value. */
export type HTTPHeader = z.infer<typeof HTTPHeader>

/** set, add, remove. */
export const HTTPHeaderFilter = message({
  set: sizedList(HTTPHeader, 16),
  add: sizedList(HTTPHeader, 16),
  remove: sizedList(z.string(), 16),
})
export type HTTPHeaderFilter = z.infer<typeof HTTPHeaderFilter>

/** Copies of requests, for another destination; its answers are ignored. */
export const HTTPRequestMirrorFilter = message(
  {
    backendRef: BackendObjectReference,
    percent: int32.min(0).max(100),
    fraction: message({ numerator: int32.min(0), denominator: int32.min(1).default(100) }, ['numerator']),
  },
  ['backendRef'],
)
export type HTTPRequestMirrorFilter = z.infer<typeof HTTPRequestMirrorFilter>

/** Sticky sessions; istiod does not do these. */
export const SessionPersistence = message({
  sessionName: sized(128),
  absoluteTimeout: GatewayDuration,
  type: oneOf('Cookie', 'Header').default('Cookie'),
  cookieConfig: message({ lifetimeType: oneOf('Permanent', 'Session').default('Session') }),
})
export type SessionPersistence = z.infer<typeof SessionPersistence>

/** What every route has. */
export const routeFields = {
  parentRefs: sizedList(ParentReference, 32),
  /** Attach to Gateways that call themselves default. */
  useDefaultGateways: oneOf('All', 'None'),
}
