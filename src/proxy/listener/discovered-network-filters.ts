import type { Filter } from '#gen/envoy/config/listener/v3/listener_components_pb.js'
import type { ConnectionHandler, ListenerContext, ProxyContext } from '../context.ts'
import { Discovered, whenAllReady } from '../ecds/discovered.ts'
import type { OpenedConfig } from '../ecds/source.ts'
import type { Counter } from '../observe/stats.ts'
import type { Transport } from './connection.ts'
import { type ReadFilterMaker, withReadFilters } from './read-filters.ts'

/** A network filter, as it is built: it ends the chain, stands before its end, or does nothing there. */
export type NetworkFilter =
  | { readonly kind: 'terminal'; readonly handler: ConnectionHandler }
  | { readonly kind: 'reading'; readonly maker: ReadFilterMaker }
  | { readonly kind: 'idle' }

/** What a chain with filters that come by ECDS is built with. */
export interface DiscoveredChainOptions {
  readonly context: ProxyContext
  readonly listener: ListenerContext
  known(typeName: string): boolean
  /** Builds a filter for its place; throws when it may not stand there. */
  build(name: string, config: OpenedConfig, last: boolean): NetworkFilter
  /** The config of a filter that has its own. */
  open(filter: Filter): OpenedConfig
}

/**
 * A network filter chain of which some filters take their config from ECDS: each connection gets those in force when it
 * is accepted; while one is missing there are no connections (source/server/configuration_impl.cc, buildFilterChain).
 */
export class DiscoveredNetworkChain implements ConnectionHandler {
  private readonly options: DiscoveredChainOptions
  private readonly parts: readonly (NetworkFilter | Discovered<NetworkFilter>)[]
  private readonly missing: Counter
  /** Handlers that are not in force any more, but have connections. */
  private readonly retired = new Set<ConnectionHandler>()

  /** Throws as `build` does. */
  constructor(filters: readonly Filter[], options: DiscoveredChainOptions) {
    this.options = options
    const { context, listener } = options
    this.missing = context.stats.counter(`listener.${listener.statPrefix}.network_extension_config_missing`)
    const parts: (NetworkFilter | Discovered<NetworkFilter>)[] = []
    this.parts = parts
    try {
      filters.forEach((filter, i) => {
        parts.push(this.part(filter, i === filters.length - 1))
      })
    } catch (error) {
      this.close()
      throw error
    }
  }

  private part(filter: Filter, last: boolean): NetworkFilter | Discovered<NetworkFilter> {
    const { options } = this
    const { name, configType } = filter
    if (configType.case !== 'configDiscovery') return options.build(name, options.open(filter), last)
    return new Discovered<NetworkFilter>({
      kind: 'network_filter',
      name,
      config: configType.value,
      source: options.context.extensions,
      known: options.known,
      build: (config) => options.build(name, config, last),
      started: (made) => {
        // Whoever waits for its routes waits with the requests.
        if (made.kind === 'terminal') made.handler.whenWarm(() => {})
      },
      close: (made) => this.retire(made),
    })
  }

  private retire(filter: NetworkFilter): void {
    if (filter.kind !== 'terminal') return
    this.retired.add(filter.handler)
    this.closeRetired(false)
  }

  private closeRetired(all: boolean): void {
    for (const handler of [...this.retired]) {
      if (!all && handler.connections > 0) continue
      this.retired.delete(handler)
      handler.close()
    }
  }

  private get current(): (NetworkFilter | undefined)[] {
    return this.parts.map((part) => (part instanceof Discovered ? part.current : part))
  }

  private get last(): ConnectionHandler | undefined {
    const last = this.current.at(-1)
    return last?.kind === 'terminal' ? last.handler : undefined
  }

  refuses(): boolean {
    if (this.current.every((filter) => filter !== undefined)) return false
    this.missing.inc()
    return true
  }

  onConnection(transport: Transport): void {
    this.closeRetired(false)
    const makers: ReadFilterMaker[] = []
    for (const filter of this.current) {
      if (filter === undefined) {
        transport.destroy()
        return
      }
      if (filter.kind === 'reading') makers.push(filter.maker)
      else if (filter.kind === 'terminal') {
        const { context, listener } = this.options
        withReadFilters(makers, filter.handler, context, listener).onConnection(transport)
      }
    }
  }

  onNeverReached(transport: Transport, secure?: boolean): void {
    this.last?.onNeverReached?.(transport, secure)
  }

  get readsLater(): boolean {
    return this.last?.readsLater ?? false
  }

  whenWarm(ready: () => void): void {
    const last = this.parts.at(-1)
    if (last === undefined || last instanceof Discovered || last.kind !== 'terminal') ready()
    else last.handler.whenWarm(ready)
  }

  whenDiscovered(ready: () => void): void {
    const waits = this.parts.flatMap((part) => {
      if (part instanceof Discovered) return part
      if (part.kind !== 'terminal' || part.handler.whenDiscovered === undefined) return []
      const { handler } = part
      return { whenReady: (done: () => void) => handler.whenDiscovered?.(done) }
    })
    whenAllReady(waits, ready)
  }

  close(): void {
    for (const part of this.parts) {
      if (part instanceof Discovered) part.close()
      else if (part.kind === 'terminal') part.handler.close()
    }
    this.closeRetired(true)
  }

  get connections(): number {
    let count = this.last?.connections ?? 0
    for (const handler of this.retired) count += handler.connections
    return count
  }
}
