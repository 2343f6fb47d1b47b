import { createRequire } from 'node:module'
import { ConfigError } from '../../context.ts'

/** A Lua state or coroutine. */
export type LuaState = object
/** A function that Lua calls: arguments are on the stack, the number of results is returned. */
export type LuaFunction = (L: LuaState) => number

interface UserData {
  self?: unknown
  isAlive?: () => boolean
}

/** The part of Lua's C interface that is used here, as fengari has it. */
export interface Lua {
  readonly LUA_OK: number
  readonly LUA_YIELD: number
  readonly LUA_REGISTRYINDEX: number
  readonly LUA_TBOOLEAN: number
  readonly LUA_TNUMBER: number
  readonly LUA_TSTRING: number
  readonly LUA_TTABLE: number
  lua_gettop(L: LuaState): number
  lua_pushnil(L: LuaState): void
  lua_pushboolean(L: LuaState, b: boolean): void
  lua_pushnumber(L: LuaState, n: number): void
  lua_pushinteger(L: LuaState, n: number): void
  lua_pushlstring(L: LuaState, s: Uint8Array, n: number): void
  lua_pushcfunction(L: LuaState, f: LuaFunction): void
  lua_pushvalue(L: LuaState, i: number): void
  lua_newtable(L: LuaState): void
  lua_newuserdata(L: LuaState, n: number): UserData
  lua_setfield(L: LuaState, i: number, name: Uint8Array): void
  lua_rawset(L: LuaState, i: number): void
  lua_rawlen(L: LuaState, i: number): number
  lua_rawgeti(L: LuaState, i: number, n: number): number
  lua_next(L: LuaState, i: number): number
  lua_type(L: LuaState, i: number): number
  lua_toboolean(L: LuaState, i: number): boolean
  lua_tonumber(L: LuaState, i: number): number
  lua_tostring(L: LuaState, i: number): Uint8Array | null
  lua_getglobal(L: LuaState, name: Uint8Array): number
  lua_isfunction(L: LuaState, i: number): boolean
  lua_isnoneornil(L: LuaState, i: number): boolean
  lua_newthread(L: LuaState): LuaState
  lua_resume(L: LuaState, from: LuaState | null, n: number): number
  lua_yield(L: LuaState, n: number): number
  lua_pop(L: LuaState, n: number): void
  lua_pcall(L: LuaState, args: number, results: number, handler: number): number
}

interface LuaAux {
  luaL_newstate(): LuaState
  luaL_newmetatable(L: LuaState, name: Uint8Array): boolean
  luaL_setmetatable(L: LuaState, name: Uint8Array): void
  luaL_checkudata(L: LuaState, i: number, name: Uint8Array): UserData
  luaL_checkstring(L: LuaState, i: number): Uint8Array
  luaL_checknumber(L: LuaState, i: number): number
  luaL_checktype(L: LuaState, i: number, type: number): void
  luaL_loadbuffer(L: LuaState, code: Uint8Array, size: number, name: Uint8Array): number
  luaL_ref(L: LuaState, table: number): number
  luaL_unref(L: LuaState, table: number, ref: number): void
  luaL_error(L: LuaState, format: Uint8Array, ...values: unknown[]): never
}

interface Fengari {
  readonly lua: Lua
  readonly lauxlib: LuaAux
  readonly lualib: { luaL_openlibs(L: LuaState): void }
}

let loaded: Fengari | undefined

/** The Lua machine; read at its first use, since most proxies run no script. */
function fengari(): Fengari {
  if (loaded === undefined) {
    // Whole numbers print without `.0`, as in the LuaJIT that Envoy has.
    const before = process.env.FENGARICONF
    process.env.FENGARICONF = '{"LUA_COMPAT_FLOATSTRING":true}'
    loaded = createRequire(import.meta.url)('fengari') as Fengari
    if (before === undefined) delete process.env.FENGARICONF
    else process.env.FENGARICONF = before
  }
  return loaded
}

/** Functions of Lua 5.1, which LuaJIT speaks, that 5.3 has under other names. */
const PRELUDE = `
unpack = table.unpack
loadstring = load
table.getn = function(t) return #t end
table.maxn = function(t) local m = 0 for k in pairs(t) do if type(k) == "number" and k > m then m = k end end return m end
math.pow = function(a, b) return a ^ b end
math.log10 = function(x) return math.log(x, 10) end
math.mod = math.fmod
string.gfind = string.gmatch
`

/** Text as Lua has it: bytes. */
export const bytes = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text, 'latin1'))
/** The reverse. */
export const text = (value: Uint8Array | null): string => (value === null ? '' : Buffer.from(value).toString('latin1'))

/** Methods of a class of objects that scripts see. */
export type Methods<T> = Readonly<Record<string, (self: T, api: LuaApi, L: LuaState) => number>>

/** What functions that Lua calls work with: pushing values, reading arguments, objects of ours. */
export class LuaApi {
  readonly lua: Lua
  readonly aux: LuaAux
  readonly main: LuaState
  private readonly classes = new Set<string>()

  constructor() {
    const { lua, lauxlib, lualib } = fengari()
    this.lua = lua
    this.aux = lauxlib
    this.main = lauxlib.luaL_newstate()
    lualib.luaL_openlibs(this.main)
    this.run(PRELUDE, '=prelude')
  }

