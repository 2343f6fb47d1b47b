import { type BodyBuffer, EMPTY } from '../../http/body-buffer.ts'
import type { FilterSlot } from '../../http/filter-slot.ts'
import { type HeaderMap, headerName, type RequestHead, ResponseHead } from '../../http/headers.ts'
import { type LocalReply, unsendableReply } from '../../http/local-replies.ts'
import { H } from '../../http/names.ts'
import { DataStatus, HeadersStatus, TrailersStatus } from '../filter.ts'
import { cString } from './bytes.ts'
import type { LuaApi, LuaRun, LuaScope, LuaState } from './engine.ts'
import { HEADERS } from './headers-object.ts'
import { type LuaCall, pushAnswer, readCall, readHeaders } from './http-call.ts'
import { BUFFER, type LuaBuffer } from './objects.ts'
import type { LuaCoroutine, LuaScript, Stop } from './script.ts'
import type { PublicKeys } from './signature.ts'
import type { LuaStats } from './stats-object.ts'
import { STREAM } from './stream-object.ts'

/** What a run of a script needs of its filter. */
export interface LuaHost {
  readonly slot: FilterSlot
  /** The head of the request, in both directions. */
  readonly request: RequestHead
  /** A line of the script's, at a level. */
  readonly log: (level: string, line: string) => void
  /** The script broke off with an error. */
  failed(message: string): void
  /** The name under which metadata is looked up. */
  readonly filterName: string
  /** A change of the request's headers makes the route be looked for again. */
  readonly clearsRouteCache: boolean
  /** Values that the configuration gives the script. */
  readonly filterContext: Readonly<Record<string, unknown>>
  readonly stats: LuaStats
  readonly keys: PublicKeys
  hasCluster(name: string): boolean
  /** Starts a request to a cluster; `done` is told of the answer, also when it is one of Envoy's own. */
  call(request: LuaCall, done: (status: ResponseHead, body: Buffer) => void): { cancel(): void }
}

