import type { Server } from '../../api/kinds/gateway.ts'
import type { GatewayStatus } from '../../api/kinds/gateway-api/status.ts'
import type { ApiObject } from '../../api/objects.ts'
import { type ConditionDraft, type ConditionDrafts, type ConfigError, setConditions } from './conditions.ts'
import { type Conflicts, listenerConflicts } from './conflicts.ts'
import { REFERENT, UNMANAGED_CONTROLLER } from './constants.ts'
import type { ConversionContext } from './context.ts'
import {
  gatewayServices,
  isManaged,
  programmedCondition,
  reportedAddresses,
  resolveInstances,
  serviceAccountName,
} from './gateway-address.ts'
import { labelsMatch } from './label-selector.ts'
import { buildListener, conflictConditions, listenerStatus } from './listener.ts'
import { certificateProblem, type ListenerOwner, referenceText } from './listener-tls.ts'
import { listenerGateway } from './made-objects.ts'
import { type Parent, parentOf } from './parents.ts'

type Owner = ApiObject<'KubernetesGateway' | 'ListenerSet'>

/** What the Gateways and ListenerSets came to. */
export interface ConvertedGateways {
  /** A Gateway of Istio's per listener that works. */
  gateways: ApiObject<'Gateway'>[]
  /** What routes may attach to. */
  parents: Parent[]
  statuses: Map<Owner, GatewayStatus>
}

interface ConvertedListener {
  config: ApiObject<'Gateway'>
  server: Server
  parent: Parent
  valid: boolean
}

/** Converts the Gateways of Istio's classes (gateway_collection.go). */
export function convertGateways(context: ConversionContext): ConvertedGateways {
  const out: ConvertedGateways = { gateways: [], parents: [], statuses: new Map() }
  const { snapshot } = context
  for (const gateway of snapshot.list('KubernetesGateway')) {
    const controller = context.controllerOf(gateway.spec.gatewayClassName)
    if (!controller) continue
    const sets = snapshot.list('ListenerSet').filter((set) => belongsTo(set, gateway))
    if (controller === UNMANAGED_CONTROLLER) {
      out.statuses.set(gateway, unmanagedStatus(gateway))
      for (const set of sets) out.statuses.set(set, notAllowed(set, unsupportedWords(gateway.spec.gatewayClassName)))
      continue
    }
    const allowed = sets.filter((set) => acceptsListeners(context, gateway, set.metadata.namespace))
    for (const set of sets) if (!allowed.includes(set)) out.statuses.set(set, notAllowed(set, NOT_ALLOWED))
    convertGateway(context, gateway, allowed, out)
  }
  return out
}

function convertGateway(
  context: ConversionContext,
  gateway: ApiObject<'KubernetesGateway'>,
  sets: readonly ApiObject<'ListenerSet'>[],
  out: ConvertedGateways,
): void {
  const { services, error: addressError } = gatewayServices(gateway, context.domain)
  const hardError = services.length === 0 ? addressError : undefined
  const conflicts = listenerConflicts(gateway, sets)
  const own = hardError
    ? { built: [], listeners: gateway.status?.listeners ?? [], valid: 0 }
    : convertListeners(context, gateway, gateway, services, conflicts.get(gateway))
  const all = [...own.built]
  let attachedSets = 0
  for (const set of sets) {
    const made = hardError
      ? { built: [], listeners: set.status?.listeners ?? [], valid: 0 }
      : convertListeners(context, gateway, set, services, conflicts.get(set))
    const works = made.built.filter(({ valid }) => valid)
    if (works.length > 0) attachedSets++
    all.push(...works)
    out.statuses.set(set, listenerSetStatus(context, gateway, set, services, made, addressError, hardError))
  }
  out.gateways.push(...all.filter(({ valid }) => valid).map(({ config }) => config))
  out.parents.push(...all.map(({ parent }) => parent))
  const instances = resolveInstances(context, gateway.metadata.namespace, services, portsOf(all))
  const conditions: ConditionDrafts = {
    Accepted: acceptedCondition(gateway, addressError ?? parametersProblem(context, gateway), own.valid),
    Programmed: programmedCondition(instances, services),
    ResolvedRefs: { reason: 'ResolvedRefs', message: 'All references resolved' },
  }
  const clientCertificate = clientCertificateProblem(context, gateway)
  if (clientCertificate) (conditions.ResolvedRefs as ConditionDraft).error = clientCertificate
  Object.assign(conditions, insecureFrontend(gateway))
  const names = new Set(gateway.spec.listeners.map(({ name }) => name))
  const addresses = reportedAddresses(gateway, instances) ?? gateway.status?.addresses
  out.statuses.set(gateway, {
    ...gateway.status,
    ...(addresses ? { addresses } : {}),
    ...(attachedSets > 0 ? { attachedListenerSets: attachedSets } : {}),
    conditions: setConditions(gateway.metadata.generation, gateway.status?.conditions, conditions),
    listeners: own.listeners.filter(({ name }) => names.delete(name)),
  })
}