  /** Runs a chunk of code. Throws ConfigError with Lua's words. */
  run(code: string, name: string): void {
    const { lua, aux, main } = this
    const source = Uint8Array.from(Buffer.from(code, 'utf8'))
    const failed =
      aux.luaL_loadbuffer(main, source, source.length, bytes(name)) !== lua.LUA_OK ||
      lua.lua_pcall(main, 0, 0, 0) !== lua.LUA_OK
    if (!failed) return
    const message = text(lua.lua_tostring(main, -1))
    lua.lua_pop(main, 1)
    throw new ConfigError([`script load error: ${message}`])
  }

  /** Whether a global function is there. */
  hasFunction(name: string): boolean {
    this.lua.lua_getglobal(this.main, bytes(name))
    const is = this.lua.lua_isfunction(this.main, -1)
    this.lua.lua_pop(this.main, 1)
    return is
  }

  string(L: LuaState, value: string): void {
    const b = bytes(value)
    this.lua.lua_pushlstring(L, b, b.length)
  }

  /** Pushes a JSON value: objects and lists become tables. */
  value(L: LuaState, value: unknown): void {
    const { lua } = this
    if (value === null || value === undefined) lua.lua_pushnil(L)
    else if (typeof value === 'boolean') lua.lua_pushboolean(L, value)
    else if (typeof value === 'number') lua.lua_pushnumber(L, value)
    else if (typeof value !== 'object') this.string(L, Buffer.from(String(value)).toString('latin1'))
    else {
      lua.lua_newtable(L)
      const list = Array.isArray(value)
      for (const [key, item] of Object.entries(value)) {
        if (list) lua.lua_pushinteger(L, Number(key) + 1)
        else this.value(L, key)
        this.value(L, item)
        lua.lua_rawset(L, -3)
      }
    }
  }

  /** Reads a value as JSON; a table with numbers from 1 on is a list. */
  read(L: LuaState, index: number): unknown {
    const { lua } = this
    switch (lua.lua_type(L, index)) {
      case lua.LUA_TBOOLEAN:
        return lua.lua_toboolean(L, index)
      case lua.LUA_TNUMBER:
        return lua.lua_tonumber(L, index)
      case lua.LUA_TSTRING:
        return Buffer.from(lua.lua_tostring(L, index) ?? []).toString('utf8')
      case lua.LUA_TTABLE:
        return this.readTable(L, index)
      default:
        return null
    }
  }

  private readTable(L: LuaState, index: number): unknown {
    const { lua } = this
    const length = lua.lua_rawlen(L, index)
    if (length > 0) {
      return Array.from({ length }, (_, i) => {
        lua.lua_rawgeti(L, index, i + 1)
        const value = this.read(L, lua.lua_gettop(L))
        lua.lua_pop(L, 1)
        return value
      })
    }
    const out: Record<string, unknown> = {}
    this.each(L, index, (key, value) => {
      out[key] = this.read(L, value)
    })
    return out
  }

  /** Calls `visit` for each entry of a table with its key as text and the stack index of its value. */
  each(L: LuaState, index: number, visit: (key: string, value: number) => void): void {
    const { lua } = this
    lua.lua_pushnil(L)
    while (lua.lua_next(L, index) !== 0) {
      const value = lua.lua_gettop(L)
      lua.lua_pushvalue(L, value - 1) // a copy, since reading a number as text changes it in place
      const key = text(lua.lua_tostring(L, -1))
      lua.lua_pop(L, 1)
      visit(key, value)
      lua.lua_pop(L, 1)
    }
  }

  /** What decides how long the objects that are pushed now can be used. */
  isAlive: () => boolean = () => true

  /** Pushes an object of ours with the methods of its class. */
  object<T>(L: LuaState, name: string, methods: Methods<T>, self: T, isAlive = this.isAlive): void {
    const { lua, aux } = this
    const data = lua.lua_newuserdata(L, 0)
    data.self = self
    data.isAlive = isAlive
    if (!this.classes.has(name)) {
      this.classes.add(name)
      aux.luaL_newmetatable(L, bytes(name))
      lua.lua_newtable(L)
      for (const [method, call] of Object.entries(methods)) {
        lua.lua_pushcfunction(L, (state) => call(this.self(state, name), this, state))
        // Below the function are the methods, and below them the metatable.
        lua.lua_setfield(L, method.startsWith('__') ? -3 : -2, bytes(method))
      }
      lua.lua_setfield(L, -2, bytes('__index'))
      lua.lua_pop(L, 1)
    }
    aux.luaL_setmetatable(L, bytes(name))
  }

  private self<T>(L: LuaState, name: string): T {
    const { self, isAlive } = this.aux.luaL_checkudata(L, 1, bytes(name))
    if (!isAlive!()) this.fail(L, 'object used outside of proper scope')
    return self as T
  }

  /** An argument that must be a string; numbers count as such. */
  stringArg(L: LuaState, index: number): string {
    return text(this.aux.luaL_checkstring(L, index))
  }

  /** Ends the script with an error. */
  fail(L: LuaState, message: string): never {
    return this.aux.luaL_error(L, bytes(message.replaceAll('%', '%%')))
  }
}
