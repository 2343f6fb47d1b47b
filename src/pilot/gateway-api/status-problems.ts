import type { Condition, GatewayStatus, PolicyStatus, RouteStatus } from '../../api/kinds/gateway-api/status.ts'
import { writtenKind } from '../../api/kinds-table.ts'
import type { ApiObject, Path } from '../../api/objects.ts'
import type { Problem } from '../../api/problems.ts'
import type { Snapshot } from '../../store/snapshot.ts'
import { REFERENT, referent } from './constants.ts'
import { controllerOf } from './context.ts'
import type { GatewayApi } from './gateway-api.ts'
import type { RouteObject } from './made-objects.ts'
import { referenceKey } from './parents.ts'

/** What the statuses of objects complain of, as warnings at the places concerned. */
export function statusProblems(snapshot: Snapshot, { statuses, errors }: GatewayApi): Problem[] {
  const out: Problem[] = []
  for (const gateway of snapshot.list('KubernetesGateway')) {
    const name = gateway.spec.gatewayClassName
    if (controllerOf(snapshot, name)) continue
    out.push(problem(gateway, ['spec', 'gatewayClassName'], `class ${name} is none of Istio's: it is left alone`))
  }
  for (const [object, status] of statuses) {
    switch (object.kind) {
      case 'KubernetesGateway':
      case 'ListenerSet':
        out.push(...gatewayProblems(object, status as GatewayStatus))
        break
      case 'BackendTLSPolicy':
        out.push(...policyProblems(object, status as PolicyStatus))
        break
      case 'GatewayClass':
        break
      default:
        out.push(...routeProblems(snapshot, object, status as RouteStatus))
    }
  }
  for (const [route, { gateway, mesh }] of errors) {
    for (const error of new Set([gateway, mesh])) {
      if (error) out.push(problem(route, error.path ?? ['spec'], `ResolvedRefs: ${error.reason}: ${error.message}`))
    }
  }
  return out
}

function problem(object: ApiObject, path: Path, message: string): Problem {
  const { namespace, name } = object.metadata
  const { file, line, col } = object.origin.locate(path)
  const text = `${writtenKind(object.kind)} ${namespace}/${name}: ${message}`
  return { severity: 'warning', message: text, path, file, line, col }
}

/** Conditions that are not as they should be. `Conflicted` says nothing that `Accepted` does not. */
function complaints(conditions: readonly Condition[] | undefined, types: readonly string[]): string[] {
  const seen = new Set<string | undefined>()
  return (conditions ?? []).flatMap(({ type, status, reason, message }) => {
    if (!types.includes(type) || status !== 'False' || seen.has(message)) return []
    seen.add(message)
    return [`${type}: ${reason}: ${message}`]
  })
}

function gatewayProblems(
  object: ApiObject<'KubernetesGateway' | 'ListenerSet'>,
  { conditions, listeners = [] }: GatewayStatus,
): Problem[] {
  const own = complaints(conditions, ['Accepted', 'ResolvedRefs', 'Programmed'])
  const ofListeners = listeners.flatMap((listener) => {
    const index = object.spec.listeners.findIndex(({ name }) => name === listener.name)
    const words = complaints(listener.conditions, ['Accepted', 'ResolvedRefs'])
    return words.map((text) => problem(object, ['spec', 'listeners', index], `listener ${listener.name}: ${text}`))
  })
  // That listeners are not valid is told of each.
  const rest = own.filter((text) => ofListeners.length === 0 || !text.includes('ListenersNotValid'))
  return [...rest.map((text) => problem(object, placeOf(text), text)), ...ofListeners]
}

const placeOf = (text: string): Path => (text.startsWith('Programmed') ? ['spec', 'addresses'] : ['spec'])

function policyProblems(object: ApiObject<'BackendTLSPolicy'>, { ancestors = [] }: PolicyStatus): Problem[] {
  const words = new Set(ancestors.flatMap(({ conditions }) => complaints(conditions, ['Accepted', 'ResolvedRefs'])))
  return [...words].map((text) => problem(object, ['spec'], text))
}

function routeProblems(snapshot: Snapshot, route: RouteObject, { parents = [] }: RouteStatus): Problem[] {
  const { namespace } = route.metadata
  return (route.spec.parentRefs ?? []).flatMap((reference, index) => {
    const path = ['spec', 'parentRefs', index]
    const entry = parents.find(
      ({ parentRef }) => referenceKey(parentRef, namespace) === referenceKey(reference, namespace),
    )
    if (entry) return complaints(entry.conditions, ['Accepted']).map((text) => problem(route, path, text))
    const kind = referent(reference.group, reference.kind, REFERENT.gateway)
    const at = `${reference.namespace ?? namespace}/${reference.name}`
    const found = kind === REFERENT.gateway && snapshot.get('KubernetesGateway', ...split(at))
    // What is wrong with the Gateway itself is told there.
    if (found) return []
    const words = kind === REFERENT.gateway ? `there is no Gateway ${at}` : `${kind} is no parent that Istio knows`
    return [problem(route, path, `parentRef ${reference.name}: ${words}: the route has no effect there`)]
  })
}

function split(at: string): [string, string] {
  const slash = at.indexOf('/')
  return [at.slice(0, slash), at.slice(slash + 1)]
}