type Made = { built: ConvertedListener[]; listeners: NonNullable<GatewayStatus['listeners']>; valid: number }

function convertListeners(
  context: ConversionContext,
  gateway: ApiObject<'KubernetesGateway'>,
  owner: Owner,
  services: readonly string[],
  conflicts: Conflicts | undefined,
): Made {
  const made: Made = { built: [], listeners: [...(owner.status?.listeners ?? [])], valid: 0 }
  const { generation } = owner.metadata
  const reference = ownerReference(owner)
  for (const [index, listener] of owner.spec.listeners.entries()) {
    const before = made.listeners[index]
    const conflict = conflicts?.get(listener.name)
    if (conflict) {
      made.listeners[index] = listenerStatus(listener, generation, before, conflictConditions(conflict))
      continue
    }
    const { server, conditions, valid } = buildListener(context, reference, listener, gateway.spec.tls)
    made.listeners[index] = listenerStatus(listener, generation, before, conditions)
    // A ListenerSet's listener counts only with something to listen with.
    if (valid && (server || owner.kind === 'KubernetesGateway')) made.valid++
    if (!server) continue
    const account = isManaged(gateway.spec) ? serviceAccountName(gateway) : ''
    const config = listenerGateway(owner, index, server, { gateway, services, account })
    made.built.push({ config, server, parent: parentOf(owner, listener, config, server), valid })
  }
  return made
}

function ownerReference({ kind, metadata }: Owner): ListenerOwner {
  const reference = kind === 'ListenerSet' ? REFERENT.listenerSet : REFERENT.gateway
  return { kind: reference, namespace: metadata.namespace, labels: metadata.labels }
}

function portsOf(listeners: readonly ConvertedListener[]): Set<number> {
  return new Set(listeners.map(({ server }) => server.port.number))
}

function acceptedCondition(
  gateway: ApiObject<'KubernetesGateway'>,
  error: ConfigError | undefined,
  valid: number,
): ConditionDraft {
  const draft: ConditionDraft = { reason: 'Accepted', message: 'Resource accepted' }
  if (error) return { ...draft, error }
  if (valid >= gateway.spec.listeners.length) return draft
  if (valid === 0) {
    const message = "None of the Gateway's listeners are valid"
    return { ...draft, error: { reason: 'ListenersNotValid', message } }
  }
  return { reason: 'ListenersNotValid', message: "One or more of the Gateway's listeners are invalid" }
}

/** Gateways elsewhere are not programmed here; their status says so (reportUnmanagedGatewayStatus). */
function unmanagedStatus({ spec, status, metadata }: ApiObject<'KubernetesGateway'>): GatewayStatus {
  return {
    ...status,
    addresses: (spec.addresses ?? []).map(({ type, value = '' }) => ({ ...(type ? { type } : {}), value })),
    listeners: undefined,
    conditions: setConditions(metadata.generation, status?.conditions, {
      Accepted: { reason: 'Accepted', message: 'Resource accepted' },
      Programmed: { reason: 'Programmed', message: 'This Gateway is remote; Istio will not program it' },
    }),
  }
}

function insecureFrontend({ spec }: ApiObject<'KubernetesGateway'>): ConditionDrafts {
  const frontend = spec.tls?.frontend
  if (!frontend) return {}
  const all = [frontend.default, ...(frontend.perPort ?? []).map(({ tls }) => tls)]
  if (!all.some(({ validation }) => validation?.mode === 'AllowInsecureFallback')) return {}
  const message = 'Gateway is operating in AllowInsecureFallback mode for frontend validation'
  return { InsecureFrontendValidationMode: { reason: 'ConfigurationChanged', message } }
}

