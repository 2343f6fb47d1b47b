import type { Runtime } from '../../../runtime.ts'
import { ConfigError } from '../../context.ts'
import { bytes, text } from './bytes.ts'
import { openLibraries } from './library.ts'
import { loadLuaJit } from './luajit.ts'

/** A Lua state or coroutine. */
export type LuaState = object
/** A function that Lua calls: arguments are on the stack, the number of results is returned. */
export type LuaFunction = (L: LuaState) => number

interface UserData {
  self?: unknown
  scope?: LuaScope
}

/** For how long an object can be used. */
export interface LuaScope {
  alive: boolean
}

/** One run of a script, from its start or resumption to its end or next pause: what it got cannot be used in the next. */
export interface LuaRun extends LuaScope {
  readonly log: (level: string, line: string) => void
  /** Objects that it has got once, to be got again as the same. */
  cache: Map<string, (L: LuaState) => void> | undefined
}

/** The part of Lua's C interface that is used here, as fengari has it. */
export interface Lua {
  readonly LUA_OK: number
  readonly LUA_YIELD: number
  readonly LUA_REGISTRYINDEX: number
  readonly LUA_MASKCOUNT: number
  readonly LUA_TNIL: number
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
  /** What pushes the value at `i` again. */
  lua_toproxy(L: LuaState, i: number): (L: LuaState) => void
  lua_error(L: LuaState): never
  lua_newuserdata(L: LuaState, n: number): UserData
  lua_setfield(L: LuaState, i: number, name: Uint8Array): void
  lua_rawset(L: LuaState, i: number): void
  lua_insert(L: LuaState, i: number): void
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
  lua_sethook(L: LuaState, hook: (L: LuaState) => void, mask: number, count: number): void
  lua_atnativeerror(L: LuaState, f: LuaFunction): LuaFunction | null
  lua_touserdata(L: LuaState, i: number): unknown
  lua_pcall(L: LuaState, args: number, results: number, handler: number): number
}

interface LuaAux {
  luaL_newstate(): LuaState
  luaL_newmetatable(L: LuaState, name: Uint8Array): boolean
  luaL_setmetatable(L: LuaState, name: Uint8Array): void
  luaL_checkudata(L: LuaState, i: number, name: Uint8Array): UserData
  luaL_checkstring(L: LuaState, i: number): Uint8Array
  luaL_tolstring(L: LuaState, i: number): Uint8Array
  luaL_argerror(L: LuaState, i: number, message: Uint8Array): never
  luaL_checknumber(L: LuaState, i: number): number
  luaL_checktype(L: LuaState, i: number, type: number): void
  luaL_where(L: LuaState, level: number): void
  luaL_typename(L: LuaState, i: number): Uint8Array
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
  loaded ??= loadLuaJit() as Fengari
  return loaded
}

/** Methods of a class of objects that scripts see. */
export type Methods<T> = Readonly<Record<string, (self: T, api: LuaApi, L: LuaState) => number>>

/** Objects that scripts see: the name that messages call them by is the reference implementation's. */
export interface LuaClass<T> {
  readonly name: string
  readonly methods: Methods<T>
}

/** About ten seconds' worth. */
const MOST_INSTRUCTIONS = 50_000_000

const LOG_METHODS = [
  ['logTrace', 'trace'],
  ['logDebug', 'debug'],
  ['logInfo', 'info'],
  ['logWarn', 'warning'],
  ['logErr', 'error'],
  ['logCritical', 'critical'],
] as const

/** A class of the filter's own. */
export const luaClass = <T>(name: string, methods: Methods<T>): LuaClass<T> => ({
  name: `N5Envoy10Extensions11HttpFilters3Lua${name.length}${name}E`,
  methods,
})

/** A class that Envoy's Lua filters share. */
export const sharedClass = <T>(name: string, methods: Methods<T>): LuaClass<T> => ({
  name: `N5Envoy10Extensions7Filters6Common3Lua${name.length}${name}E`,
  methods,
})

/** What functions that Lua calls work with: pushing values, reading arguments, objects of ours. */
export class LuaApi {
  readonly lua: Lua
  readonly aux: LuaAux
  readonly main: LuaState
  private readonly classes = new Set<string>()

  constructor(runtime: Runtime) {
    const { lua, lauxlib, lualib } = fengari()
    this.lua = lua
    this.aux = lauxlib
    this.main = lauxlib.luaL_newstate()
    lua.lua_atnativeerror(this.main, (L) => {
      const error = lua.lua_touserdata(L, 1)
      // What JavaScript throws while a script runs is an error of the script's, such as too deep a recursion.
      this.string(L, error instanceof RangeError ? 'stack overflow' : String(error))
      return 1
    })
    lualib.luaL_openlibs(this.main)
    openLibraries(this, runtime)
  }

  /**
   * Lets so much run from now on before the script is stopped with an error. Where the reference implementation would
   * stand still with all its connections, here a whole mesh would.
   */
  limit(L: LuaState): void {
    this.lua.lua_sethook(L, this.tooLong, this.lua.LUA_MASKCOUNT, MOST_INSTRUCTIONS)
  }

