import type { BodyBuffer } from '../../http/body-buffer.ts'
import type { FilterSlot } from '../../http/filter-slot.ts'
import { type HeaderMap, headerName, type RequestHead, ResponseHead } from '../../http/headers.ts'
import { H } from '../../http/names.ts'
import { DataStatus, HeadersStatus, TrailersStatus } from '../filter.ts'
import { type LuaApi, type LuaState, type Methods, text } from './engine.ts'
import { CONNECTION, type LuaBuffer, pushBuffer, pushHeaders, pushMap, STREAM_INFO } from './objects.ts'
import type { LuaCoroutine, LuaScript, Stop } from './script.ts'

/** What a run of a script needs of its filter. */
export interface LuaHost {
  readonly slot: FilterSlot
  /** A line of the script's, at a level. */
  log(level: string, line: string): void
  /** The script broke off with an error. */
  failed(message: string): void
  /** The name under which route metadata is looked up. */
  readonly filterName: string
  /** A change of the request's headers makes the route be looked for again. */
  readonly clearsRouteCache: boolean
  /** Values that a route gives the script. */
  readonly filterContext: Readonly<Record<string, unknown>>
  /** Starts a request to a cluster; `done` is told of the answer, also when it is one of Envoy's own. */
  call(request: LuaCall, done: (status: ResponseHead, body: Buffer) => void): { cancel(): void } | string
}

/** A request that a script makes. */
export interface LuaCall {
  readonly cluster: string
  readonly headers: readonly (readonly [string, string])[]
  readonly body: Buffer
  /** ms */
  readonly timeout: number
}

type State = 'running' | 'body' | 'chunk' | 'trailers' | 'call' | 'responded' | 'over'

/** One direction of an exchange, as its script sees and steers it (source/extensions/filters/http/lua/lua_filter.cc StreamHandleWrapper). */
export class LuaStream {
  readonly host: LuaHost
  readonly isRequest: boolean
  private readonly coroutine: LuaCoroutine
  private readonly head: RequestHead | ResponseHead
  private trailers: HeaderMap | undefined
  private state: State = 'running'
  /** The last byte has come. */
  private end: boolean
  private sawBody = false
  /** All of the body is in the buffer, and was given to the script. */
  private whole = false
  private headersPassed = false
  private pendingCall: { cancel(): void } | undefined
  /** Counts the runs of the script: what it got in one cannot be used in the next. */
  private run = 0

  constructor(script: LuaScript, host: LuaHost, head: RequestHead | ResponseHead, end: boolean) {
    this.host = host
    this.isRequest = !(head instanceof ResponseHead)
    this.head = head
    this.end = end
    this.coroutine = script.coroutine(this.isRequest ? 'envoy_on_request' : 'envoy_on_response', (api, L) =>
      api.object<LuaStream>(L, 'stream', STREAM, this, () => this.state !== 'over'),
    )
  }

  private get buffer(): BodyBuffer {
    return this.isRequest ? this.host.slot.decodingBuffer : this.host.slot.encodingBuffer
  }

  /** Whether everything that follows has to wait. */
  private get waits(): boolean {
    return this.state === 'body' || this.state === 'call' || this.state === 'responded'
  }

  /** The head is here. */
  start(): HeadersStatus {
    this.resume()
    if (this.waits) return HeadersStatus.STOP
    this.headersPassed = true
    return HeadersStatus.CONTINUE
  }

  onData(chunk: Uint8Array, end: boolean): DataStatus {
    this.end = end
    this.sawBody = true
    if (this.state === 'chunk') {
      this.resume((api, L) => {
        if (chunk.length === 0) api.lua.lua_pushnil(L)
        else pushBuffer(api, L, { get: () => Buffer.from(chunk) })
        return 1
      })
    } else if (this.state === 'body' && end) {
      this.buffer.append(chunk)
      this.resume((api, L) => this.pushBody(api, L, false))
      return this.waits ? DataStatus.STOP_NO_BUFFER : this.passed(DataStatus.CONTINUE_BUFFERED)
    } else if (this.state === 'trailers' && end) {
      this.resume(() => 0)
    }
    if (this.state === 'call') return DataStatus.STOP_AND_WATERMARK
    if (this.state === 'body') return DataStatus.STOP_AND_BUFFER
    return this.state === 'responded' ? DataStatus.STOP_NO_BUFFER : this.passed(DataStatus.CONTINUE)
  }

  onTrailers(trailers: HeaderMap): TrailersStatus {
    this.end = true
    this.trailers = trailers
    if (this.state === 'chunk') {
      this.resume((api, L) => {
        api.lua.lua_pushnil(L)
        return 1
      })
    } else if (this.state === 'body') this.resume((api, L) => this.pushBody(api, L, false))
    if (this.state === 'trailers') this.resume((api, L) => this.pushTrailers(api, L))
    return this.waits ? TrailersStatus.STOP : this.passed(TrailersStatus.CONTINUE)
  }