function parametersProblem(context: ConversionContext, { spec, metadata }: ApiObject<'KubernetesGateway'>) {
  const ref = spec.infrastructure?.parametersRef
  if (!ref) return undefined
  const reason = 'InvalidParameters'
  if (ref.group !== '' || ref.kind !== 'ConfigMap') {
    const message = `Unsupported parametersRef group/kind ${ref.group}/${ref.kind}, only ConfigMap is supported`
    return { reason, message }
  }
  if (context.snapshot.get('ConfigMap', metadata.namespace, ref.name)) return undefined
  return { reason, message: `parametersRef ConfigMap ${metadata.namespace}/${ref.name} does not exist` }
}

/** The certificate that the Gateway shows to backends (validateBackendClientCertificateRef). */
function clientCertificateProblem(
  context: ConversionContext,
  { spec, metadata }: ApiObject<'KubernetesGateway'>,
): ConfigError | undefined {
  const ref = spec.tls?.backend?.clientCertificateRef
  if (!ref) return undefined
  const own = metadata.namespace
  const namespace = ref.namespace ?? own
  const problem = certificateProblem(context, ref, namespace)
  if (problem) {
    const message = `invalid clientCertificateRef ${referenceText(ref)}, ${problem}`
    return { reason: 'InvalidClientCertificateRef', message }
  }
  if (namespace === own || context.grants.allows(REFERENT.gateway, own, REFERENT.secret, namespace, ref.name)) {
    return undefined
  }
  const message = `clientCertificateRef ${ref.name}/${namespace} not accessible to a Gateway in namespace "${own}" (missing a ReferenceGrant?)`
  return { reason: 'RefNotPermitted', message }
}

function belongsTo({ spec, metadata }: ApiObject<'ListenerSet'>, gateway: ApiObject<'KubernetesGateway'>): boolean {
  const { parentRef } = spec
  const kind = `${parentRef.group ?? REFERENT.gateway.split('/')[0]}/${parentRef.kind ?? 'Gateway'}`
  return (
    kind === REFERENT.gateway &&
    parentRef.name === gateway.metadata.name &&
    (parentRef.namespace ?? metadata.namespace) === gateway.metadata.namespace
  )
}

/** Whether ListenerSets of a namespace may attach (gateway_utils.go NamespaceAcceptedByAllowListeners). */
export function acceptsListeners(
  context: ConversionContext,
  gateway: ApiObject<'KubernetesGateway'>,
  namespace: string,
): boolean {
  const allowed = gateway.spec.allowedListeners?.namespaces
  if (!allowed) return false
  if (allowed.from === 'All') return true
  if (allowed.from === 'Same') return namespace === gateway.metadata.namespace
  if (allowed.from === 'None' || !allowed.selector) return false
  const labels = context.namespaceLabels(namespace)
  return labels !== undefined && labelsMatch(allowed.selector, labels) === true
}

const NOT_ALLOWED = "The parent Gateway does not allow this reference; check the 'spec.allowedRoutes'"
const unsupportedWords = (name: string): string => `The "${name}" GatewayClass does not support ListenerSet`

function notAllowed({ status, metadata }: ApiObject<'ListenerSet'>, message: string): GatewayStatus {
  const error = { reason: 'NotAllowed', message }
  return {
    ...status,
    listeners: undefined,
    conditions: setConditions(metadata.generation, status?.conditions, {
      Accepted: { reason: 'Accepted', message: '', error },
      Programmed: { reason: 'Programmed', message: '', error },
    }),
  }
}

function listenerSetStatus(
  context: ConversionContext,
  gateway: ApiObject<'KubernetesGateway'>,
  set: ApiObject<'ListenerSet'>,
  services: readonly string[],
  made: Made,
  parentError: ConfigError | undefined,
  hardError: ConfigError | undefined,
): GatewayStatus {
  const instances = resolveInstances(context, gateway.metadata.namespace, services, portsOf(made.built))
  const accepted: ConditionDraft = { reason: 'Accepted', message: 'Resource accepted' }
  const programmed = programmedCondition(instances, services)
  const invalid =
    hardError || made.valid > 0
      ? undefined
      : { reason: 'ListenersNotValid', message: "None of the ListenerSet's listeners are valid" }
  if (parentError)
    accepted.error = { reason: parentError.reason, message: `Parent not accepted: ${parentError.message}` }
  else if (invalid) accepted.error = invalid
  if (invalid) programmed.error = invalid
  const names = new Set(set.spec.listeners.map(({ name }) => name))
  return {
    ...set.status,
    conditions: setConditions(set.metadata.generation, set.status?.conditions, {
      Accepted: accepted,
      Programmed: programmed,
    }),
    listeners: made.listeners.filter(({ name }) => names.delete(name)),
  }
}
