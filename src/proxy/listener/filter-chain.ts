import type { FilterChain as FilterChainProto } from '#gen/envoy/config/listener/v3/listener_components_pb.js'
import type { Runtime, Timer } from '../../runtime.ts'
import { sameMessage } from '../../xds/same-message.ts'
import type { ConnectionHandler, ListenerContext, ProxyContext } from '../context.ts'
import type { SecretProvider } from '../tls/secrets.ts'
import type { Transport } from './connection.ts'
import { DownstreamTls } from './downstream-tls.ts'
import { DrainState, type DrainStrategy } from './drain-state.ts'
import { buildNetworkFilters, initialFetchTimeout } from './network-filters.ts'
import { openAny } from './typed-filter.ts'

const RAW_BUFFER = 'envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer'
const TLS = 'envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext'

/** What chains of one listener are built with. */
export interface FilterChainDeps {
  readonly context: ProxyContext
  readonly listener: ListenerContext
  readonly secrets: SecretProvider
  /** ms. */
  readonly drainTime: number
  readonly drainStrategy: DrainStrategy
  /** Only the chain's own draining counts, not the proxy's. */
  readonly modifyOnly: boolean
}

/**
 * A compiled filter chain. Listener generations that agree on its config share it, so that an update that
 * leaves it alone leaves its connections alone too; it goes when the last generation lets go.
 */
export class FilterChain {
  readonly name: string
  readonly proto: FilterChainProto
  /** Undefined: a chain without filters closes what it gets. */
  readonly handler: ConnectionHandler | undefined
  /** Undefined on plaintext. */
  readonly tls: DownstreamTls | undefined
  /** ms for the TLS handshake; 0: none. */
  readonly transportSocketConnectTimeout: number
  readonly connections = new Set<Transport>()
  private readonly emptied: (() => void)[] = []
  private readonly drainState: DrainState
  private users = 0
  private missing = 0
  private discovering = false
  private readonly waiting: (() => void)[] = []
  private timer: Timer | undefined

  /** Throws when the config cannot be used. */
  constructor(proto: FilterChainProto, deps: FilterChainDeps) {
    this.proto = proto
    this.name = proto.name
    const { transportSocketConnectTimeout: timeout } = proto
    this.transportSocketConnectTimeout = timeout ? Number(timeout.seconds) * 1000 + timeout.nanos / 1e6 : 0
    if (proto.useProxyProto) deps.context.notEnforced?.('filter_chain.use_proxy_proto')
    this.drainState = new DrainState(deps.context.runtime, deps.drainTime, deps.drainStrategy)
    const proxyDrains = deps.modifyOnly ? () => false : deps.context.draining
    const context: ProxyContext = { ...deps.context, draining: () => proxyDrains() || this.drainState.draining() }
    this.handler = buildNetworkFilters(proto.filters, context, deps.listener)
    try {
      this.tls = this.buildTransportSocket(deps)
    } catch (error) {
      this.handler?.close()
      throw error
    }
    this.watch(deps.context.runtime)
  }

  private buildTransportSocket(deps: FilterChainDeps): DownstreamTls | undefined {
    const socket = this.proto.transportSocket
    if (!socket) return undefined
    if (socket.configType.case !== 'typedConfig') {
      if (socket.name === 'envoy.transport_sockets.raw_buffer' || socket.name === 'raw_buffer') return undefined
      throw new Error(`Didn't find a registered implementation for '${socket.name}' with type URL: ''`)
    }
    const { typeName, message } = openAny(socket.name, socket.configType.value)
    if (typeName === RAW_BUFFER) return undefined
    if (typeName !== TLS) {
      throw new Error(`Didn't find a registered implementation for '${socket.name}' with type URL: '${typeName}'`)
    }
    return new DownstreamTls(message, deps)
  }

  /** True when a new config asks for exactly this chain. */
  sameAs(proto: FilterChainProto): boolean {
    return sameMessage(proto, this.proto)
  }

  /** Routes, secrets and configs of filters are there, or were waited for long enough. */
  get warm(): boolean {
    return this.missing === 0 && !this.discovering
  }

  /** Calls `ready` once, when the chain is warm. */
  whenWarm(ready: () => void): void {
    if (this.warm) ready()
    else this.waiting.push(ready)
  }

  private watch(runtime: Runtime): void {
    const parts = [this.handler, this.tls].filter((part) => part !== undefined)
    this.missing = parts.length
    for (const part of parts) {
      part.whenWarm(() => {
        this.missing--
        this.settle()
      })
    }
    if (this.handler?.whenDiscovered) {
      this.discovering = true
      this.handler.whenDiscovered(() => {
        this.discovering = false
        this.settle()
      })
    }
    if (this.missing === 0) return
    const limit = initialFetchTimeout(this.proto)
    if (limit === 0) return
    this.timer = runtime.after(limit, () => {
      this.missing = 0
      this.settle()
    })
  }

  private settle(): void {
    if (this.missing > 0) return
    this.missing = 0
    this.timer?.cancel()
    if (this.discovering) return
    for (const ready of this.waiting.splice(0)) ready()
  }

  use(): void {
    this.users++
  }

  /** True when nobody uses the chain any more: its connections are to drain. */
  release(): boolean {
    this.users--
    if (this.users > 0) return false
    this.drainState.start()
    return true
  }

  /** A connection is gone. */
  left(transport: Transport): void {
    this.connections.delete(transport)
    if (this.connections.size === 0) for (const done of this.emptied.splice(0)) done()
  }

  /** Ends what is left of its connections, and its subscriptions; resolves when the last of them has been logged. */
  destroy(reset = false): Promise<void> {
    this.timer?.cancel()
    for (const transport of [...this.connections]) transport.destroy(reset)
    this.handler?.close()
    this.tls?.close()
    if (this.connections.size === 0) return Promise.resolve()
    return new Promise((resolve) => this.emptied.push(resolve))
  }
}
