import { filterStateFactory } from '../../filter-state-object.ts'
import type { FilterSlot } from '../../http/filter-slot.ts'
import { HeaderMap } from '../../http/headers.ts'
import { cString } from './bytes.ts'
import { type LuaApi, type LuaState, luaClass } from './engine.ts'
import { CONNECTION_DYNAMIC, DYNAMIC } from './objects.ts'
import { STREAM_FACTS } from './ssl-object.ts'

/** Kinds of filter state objects that are made from text and print as it (envoy/stream_info/filter_state.h ObjectFactory). */
const FACTORIES = new Set([
  'envoy.string',
  'envoy.hashable_string',
  'envoy.tcp_proxy.cluster',
  'envoy.network.upstream_server_name',
  'envoy.network.application_protocols',
  'envoy.network.upstream_subject_alt_names',
  'envoy.network.transport_socket.original_dst_address',
  'envoy.filters.listener.original_dst.local_ip',
  'envoy.filters.listener.original_dst.remote_ip',
  'envoy.upstream.dynamic_host',
  'envoy.upstream.dynamic_port',
  'envoy.ratelimit.hits_addend',
])

/** Those of them that are numbers. */
const NUMBERS = new Set(['envoy.upstream.dynamic_port', 'envoy.ratelimit.hits_addend'])

/** A filter state object as text, or one of its fields; undefined when it has none. */
function serialized(value: unknown, field: string | undefined): string | undefined {
  if (value === undefined || value === null || value instanceof HeaderMap) return undefined
  if (field !== undefined) {
    if (typeof value !== 'object') return undefined
    const found = (value as Record<string, unknown>)[field]
    return found === undefined || typeof found === 'object' ? undefined : String(found)
  }
  return typeof value === 'object' && !(value instanceof Buffer) ? JSON.stringify(value) : String(value)
}

const FILTER_STATE = luaClass<FilterSlot>('FilterStateWrapper', {
  get(slot, api, L) {
    const name = api.stringArg(L, 2)
    const field = api.lua.lua_isnoneornil(L, 3) ? undefined : api.stringArg(L, 3)
    const text = serialized(slot.info.filterState?.get(name), field)
    if (text === undefined) return 0
    api.string(L, Buffer.from(text).toString('latin1'))
    return 1
  },
  set(slot, api, L) {
    const name = api.stringArg(L, 2)
    const factory = api.stringArg(L, 3)
    const text = api.stringArg(L, 4)
    if (!FACTORIES.has(factory)) api.fail(L, `'${factory}' does not have an object factory`)
    const value = Buffer.from(text, 'latin1').toString('utf8')
    const object = NUMBERS.has(factory) ? filterStateFactory(factory, name)(value) : value
    if (object === undefined) api.fail(L, `Failed to create filter state value for '${name}' from '${value}'`)
    slot.info.filterState ??= new Map()
    slot.info.filterState.set(name, object)
    return 0
  },
})

const typed = (api: LuaApi, L: LuaState): number => {
  // No filter of this proxy sets metadata as a message.
  cString(api.stringArg(L, 2))
  api.lua.lua_pushnil(L)
  return 1
}

/** What is known of an exchange. */
export const STREAM_INFO = luaClass<FilterSlot>('StreamInfoWrapper', {
  ...STREAM_FACTS,
  dynamicMetadata(slot, api, L) {
    return api.once(L, 'dynamicMetadata', () => api.object(L, DYNAMIC, { slot }))
  },
  dynamicTypedMetadata: (_slot, api, L) => typed(api, L),
  filterState(slot, api, L) {
    return api.once(L, 'filterState', () => api.object(L, FILTER_STATE, slot))
  },
})

const NOTHING = new Map<string, Readonly<Record<string, unknown>>>()

/** What is known of the connection of an exchange. */
export const CONNECTION_STREAM_INFO = luaClass<FilterSlot>('ConnectionStreamInfoWrapper', {
  dynamicMetadata(_slot, api, L) {
    return api.once(L, 'connectionDynamicMetadata', () => api.object(L, CONNECTION_DYNAMIC, { values: NOTHING }))
  },
  dynamicTypedMetadata: (_slot, api, L) => typed(api, L),
})
