import type { Runtime } from '../../../runtime.ts'
import { bytes, text } from './bytes.ts'
import { LuaApi, type LuaRun, type LuaState } from './engine.ts'

/** How a coroutine stopped. */
export type Stop = { readonly kind: 'done' | 'waits' } | { readonly kind: 'failed'; readonly message: string }

const DONE: Stop = { kind: 'done' }
const WAITS: Stop = { kind: 'waits' }
/** What LuaJIT says to whoever resumes a coroutine that has ended. */
const ENDED: Stop = { kind: 'failed', message: 'attempt to call a nil value' }

/** Where `require` looks before it looks where it always does. */
export interface LuaPaths {
  readonly lua: readonly string[]
  readonly c: readonly string[]
}

/** A script of its own Lua state, with the functions that it has for each direction (source/extensions/filters/common/lua/lua.cc). */
export class LuaScript {
  readonly api: LuaApi
  readonly onRequest: boolean
  readonly onResponse: boolean

  /** Throws ConfigError when the script does not load. */
  constructor(code: string, runtime: Runtime, paths?: LuaPaths) {
    this.api = new LuaApi(runtime)
    if (paths !== undefined) this.searchIn(paths)
    // Lua names a chunk after its first line, in messages.
    this.api.load(code, code)
    this.onRequest = this.api.hasFunction('envoy_on_request')
    this.onResponse = this.api.hasFunction('envoy_on_response')
  }

  private searchIn(paths: LuaPaths): void {
    const { api } = this
    const before = (names: readonly string[], field: string): void => {
      if (names.length === 0) return
      api.string(api.main, Buffer.from(`${names.join(';')};`).toString('latin1'))
      api.loadWith(`package.${field} = ... .. package.${field}`, '=paths', 1)
    }
    before(paths.lua, 'path')
    before(paths.c, 'cpath')
  }

  /** A coroutine of a function, not yet started; the stack is empty but for the function. */
  coroutine(name: string): LuaCoroutine {
    const { lua, aux, main } = this.api
    const thread = lua.lua_newthread(main)
    // The registry keeps it from being collected while it waits.
    const ref = aux.luaL_ref(main, lua.LUA_REGISTRYINDEX)
    lua.lua_getglobal(thread, bytes(name))
    return new LuaCoroutine(this.api, thread, ref)
  }
}

/** One run of a script's function for one message. */
export class LuaCoroutine {
  private readonly api: LuaApi
  private readonly thread: LuaState
  private readonly ref: number
  private over = false

  constructor(api: LuaApi, thread: LuaState, ref: number) {
    this.api = api
    this.thread = thread
    this.ref = ref
  }

  /**
   * Starts it, or runs on until it ends or waits; `push` pushes the function's arguments, or what the call that it waits
   * in returns, and says how many values.
   */
  resume(run: LuaRun, push: (api: LuaApi, L: LuaState) => number): Stop {
    if (this.over) return ENDED
    const { api, thread } = this
    const { lua } = api
    // A script that answers a request may run others before it has stopped itself.
    const outer = api.run
    api.run = run
    api.limit(thread)
    const status = lua.lua_resume(thread, null, push(api, thread))
    run.alive = false
    api.run = outer
    if (status === lua.LUA_YIELD) return WAITS
    const stop = status === lua.LUA_OK ? DONE : this.failure()
    this.end()
    return stop
  }

  private failure(): Stop {
    const { lua } = this.api
    const type = lua.lua_gettop(this.thread) === 0 ? -1 : lua.lua_type(this.thread, -1)
    if (type !== lua.LUA_TSTRING && type !== lua.LUA_TNUMBER)
      return { kind: 'failed', message: 'unspecified lua error' }
    return { kind: 'failed', message: text(lua.lua_tostring(this.thread, -1)) }
  }

  /** Nobody will resume it. */
  end(): void {
    if (this.over) return
    this.over = true
    this.api.aux.luaL_unref(this.api.main, this.api.lua.LUA_REGISTRYINDEX, this.ref)
  }
}