  private readonly tooLong = (L: LuaState): void => {
    // Whoever catches the error gets it again with the next instruction.
    this.lua.lua_sethook(L, this.tooLong, this.lua.LUA_MASKCOUNT, 1)
    this.fail(L, `script stopped after ${MOST_INSTRUCTIONS} instructions without a pause`)
  }

  /** Runs a chunk of code. Throws ConfigError with Lua's words. */
  load(code: string, name: string): void {
    this.loadWith(code, name, 0)
  }

  /** The same, with arguments that are on the stack. */
  loadWith(code: string, name: string, args: number): void {
    const { lua, aux, main } = this
    const source = Uint8Array.from(Buffer.from(code, 'utf8'))
    this.limit(main)
    let failed = aux.luaL_loadbuffer(main, source, source.length, bytes(name)) !== lua.LUA_OK
    if (!failed) {
      lua.lua_insert(main, -1 - args)
      failed = lua.lua_pcall(main, args, 0, 0) !== lua.LUA_OK
    }
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

  /** The run of a script that is on now. */
  run: LuaRun = { alive: true, log: () => {}, cache: undefined }

  /** Pushes an object of ours with the methods of its class. It can be used while its scope is alive: the run that is on now. */
  object<T>(L: LuaState, type: LuaClass<T>, self: T, scope: LuaScope = this.run): void {
    const { lua, aux } = this
    const data = lua.lua_newuserdata(L, 0)
    data.self = self
    data.scope = scope
    if (!this.classes.has(type.name)) this.define(L, type)
    aux.luaL_setmetatable(L, bytes(type.name))
  }

  /** Pushes what `make` pushes, or pushed in this run before. */
  once(L: LuaState, key: string, make: () => void): number {
    const { run } = this
    const known = run.cache?.get(key)
    if (known !== undefined) known(L)
    else {
      make()
      run.cache ??= new Map()
      run.cache.set(key, this.lua.lua_toproxy(L, -1))
    }
    return 1
  }

  private define<T>(L: LuaState, type: LuaClass<T>): void {
    const { lua, aux } = this
    this.classes.add(type.name)
    const name = bytes(type.name)
    aux.luaL_newmetatable(L, name)
    const set = (method: string, call: LuaFunction): void => {
      lua.lua_pushcfunction(L, call)
      lua.lua_setfield(L, -2, bytes(method))
    }
    for (const [method, call] of Object.entries(type.methods))
      set(method, (state) => call(this.self(state, name), this, state))
    for (const [method, level] of LOG_METHODS) {
      set(method, (state) => {
        this.self(state, name)
        this.run.log(level, this.stringArg(state, 2))
        return 0
      })
    }
    // Collecting garbage is not ours; scripts that list the methods see it.
    set('__gc', () => 0)
    // Where 5.3 looks for a name to print instead of `userdata`.
    lua.lua_pushnil(L)
    lua.lua_setfield(L, -2, bytes('__name'))
    lua.lua_pushvalue(L, -1)
    lua.lua_setfield(L, -2, bytes('__index'))
    lua.lua_pop(L, 1)
  }

  private self<T>(L: LuaState, name: Uint8Array): T {
    const { self, scope } = this.aux.luaL_checkudata(L, 1, name)
    if (!scope!.alive) this.fail(L, 'object used outside of proper scope')
    return self as T
  }

  /** An argument that must be a string; numbers count as such. */
  stringArg(L: LuaState, index: number): string {
    return text(this.aux.luaL_checkstring(L, index))
  }

  /** A value as `tostring` gives it. */
  toText(L: LuaState, index: number): string {
    const result = text(this.aux.luaL_tolstring(L, index))
    this.lua.lua_pop(L, 1)
    return result
  }

  /** The same from within a function that Lua's own `pairs` has called: the place is that of whoever called that. */
  failInPairs(L: LuaState, message: string): never {
    let where = ''
    for (let level = 1; level <= 5 && (where === '' || where.startsWith('prelude:')); level++) {
      this.aux.luaL_where(L, level)
      where = text(this.lua.lua_tostring(L, -1))
      this.lua.lua_pop(L, 1)
    }
    return this.raise(L, where + message)
  }

  /** Ends the script with an error that does not say where. */
  raise(L: LuaState, message: string): never {
    this.string(L, message)
    return this.lua.lua_error(L)
  }

  /** Ends the script because of what it gave as an argument, by its place on the stack. */
  argError(L: LuaState, index: number, message: string): never {
    return this.aux.luaL_argerror(L, index, bytes(message))
  }

  /** An argument that must be a whole number; a fraction is cut off. */
  integerArg(L: LuaState, index: number): number {
    return Math.trunc(this.aux.luaL_checknumber(L, index)) || 0
  }

  /** Name of the type of a value. */
  typeName(L: LuaState, index: number): string {
    return text(this.aux.luaL_typename(L, index))
  }

  /** Ends the script with an error. */
  fail(L: LuaState, message: string): never {
    return this.aux.luaL_error(L, bytes(message.replaceAll('%', '%%')))
  }
}
