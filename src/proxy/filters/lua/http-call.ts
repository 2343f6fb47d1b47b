import { headerName, RequestHead, type ResponseHead } from '../../http/headers.ts'
import { H } from '../../http/names.ts'
import { cString, text } from './bytes.ts'
import type { LuaApi, LuaState } from './engine.ts'

/** A request that a script makes. */
export interface LuaCall {
  readonly cluster: string
  readonly head: RequestHead
  readonly body: Buffer
  /** ms; 0 is none. */
  readonly timeout: number
  readonly sendXff: boolean
  /** The script does not wait for the answer. */
  readonly asynchronous: boolean
  /** A header that came more than once is a list in what the script gets. */
  readonly duplicates: boolean
}

interface Options {
  timeout: number
  asynchronous: boolean
  duplicates: boolean
  sendXff: boolean
}

/** The fifth argument is a time, with a flag behind it, or a table of options. */
function options(api: LuaApi, L: LuaState): Options {
  const { lua } = api
  const out: Options = { timeout: 0, asynchronous: false, duplicates: false, sendXff: true }
  if (lua.lua_type(L, 5) === lua.LUA_TTABLE) readOptions(api, L, out)
  else {
    out.timeout = api.integerArg(L, 5)
    const given = lua.lua_gettop(L) >= 6
    if (given && lua.lua_type(L, 6) !== lua.LUA_TBOOLEAN)
      api.fail(L, "http call asynchronous flag must be 'true', 'false', or empty")
    out.asynchronous = given && lua.lua_toboolean(L, 6)
  }
  if (out.timeout < 0) api.fail(L, 'http call timeout must be >= 0')
  return out
}

function readOptions(api: LuaApi, L: LuaState, out: Options): void {
  const { lua } = api
  lua.lua_pushnil(L)
  while (lua.lua_next(L, 5) !== 0) {
    const value = lua.lua_gettop(L)
    const key = textAt(api, L, value - 1)
    switch (key) {
      case 'asynchronous':
        out.asynchronous = lua.lua_toboolean(L, value)
        break
      case 'timeout_ms':
        out.timeout = numberAt(api, L, value)
        break
      case 'return_duplicate_headers':
        out.duplicates = lua.lua_toboolean(L, value)
        break
      case 'send_xff':
        out.sendXff = lua.lua_toboolean(L, value)
        break
      case 'trace_sampled':
        break
      default:
        api.fail(L, `"${key}" is not valid key for httpCall() options`)
    }
    lua.lua_pop(L, 1)
  }
}

/** A value inside a table that must be a string: messages count its place on the stack, with the method's object. */
function textAt(api: LuaApi, L: LuaState, index: number): string {
  const { lua } = api
  const type = lua.lua_type(L, index)
  if (type !== lua.LUA_TSTRING && type !== lua.LUA_TNUMBER)
    api.argError(L, index + 1, `string expected, got ${api.typeName(L, index)}`)
  return cString(text(lua.lua_tostring(L, index)))
}

function numberAt(api: LuaApi, L: LuaState, index: number): number {
  const { lua } = api
  const type = lua.lua_type(L, index)
  const value = lua.lua_tonumber(L, index)
  if (type !== lua.LUA_TNUMBER && !(type === lua.LUA_TSTRING && value !== 0))
    api.argError(L, index + 1, `number expected, got ${api.typeName(L, index)}`)
  return Math.trunc(value)
}

/** A table of headers; a list of values gives a line each (lua_filter.cc buildHeadersFromTable). */
export function readHeaders(api: LuaApi, L: LuaState, index: number): [string, string][] {
  const { lua, aux } = api
  aux.luaL_checktype(L, index, lua.LUA_TTABLE)
  const out: [string, string][] = []
  lua.lua_pushnil(L)
  while (lua.lua_next(L, index) !== 0) {
    const value = lua.lua_gettop(L)
    // Reading a number as text changes the key in place, and then its follower cannot be found.
    if (lua.lua_type(L, value - 1) === lua.LUA_TNUMBER) api.raise(L, "invalid key to 'next'")
    const name = textAt(api, L, value - 1).toLowerCase()
    if (lua.lua_type(L, value) !== lua.LUA_TTABLE) out.push([name, textAt(api, L, value)])
    else {
      lua.lua_pushnil(L)
      while (lua.lua_next(L, value) !== 0) {
        out.push([name, textAt(api, L, lua.lua_gettop(L))])
        lua.lua_pop(L, 1)
      }
    }
    lua.lua_pop(L, 1)
  }
  return out
}

/** Reads the arguments of `httpCall(cluster, headers, body, timeout, asynchronous)`. */
export function readCall(api: LuaApi, L: LuaState, hasCluster: (name: string) => boolean): LuaCall {
  const { timeout, asynchronous, duplicates, sendXff } = options(api, L)
  const cluster = cString(api.stringArg(L, 2))
  api.aux.luaL_checktype(L, 3, api.lua.LUA_TTABLE)
  const hasBody = !api.lua.lua_isnoneornil(L, 4)
  const body = hasBody ? Buffer.from(api.stringArg(L, 4), 'latin1') : Buffer.alloc(0)
  if (!hasCluster(cluster)) api.fail(L, 'http call cluster invalid. Must be configured')
  const headers = readHeaders(api, L, 3)
  const of = (name: string): string | undefined => headers.find(([key]) => key === name)?.[1]
  const path = of(':path')
  const method = of(':method')
  const authority = of(':authority') ?? of('host')
  if (path === undefined || method === undefined || authority === undefined)
    return api.fail(L, "http call headers must include ':path', ':method', and ':authority'")
  const head = RequestHead.create(method, path, authority)
  head.scheme = of(':scheme') ?? 'http'
  for (const [name, value] of headers) if (!name.startsWith(':') && name !== 'host') head.add(headerName(name), value)
  if (hasBody) head.set(H.contentLength, String(body.length))
  return { cluster, head, body, timeout, sendXff, asynchronous, duplicates }
}

/** What a script that waited for an answer gets of it. */
export interface LuaAnswer {
  readonly status: ResponseHead
  readonly body: Buffer
}

/** Pushes the headers of an answer as a table, and its body or nil. */
export function pushAnswer(api: LuaApi, L: LuaState, { status, body }: LuaAnswer, duplicates: boolean): number {
  const { lua } = api
  const headers = new Map<string, string[]>([[':status', [String(status.status)]]])
  status.forEach((name, value) => {
    const old = headers.get(name)
    if (old === undefined || !duplicates) headers.set(name, [value])
    else old.push(value)
  })
  lua.lua_newtable(L)
  for (const [name, values] of headers) {
    api.string(L, name)
    if (values.length === 1) api.string(L, values[0]!)
    else {
      lua.lua_newtable(L)
      values.forEach((value, i) => {
        lua.lua_pushinteger(L, i + 1)
        api.string(L, value)
        lua.lua_rawset(L, -3)
      })
    }
    lua.lua_rawset(L, -3)
  }
  if (body.length === 0) lua.lua_pushnil(L)
  else api.string(L, body.toString('latin1'))
  return 2
}
