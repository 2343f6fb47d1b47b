import type { z } from 'zod'
import { int64, list, open, text } from '../../schema.ts'
import { ParentReference } from './common.ts'

/** One condition of an object's status (metav1.Condition). */
export const Condition = open(
  {
    type: text,
    /** `True`, `False` or `Unknown`. */
    status: text,
    observedGeneration: int64,
    /** RFC 3339: when `status` last changed. */
    lastTransitionTime: text,
    reason: text,
    message: text,
  },
  ['type', 'status'],
)
export type Condition = z.infer<typeof Condition>

/** A status that is nothing but conditions. */
export const ConditionStatus = open({ conditions: list(Condition) })
export type ConditionStatus = z.infer<typeof ConditionStatus>

const RouteParentStatus = open({ parentRef: ParentReference, controllerName: text, conditions: list(Condition) }, [
  'parentRef',
  'controllerName',
])
/** What one parent says of a route. */
export type RouteParentStatus = z.infer<typeof RouteParentStatus>

/** The status of a route: one entry per parent. */
export const RouteStatus = open({ parents: list(RouteParentStatus) })
export type RouteStatus = z.infer<typeof RouteStatus>

/** A kind of routes. */
export const RouteGroupKind = open({ group: text, kind: text }, ['kind'])
export type RouteGroupKind = z.infer<typeof RouteGroupKind>

const ListenerStatus = open(
  { name: text, supportedKinds: list(RouteGroupKind), attachedRoutes: int64, conditions: list(Condition) },
  ['name'],
)
/** What became of one listener. */
export type ListenerStatus = z.infer<typeof ListenerStatus>

/** The status of a Gateway or ListenerSet. */
export const GatewayStatus = open({
  addresses: list(open({ type: text, value: text }, ['value'])),
  conditions: list(Condition),
  listeners: list(ListenerStatus),
  attachedListenerSets: int64,
})
export type GatewayStatus = z.infer<typeof GatewayStatus>

const PolicyAncestorStatus = open({ ancestorRef: ParentReference, controllerName: text, conditions: list(Condition) }, [
  'ancestorRef',
  'controllerName',
])
/** What one ancestor says of a policy. */
export type PolicyAncestorStatus = z.infer<typeof PolicyAncestorStatus>

/** The status of a policy: one entry per object that it takes effect on. */
export const PolicyStatus = open({ ancestors: list(PolicyAncestorStatus) })
export type PolicyStatus = z.infer<typeof PolicyStatus>
