import type { DataSource } from '#gen/envoy/config/core/v3/base_pb.js'
import type { Lua, LuaPerRoute } from '#gen/envoy/extensions/filters/http/lua/v3/lua_pb.js'
import { ConfigError, type ProxyContext } from '../../context.ts'
import { sendAsync } from '../../http/async-client.ts'
import { Problems } from '../../http/config.ts'
import type { FilterSlot } from '../../http/filter-slot.ts'
import { type HeaderMap, headerName, RequestHead, type ResponseHead } from '../../http/headers.ts'
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
import { type LuaCall, type LuaHost, LuaStream } from './handle.ts'
import { LuaScript } from './script.ts'

/** Levels whose lines reach the proxy's own log, which Envoy keeps at `warning`. */
const LOGGED = new Set(['warning', 'error', 'critical'])

/** What the filters of one entry of the chain share. */
interface Shared {
  readonly context: ProxyContext
  readonly name: string
  readonly script: LuaScript | undefined
  readonly named: ReadonlyMap<string, LuaScript>
  readonly clearsRouteCache: boolean
  readonly errors: Counter
  readonly executions: Counter
}

/** What a route says: no script, one of the filter's by name, or its own. */
interface PerRoute {
  readonly name?: string
  readonly script?: LuaScript
  readonly context: Readonly<Record<string, unknown>>
}

class LuaFilter implements HttpFilter, LuaHost {
  slot!: FilterSlot
  filterContext: Readonly<Record<string, unknown>> = {}
  private readonly shared: Shared
  private script: LuaScript | undefined
  private request: LuaStream | undefined
  private response: LuaStream | undefined

  constructor(shared: Shared) {
    this.shared = shared
    this.script = shared.script
  }

  get filterName(): string {
    return this.shared.name
  }

  get clearsRouteCache(): boolean {
    return this.shared.clearsRouteCache
  }

  decodeHeaders(head: RequestHead, end: boolean, slot: FilterSlot): HeadersStatus {
    this.slot = slot
    const route = slot.perRoute()?.config as PerRoute | undefined
    if (route !== undefined) {
      this.script = route.name === undefined ? route.script : this.shared.named.get(route.name)
      this.filterContext = route.context
    }
    if (!this.script?.onRequest) return HeadersStatus.CONTINUE
    this.request = new LuaStream(this.script, this, head, end)
    this.shared.executions.inc()
    return this.request.start()
  }

  decodeData(chunk: Uint8Array, end: boolean): DataStatus {
    return this.request?.onData(chunk, end) ?? DataStatus.CONTINUE
  }

  decodeTrailers(trailers: HeaderMap): Trailers {
    return this.request?.onTrailers(trailers) ?? TrailersStatus.CONTINUE
  }

  encodeHeaders(head: ResponseHead, end: boolean, slot: FilterSlot): HeadersStatus {
    this.slot = slot
    if (!this.script?.onResponse) return HeadersStatus.CONTINUE
    this.response = new LuaStream(this.script, this, head, end)
    this.shared.executions.inc()
    return this.response.start()
  }

  encodeData(chunk: Uint8Array, end: boolean): DataStatus {
    return this.response?.onData(chunk, end) ?? DataStatus.CONTINUE
  }

  encodeTrailers(trailers: HeaderMap): Trailers {
    return this.response?.onTrailers(trailers) ?? TrailersStatus.CONTINUE
  }

  onDestroy(): void {
    this.request?.destroy()
    this.response?.destroy()
  }

  log(level: string, line: string): void {
    if (LOGGED.has(level)) this.shared.context.log?.(`lua: script log: ${line}`)
  }

  failed(message: string): void {
    this.shared.errors.inc()
    this.shared.context.log?.(`lua: script log: ${message}`)
  }

  call(call: LuaCall, done: (head: ResponseHead, body: Buffer) => void): { cancel(): void } | string {
    const { context } = this.shared
    const of = (name: string): string => call.headers.find(([key]) => key === name)?.[1] ?? ''
    const head = RequestHead.create(of(':method'), of(':path'), of(':authority'))
    head.scheme = of(':scheme') || 'http'
    for (const [name, value] of call.headers) if (!name.startsWith(':')) head.add(headerName(name), value)
    const { cluster, body, timeout } = call
    const started = sendAsync(context, { cluster, head, body, timeout }, done)
    return started ?? 'http call cluster invalid. Must be configured'
  }
}

function scriptOf(source: DataSource | undefined): LuaScript | undefined {
  if (source === undefined) return undefined
  const errors: string[] = []
  const code = readDataSource(source, 'source_code', errors)
  if (errors.length > 0) throw new ConfigError(errors)
  return code && new LuaScript(code.toString('utf8'))
}

/** `envoy.filters.http.lua`: runs scripts over requests and responses (source/extensions/filters/http/lua). */
export const luaFilter: HttpFilterKind = {
  type: 'envoy.extensions.filters.http.lua.v3.Lua',
  name: 'envoy.filters.http.lua',
  build(message, context) {
    const config = message as Lua
    const problems = new Problems()
    const { inlineCode, defaultSourceCode } = config
    if (inlineCode !== '' && defaultSourceCode !== undefined)
      problems.add('default_source_code', 'excludes inline_code, which is deprecated')
    const script = problems.collect('', () =>
      inlineCode === '' ? scriptOf(defaultSourceCode) : new LuaScript(inlineCode),
    )
    const named = new Map<string, LuaScript>()
    for (const [name, source] of Object.entries(config.sourceCodes)) {
      const one = problems.collect(`source_codes[${name}]`, () => scriptOf(source))
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
      errors: stats.counter(`${prefix}errors`),
      executions: stats.counter(`${prefix}executions`),
    }
    return { create: () => new LuaFilter(shared) }
  },
  perRouteType: 'envoy.extensions.filters.http.lua.v3.LuaPerRoute',
  buildPerRoute(message): PerRoute {
    const { override, filterContext } = message as LuaPerRoute
    const context = filterContext ?? {}
    switch (override.case) {
      case 'disabled':
        return { context }
      case 'name':
        return { name: override.value, context }
      case 'sourceCode': {
        const script = scriptOf(override.value)
        return script === undefined ? { context } : { script, context }
      }
      default:
        throw new ConfigError(['override: is required'])
    }
  },
}
