import type net from 'node:net'
import type { Listener as ListenerProto } from '#gen/envoy/config/listener/v3/listener_pb.js'
import { sameMessage } from '../../xds/same-message.ts'
import type { ListenerContext, ProxyContext } from '../context.ts'
import { noteAccept } from '../net/accepts.ts'
import { acceptTransport, type SocketTransport } from '../net/transport.ts'
import type { AccessLogger } from '../observe/formatter.ts'
import { compileAccessLoggers } from '../observe/formatter.ts'
import type { SecretProvider } from '../tls/secrets.ts'
import { AcceptedConnection } from './accepted-connection.ts'
import type { CaptureEntry } from './capture.ts'
import { type Address, formatAddress, isPipe } from './connection.ts'
import type { ConnectionLimits } from './connection-limits.ts'
import type { DrainStrategy } from './drain-state.ts'
import { FilterChain } from './filter-chain.ts'
import { FilterChainMatcher } from './filter-chain-match.ts'
import { Incoming } from './incoming.ts'
import { listenerAddresses, noteListenerFields } from './listener-config.ts'
import { compileListenerFilters, type ListenerFilters } from './listener-filters.ts'
import { ListenerStats, listenerStatPrefix } from './listener-stats.ts'

/** What listeners of one proxy are built with. */
export interface ListenerDeps {
  readonly context: ProxyContext
  readonly secrets: SecretProvider
  /** Undefined: every connection is accepted. */
  readonly limits?: ConnectionLimits | undefined
  /** ms over which replies of a listener that goes tell their clients to go, too. */
  readonly drainTime: number
  readonly drainStrategy: DrainStrategy
  /** The listener that owns a destination; undefined: the one that asks keeps the connection. */
  readonly byDestination: (destination: Address) => Listener | undefined
}

const DEFAULT_BUFFER_LIMIT = 1024 * 1024
const FILTERS_TIMEOUT_MS = 15_000
/** TrafficDirection. */
const INBOUND = 1
const OUTBOUND = 2
/** Listener.DrainType. */
const MODIFY_ONLY = 1

/** One generation of a listener's config, compiled (source/common/listener_manager/listener_impl.cc). */
export class Listener {
  readonly name: string
  readonly proto: ListenerProto
  readonly addresses: readonly Address[]
  readonly bindToPort: boolean
  /** An address `::` takes IPv4, too. */
  readonly ipv4Compat: boolean
  readonly direction: 'inbound' | 'outbound' | undefined
  readonly stats: ListenerStats
  readonly loggers: readonly AccessLogger[]
  /** Each chain once, the default chain last. */
  readonly chains: readonly FilterChain[]
  readonly matcher: FilterChainMatcher<FilterChain>
  readonly filters: ListenerFilters
  private filtersReady = false
  /** ms; 0: they may take for ever. */
  readonly filtersTimeout: number
  readonly continueOnTimeout: boolean
  readonly handOff: boolean
  readonly deps: ListenerDeps
  /** The update of another generation that leaves its sockets and unchanged chains as they are. */
  readonly inPlace: boolean
  private readonly bufferLimit: number
  private released = false

  /** Throws with Envoy's words when the config cannot be used. `previous`: the generation whose chains may be kept. */
  constructor(proto: ListenerProto, name: string, deps: ListenerDeps, previous?: Listener) {
    const { context } = deps
    this.proto = proto
    this.name = name
    this.deps = deps
    this.addresses = listenerAddresses(proto, name)
    this.ipv4Compat = proto.address?.address.case === 'socketAddress' && proto.address.address.value.ipv4Compat
    noteListenerFields(proto, context)
    this.bindToPort = proto.bindToPort ?? proto.deprecatedV1?.bindToPort ?? true
    this.direction =
      proto.trafficDirection === INBOUND ? 'inbound' : proto.trafficDirection === OUTBOUND ? 'outbound' : undefined
    this.bufferLimit = proto.perConnectionBufferLimitBytes ?? DEFAULT_BUFFER_LIMIT
    this.handOff = proto.useOriginalDst ?? false
    const timeout = proto.listenerFiltersTimeout
    this.filtersTimeout = timeout ? Number(timeout.seconds) * 1000 + timeout.nanos / 1e6 : FILTERS_TIMEOUT_MS
    this.continueOnTimeout = proto.continueOnListenerFiltersTimeout
    this.filters = compileListenerFilters(proto.listenerFilters, this.handOff, context)
    const statPrefix = listenerStatPrefix(proto.statPrefix, this.addresses[0]!)
    this.stats = new ListenerStats(context.stats, statPrefix)
    const listenerContext: ListenerContext = {
      statPrefix,
      name,
      direction: this.direction,
      perConnectionBufferLimit: this.bufferLimit,
    }
    this.inPlace = previous?.sameSurroundings(this) ?? false
    try {
      this.loggers = compileAccessLoggers(proto.accessLog, context)
      const built = this.buildChains(listenerContext, previous)
      this.chains = built.chains
      this.matcher = built.matcher
    } catch (error) {
      this.filters.close()
      throw error
    }
    this.filters.whenReady(() => {
      this.filtersReady = true
    })
    for (const chain of this.chains) chain.use()
  }

