import type { FilterChain, Filter as NetworkFilter } from '#gen/envoy/config/listener/v3/listener_components_pb.js'
import type { Listener } from '#gen/envoy/config/listener/v3/listener_pb.js'
import type {
  HttpConnectionManager,
  HttpFilter,
} from '#gen/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager_pb.js'
import { pack, unpack } from '../../xds/messages.ts'
import { LISTENER_TYPE } from '../../xds/resource-types.ts'
import { VIRTUAL_INBOUND, VIRTUAL_OUTBOUND } from '../names.ts'
import { edited } from './lists.ts'
import { copyOf, TypeMismatch } from './merge.ts'
import { mergeConfig, mergeConfigured, mergePatch } from './merge-patch.ts'
import { addsTo, merges, noteRenaming, type Patch, type PatchContext } from './patch.ts'
import type { PatchSet } from './patch-set.ts'
import { type PortMap, patchRouteConfiguration } from './route-patch.ts'

const MANAGER = 'envoy.filters.network.http_connection_manager'
const MANAGER_TYPE = 'envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager'

type ListenerPatch = Patch<'LISTENER' | 'LISTENER_FILTER' | 'FILTER_CHAIN' | 'NETWORK_FILTER' | 'HTTP_FILTER'>

/**
 * Listeners after their patches; untouched ones stay the objects they were (networking/core/envoyfilter/listener_patch.go).
 * `adds`: whether patches may add listeners to these.
 */
export function patchListeners(
  context: PatchContext,
  patches: PatchSet,
  listeners: readonly Listener[],
  ports: PortMap,
  { adds = true } = {},
): Listener[] {
  const kinds = ['LISTENER', 'LISTENER_FILTER', 'FILTER_CHAIN', 'NETWORK_FILTER', 'HTTP_FILTER'] as const
  const inlineRoutes = context === 'SIDECAR_INBOUND' && patches.has('ROUTE_CONFIGURATION', 'VIRTUAL_HOST', 'HTTP_ROUTE')
  if (!patches.has(...kinds) && !inlineRoutes) return [...listeners]
  const out: Listener[] = []
  try {
    for (const original of listeners) {
      const listener = copyOf(original)
      out.push(listener)
      patches.during(LISTENER_TYPE, listener.name, () => {
        if (inlineRoutes) patchInlineRoutes(context, patches, listener, ports)
        patchListener(context, patches, listener)
        return listener
      })
    }
    for (const patch of adds ? patches.of('LISTENER', context) : []) {
      if (patch.operation !== 'ADD' || !addsTo(patch, context)) continue
      patch.hits++
      const { name } = patch.value
      if (out.some((listener) => listener.name === name)) {
        // Of two with one name Envoy refuses the second.
        patch.failure = `there is a listener "${name}" already, which stays: it is not added`
        continue
      }
      patches.touch(LISTENER_TYPE, name, patch)
      out.push(copyOf(patch.value))
    }
  } catch (error) {
    // Like istiod, which gives up on what is left, and keeps what it has done; the patch tells of it.
    if (!(error instanceof TypeMismatch)) throw error
    out.push(...listeners.slice(out.length))
  }
  const seen = new Set<string>()
  return out.filter(({ name }) => {
    if (name === '') return false
    if (seen.has(name)) noteRenaming(patches.of('LISTENER', context), 'listener', name)
    return !seen.has(name) && seen.add(name)
  })
}

function patchListener(context: PatchContext, patches: PatchSet, listener: Listener): void {
  for (const patch of patches.of('LISTENER', context)) {
    if (!listenerMatches(listener, patch)) continue
    if (patch.operation === 'REMOVE') {
      patch.hits++
      listener.name = '' // gone
      return
    }
    if (!merges(patch.operation)) continue
    patch.hits++
    mergePatch(listener, patch)
  }
  patchListenerFilters(context, patches, listener)
  // A chain that loses its last filter stays, and takes no connection; one that never had any goes.
  const kept = listener.filterChains.filter(
    (chain) => chain.filters.length > 0 && patchChain(context, patches, listener, chain),
  )
  const last = listener.defaultFilterChain
  if (last && last.filters.length > 0 && !patchChain(context, patches, listener, last))
    listener.defaultFilterChain = undefined
  for (const patch of patches.of('FILTER_CHAIN', context)) {
    if (patch.operation !== 'ADD' || !listenerMatches(listener, patch)) continue
    patch.hits++
    if (patch.value.filters.length > 0) kept.push(copyOf(patch.value))
  }
  listener.filterChains = kept
}