  /** The exchange is over. */
  destroy(): void {
    this.pendingCall?.cancel()
    this.state = 'over'
    this.coroutine.end()
  }

  private passed<T>(status: T): T {
    this.headersPassed = true
    return status
  }

  private resume(push?: (api: LuaApi, L: LuaState) => number): void {
    this.state = 'running'
    const run = ++this.run
    this.after(this.coroutine.resume(push, () => this.run === run))
  }

  private after(stop: Stop): void {
    if (stop.kind === 'waits' || this.state === 'responded') return
    this.state = 'over'
    if (stop.kind === 'failed') this.host.failed(stop.message)
  }

  private proceed(): void {
    this.headersPassed = true
    if (this.isRequest) this.host.slot.continueDecoding()
    else this.host.slot.continueEncoding()
  }

  // What the script calls.

  headers(api: LuaApi, L: LuaState): number {
    const { slot, clearsRouteCache } = this.host
    pushHeaders(
      api,
      L,
      this.head,
      () => !this.headersPassed,
      () => {
        if (this.isRequest && clearsRouteCache) slot.clearRouteCache()
      },
    )
    return 1
  }

  body(api: LuaApi, L: LuaState): number {
    const always = api.lua.lua_toboolean(L, 2)
    if (this.end || this.whole) {
      if (!this.whole && this.sawBody && this.buffer.length === 0)
        api.fail(L, 'cannot call body() after body has been streamed')
      return this.pushBody(api, L, always)
    }
    if (this.sawBody) api.fail(L, 'cannot call body() after body streaming has started')
    this.state = 'body'
    return api.lua.lua_yield(L, 0)
  }

  private pushBody(api: LuaApi, L: LuaState, always: boolean): number {
    this.whole = true
    const { buffer, head } = this
    if (buffer.length === 0 && !always) return 0
    const body: LuaBuffer = {
      get: () => buffer.bytes(),
      set(bytes) {
        buffer.replace(bytes)
        head.set(H.contentLength, String(bytes.length))
      },
    }
    pushBuffer(api, L, body)
    return 1
  }

  bodyChunks(api: LuaApi, L: LuaState): number {
    if (this.sawBody) api.fail(L, 'cannot call bodyChunks after body processing has begun')
    api.lua.lua_pushcfunction(L, (state) => {
      if (this.end) {
        api.lua.lua_pushnil(state)
        return 1
      }
      this.state = 'chunk'
      return api.lua.lua_yield(state, 0)
    })
    return 1
  }

  trailersOf(api: LuaApi, L: LuaState): number {
    if (this.end) return this.pushTrailers(api, L)
    this.state = 'trailers'
    return api.lua.lua_yield(L, 0)
  }

  private pushTrailers(api: LuaApi, L: LuaState): number {
    if (this.trailers === undefined) return 0
    pushHeaders(
      api,
      L,
      this.trailers,
      () => true,
      () => {},
    )
    return 1
  }

  respond(api: LuaApi, L: LuaState): number {
    if (!this.isRequest || this.headersPassed)
      api.fail(
        L,
        this.isRequest
          ? 'respond() cannot be called if headers have been continued'
          : 'respond() not currently supported in the response path',
      )
    const headers = readHeaders(api, L, 2)
    const status = Number(headers.find(([name]) => name === ':status')?.[1])
    if (!Number.isInteger(status) || status < 200 || status > 599) api.fail(L, ':status must be between 200-599')
    const body = api.lua.lua_isnoneornil(L, 3) ? '' : Buffer.from(api.stringArg(L, 3), 'latin1')
    this.state = 'responded'
    const reply = { status, body, details: 'lua_response', flag: undefined }
    this.host.slot.sendLocalReply(reply, (head) => {
      const seen = new Set<string>()
      for (const [name, value] of headers) {
        if (name === ':status') continue
        if (seen.has(name)) head.add(headerName(name), value)
        else head.set(headerName(name), value)
        seen.add(name)
      }
    })
    return api.lua.lua_yield(L, 0)
  }

