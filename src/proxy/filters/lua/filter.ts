import type { DataSource } from '#gen/envoy/config/core/v3/base_pb.js'
import type { Lua, LuaPerRoute } from '#gen/envoy/extensions/filters/http/lua/v3/lua_pb.js'
import type { Runtime } from '../../../runtime.ts'
import { ConfigError, type ProxyContext } from '../../context.ts'
import { sendAsync } from '../../http/async-client.ts'
import { Problems } from '../../http/config.ts'
import type { FilterSlot } from '../../http/filter-slot.ts'
import type { HeaderMap, RequestHead, ResponseHead } from '../../http/headers.ts'
import type { Counter } from '../../observe/stats.ts'
import { readDataSource } from '../../tls/data-source.ts'
import {
  DataStatus,
  HeadersStatus,
  type HttpFilter,
  type HttpFilterKind,
  type TrailersStatus as Trailers,
  TrailersStatus,
} from '../filter.ts'
import { type LuaHost, LuaStream } from './handle.ts'
import type { LuaCall } from './http-call.ts'
import { LuaScript } from './script.ts'
import type { PublicKeys } from './signature.ts'
import type { LuaStats } from './stats-object.ts'

/** Levels whose lines reach the proxy's own log, which Envoy keeps at `warning`. */
const LOGGED = new Set(['warning', 'error', 'critical'])

/** What the filters of one entry of the chain share. */
interface Shared {
  readonly context: ProxyContext
  readonly name: string
  readonly script: LuaScript | undefined
  readonly named: ReadonlyMap<string, LuaScript>
  readonly clearsRouteCache: boolean
  readonly filterContext: Readonly<Record<string, unknown>>
  readonly stats: LuaStats
  readonly keys: PublicKeys
  readonly errors: Counter
  readonly executions: Counter
}

/** What a route says: no script, one of the filter's by name, or its own; none of them leaves the filter's. */
interface PerRoute {
  readonly disabled: boolean
  readonly name: string | undefined
  readonly script: LuaScript | undefined
  readonly context: Readonly<Record<string, unknown>> | undefined
}

class LuaFilter implements HttpFilter, LuaHost {
  slot!: FilterSlot
  request!: RequestHead
  filterContext: Readonly<Record<string, unknown>>
  private readonly shared: Shared
  private script: LuaScript | undefined
  private decoding: LuaStream | undefined
  private encoding: LuaStream | undefined
  private chosen = false

  constructor(shared: Shared) {
    this.shared = shared
    this.script = shared.script
    this.filterContext = shared.filterContext
  }

  get filterName(): string {
    return this.shared.name
  }

  get clearsRouteCache(): boolean {
    return this.shared.clearsRouteCache
  }

  get stats(): LuaStats {
    return this.shared.stats
  }

  get keys(): PublicKeys {
    return this.shared.keys
  }

  private choose(slot: FilterSlot): void {
    this.slot = slot
    if (this.chosen) return
    this.chosen = true
    this.request = slot.request
    const route = slot.perRoute()?.config as PerRoute | undefined
    if (route === undefined) return
    if (route.context !== undefined) this.filterContext = route.context
    if (route.disabled) this.script = undefined
    else if (route.name !== undefined) this.script = this.shared.named.get(route.name)
    else if (route.script !== undefined) this.script = route.script
  }

  decodeHeaders(head: RequestHead, end: boolean, slot: FilterSlot): HeadersStatus {
    this.choose(slot)
    if (!this.script?.onRequest) return HeadersStatus.CONTINUE
    this.decoding = new LuaStream(this.script, this, head, end)
    this.shared.executions.inc()
    return this.decoding.start()
  }

  decodeData(chunk: Uint8Array, end: boolean): DataStatus {
    return this.decoding?.onData(chunk, end) ?? DataStatus.CONTINUE
  }

  decodeTrailers(trailers: HeaderMap): Trailers {
    return this.decoding?.onTrailers(trailers) ?? TrailersStatus.CONTINUE
  }

  encodeHeaders(head: ResponseHead, end: boolean, slot: FilterSlot): HeadersStatus {
    this.choose(slot)
    if (!this.script?.onResponse) return HeadersStatus.CONTINUE
    this.encoding = new LuaStream(this.script, this, head, end)
    this.shared.executions.inc()
    return this.encoding.start()
  }

  encodeData(chunk: Uint8Array, end: boolean): DataStatus {
    return this.encoding?.onData(chunk, end) ?? DataStatus.CONTINUE
  }