function patchListenerFilters(context: PatchContext, patches: PatchSet, listener: Listener): void {
  for (const patch of patches.of('LISTENER_FILTER', context)) {
    if (!listenerMatches(listener, patch)) continue
    const name = patch.match.listener?.listenerFilter
    const named = name !== undefined && name !== ''
    if (patch.operation !== 'MERGE') {
      listener.listenerFilters = edited(listener.listenerFilters, patch, {
        part: 'listener filter',
        named,
        matches: (f) => f.name === name,
      })
      continue
    }
    if (!named) continue
    // istiod merges into all of them, whatever their names, and keeps those.
    for (const filter of listener.listenerFilters) {
      if (filter.configType.case !== 'typedConfig' || patch.value.configType.case !== 'typedConfig') continue
      patch.hits++
      mergeConfigured(filter, patch.value, patch)
    }
  }
}

/** Patches a chain; false when it is to go. */
function patchChain(context: PatchContext, patches: PatchSet, listener: Listener, chain: FilterChain): boolean {
  for (const patch of patches.of('FILTER_CHAIN', context)) {
    if (!listenerMatches(listener, patch) || !chainMatches(listener, chain, patch)) continue
    if (patch.operation === 'REMOVE') {
      patch.hits++
      return false
    }
    if (!merges(patch.operation)) continue
    patch.hits++
    if (!mergeTransportSocket(chain, patch)) mergePatch(chain, patch)
  }
  for (const patch of patches.of('NETWORK_FILTER', context)) {
    if (!listenerMatches(listener, patch) || !chainMatches(listener, chain, patch)) continue
    const named = filterOf(patch) !== undefined
    chain.filters = edited(chain.filters, patch, {
      part: 'network filter',
      named,
      matches: (f) => networkFilterMatches(f, patch),
    })
  }
  for (const filter of chain.filters) patchNetworkFilter(context, patches, listener, chain, filter)
  return true
}

/** A patch with a transport socket of the chain's name goes into that, and nothing else of it counts. */
function mergeTransportSocket(chain: FilterChain, patch: Patch<'FILTER_CHAIN'>): boolean {
  const [own, given] = [chain.transportSocket, patch.value.transportSocket]
  if (!own || !given || own.name !== given.name) return false
  mergeConfigured(own, given, patch)
  return true
}

function patchNetworkFilter(
  context: PatchContext,
  patches: PatchSet,
  listener: Listener,
  chain: FilterChain,
  filter: NetworkFilter,
): void {
  for (const patch of patches.of('NETWORK_FILTER', context)) {
    if (patch.operation !== 'MERGE' || !listenerMatches(listener, patch)) continue
    if (!chainMatches(listener, chain, patch)) continue
    if (networkFilterMatches(filter, patch)) mergeNamed(filter, patch)
    else patch.sought.missed('network filter', [filter.name])
  }
  if (filter.name === MANAGER) patchManager(context, patches, listener, chain, filter)
}

/** Merges the config of a filter, whose name the patch may change. */
function mergeNamed<T extends NetworkFilter | HttpFilter>(filter: T, patch: Patch & { readonly value: T }): void {
  if (filter.configType.case !== 'typedConfig') return
  patch.hits++
  const given = patch.value.configType
  const merged = given.case === 'typedConfig' ? mergeConfig(filter.configType.value, given.value, patch) : undefined
  if (patch.value.name !== '') filter.name = patch.value.name
  if (merged) filter.configType = { case: 'typedConfig', value: merged }
}