  httpCall(api: LuaApi, L: LuaState): number {
    const options = api.lua.lua_type(L, 6) === api.lua.LUA_TTABLE ? (api.read(L, 6) as Record<string, unknown>) : {}
    const timeout = api.lua.lua_isnoneornil(L, 5) ? Number(options.timeout_ms ?? 0) : api.aux.luaL_checknumber(L, 5)
    if (timeout < 0) api.fail(L, 'http call timeout must be >= 0')
    const asynchronous =
      options.asynchronous === true ||
      (api.lua.lua_toboolean(L, 6) === true && api.lua.lua_type(L, 6) === api.lua.LUA_TBOOLEAN)
    const headers = readHeaders(api, L, 3)
    for (const name of [':path', ':method', ':authority'])
      if (!headers.some(([key]) => key === name))
        api.fail(L, `http call headers must include ':path', ':method', and ':authority'`)
    const request: LuaCall = {
      cluster: api.stringArg(L, 2),
      headers,
      body: api.lua.lua_isnoneornil(L, 4) ? Buffer.alloc(0) : Buffer.from(api.stringArg(L, 4), 'latin1'),
      timeout,
    }
    if (asynchronous) {
      const started = this.host.call(request, () => {})
      if (typeof started === 'string') api.fail(L, started)
      return 0
    }
    // The answer may come before the call has returned.
    let answer: { status: ResponseHead; body: Buffer } | undefined
    const push = (lua: LuaApi, state: LuaState): number => pushAnswer(lua, state, answer!)
    let returned = false
    const started = this.host.call(request, (status, body) => {
      answer = { status, body }
      this.pendingCall = undefined
      if (!returned || this.state !== 'call') return
      this.resume(push)
      if (!this.waits) this.proceed()
    })
    returned = true
    if (typeof started === 'string') api.fail(L, started)
    if (answer !== undefined) return push(api, L)
    this.pendingCall = started as { cancel(): void }
    this.state = 'call'
    return api.lua.lua_yield(L, 0)
  }
}

function pushAnswer(api: LuaApi, L: LuaState, { status, body }: { status: ResponseHead; body: Buffer }): number {
  const headers: Record<string, string> = { ':status': String(status.status) }
  status.forEach((name, value) => {
    headers[name] = value
  })
  api.value(L, headers)
  if (body.length === 0) api.lua.lua_pushnil(L)
  else api.string(L, body.toString('latin1'))
  return 2
}

/** A table of headers; a list of values gives a line each. */
function readHeaders(api: LuaApi, L: LuaState, index: number): [string, string][] {
  const { lua, aux } = api
  aux.luaL_checktype(L, index, lua.LUA_TTABLE)
  const out: [string, string][] = []
  api.each(L, index, (name, value) => {
    if (lua.lua_type(L, value) !== lua.LUA_TTABLE) {
      out.push([name.toLowerCase(), text(lua.lua_tostring(L, value))])
      return
    }
    for (let i = 1; i <= lua.lua_rawlen(L, value); i++) {
      lua.lua_rawgeti(L, value, i)
      out.push([name.toLowerCase(), text(lua.lua_tostring(L, -1))])
      lua.lua_pop(L, 1)
    }
  })
  return out
}

const log =
  (level: string) =>
  (self: LuaStream, api: LuaApi, L: LuaState): number => {
    self.host.log(level, api.stringArg(L, 2))
    return 0
  }

const STREAM: Methods<LuaStream> = {
  headers: (self, api, L) => self.headers(api, L),
  body: (self, api, L) => self.body(api, L),
  bodyChunks: (self, api, L) => self.bodyChunks(api, L),
  trailers: (self, api, L) => self.trailersOf(api, L),
  respond: (self, api, L) => self.respond(api, L),
  httpCall: (self, api, L) => self.httpCall(api, L),
  logTrace: log('trace'),
  logDebug: log('debug'),
  logInfo: log('info'),
  logWarn: log('warning'),
  logErr: log('error'),
  logCritical: log('critical'),
  metadata(self, api, L) {
    const { slot, filterName } = self.host
    const metadata = slot.route()?.metadata
    pushMap(api, L, metadata?.get(filterName) ?? metadata?.get('envoy.filters.http.lua') ?? {})
    return 1
  },
  filterContext(self, api, L) {
    pushMap(api, L, self.host.filterContext)
    return 1
  },
  streamInfo(self, api, L) {
    api.object(L, 'stream-info', STREAM_INFO, self.host.slot)
    return 1
  },
  connection(self, api, L) {
    api.object(L, 'connection', CONNECTION, self.host.slot)
    return 1
  },
  clearRouteCache(self) {
    self.host.slot.clearRouteCache()
    return 0
  },
  base64Escape(_self, api, L) {
    api.string(L, Buffer.from(api.stringArg(L, 2), 'latin1').toString('base64'))
    return 1
  },
  timestamp(self, api, L) {
    const now = self.host.slot.runtime.wallNow()
    // EnvoyTimestampResolution: milliseconds unless microseconds are asked for.
    api.lua.lua_pushnumber(L, Math.trunc(api.lua.lua_tonumber(L, 2) === 1 ? now * 1000 : now))
    return 1
  },
  timestampString(self, api, L) {
    const now = self.host.slot.runtime.wallNow()
    api.string(L, String(Math.trunc(api.lua.lua_tonumber(L, 2) === 1 ? now * 1000 : now)))
    return 1
  },
}
