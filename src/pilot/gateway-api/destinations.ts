import type { BackendObjectReference, BackendRef } from '../../api/kinds/gateway-api/common.ts'
import { GATEWAY_API_GROUP } from '../../api/kinds/gateway-api/common.ts'
import type { GRPCBackendRef } from '../../api/kinds/gateway-api/grpc-route.ts'
import type { HTTPBackendRef } from '../../api/kinds/gateway-api/http-route.ts'
import type { Destination, Headers, HTTPRouteDestination, RouteDestination } from '../../api/kinds/virtual-service.ts'
import type { ConfigError } from './conditions.ts'
import { quoted, REFERENT, referent } from './constants.ts'
import type { ConversionContext } from './context.ts'
import { headerOperations } from './filters.ts'
import type { RouteObject } from './made-objects.ts'

/** Which route asks, and how strictly references between namespaces are taken. */
export interface RouteScope {
  route: RouteObject
  /** Routes of the mesh need no ReferenceGrant. */
  mesh: boolean
  /** The number of the rule. */
  rule: number
}

/**
 * A destination. With `error` alone the route cannot be used at all; with both, requests for this destination fail and
 * the rest of the route works (conversion.go buildDestination).
 */
export interface BuiltDestination {
  destination?: Destination
  error?: ConfigError
}

/** A destination that does not exist: its cluster is named, and answers 500. */
const NOWHERE: Destination = { host: '' }

/** Finds the destination of a backendRef. */
export function buildDestination(
  context: ConversionContext,
  to: BackendObjectReference,
  { route, mesh }: RouteScope,
): BuiltDestination {
  const own = route.metadata.namespace
  const kind = referent(to.group, to.kind, REFERENT.service)
  const namespace = to.namespace ?? own
  if (!mesh && to.namespace !== undefined && to.namespace !== own) {
    const from = `${GATEWAY_API_GROUP}/${route.kind}`
    if (!context.grants.allows(from, own, kind, namespace, to.name)) {
      const message = `backendRef ${to.name}/${namespace} not accessible to a ${route.kind} in namespace "${own}" (missing a ReferenceGrant?)`
      return { destination: NOWHERE, error: { reason: 'RefNotPermitted', message } }
    }
  }
  const found = hostOf(context, kind, to, namespace)
  if (found.host === undefined) return found.result
  if (to.port === undefined) {
    return { error: { reason: 'InvalidDestination', message: 'port is required in backendRef' } }
  }
  const destination = { host: found.host, port: { number: to.port } }
  if (found.exists) return { destination }
  const message = `backend(${found.host}) not found`
  return { destination, error: { reason: 'BackendNotFound', message } }
}

type HostResult = { host: string; exists: boolean } | { host: undefined; result: BuiltDestination }

function hostOf(context: ConversionContext, kind: string, to: BackendObjectReference, namespace: string): HostResult {
  const refuse = (reason: string, message: string, destination?: Destination): HostResult => ({
    host: undefined,
    result: { ...(destination ? { destination } : {}), error: { reason, message } },
  })
  switch (kind) {
    case REFERENT.service:
      if (to.name.includes('.')) {
        return refuse(
          'InvalidDestination',
          'service name invalid; the name of the Service must be used, not the hostname.',
        )
      }
      return serviceHost(context, to.name, namespace)
    case REFERENT.serviceImport:
      return serviceHost(context, to.name, namespace)
    case REFERENT.hostname:
      if (to.namespace !== undefined) {
        return refuse('InvalidDestination', 'namespace may not be set with Hostname type')
      }
      return { host: to.name, exists: context.service(to.name, namespace) !== undefined }
    case REFERENT.inferencePool:
      return refuse(
        'InvalidKind',
        'InferencePool is not enabled. To enable, set ENABLE_GATEWAY_API_INFERENCE_EXTENSION to true in istiod',
        NOWHERE,
      )
    case REFERENT.xBackend:
      return refuse(
        'InvalidKind',
        'The Alpha Gateway API is not enabled, XBackend is invalid. To enable, set PILOT_ENABLE_ALPHA_GATEWAY_API to true in istiod.',
        NOWHERE,
      )
    default: {
      const what = `group ${quoted(to.group)} kind ${quoted(to.kind)}`
      return refuse('InvalidKind', `referencing unsupported backendRef: ${what}`, NOWHERE)
    }
  }
}

function serviceHost(context: ConversionContext, name: string, namespace: string): HostResult {
  const exists = context.snapshot.get('Service', namespace, name) !== undefined
  return { host: `${name}.${namespace}.svc.${context.domain}`, exists }
}

/** Destinations by weight. `fatal`: the rule cannot be used; `error`: some of its destinations do not work. */
export type BuiltRoute<D> = { route: D[]; error?: ConfigError; fatal?: undefined } | { fatal: ConfigError }

/** The sum of the weights of destinations. */
export function weightSum(backends: readonly BackendRef[] | undefined): number {
  return (backends ?? []).reduce((sum, { weight = 1 }) => sum + weight, 0)
}

/** Destinations of connections (buildTCPDestination). */
export function layer4Destinations(
  context: ConversionContext,
  backends: readonly BackendRef[],
  scope: RouteScope,
): BuiltRoute<RouteDestination> {
  return collect(backends, context, scope, () => ({}))
}

/** Destinations of requests, with the header operations of each (buildHTTPDestination, buildGRPCDestination). */
export function httpDestinations(
  context: ConversionContext,
  backends: readonly (HTTPBackendRef | GRPCBackendRef)[],
  scope: RouteScope,
): BuiltRoute<HTTPRouteDestination> {
  return collect(backends, context, scope, (backend) => {
    const headers: Headers = {}
    for (const filter of backend.filters ?? []) {
      const operations =
        filter.type === 'RequestHeaderModifier'
          ? filter.requestHeaderModifier
          : filter.type === 'ResponseHeaderModifier'
            ? filter.responseHeaderModifier
            : undefined
      if (!filter.type.endsWith('HeaderModifier')) {
        return { fatal: { reason: 'InvalidFilter', message: `unsupported filter type ${quoted(filter.type)}` } }
      }
      if (!operations) continue
      const made = headerOperations(operations)
      if ('reason' in made) return { fatal: made }
      headers[filter.type === 'RequestHeaderModifier' ? 'request' : 'response'] = made
    }
    return Object.keys(headers).length > 0 ? { headers } : {}
  })
}

function collect<B extends BackendRef, D extends object>(
  backends: readonly B[],
  context: ConversionContext,
  scope: RouteScope,
  more: (backend: B) => D | { fatal: ConfigError },
): BuiltRoute<RouteDestination & D> {
  const counted = backends.filter(({ weight = 1 }) => weight !== 0)
  const route: (RouteDestination & D)[] = []
  let error: ConfigError | undefined
  for (const backend of counted) {
    const path = ['spec', 'rules', scope.rule, 'backendRefs', backends.indexOf(backend)]
    const built = buildDestination(context, backend, scope)
    if (built.error && !built.destination) return { fatal: { ...built.error, path } }
    if (built.error) error = { ...built.error, path }
    const rest = more(backend)
    if ('fatal' in rest) return { fatal: { ...(rest.fatal as ConfigError), path } }
    // The weight of an only destination counts for nothing.
    const weight = counted.length === 1 ? {} : { weight: backend.weight ?? 1 }
    route.push({ destination: built.destination as Destination, ...weight, ...(rest as D) })
  }
  return { route, ...(error ? { error } : {}) }
}