type State = 'running' | 'body' | 'chunk' | 'trailers' | 'call' | 'responded'

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
  /** The whole body is what the script asked for. */
  private buffers = false
  private headersPassed = false
  /** The script has changed the head, and made of it what cannot be sent. */
  private changed = false
  private unsendable: string | undefined
  private dead = false
  /** The handle itself can be used in each run of its script. */
  private readonly scope: LuaScope = { alive: false }
  private pendingCall: { cancel(): void } | undefined

  constructor(script: LuaScript, host: LuaHost, head: RequestHead | ResponseHead, end: boolean) {
    this.host = host
    this.isRequest = !(head instanceof ResponseHead)
    this.head = head
    this.end = end
    this.coroutine = script.coroutine(this.isRequest ? 'envoy_on_request' : 'envoy_on_response')
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
    this.resume((api, L) => {
      api.object(L, STREAM, this, this.scope)
      return 1
    })
    return this.waits ? HeadersStatus.STOP : this.passed(HeadersStatus.CONTINUE, HeadersStatus.STOP)
  }

  onData(chunk: Uint8Array, end: boolean): DataStatus {
    if (this.dead) return DataStatus.CONTINUE
    this.sawBody = true
    if (this.state === 'chunk') return this.chunks(chunk, end)
    this.end = end
    if (this.state === 'body' && end) {
      this.buffer.append(chunk)
      if (this.overflows()) return DataStatus.STOP_NO_BUFFER
      this.resume((api, L) => this.pushBody(api, L))
      return this.waits
        ? DataStatus.STOP_NO_BUFFER
        : this.passed(DataStatus.CONTINUE_BUFFERED, DataStatus.STOP_NO_BUFFER)
    }
    if (this.state === 'trailers' && end) this.resume(() => 0)
    return this.dataStatus()
  }

  /** Whether the body is longer than what may wait: then the exchange is refused. */
  private overflows(): boolean {
    const { exchange } = this.host.slot
    const limit = (this.isRequest && exchange.decode.ownLimit) || exchange.bufferLimit
    if (limit === 0 || this.buffer.length <= limit) return false
    this.state = 'responded'
    if (this.isRequest) this.host.slot.refuseBody()
    else exchange.responseOverflow()
    return true
  }

  private dataStatus(): DataStatus {
    if (this.state === 'call') return DataStatus.STOP_AND_WATERMARK
    if (this.state === 'body') return DataStatus.STOP_AND_BUFFER
    return this.state === 'responded'
      ? DataStatus.STOP_NO_BUFFER
      : this.passed(DataStatus.CONTINUE, DataStatus.STOP_NO_BUFFER)
  }

  /** Gives the script a chunk, and at the end of what HTTP/1 frames an empty one, which carries the end there. */
  private chunks(chunk: Uint8Array, end: boolean): DataStatus {
    const apart = end && chunk.length > 0 && this.endComesApart()
    this.end = end && !apart
    let bytes = this.chunk(chunk)
    if (apart) {
      this.end = true
      if (this.state === 'chunk') {
        const more = this.chunk(EMPTY)
        if (bytes !== undefined || more !== undefined) bytes = Buffer.concat([bytes ?? chunk, more ?? EMPTY])
      } else if (this.state === 'trailers') this.resume(() => 0)
    }
    if (bytes === undefined) return this.dataStatus()
    this.buffer.append(bytes)
    if (this.state === 'call') return DataStatus.STOP_NO_BUFFER
    return this.waits ? this.dataStatus() : this.passed(DataStatus.CONTINUE_BUFFERED, DataStatus.STOP_NO_BUFFER)
  }

  private endComesApart(): boolean {
    const { info } = this.host.slot
    return this.isRequest ? info.protocol !== 'HTTP/2' : info.upstreamProtocol === 'HTTP/1.1'
  }

  /** Runs the script over one chunk: what it made of it, or undefined where it left it. */
  private chunk(chunk: Uint8Array): Buffer | undefined {
    let changed: Buffer | undefined
    let whole: Buffer | undefined
    const buffer: LuaBuffer = {
      get() {
        whole ??= Buffer.from(chunk)
        return changed ?? whole
      },
      set(bytes) {
        changed = bytes
      },
      changed() {},
    }
    this.resume((api, L) => {
      api.object(L, BUFFER, buffer)
      return 1
    })
    return changed
  }

  onTrailers(trailers: HeaderMap): TrailersStatus {
    if (this.dead) return TrailersStatus.CONTINUE
    this.end = true
    this.trailers = trailers
    if (this.state === 'chunk') this.resume(() => 0)
    else if (this.state === 'body') this.resume((api, L) => this.pushBody(api, L))
    if (this.state === 'trailers') this.resume((api, L) => this.pushTrailers(api, L))
    return this.state === 'call' || this.state === 'responded'
      ? TrailersStatus.STOP
      : this.passed(TrailersStatus.CONTINUE, TrailersStatus.STOP)
  }

  /** The exchange is over, or its script of the other direction has failed. */
  destroy(): void {
    this.pendingCall?.cancel()
    this.pendingCall = undefined
    this.dead = true
    this.coroutine.end()
  }

  /** The head may go on: `go`, or `stay` when it cannot be sent as the script left it. */
  private passed<T>(go: T, stay: T): T {
    if (!this.headersPassed) {
      this.headersPassed = true
      if (this.changed && !this.sendable()) return stay
    }
    return go
  }

  private sendable(): boolean {
    const { head } = this
    if (head instanceof ResponseHead) {
      if (head.status !== 0) return true
      const details = 'missing_required_response_headers'
      this.refuse({ status: 502, body: 'missing required header: :status', details, flag: 'DPE' })
      return false
    }
    const problem = head.method === '' ? 'missing required header: :method' : this.unsendable
    if (problem === undefined) return true
    this.refuse(unsendableReply(problem))
    return false
  }

  private refuse(reply: LocalReply): void {
    this.state = 'responded'
    this.host.slot.sendLocalReply(reply)
  }

  private resume(push: (api: LuaApi, L: LuaState) => number): void {
    this.state = 'running'
    const run: LuaRun = { alive: true, log: this.host.log, cache: undefined }
    this.scope.alive = true
    const stop = this.coroutine.resume(run, push)
    this.scope.alive = false
    this.after(stop)
  }

  private after(stop: Stop): void {
    if (stop.kind === 'failed') this.fail(stop.message)
    else if (stop.kind === 'waits' && this.state === 'running') this.fail('script performed an unexpected yield')
  }

  private fail(message: string): void {
    this.state = 'running'
    this.host.failed(message)
  }

  private proceed(): void {
    if (!this.passed(true, false)) return
    if (this.isRequest) this.host.slot.continueDecoding()
    else this.host.slot.continueEncoding()
  }

  // What the script calls.

  headers(api: LuaApi, L: LuaState): number {
    return api.once(L, 'headers', () => {
      const { head } = this
      const setReason = head instanceof ResponseHead ? { setReason: (phrase: string) => this.setReason(phrase) } : {}
      api.object(L, HEADERS, {
        map: head,
        mayChange: () => this.mayChange(),
        invalid: (problem) => this.invalid(problem),
        ...setReason,
      })
    })
  }

  private mayChange(): boolean {
    if (this.headersPassed) return false
    this.changed = true
    if (this.isRequest && this.host.clearsRouteCache) this.host.slot.clearRouteCache()
    return true
  }

  private invalid(problem: string): void {
    this.unsendable ??= problem
  }

  private setReason(phrase: string): void {
    if (this.head instanceof ResponseHead) this.head.reason = phrase
  }

  body(api: LuaApi, L: LuaState): number {
    const { lua } = api
    let always = false
    if (lua.lua_gettop(L) >= 2) {
      api.aux.luaL_checktype(L, 2, lua.LUA_TBOOLEAN)
      always = lua.lua_toboolean(L, 2)
    }
    if (this.end) {
      if (!this.buffers && this.sawBody) api.fail(L, 'cannot call body() after body has been streamed')
      return this.pushBody(api, L, always)
    }
    if (this.sawBody) api.fail(L, 'cannot call body() after body streaming has started')
    this.state = 'body'
    this.buffers = true
    return lua.lua_yield(L, 0)
  }

  private pushBody(api: LuaApi, L: LuaState, always = false): number {
    if (!this.sawBody && !always) return 0
    const { buffer, head } = this
    return api.once(L, 'body', () => {
      const body: LuaBuffer = {
        get: () => buffer.bytes(),
        set: (bytes) => buffer.replace(bytes),
        changed: () => head.set(H.contentLength, String(buffer.length)),
      }
      api.object(L, BUFFER, body)
    })
  }

  bodyChunks(api: LuaApi, L: LuaState): number {
    if (this.sawBody) api.fail(L, 'cannot call bodyChunks after body processing has begun')
    api.lua.lua_pushcfunction(L, (state) => {
      if (this.end) return 0
      this.state = 'chunk'
      return api.lua.lua_yield(state, 0)
    })
    return 1
  }

  trailersOf(api: LuaApi, L: LuaState): number {
    if (this.end || this.trailers !== undefined) return this.pushTrailers(api, L)
    this.state = 'trailers'
    return api.lua.lua_yield(L, 0)
  }

  private pushTrailers(api: LuaApi, L: LuaState): number {
    const { trailers } = this
    if (trailers === undefined) return 0
    return api.once(L, 'trailers', () => api.object(L, HEADERS, { map: trailers, mayChange: () => true }))
  }

  respond(api: LuaApi, L: LuaState): number {
    const { lua } = api
    if (this.headersPassed) api.fail(L, 'respond() cannot be called if headers have been continued')
    api.aux.luaL_checktype(L, 2, lua.LUA_TTABLE)
    const text = lua.lua_isnoneornil(L, 3) ? '' : api.stringArg(L, 3)
    const headers = readHeaders(api, L, 2)
    const given = headers.find(([name]) => name === ':status')?.[1] ?? ''
    const status = /^\s*\+?\d+\s*$/.test(given) ? Number(given) : 0
    if (status < 200 || status > 599) api.fail(L, ':status must be between 200-599')
    if (!this.isRequest) api.fail(L, 'respond not currently supported in the response path')
    this.state = 'responded'
    const body = Buffer.from(text, 'latin1')
    this.host.slot.sendLocalReply({ status, body, details: 'lua_response', flag: undefined }, (head) => {
      const seen = new Set<string>()
      for (const [name, value] of headers) {
        if (name.startsWith(':') || name === 'content-length') continue
        if (seen.has(name)) head.add(headerName(name), cString(value))
        else head.set(headerName(name), cString(value))
        seen.add(name)
      }
    })
    return lua.lua_yield(L, 0)
  }

  httpCall(api: LuaApi, L: LuaState): number {
    const { host } = this
    const request = readCall(api, L, (name) => host.hasCluster(name))
    if (request.asynchronous) {
      host.call(request, () => {})
      return 0
    }
    // The answer may come before the call has returned.
    let push: ((lua: LuaApi, state: LuaState) => number) | undefined
    let returned = false
    const call = host.call(request, (status, body) => {
      push = (lua, state) => pushAnswer(lua, state, { status, body }, request.duplicates)
      this.pendingCall = undefined
      if (!returned || this.state !== 'call' || this.dead) return
      this.resume(push)
      if (!this.waits) this.proceed()
    })
    returned = true
    if (push !== undefined) return push(api, L)
    this.pendingCall = call
    this.state = 'call'
    return api.lua.lua_yield(L, 0)
  }
}
