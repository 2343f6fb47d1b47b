import type { FilterSlot } from '../../http/filter-slot.ts'
import type { Metadata } from '../../upstream/host.ts'
import { type LuaApi, type LuaState, luaClass, sharedClass } from './engine.ts'
import { readValue } from './values.ts'

/** Bytes of a body. `set` replaces them. */
export interface LuaBuffer {
  get(): Buffer
  set(bytes: Buffer): void
  /** The whole length has changed. */
  changed(): void
}

/** A body, or a chunk of one. */
export const BUFFER = sharedClass<LuaBuffer>('BufferWrapper', {
  length(self, api, L) {
    api.lua.lua_pushnumber(L, self.get().length)
    return 1
  },
  getBytes(self, api, L) {
    const bytes = self.get()
    const index = api.integerArg(L, 2)
    const length = api.integerArg(L, 3)
    if (index < 0 || length < 0 || index + length > bytes.length)
      api.fail(L, 'index/length must be >= 0 and (index + length) must be <= buffer size')
    api.string(L, bytes.toString('latin1', index, index + length))
    return 1
  },
  setBytes(self, api, L) {
    // What was there goes before the argument is looked at.
    self.set(Buffer.alloc(0))
    const bytes = Buffer.from(api.stringArg(L, 2), 'latin1')
    self.set(bytes)
    self.changed()
    api.lua.lua_pushnumber(L, bytes.length)
    return 1
  },
})

/** A map that scripts read by `get` and by `pairs`. */
export interface LuaMap {
  readonly values: Readonly<Record<string, unknown>>
  iterating?: boolean
}

const SECOND = 'cannot create a second iterator before completing the first'

function iterate(self: { iterating?: boolean }, list: [string, unknown][], api: LuaApi, L: LuaState): number {
  if (self.iterating) api.failInPairs(L, SECOND)
  self.iterating = true
  let i = 0
  api.lua.lua_pushcfunction(L, (state) => {
    const entry = list[i++]
    if (entry === undefined) {
      self.iterating = false
      return 0
    }
    api.value(state, entry[0])
    api.value(state, entry[1])
    return 2
  })
  return 1
}

/** An argument that names a key of our own text. */
const keyArg = (api: LuaApi, L: LuaState, index: number): string =>
  Buffer.from(api.stringArg(L, index), 'latin1').toString('utf8')

/** Metadata of a route, or the filter's context. */
export const MAP = sharedClass<LuaMap>('MetadataMapWrapper', {
  get(self, api, L) {
    const value = self.values[keyArg(api, L, 2)]
    if (value === undefined) return 0
    api.value(L, value)
    return 1
  },
  __pairs: (self, api, L) => iterate(self, Object.entries(self.values), api, L),
})

/** The dynamic metadata of an exchange, which scripts read and set. */
export interface LuaDynamic {
  readonly slot: FilterSlot
  iterating?: boolean
}

export const DYNAMIC = luaClass<LuaDynamic>('DynamicMetadataMapWrapper', {
  get({ slot }, api, L) {
    const values = slot.info.dynamicMetadata?.get(keyArg(api, L, 2))
    if (values === undefined) return 0
    api.value(L, values)
    return 1
  },
  set(self, api, L) {
    if (self.iterating) api.fail(L, 'dynamic metadata map cannot be modified while iterating')
    const namespace = keyArg(api, L, 2)
    const key = keyArg(api, L, 3)
    self.slot.setMetadata(namespace, { [key]: readValue(api, L, 4) })
    return 0
  },
  __pairs: (self, api, L) => iterate(self, [...(self.slot.info.dynamicMetadata ?? [])], api, L),
})

/** The dynamic metadata of a connection, which scripts can read. */
export interface LuaConnectionDynamic {
  readonly values: ReadonlyMap<string, Readonly<Record<string, unknown>>>
  iterating?: boolean
}

export const CONNECTION_DYNAMIC = luaClass<LuaConnectionDynamic>('ConnectionDynamicMetadataMapWrapper', {
  get({ values }, api, L) {
    const found = values.get(keyArg(api, L, 2))
    if (found === undefined) return 0
    api.value(L, found)
    return 1
  },
  __pairs: (self, api, L) => iterate(self, [...self.values], api, L),
})

/** A virtual host or a route, of which scripts can read the filter's metadata. */
export interface LuaMetadataHolder {
  readonly metadata: Metadata | undefined
  readonly filterName: string
}

const metadataOf = ({ metadata, filterName }: LuaMetadataHolder, api: LuaApi, L: LuaState): number => {
  api.object(L, MAP, { values: metadataFor(metadata, filterName) })
  return 1
}

/** What metadata has for a filter, by its name or else by the kind's. */
export const metadataFor = (metadata: Metadata | undefined, filterName: string): Readonly<Record<string, unknown>> =>
  metadata?.get(filterName) ?? metadata?.get('envoy.filters.http.lua') ?? {}

export const VIRTUAL_HOST = luaClass<LuaMetadataHolder>('VirtualHostWrapper', { metadata: metadataOf })
export const ROUTE = luaClass<LuaMetadataHolder>('RouteWrapper', { metadata: metadataOf })
