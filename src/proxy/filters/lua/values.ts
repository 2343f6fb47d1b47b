import type { LuaApi, LuaState } from './engine.ts'

/** Numbers from 1 up are places of a list; the list has nulls where none is given. */
type Entry = readonly [key: string | number, value: unknown]

/** Reads a value as JSON, for metadata (source/extensions/filters/common/lua/wrappers.cc MetadataMapHelper::loadValue). */
export function readValue(api: LuaApi, L: LuaState, index: number): unknown {
  const { lua } = api
  switch (lua.lua_type(L, index)) {
    case lua.LUA_TNIL:
      return null
    case lua.LUA_TBOOLEAN:
      return lua.lua_toboolean(L, index)
    case lua.LUA_TNUMBER:
      return lua.lua_tonumber(L, index)
    case lua.LUA_TSTRING:
      return Buffer.from(lua.lua_tostring(L, index) ?? []).toString('utf8')
    case lua.LUA_TTABLE:
      return readTable(api, L, index)
    default:
      return api.fail(L, `unexpected type '${api.typeName(L, index)}' in dynamicMetadata`)
  }
}

function readTable(api: LuaApi, L: LuaState, index: number): unknown {
  const { lua } = api
  const entries: Entry[] = []
  let numbers = 0
  lua.lua_pushnil(L)
  while (lua.lua_next(L, index) !== 0) {
    const value = lua.lua_gettop(L)
    const key =
      lua.lua_type(L, value - 1) === lua.LUA_TNUMBER ? lua.lua_tonumber(L, value - 1) : keyOf(api, L, value - 1)
    if (typeof key === 'number') numbers++
    entries.push([key, readValue(api, L, value)])
    lua.lua_pop(L, 1)
  }
  if (numbers > 0 && numbers === entries.length) return asList(entries as (readonly [number, unknown])[], api, L)
  const out: Record<string, unknown> = {}
  for (const [key, value] of entries) {
    if (typeof key === 'number') onlyStrings(api, L, 'number')
    out[key] = value
  }
  return out
}

const onlyStrings = (api: LuaApi, L: LuaState, type: string): never =>
  api.fail(L, `unexpected type ${type} in table key (only string keys are supported)`)

function keyOf(api: LuaApi, L: LuaState, index: number): string {
  const { lua } = api
  const type = lua.lua_type(L, index)
  if (type !== lua.LUA_TSTRING) return onlyStrings(api, L, api.typeName(L, index))
  return Buffer.from(lua.lua_tostring(L, index) ?? []).toString('utf8')
}

function asList(entries: readonly (readonly [number, unknown])[], api: LuaApi, L: LuaState): unknown[] {
  let length = 0
  for (const [key] of entries) {
    if (!Number.isInteger(key) || key < 1) onlyStrings(api, L, 'number')
    length = Math.max(length, key)
  }
  const out = Array.from({ length }, (): unknown => null)
  for (const [key, value] of entries) out[key - 1] = value
  return out
}
