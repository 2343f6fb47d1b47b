import { equals } from '@bufbuild/protobuf'
import type { FilterChain as FilterChainProto } from '#gen/envoy/config/listener/v3/listener_components_pb.js'
import { schemaOf } from '../../xds/messages.ts'
import type { ConnectionHandler, ListenerContext, ProxyContext } from '../context.ts'
import type { SecretProvider } from '../tls/secrets.ts'
import type { Transport } from './connection.ts'
import { DownstreamTls, readDownstreamTls } from './downstream-tls.ts'
import { buildNetworkFilters } from './network-filters.ts'
import { openAny } from './typed-filter.ts'

const RAW_BUFFER = 'envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer'
const TLS = 'envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext'

/** What chains of one listener are built with. */
export interface FilterChainDeps {
  readonly context: ProxyContext
  readonly listener: ListenerContext
  readonly secrets: SecretProvider
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
  private users = 0

  /** Throws when the config cannot be used. */
  constructor(proto: FilterChainProto, deps: FilterChainDeps) {
    this.proto = proto
    this.name = proto.name
    const { transportSocketConnectTimeout: timeout } = proto
    this.transportSocketConnectTimeout = timeout ? Number(timeout.seconds) * 1000 + timeout.nanos / 1e6 : 0
    if (proto.useProxyProto) deps.context.notEnforced?.('filter_chain.use_proxy_proto')
    this.handler = buildNetworkFilters(proto.filters, deps.context, deps.listener)
    try {
      this.tls = this.buildTransportSocket(deps)
    } catch (error) {
      this.handler?.close()
      throw error
    }
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
    return new DownstreamTls(readDownstreamTls(message), deps)
  }

  /** True when a new config asks for exactly this chain. */
  sameAs(proto: FilterChainProto): boolean {
    return proto === this.proto || equals(schemaOf(proto.$typeName), proto, this.proto)
  }

  /** Calls `ready` once, when routes and secrets are there. */
  whenWarm(ready: () => void): void {
    let waiting = 1
    const one = () => {
      if (--waiting === 0) ready()
    }
    if (this.handler) {
      waiting++
      this.handler.whenWarm(one)
    }
    if (this.tls) {
      waiting++
      this.tls.whenWarm(one)
    }
    one()
  }

  use(): void {
    this.users++
  }

  /** True when nobody uses the chain any more: its connections are to drain. */
  release(): boolean {
    this.users--
    if (this.users > 0) return false
    this.handler?.drain()
    return true
  }

  /** Ends what is left of its connections, and its subscriptions. */
  destroy(): void {
    for (const transport of [...this.connections]) transport.destroy()
    this.handler?.close()
    this.tls?.close()
  }
}
