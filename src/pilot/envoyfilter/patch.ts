import type { Messages } from '#gen/types.js'
import type { EnvoyConfigObjectMatch } from '../../api/kinds/envoy-filter.ts'
import type { MessageName } from '../../xds/messages.ts'
import type { Sought } from './sought.ts'

/** What a patch may be applied to, with the message that its value is. */
export const VALUES = {
  LISTENER: 'envoy.config.listener.v3.Listener',
  LISTENER_FILTER: 'envoy.config.listener.v3.ListenerFilter',
  FILTER_CHAIN: 'envoy.config.listener.v3.FilterChain',
  NETWORK_FILTER: 'envoy.config.listener.v3.Filter',
  HTTP_FILTER: 'envoy.extensions.filters.network.http_connection_manager.v3.HttpFilter',
  ROUTE_CONFIGURATION: 'envoy.config.route.v3.RouteConfiguration',
  VIRTUAL_HOST: 'envoy.config.route.v3.VirtualHost',
  HTTP_ROUTE: 'envoy.config.route.v3.Route',
  CLUSTER: 'envoy.config.cluster.v3.Cluster',
  EXTENSION_CONFIG: 'envoy.config.core.v3.TypedExtensionConfig',
  BOOTSTRAP: 'envoy.config.bootstrap.v3.Bootstrap',
} as const satisfies Record<string, MessageName>

/** What can be patched. */
export type ApplyTo = keyof typeof VALUES
/** The message that patches to something are. */
export type ValueOf<A extends ApplyTo> = Messages[(typeof VALUES)[A]]
/** Whose resources are patched. */
export type PatchContext = 'SIDECAR_INBOUND' | 'SIDECAR_OUTBOUND' | 'GATEWAY'
/** What a patch does to what it matches. */
export type Operation =
  | 'MERGE'
  | 'MERGE_AND_REPLACE_LIST'
  | 'ADD'
  | 'REMOVE'
  | 'INSERT_BEFORE'
  | 'INSERT_AFTER'
  | 'INSERT_FIRST'
  | 'REPLACE'

/** One entry of `configPatches`, with its value read. */
export interface Patch<A extends ApplyTo = ApplyTo> {
  readonly applyTo: A
  readonly operation: Operation
  readonly match: EnvoyConfigObjectMatch
  readonly value: ValueOf<A>
  /** `file:line:col` and the object's name, for messages. */
  readonly place: string
  /** How often it has been applied. */
  hits: number
  /** Why it could not be merged; like istiod, nothing that comes after it is then applied there. */
  failure: string | undefined
  /** It is of a filter that takes its config from elsewhere, where there is none. */
  undiscovered: boolean
  /** Whether its operation is none that is applied to such things. */
  readonly idle: boolean
  /** What it looked for in vain. */
  readonly sought: Sought
}

/** Whether an operation merges, lists included or replaced. */
export const merges = (operation: Operation): boolean => operation === 'MERGE' || operation === 'MERGE_AND_REPLACE_LIST'

/** Whether a patch without a context adds whole objects there: to clients' sides alone. */
export const addsTo = ({ match }: Patch, context: PatchContext): boolean =>
  (match.context ?? 'ANY') !== 'ANY' || context === 'SIDECAR_OUTBOUND' || context === 'GATEWAY'

/** Lets patches that gave several resources one name tell of it: Envoy takes the first of these alone. */
export function noteRenaming(patches: readonly Patch<'LISTENER' | 'CLUSTER'>[], what: string, name: string): void {
  for (const patch of patches)
    if (merges(patch.operation) && patch.value.name === name)
      patch.failure = `makes more than one ${what} called "${name}", of which only the first stays`
}