  private buildChains(listener: ListenerContext, previous: Listener | undefined) {
    const { proto, deps } = this
    const addresses = this.addresses.map(formatAddress).join(',')
    if (proto.filterChains.length === 0 && !proto.defaultFilterChain) {
      throw new Error(`error adding listener '${addresses}': no filter chains specified`)
    }
    const kept = this.inPlace && previous ? previous.chains : []
    const chainDeps = {
      context: deps.context,
      secrets: deps.secrets,
      drainTime: deps.drainTime,
      drainStrategy: deps.drainStrategy,
      // Health checks that fail say nothing to listeners that drain only when they are changed.
      modifyOnly: proto.drainType === MODIFY_ONLY,
      listener,
    }
    const made: FilterChain[] = []
    const build = (chain: ListenerProto['filterChains'][number]): FilterChain => {
      const old = kept.find((k) => k.sameAs(chain))
      if (old) return old
      const fresh = new FilterChain(chain, chainDeps)
      made.push(fresh)
      return fresh
    }
    try {
      const chains = proto.filterChains.map(build)
      const fallback = proto.defaultFilterChain && build(proto.defaultFilterChain)
      const matcher = new FilterChainMatcher<FilterChain>(addresses, fallback)
      proto.filterChains.forEach((chain, i) => {
        matcher.add(chain.filterChainMatch, chain.name, chains[i]!)
      })
      return { chains: [...new Set(fallback ? [...chains, fallback] : chains)], matcher }
    } catch (error) {
      for (const chain of made) chain.destroy()
      throw error
    }
  }

  /** True when all that chains depend on besides their own config is the same in another generation. */
  private sameSurroundings(other: Listener): boolean {
    return (
      this.name === other.name &&
      this.bufferLimit === other.bufferLimit &&
      this.direction === other.direction &&
      this.proto.statPrefix === other.proto.statPrefix &&
      this.addresses.map(formatAddress).join() === other.addresses.map(formatAddress).join()
    )
  }

  /** True when a config is the one of this generation. */
  sameAs(proto: ListenerProto): boolean {
    return sameMessage(proto, this.proto)
  }

  /** Every chain has its routes and secrets, filters have their configs, or these were waited for long enough. */
  get warm(): boolean {
    return this.filtersReady && this.chains.every((chain) => chain.warm)
  }

  /** Calls `ready` once, when the listener is warm. */
  whenWarm(ready: () => void): void {
    let waiting = this.chains.length + 1
    const arrived = (): void => {
      if (--waiting === 0) ready()
    }
    for (const chain of this.chains) chain.whenWarm(arrived)
    this.filters.whenReady(arrived)
  }

  /** Takes a connection from a socket of this listener, or from a capture socket. */
  accept(socket: net.Socket, captured?: CaptureEntry): void {
    const overflow = this.deps.limits?.admit(socket, this.name)
    if (overflow !== undefined) {
      ;(overflow === 'global' ? this.stats.globalCxOverflow : this.stats.cxOverflow).inc()
      socket.destroy()
      return
    }
    const { runtime, book } = this.deps.context
    if (this.proto.maxConnectionsToAcceptPerSocketEvent !== 1) noteAccept()
    const transport = acceptTransport(socket, { runtime, book, bufferLimit: this.bufferLimit })
    const { info } = transport
    info.remote = peerOf(socket, info.remote, captured)
    info.directRemote = info.remote
    const local = captured?.originalDestination ?? info.local
    this.admit(transport, new Incoming(local, info.remote, captured?.originalDestination), this.handOff)
  }

  /** Runs the listener filters, then hands the connection to its chain. */
  admit(transport: SocketTransport, incoming: Incoming, handOff: boolean): void {
    new AcceptedConnection(this, transport, incoming, handOff).run()
  }

  /** Number of connections that came past the listener filters. */
  get connections(): number {
    let count = 0
    for (const chain of this.chains) count += chain.connections.size
    return count
  }

  /**
   * The generation is replaced or removed. Answers the chains that no generation uses any more: they are told to
   * drain, and the caller destroys them when the drain time is over.
   */
  release(): FilterChain[] {
    if (this.released) return []
    this.released = true
    this.filters.close()
    return this.chains.filter((chain) => chain.release())
  }
}

/** A program on this machine has no address of a pod; what it sends by a pod's capture socket comes from that pod. */
function peerOf(socket: net.Socket, remote: Address, captured: CaptureEntry | undefined): Address {
  // The peer of a unix socket has no name: Envoy calls it by the socket's.
  if (captured && isPipe(captured.originalDestination)) return captured.originalDestination
  if (captured?.client === undefined || remote.ip !== socket.remoteAddress) return remote
  return { ip: captured.client, port: remote.port }
}
