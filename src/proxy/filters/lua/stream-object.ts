import { isIP } from 'node:net'
import { parseAddress } from '../../listener/connection.ts'
import { type LuaApi, type LuaState, luaClass } from './engine.ts'
import type { LuaStream } from './handle.ts'
import { HEADERS } from './headers-object.ts'
import { MAP, metadataFor, ROUTE, VIRTUAL_HOST } from './objects.ts'
import { importPublicKey, verifySignature } from './signature.ts'
import { CONNECTION } from './ssl-object.ts'
import { STATS } from './stats-object.ts'
import { CONNECTION_STREAM_INFO, STREAM_INFO } from './stream-info-object.ts'

/** Whether it is an IP address, with a port or without. */
function isHostAddress(text: string): boolean {
  return isIP(text) !== 0 || parseAddress(text) !== undefined
}

/** EnvoyTimestampResolution. */
const MICROSECOND = 1

/** Which resolution is asked for: 0 or 1, undefined where it is no such. */
function resolution(api: LuaApi, L: LuaState): number | undefined {
  const { lua } = api
  if (lua.lua_isnoneornil(L, 2)) return 0
  if (lua.lua_type(L, 2) !== lua.LUA_TNUMBER) return undefined
  const value = lua.lua_tonumber(L, 2)
  return value === 0 || value === MICROSECOND ? value : undefined
}

function decodeBase64(text: string): Buffer | undefined {
  const bare = text.replace(/=+$/, '')
  if (!/^[A-Za-z0-9+/]*$/.test(bare) || bare.length % 4 === 1) return undefined
  return Buffer.from(bare, 'base64')
}

/** The handle of a stream: what scripts get as their argument. */
export const STREAM = luaClass<LuaStream>('StreamHandleWrapper', {
  headers: (self, api, L) => self.headers(api, L),
  body: (self, api, L) => self.body(api, L),
  bodyChunks: (self, api, L) => self.bodyChunks(api, L),
  trailers: (self, api, L) => self.trailersOf(api, L),
  respond: (self, api, L) => self.respond(api, L),
  httpCall: (self, api, L) => self.httpCall(api, L),
  requestHeaders({ host }, api, L) {
    return api.once(L, 'requestHeaders', () => api.object(L, HEADERS, { map: host.request, mayChange: () => true }))
  },
  metadata({ host }, api, L) {
    const values = () => metadataFor(host.slot.route()?.metadata, host.filterName)
    return api.once(L, 'metadata', () => api.object(L, MAP, { values: values() }))
  },
  filterContext({ host }, api, L) {
    return api.once(L, 'filterContext', () => api.object(L, MAP, { values: host.filterContext }))
  },
  streamInfo({ host }, api, L) {
    return api.once(L, 'streamInfo', () => api.object(L, STREAM_INFO, host.slot))
  },
  connectionStreamInfo({ host }, api, L) {
    return api.once(L, 'connectionStreamInfo', () => api.object(L, CONNECTION_STREAM_INFO, host.slot))
  },
  connection({ host }, api, L) {
    return api.once(L, 'connection', () => api.object(L, CONNECTION, host.slot))
  },
  virtualHost({ host }, api, L) {
    const { slot, filterName } = host
    const holder = () => ({ metadata: slot.route()?.virtualHost.metadata, filterName })
    return api.once(L, 'virtualHost', () => api.object(L, VIRTUAL_HOST, holder()))
  },
  route({ host }, api, L) {
    const { slot, filterName } = host
    return api.once(L, 'route', () => api.object(L, ROUTE, { metadata: slot.route()?.metadata, filterName }))
  },
  stats({ host }, api, L) {
    return api.once(L, 'stats', () => api.object(L, STATS, host.stats))
  },
  clearRouteCache(self) {
    if (self.isRequest) self.host.slot.clearRouteCache()
    return 0
  },
  setUpstreamOverrideHost(self, api, L) {
    const host = api.stringArg(L, 2)
    const given = api.lua.lua_gettop(L) >= 3
    if (given) api.aux.luaL_checktype(L, 3, api.lua.LUA_TBOOLEAN)
    if (!isHostAddress(host)) api.fail(L, 'host is not a valid IP address')
    if (self.isRequest) self.host.slot.setUpstreamOverride(host, given && api.lua.lua_toboolean(L, 3))
    return 0
  },
  importPublicKey: ({ host }, api, L) => importPublicKey(host.keys, api, L),
  verifySignature: ({ host }, api, L) => verifySignature(host.keys, api, L),
  base64Escape(_self, api, L) {
    api.string(L, Buffer.from(api.stringArg(L, 2), 'latin1').toString('base64'))
    return 1
  },
  base64Decode(_self, api, L) {
    const decoded = decodeBase64(api.stringArg(L, 2))
    if (decoded === undefined) api.lua.lua_pushnil(L)
    else api.string(L, decoded.toString('latin1'))
    return 1
  },
  timestamp(self, api, L) {
    if (resolution(api, L) !== 0) api.fail(L, 'timestamp format must be MILLISECOND.')
    api.lua.lua_pushnumber(L, Math.trunc(self.host.slot.runtime.wallNow()))
    return 1
  },
  timestampString(self, api, L) {
    const which = resolution(api, L)
    if (which === undefined) api.fail(L, 'timestamp format must be MILLISECOND or MICROSECOND.')
    const now = self.host.slot.runtime.wallNow()
    api.string(L, String(Math.trunc(which === MICROSECOND ? now * 1000 : now)))
    return 1
  },
})