function patchManager(
  context: PatchContext,
  patches: PatchSet,
  listener: Listener,
  chain: FilterChain,
  filter: NetworkFilter,
): void {
  const all = patches.of('HTTP_FILTER', context)
  const wanted = all.filter((patch) => {
    if (!listenerMatches(listener, patch) || !chainMatches(listener, chain, patch)) return false
    const matches = networkFilterMatches(filter, patch)
    if (!matches) patch.sought.missed('network filter', [filter.name])
    return matches
  })
  const config = filter.configType.case === 'typedConfig' ? unpack(filter.configType.value, MANAGER_TYPE) : undefined
  if (wanted.length === 0 || !config) return
  const manager: HttpConnectionManager = copyOf(config)
  for (const patch of wanted) {
    const name = filterOf(patch)?.subFilter?.name
    const named = filterOf(patch)?.subFilter !== undefined
    manager.httpFilters = edited(manager.httpFilters, patch, {
      part: 'HTTP filter',
      named,
      matches: (f) => f.name === (name ?? ''),
    })
  }
  for (const own of manager.httpFilters) {
    for (const patch of wanted) {
      const sub = filterOf(patch)?.subFilter
      if (patch.operation !== 'MERGE') continue
      if (!sub || sub.name === own.name) mergeNamed(own, patch)
      else patch.sought.missed('HTTP filter', [own.name])
    }
  }
  filter.configType = { case: 'typedConfig', value: pack(manager as never) }
}

/** The inline routes of inbound connection managers are route configurations like any. */
function patchInlineRoutes(context: PatchContext, patches: PatchSet, listener: Listener, ports: PortMap): void {
  for (const chain of [
    ...listener.filterChains,
    ...(listener.defaultFilterChain ? [listener.defaultFilterChain] : []),
  ]) {
    for (const filter of chain.filters) {
      if (filter.configType.case !== 'typedConfig') continue
      const config = unpack(filter.configType.value, MANAGER_TYPE)
      if (config?.routeSpecifier.case !== 'routeConfig') continue
      const manager = copyOf(config)
      const value = patchRouteConfiguration(context, patches, config.routeSpecifier.value, ports)
      manager.routeSpecifier = { case: 'routeConfig', value }
      filter.configType = { case: 'typedConfig', value: pack(manager as never) }
    }
  }
}

const isVirtual = (listener: Listener): boolean =>
  listener.name === VIRTUAL_INBOUND || listener.name === VIRTUAL_OUTBOUND

function listenerMatches(listener: Listener, patch: ListenerPatch): boolean {
  const matches = isListener(listener, patch)
  if (!matches) patch.sought.missed('listener', [listener.name])
  return matches
}

function isListener(listener: Listener, { match, applyTo }: ListenerPatch): boolean {
  const wanted = match.listener
  if (!wanted) return true
  if (wanted.name && wanted.name !== listener.name) return false
  // The ports of these two are those of their chains.
  if (applyTo !== 'LISTENER' && isVirtual(listener)) return true
  if (!wanted.portNumber) return true
  const address = listener.address?.address
  return (
    address?.case === 'socketAddress' &&
    address.value.portSpecifier.case === 'portValue' &&
    address.value.portSpecifier.value === wanted.portNumber
  )
}

function chainMatches(listener: Listener, chain: FilterChain, patch: ListenerPatch): boolean {
  const matches = isChain(listener, chain, patch)
  if (!matches) patch.sought.missed('filter chain', [chain.name || `(unnamed, of ${listener.name})`])
  return matches
}

function isChain(listener: Listener, chain: FilterChain, { match }: ListenerPatch): boolean {
  const wanted = match.listener
  if (!wanted) return true
  const own = chain.filterChainMatch
  if (isVirtual(listener) && wanted.portNumber && (own?.destinationPort ?? 0) !== wanted.portNumber) return false
  const { name, sni, transportProtocol, applicationProtocols, destinationPort } = wanted.filterChain ?? {}
  if (name && name !== chain.name) return false
  if (sni && !own?.serverNames.includes(sni)) return false
  if (transportProtocol && own?.transportProtocol !== transportProtocol) return false
  if (applicationProtocols && !applicationProtocols.split(',').every((p) => own?.applicationProtocols.includes(p)))
    return false
  return !destinationPort || own?.destinationPort === destinationPort
}

const filterOf = ({ match }: ListenerPatch) => match.listener?.filterChain?.filter

function networkFilterMatches(filter: NetworkFilter, patch: ListenerPatch): boolean {
  const wanted = filterOf(patch)
  return wanted === undefined || (wanted.name ?? '') === filter.name
}
