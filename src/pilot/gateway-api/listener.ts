import type { Server } from '../../api/kinds/gateway.ts'
import { GATEWAY_API_GROUP } from '../../api/kinds/gateway-api/common.ts'
import type { GatewayTLS, Listener } from '../../api/kinds/gateway-api/gateway.ts'
import type { ListenerStatus, RouteGroupKind } from '../../api/kinds/gateway-api/status.ts'
import { type ConditionDrafts, setConditions } from './conditions.ts'
import type { ConversionContext } from './context.ts'
import { labelsMatch } from './label-selector.ts'
import { frontendTls, type ListenerOwner, listenerTls } from './listener-tls.ts'

/** A listener as Istio's Gateway has it. */
export interface BuiltListener {
  /** Undefined when there is nothing to listen with. */
  server: Server | undefined
  conditions: ConditionDrafts
  /** Whether it is programmed. */
  valid: boolean
}

/** Turns a listener into a Server, and says what is wrong with it (conversion.go buildListener). */
export function buildListener(
  context: ConversionContext,
  owner: ListenerOwner,
  listener: Listener,
  gatewayTls: GatewayTLS | undefined,
): BuiltListener {
  const fine = 'No errors found'
  const accepted: ConditionDrafts[string] = { reason: 'Accepted', message: fine }
  const programmed: ConditionDrafts[string] = { reason: 'Programmed', message: fine }
  const resolved: ConditionDrafts[string] = { reason: 'ResolvedRefs', message: fine }
  const conditions: ConditionDrafts = {
    Accepted: accepted,
    Programmed: programmed,
    Conflicted: { reason: 'NoConflicts', message: fine, status: 'False' },
    ResolvedRefs: resolved,
  }
  let valid = true
  const { tls, error } = listenerTls(context, owner, listener, frontendTls(listener.port, gatewayTls))
  if (error) {
    valid = false
    resolved.error = error
    programmed.error = { reason: 'Invalid', message: 'Bad TLS configuration' }
    if (['InvalidCACertificateRef', 'InvalidCACertificateKind', 'RefNotPermitted'].includes(error.reason)) {
      accepted.error = { reason: 'NoValidCACertificate', message: error.message }
    }
  }
  const unsupported = protocolProblem(listener.protocol)
  if (unsupported) {
    valid = false
    accepted.error = { reason: 'UnsupportedProtocol', message: unsupported }
  }
  if (!tls && (listener.protocol === 'HTTPS' || listener.protocol === 'TLS')) {
    if (!owner.kind.endsWith('/ListenerSet')) return { server: undefined, conditions, valid }
    accepted.error = {
      reason: 'UnsupportedProtocol',
      message: `protocol is ${listener.protocol} but no TLS section is defined`,
    }
    programmed.error = { reason: 'Invalid', message: 'Bad TLS configuration' }
    return { server: undefined, conditions, valid: false }
  }
  const server: Server = {
    port: { name: 'default', number: listener.port, protocol: unsupported ? '' : listener.protocol },
    hosts: allowedHosts(context, owner.namespace, listener),
    ...(tls ? { tls } : {}),
  }
  return { server, conditions, valid }
}

const PROTOCOLS = ['HTTP', 'HTTPS', 'TLS', 'TCP']

function protocolProblem(protocol: string): string | undefined {
  if (PROTOCOLS.includes(protocol)) return undefined
  const upper = protocol.toUpperCase()
  if (protocol === 'HBONE') return 'protocol "HBONE" is only supported for waypoint proxies'
  return PROTOCOLS.includes(upper) || upper === 'HBONE'
    ? `protocol "${protocol}" is unsupported. hint: "${upper}" (uppercase) may be supported`
    : `protocol "${protocol}" is unsupported`
}

/** `namespace/host` for each namespace whose routes may attach; `~` when there is none (buildHostnameMatch). */
function allowedHosts(context: ConversionContext, namespace: string, listener: Listener): string[] {
  const host = listener.hostname ?? '*'
  const allowed = allowedNamespaces(context, namespace, listener)
  return allowed.length === 0 ? [`~/${host}`] : allowed.map((name) => `${name}/${host}`)
}

function allowedNamespaces(context: ConversionContext, own: string, { allowedRoutes }: Listener): string[] {
  const { from = 'Same', selector } = allowedRoutes?.namespaces ?? {}
  if (from === 'Same') return [own]
  if (from === 'All' || !selector) return ['*']
  return context.snapshot
    .list('Namespace')
    .map(({ metadata }) => metadata.name)
    .filter((name) => labelsMatch(selector, context.namespaceLabels(name) ?? {}))
    .sort()
}

/** The status of a listener at its place among those before (ReportListenerCondition). */
export function listenerStatus(
  listener: Listener,
  generation: number | undefined,
  before: ListenerStatus | undefined,
  drafts: ConditionDrafts,
): ListenerStatus {
  const { kinds, valid } = supportedKinds(listener)
  const conditions = valid
    ? drafts
    : {
        ...drafts,
        ResolvedRefs: { reason: 'InvalidRouteKinds', status: 'False' as const, message: 'Invalid route kinds' },
      }
  return {
    name: listener.name,
    supportedKinds: kinds,
    attachedRoutes: 0,
    conditions: setConditions(generation, before?.conditions, conditions),
  }
}

/** What a listener says that cannot live beside another of its Gateway (ReportListenerConflict). */
export function conflictConditions(reason: string): ConditionDrafts {
  const message = 'Listener has a conflict with another listener attached to the same Gateway'
  return {
    Accepted: { reason, message, status: 'False' },
    Programmed: { reason, message, status: 'False' },
    Conflicted: { reason, message },
  }
}

const routeKind = (kind: string): RouteGroupKind => ({ group: GATEWAY_API_GROUP, kind })

/** The kinds of routes that a listener takes, and whether all that it is told to allow are such. */
export function supportedKinds({ protocol, tls, allowedRoutes }: Listener): {
  kinds: RouteGroupKind[]
  valid: boolean
} {
  const byProtocol: Record<string, string[]> = {
    HTTP: ['HTTPRoute', 'GRPCRoute'],
    HTTPS: ['HTTPRoute', 'GRPCRoute'],
    TCP: ['TCPRoute'],
    TLS: tls?.mode === 'Terminate' ? ['TLSRoute', 'TCPRoute'] : ['TLSRoute'],
  }
  const supported = byProtocol[protocol] ?? []
  const wanted = allowedRoutes?.kinds ?? []
  if (wanted.length === 0) return { kinds: supported.map(routeKind), valid: true }
  const allowed = supported.filter((kind) =>
    wanted.some((entry) => entry.kind === kind && (entry.group ?? GATEWAY_API_GROUP) === GATEWAY_API_GROUP),
  )
  return { kinds: allowed.map(routeKind), valid: allowed.length === wanted.length }
}
