import { bytes, LuaApi, type LuaState, text } from './engine.ts'

/** How a coroutine stopped. */
export type Stop = { readonly kind: 'done' | 'waits' } | { readonly kind: 'failed'; readonly message: string }

const DONE: Stop = { kind: 'done' }
const WAITS: Stop = { kind: 'waits' }

/** A script of its own Lua state, with the functions that it has for each direction (source/extensions/filters/common/lua/lua.cc). */
export class LuaScript {
  readonly api: LuaApi
  readonly onRequest: boolean
  readonly onResponse: boolean

  /** Throws ConfigError when the script does not load. */
  constructor(code: string) {
    this.api = new LuaApi()
    // Lua names a chunk after its first line, in messages.
    this.api.run(code, code)
    this.onRequest = this.api.hasFunction('envoy_on_request')
    this.onResponse = this.api.hasFunction('envoy_on_response')
  }

  /** A coroutine of a function, not yet started; `push` pushes its one argument. */
  coroutine(name: string, push: (api: LuaApi, L: LuaState) => void): LuaCoroutine {
    const { lua, aux, main } = this.api
    const thread = lua.lua_newthread(main)
    // The registry keeps it from being collected while it waits.
    const ref = aux.luaL_ref(main, lua.LUA_REGISTRYINDEX)
    lua.lua_getglobal(thread, bytes(name))
    push(this.api, thread)
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
   * Runs on until it ends or waits; `push` pushes what the call that it waits in returns, and says how many values.
   * `isAlive` says how long what the script gets meanwhile can be used.
   */
  resume(push: ((api: LuaApi, L: LuaState) => number) | undefined, isAlive: () => boolean): Stop {
    const { lua } = this.api
    this.api.isAlive = isAlive
    const count = push === undefined ? 1 : push(this.api, this.thread)
    const status = lua.lua_resume(this.thread, null, count)
    if (status === lua.LUA_YIELD) return WAITS
    const message = status === lua.LUA_OK ? '' : text(lua.lua_tostring(this.thread, -1))
    this.end()
    return status === lua.LUA_OK ? DONE : { kind: 'failed', message }
  }

  /** Nobody will resume it. */
  end(): void {
    if (this.over) return
    this.over = true
    this.api.aux.luaL_unref(this.api.main, this.api.lua.LUA_REGISTRYINDEX, this.ref)
  }
}
