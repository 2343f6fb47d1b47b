import type { FilterSlot } from '../../http/filter-slot.ts'
import { type HeaderMap, headerName, RequestHead, ResponseHead } from '../../http/headers.ts'
import { HeaderReader } from '../../http/router/header-matcher.ts'
import { formatAddress, type TlsInfo } from '../../listener/connection.ts'
import type { LuaApi, LuaState, Methods } from './engine.ts'

/** Headers or trailers as scripts see them (source/extensions/filters/http/lua/wrappers.cc HeaderMapWrapper). */
export interface LuaHeaders {
  readonly map: HeaderMap
  /** False once they have been sent on. */
  readonly mayChange: () => boolean
  readonly changed: () => void
  iterating: boolean
}

/** Pushes headers. `changed` is called before each change. */
export function pushHeaders(
  api: LuaApi,
  L: LuaState,
  map: HeaderMap,
  mayChange: () => boolean,
  changed: () => void,
): void {
  api.object<LuaHeaders>(L, 'headers', HEADERS, { map, mayChange, changed, iterating: false })
}

function change(self: LuaHeaders, api: LuaApi, L: LuaState): void {
  if (self.iterating) api.fail(L, 'header map cannot be modified while iterating')
  if (!self.mayChange()) api.fail(L, 'header map can no longer be modified')
  self.changed()
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

/** Sets a pseudo header; false for a name that is none. */
function setPseudo(map: HeaderMap, name: string, value: string): boolean {
  if (map instanceof ResponseHead) {
    if (name !== ':status') return false
    map.status = Number(value)
    return true
  }
  if (!(map instanceof RequestHead)) return false
  if (name === ':path') map.path = value
  else if (name === ':method') map.method = value
  else if (name === ':authority' || name === 'host') {
    map.authority = value
    map.hasAuthority = true
  } else if (name === ':scheme') map.scheme = value
  else return false
  return true
}

const HEADERS: Methods<LuaHeaders> = {
  add(self, api, L) {
    change(self, api, L)
    const name = api.stringArg(L, 2).toLowerCase()
    const value = api.stringArg(L, 3)
    if (!setPseudo(self.map, name, value)) self.map.add(headerName(name), value)
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
    const value = all[api.aux.luaL_checknumber(L, 3)]
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
    self.map.remove(headerName(api.stringArg(L, 2).toLowerCase()))
    return 0
  },
  replace(self, api, L) {
    change(self, api, L)
    const name = api.stringArg(L, 2).toLowerCase()
    const value = api.stringArg(L, 3)
    if (!setPseudo(self.map, name, value)) self.map.set(headerName(name), value)
    return 0
  },
  __pairs(self, api, L) {
    if (self.iterating) api.fail(L, 'cannot create a second iterator before completing the first')
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
}

/** Bytes of a body. `set` replaces them; without it they can only be read. */
export interface LuaBuffer {
  get(): Buffer
  set?(bytes: Buffer): void
}

/** Pushes a body. */
export const pushBuffer = (api: LuaApi, L: LuaState, buffer: LuaBuffer): void =>
  api.object<LuaBuffer>(L, 'buffer', BUFFER, buffer)

const BUFFER: Methods<LuaBuffer> = {
  length(self, api, L) {
    api.lua.lua_pushnumber(L, self.get().length)
    return 1
  },
  getBytes(self, api, L) {
    const bytes = self.get()
    const index = api.aux.luaL_checknumber(L, 2)
    const length = api.aux.luaL_checknumber(L, 3)
    if (index < 0 || length < 0 || index + length > bytes.length)
      api.fail(L, 'index/length must be >= 0 and (index + length) must be <= buffer size')
    api.string(L, bytes.toString('latin1', index, index + length))
    return 1
  },
  setBytes(self, api, L) {
    if (self.set === undefined) return api.fail(L, 'the bytes of a chunk cannot be set')
    const bytes = Buffer.from(api.stringArg(L, 2), 'latin1')
    self.set(bytes)
    api.lua.lua_pushnumber(L, bytes.length)
    return 1
  },
}

/** Pushes a map that scripts read by `get` and by `pairs`. */
export const pushMap = (api: LuaApi, L: LuaState, values: Readonly<Record<string, unknown>>): void =>
  api.object(L, 'map', MAP, values)

const MAP: Methods<Readonly<Record<string, unknown>>> = {
  get(self, api, L) {
    const value = self[api.stringArg(L, 2)]
    if (value === undefined) return 0
    api.value(L, value)
    return 1
  },
  __pairs: (self, api, L) => iterator(self, api, L),
}

function iterator(values: Readonly<Record<string, unknown>>, api: LuaApi, L: LuaState): number {
  const list = Object.entries(values)
  let i = 0
  api.lua.lua_pushcfunction(L, (state) => {
    const entry = list[i++]
    if (entry === undefined) return 0
    api.value(state, entry[0])
    api.value(state, entry[1])
    return 2
  })
  return 1
}

/** The dynamic metadata of an exchange, which scripts read and set. */
const DYNAMIC: Methods<FilterSlot> = {
  get(slot, api, L) {
    const values = slot.info.dynamicMetadata?.get(api.stringArg(L, 2))
    if (values === undefined) return 0
    api.value(L, values)
    return 1
  },
  set(slot, api, L) {
    const value = api.read(L, 4)
    slot.setMetadata(api.stringArg(L, 2), { [api.stringArg(L, 3)]: value })
    return 0
  },
  __pairs(slot, api, L) {
    return iterator(Object.fromEntries(slot.info.dynamicMetadata ?? []), api, L)
  },
}

const say =
  <T>(value: (self: T) => string) =>
  (self: T, api: LuaApi, L: LuaState): number => {
    api.string(L, value(self))
    return 1
  }

const list =
  (value: (self: TlsInfo) => readonly string[]) =>
  (self: TlsInfo, api: LuaApi, L: LuaState): number => {
    api.value(L, value(self))
    return 1
  }

const SSL: Methods<TlsInfo> = {
  peerCertificatePresented(tls, api, L) {
    api.lua.lua_pushboolean(L, tls.peer !== undefined)
    return 1
  },
  uriSanPeerCertificate: list((tls) => tls.peer?.uriSans ?? []),
  uriSanLocalCertificate: list((tls) => tls.local?.uriSans ?? []),
  dnsSansPeerCertificate: list((tls) => tls.peer?.dnsSans ?? []),
  dnsSansLocalCertificate: list((tls) => tls.local?.dnsSans ?? []),
  subjectPeerCertificate: say((tls) => tls.peer?.subject ?? ''),
  subjectLocalCertificate: say((tls) => tls.local?.subject ?? ''),
  issuerPeerCertificate: say((tls) => tls.peer?.issuer ?? ''),
  serialNumberPeerCertificate: say((tls) => tls.peer?.serial ?? ''),
  sha256PeerCertificateDigest: say((tls) => tls.peer?.sha256 ?? ''),
  urlEncodedPemEncodedPeerCertificate: say((tls) => encodeURIComponent(tls.peer?.pem ?? '')),
  ciphersuiteString: say((tls) => tls.cipher),
  tlsVersion: say((tls) => tls.version),
  sessionId: say((tls) => tls.sessionId),
}

function pushSsl(api: LuaApi, L: LuaState, tls: TlsInfo | undefined): number {
  if (tls === undefined) {
    api.lua.lua_pushnil(L)
    return 1
  }
  api.object<TlsInfo>(L, 'ssl', SSL, tls)
  return 1
}

/** The connection of an exchange. */
export const CONNECTION: Methods<FilterSlot> = {
  ssl: (slot, api, L) => pushSsl(api, L, slot.connection.tls),
}

/** What is known of an exchange. */
export const STREAM_INFO: Methods<FilterSlot> = {
  protocol: say((slot) => slot.info.protocol ?? ''),
  routeName: say((slot) => slot.info.routeName ?? ''),
  virtualClusterName: say((slot) => slot.info.virtualClusterName ?? ''),
  requestedServerName: say((slot) => slot.connection.sni),
  downstreamLocalAddress: say((slot) => formatAddress(slot.connection.local)),
  downstreamDirectLocalAddress: say((slot) => formatAddress(slot.connection.directLocal ?? slot.connection.local)),
  downstreamDirectRemoteAddress: say((slot) => formatAddress(slot.connection.directRemote)),
  downstreamRemoteAddress: say((slot) => {
    const { remote } = slot.connection
    const ip = slot.info.trustedClientIp || remote.ip
    return ip === remote.ip ? formatAddress(remote) : formatAddress({ ip, port: 0 })
  }),
  downstreamSslConnection: (slot, api, L) => pushSsl(api, L, slot.connection.tls),
  dynamicMetadata(slot, api, L) {
    api.object(L, 'dynamic-metadata', DYNAMIC, slot)
    return 1
  },
  filterState(slot, api, L) {
    pushMap(api, L, Object.fromEntries(slot.info.filterState ?? []))
    return 1
  },
}
