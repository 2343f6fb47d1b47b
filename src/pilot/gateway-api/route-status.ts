import type { ParentReference } from '../../api/kinds/gateway-api/common.ts'
import type { RouteParentStatus } from '../../api/kinds/gateway-api/status.ts'
import type { ApiObject } from '../../api/objects.ts'
import { type ConditionDrafts, type ConfigError, setConditions } from './conditions.ts'
import { GATEWAY_CONTROLLER } from './constants.ts'
import { type AttachedParent, isMesh, referenceKey } from './parents.ts'

/** Errors of a route's references, as gateways and as the mesh see them. */
export interface RouteErrors {
  gateway: ConfigError | undefined
  mesh: ConfigError | undefined
}

/** Where several listeners of one reference differ, the one of the lowest rank is reported; a success before all. */
const RANKS = ['NotAllowedByListeners', 'NoMatchingListenerHostname', 'ParentRefConflict', 'NoMatchingParent']
const rank = ({ denied }: AttachedParent): number => (denied ? RANKS.indexOf(denied.reason) + 1 : 0)

/**
 * What each parent says of a route; entries of other controllers are kept (conditions.go createRouteStatus). A reference
 * to several listeners has one entry.
 */
export function routeParents(
  route: ApiObject<'HTTPRoute' | 'GRPCRoute' | 'TCPRoute' | 'TLSRoute'>,
  attached: readonly AttachedParent[],
  errors: RouteErrors,
): RouteParentStatus[] {
  const { namespace, generation } = route.metadata
  const current = route.status?.parents ?? []
  const byReference = new Map<ParentReference, AttachedParent[]>()
  for (const parent of attached) {
    byReference.set(parent.reference, [...(byReference.get(parent.reference) ?? []), parent])
  }
  const fresh = new Map<string, RouteParentStatus>()
  for (const [reference, parents] of byReference) {
    const key = referenceKey(reference, namespace)
    const known = current.find((entry) => isOurs(entry) && referenceKey(entry.parentRef, namespace) === key)
    fresh.set(key, {
      parentRef: reference,
      controllerName: GATEWAY_CONTROLLER,
      conditions: setConditions(generation, known?.conditions, conditionsOf(parents, errors)),
    })
  }
  const kept = current.flatMap((entry) => {
    if (!isOurs(entry)) return [entry]
    const key = referenceKey(entry.parentRef, namespace)
    const replacement = fresh.get(key)
    fresh.delete(key)
    return replacement ?? []
  })
  const added = [...fresh].sort(([a], [b]) => (a < b ? 1 : a > b ? -1 : 0)).map(([, entry]) => entry)
  return [...kept, ...added]
}

const isOurs = ({ controllerName }: RouteParentStatus): boolean => controllerName === GATEWAY_CONTROLLER

function conditionsOf(parents: readonly AttachedParent[], errors: RouteErrors): ConditionDrafts {
  const successes = parents.filter(({ denied }) => !denied).length
  const bound = successes > 1 ? `, bound to ${successes} parents` : ''
  const best = Math.min(...parents.map(rank))
  const reported = parents.filter((parent) => rank(parent) === best)
  const denied = reported[0]?.denied
  const error = parents.some(isMesh) ? errors.mesh : errors.gateway
  return {
    Accepted: {
      reason: 'Accepted',
      message: `Route was valid${bound}`,
      ...(denied
        ? { error: { reason: denied.reason, message: reported.map((parent) => parent.denied?.message).join('; ') } }
        : {}),
    },
    ResolvedRefs: { reason: 'ResolvedRefs', message: 'All references resolved', ...(error ? { error } : {}) },
  }
}