  encodeTrailers(trailers: HeaderMap): Trailers {
    return this.encoding?.onTrailers(trailers) ?? TrailersStatus.CONTINUE
  }

  onDestroy(): void {
    this.decoding?.destroy()
    this.encoding?.destroy()
  }

  readonly log = (level: string, line: string): void => {
    if (LOGGED.has(level)) this.shared.context.log?.(`lua: script log: ${line}`)
  }

  failed(message: string): void {
    this.shared.errors.inc()
    this.log('error', message)
    // Neither of the scripts runs on.
    this.decoding?.destroy()
    this.encoding?.destroy()
  }

  hasCluster(name: string): boolean {
    return this.shared.context.clusters.get(name) !== undefined
  }

  call(call: LuaCall, done: (head: ResponseHead, body: Buffer) => void): { cancel(): void } {
    return sendAsync(this.shared.context, call, done)!
  }
}

/** Fields of the filter and of routes that are alike. */
interface Code {
  readonly packagePaths: readonly string[]
  readonly packageCpaths: readonly string[]
  readonly sharedVmId: string
}

/** Scripts that share their Lua state with whoever has the same code and `shared_vm_id`. */
const shared = new Map<string, WeakRef<LuaScript>>()

function scriptFrom(code: string, config: Code, runtime: Runtime): LuaScript {
  const { packagePaths, packageCpaths, sharedVmId } = config
  const make = (): LuaScript => new LuaScript(code, runtime, { lua: packagePaths, c: packageCpaths })
  if (sharedVmId === '') return make()
  const key = JSON.stringify([sharedVmId, code, packagePaths, packageCpaths])
  const known = shared.get(key)?.deref()
  if (known !== undefined) return known
  const made = make()
  shared.set(key, new WeakRef(made))
  return made
}

function scriptOf(source: DataSource | undefined, config: Code, runtime: Runtime): LuaScript | undefined {
  if (source === undefined) return undefined
  const errors: string[] = []
  const code = readDataSource(source, 'source_code', errors)
  if (errors.length > 0) throw new ConfigError(errors)
  return code && scriptFrom(code.toString('utf8'), config, runtime)
}

/** `envoy.filters.http.lua`: runs scripts over requests and responses (source/extensions/filters/http/lua). */
export const luaFilter: HttpFilterKind = {
  type: 'envoy.extensions.filters.http.lua.v3.Lua',
  name: 'envoy.filters.http.lua',
  build(message, context) {
    const config = message as Lua
    const { runtime } = context.proxy
    const problems = new Problems()
    const { inlineCode, defaultSourceCode } = config
    if (inlineCode !== '' && defaultSourceCode !== undefined)
      problems.add(
        'default_source_code',
        'Error: Only one of `inline_code` or `default_source_code` can be set for the Lua filter.',
      )
    const script = problems.collect('', () =>
      inlineCode === '' ? scriptOf(defaultSourceCode, config, runtime) : scriptFrom(inlineCode, config, runtime),
    )
    const named = new Map<string, LuaScript>()
    for (const [name, source] of Object.entries(config.sourceCodes)) {
      const one = problems.collect(`source_codes[${name}]`, () => scriptOf(source, config, runtime))
      if (one !== undefined) named.set(name, one)
    }
    problems.throwIfAny()
    const prefix = `${context.statPrefix}lua.${config.statPrefix === '' ? '' : `${config.statPrefix}.`}`
    const { stats } = context.proxy
    const shared: Shared = {
      context: context.proxy,
      name: context.filterName,
      script,
      named,
      clearsRouteCache: config.clearRouteCache ?? true,
      filterContext: config.filterContext ?? {},
      stats: { store: stats, prefix },
      keys: new Map(),
      errors: stats.counter(`${prefix}errors`),
      executions: stats.counter(`${prefix}executions`),
    }
    return { create: () => new LuaFilter(shared) }
  },
  perRouteType: 'envoy.extensions.filters.http.lua.v3.LuaPerRoute',
  buildPerRoute(message, runtime): PerRoute {
    const config = message as LuaPerRoute
    const { override } = config
    return {
      disabled: override.case === 'disabled',
      name: override.case === 'name' ? override.value : undefined,
      script: override.case === 'sourceCode' ? scriptOf(override.value, config, runtime) : undefined,
      context: config.filterContext,
    }
  },
}
