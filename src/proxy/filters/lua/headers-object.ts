import { type HeaderMap, headerName, RequestHead, ResponseHead } from '../../http/headers.ts'
import { isHeaderValue } from '../../http/mutation-rules.ts'
import { HeaderReader } from '../../http/router/header-matcher.ts'
import { cString } from './bytes.ts'
import { type LuaApi, type LuaState, luaClass } from './engine.ts'
import { INLINE_REQUEST, INLINE_RESPONSE } from './inline-headers.ts'

/** Headers or trailers as scripts see them (source/extensions/filters/http/lua/wrappers.cc HeaderMapWrapper). */
export interface LuaHeaders {
  readonly map: HeaderMap
  /** Asked before each change; false once they have been sent on. */
  readonly mayChange: () => boolean
  /** Told of names and values that no request can be sent with. */
  readonly invalid?: (problem: string) => void
  /** Takes the reason phrase of a response. */
  readonly setReason?: (phrase: string) => void
  iterating?: boolean
}

function change({ iterating, mayChange }: LuaHeaders, api: LuaApi, L: LuaState): void {
  if (iterating) api.fail(L, 'header map cannot be modified while iterating')
  if (!mayChange()) api.fail(L, 'header map can no longer be modified')
}

/** All entries, pseudo headers first, as Envoy's maps hold them. */
function entries(map: HeaderMap): [string, string][] {
  const out: [string, string][] = []
  if (map instanceof RequestHead) {
    out.push([':authority', map.authority], [':path', map.path], [':method', map.method])
    if (map.scheme !== '') out.push([':scheme', map.scheme])
  } else if (map instanceof ResponseHead) out.push([':status', String(map.status)])
  map.forEach((name, value) => {
    out.push([name, value])
  })
  return out
}

/** Sets a pseudo header; undefined takes it away. False for a name that is none. */
function setPseudo(map: HeaderMap, name: string, value: string | undefined): boolean {
  if (map instanceof ResponseHead) {
    if (name !== ':status') return false
    map.status = value !== undefined && /^\d{1,9}$/.test(value) ? Number(value) : 0
    return true
  }
  if (!(map instanceof RequestHead)) return false
  if (name === ':path') map.path = value ?? ''
  else if (name === ':method') map.method = value ?? ''
  else if (name === ':authority' || name === 'host') {
    map.authority = value ?? ''
    map.hasAuthority = value !== undefined
  } else if (name === ':scheme') map.scheme = value ?? ''
  else return false
  return true
}

/** Adds a line, or a value to the one line that there can be. */
function add(map: HeaderMap, name: string, value: string): void {
  const single =
    name.startsWith(':') ||
    (map instanceof RequestHead && (name === 'host' || INLINE_REQUEST.has(name))) ||
    (map instanceof ResponseHead && INLINE_RESPONSE.has(name))
  const old = single ? new HeaderReader(name).first(map) : undefined
  const all = old === undefined || old === '' ? value : `${old},${value}`
  if (setPseudo(map, name, all)) return
  if (single) map.set(headerName(name), all)
  else map.add(headerName(name), value)
}

const NAME = /^[!#$%&'*+\-.^_`|~0-9a-z]+$/

function checkLine({ invalid }: LuaHeaders, name: string, value: string): void {
  if (invalid === undefined) return
  if (!name.startsWith(':') && name !== '' && !NAME.test(name)) invalid(`invalid header name: ${name}`)
  else if (!isHeaderValue(value)) invalid(`invalid header value for: ${name}`)
}

const nameArg = (api: LuaApi, L: LuaState): string => cString(api.stringArg(L, 2)).toLowerCase()

/** Headers or trailers. */
export const HEADERS = luaClass<LuaHeaders>('HeaderMapWrapper', {
  add(self, api, L) {
    change(self, api, L)
    const name = nameArg(api, L)
    const value = cString(api.stringArg(L, 3))
    checkLine(self, name, value)
    add(self.map, name, value)
    return 0
  },
  get(self, api, L) {
    const all = new HeaderReader(api.stringArg(L, 2)).all(self.map)
    if (all.length === 0) return 0
    api.string(L, all.join(','))
    return 1
  },
  getAtIndex(self, api, L) {
    const all = new HeaderReader(api.stringArg(L, 2)).all(self.map)
    const value = all[api.integerArg(L, 3)]
    if (value === undefined) return 0
    api.string(L, value)
    return 1
  },
  getNumValues(self, api, L) {
    api.lua.lua_pushnumber(L, new HeaderReader(api.stringArg(L, 2)).all(self.map).length)
    return 1
  },
  remove(self, api, L) {
    change(self, api, L)
    const name = nameArg(api, L)
    if (!setPseudo(self.map, name, undefined)) self.map.remove(headerName(name))
    return 0
  },
  replace(self, api, L) {
    change(self, api, L)
    const name = nameArg(api, L)
    const value = cString(api.stringArg(L, 3))
    checkLine(self, name, value)
    if (!setPseudo(self.map, name, value)) self.map.set(headerName(name), value)
    return 0
  },
  setHttp1ReasonPhrase(self, api, L) {
    change(self, api, L)
    self.setReason?.(api.stringArg(L, 2))
    return 0
  },
  __pairs(self, api, L) {
    if (self.iterating) api.failInPairs(L, 'cannot create a second iterator before completing the first')
    self.iterating = true
    const list = entries(self.map)
    let i = 0
    api.lua.lua_pushcfunction(L, (state) => {
      const entry = list[i++]
      if (entry === undefined) {
        self.iterating = false
        return 0
      }
      api.string(state, entry[0])
      api.string(state, entry[1])
      return 2
    })
    return 1
  },
})
