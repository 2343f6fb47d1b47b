import type net from 'node:net'
import type { Timer } from '../../runtime.ts'
import { type Peeking, peek, type SocketTransport, serverTls } from '../net/transport.ts'
import type { StreamInfo } from '../stream-info.ts'
import { connectionStreamInfo } from '../tcp/stream-info.ts'
import type { Transport } from './connection.ts'
import type { FilterChain } from './filter-chain.ts'
import type { Incoming } from './incoming.ts'
import type { Listener } from './listener.ts'

/**
 * The way of one connection from `accept` to its filter chain: listener filters in order, hand-off to the listener
 * of the original destination, the choice of the chain, TLS (source/common/listener_manager/active_tcp_socket.cc).
 * A listener without filters that read goes through all of it in one turn, without looking at a byte.
 */
export class AcceptedConnection {
  private readonly listener: Listener
  private readonly socket: net.Socket
  private readonly transport: SocketTransport
  private readonly incoming: Incoming
  private readonly handOff: boolean
  private next = 0
  private peeking: Peeking | undefined
  private timer: Timer | undefined
  private preActive = false

  /** `transport` reads and writes `socket`. `handOff`: whether another listener may get the connection. */
  constructor(
    listener: Listener,
    socket: net.Socket,
    transport: SocketTransport,
    incoming: Incoming,
    handOff: boolean,
  ) {
    this.listener = listener
    this.socket = socket
    this.transport = transport
    this.incoming = incoming
    this.handOff = handOff
  }

  start(): void {
    this.runFilters()
  }

  /** Goes on with the next filter that has not answered yet. */
  private runFilters(): void {
    const { filters } = this.listener
    while (this.next < filters.length) {
      const filter = filters[this.next]!
      if (!filter.disabled(this.incoming)) {
        const step = filter.onAccept(this.incoming)
        if (step !== 'done') {
          if (step === 'more') this.inspect()
          else this.drop()
          return
        }
      }
      this.next++
    }
    this.leaveFilters()
    this.dispatch()
  }

  private inspect(): void {
    const { listener } = this
    if (!this.preActive) {
      this.preActive = true
      listener.stats.preCxActive.inc()
      if (listener.filtersTimeout > 0) {
        this.timer = listener.deps.context.runtime.after(listener.filtersTimeout, () => this.onTimeout())
      }
    }
    // A filter that is done may be followed by one that wants the same bytes: each gets its own peek.
    let done = false
    this.peeking = peek(
      this.transport,
      (bytes) => {
        const { incoming } = this
        const rest = incoming.consumed > 0 ? bytes.subarray(incoming.consumed) : bytes
        if (rest.length === 0) return false
        const step = listener.filters[this.next]!.onData(incoming, rest)
        if (step === 'more') return false
        done = true
        this.peeking = undefined
        if (step === 'close') this.drop()
        else {
          this.next++
          queueMicrotask(() => this.runFilters())
        }
        return true
      },
      (error) => {
        if (done) return
        const { stats } = listener
        ;(error === undefined ? stats.filterRemoteClose : stats.filterError).inc()
        this.drop()
      },
    )
  }

  private onTimeout(): void {
    const { listener } = this
    listener.stats.preCxTimeout.inc()
    this.peeking?.cancel()
    this.peeking = undefined
    if (!listener.continueOnTimeout) {
      this.drop()
      return
    }
    this.leaveFilters()
    this.dispatch()
  }

  private leaveFilters(): void {
    this.timer?.cancel()
    this.timer = undefined
    if (!this.preActive) return
    this.preActive = false
    this.listener.stats.preCxActive.dec()
  }

  /** Ends a connection that reached no chain. */
  private drop(): void {
    this.leaveFilters()
    this.transport.destroy()
    if (this.listener.loggers.length > 0) this.log(this.record())
  }

  private dispatch(): void {
    const { listener, transport, incoming } = this
    if (this.handOff && incoming.localRestored) {
      const owner = listener.deps.byDestination(incoming.local)
      if (owner && owner !== listener) {
        owner.admit(this.socket, transport, incoming.handedOver(), false)
        return
      }
    }
    if (incoming.transportProtocol === '') incoming.transportProtocol = 'raw_buffer'
    const { info } = transport
    info.local = incoming.local
    info.remote = incoming.remote
    info.sni = incoming.sni
    const chain = listener.matcher.find(incoming)
    if (!chain) {
      listener.stats.noFilterChainMatch.inc()
      const record = this.record()
      record.flags.push('NR')
      record.responseCodeDetails = 'filter_chain_not_found'
      transport.destroy(true)
      this.log(record)
      return
    }
    this.enter(chain)
  }

  private enter(chain: FilterChain): void {
    const { listener, transport } = this
    const { stats } = listener
    const { runtime } = listener.deps.context
    const started = runtime.now()
    stats.cxTotal.inc()
    stats.cxActive.inc()
    stats.workerCxTotal.inc()
    stats.workerCxActive.inc()
    const record = listener.loggers.length > 0 ? this.record() : undefined
    let current: Transport = transport
    chain.connections.add(current)
    this.socket.once('close', () => {
      chain.connections.delete(current)
      stats.cxDestroy.inc()
      stats.cxActive.dec()
      stats.workerCxActive.dec()
      stats.cxLength.record(runtime.now() - started)
      if (record) this.log(record)
    })
    if (!chain.handler) {
      transport.destroy()
      return
    }
    if (!chain.tls) {
      chain.handler.onConnection(transport)
      return
    }
    this.handshake(chain, (secure) => {
      chain.connections.delete(current)
      current = secure
      chain.connections.add(current)
    })
  }

  private handshake(chain: FilterChain, replace: (secure: Transport) => void): void {
    const { transport, listener } = this
    const { stats, context } = chain.tls!.forConnection()
    if (!context) {
      transport.info.transportFailure = 'TLS error: Secret is not supplied by SDS'
      transport.destroy()
      return
    }
    let timer: Timer | undefined
    const attempt = serverTls(transport, context, {
      onSecure: (secure) => {
        timer?.cancel()
        stats.onSecure(secure.info)
        replace(secure)
        chain.handler!.onConnection(secure)
      },
      onFailed: (details) => {
        timer?.cancel()
        stats.onFailed(details)
      },
    })
    if (chain.transportSocketConnectTimeout > 0) {
      timer = listener.deps.context.runtime.after(chain.transportSocketConnectTimeout, () => {
        listener.stats.transportSocketConnectTimeout.inc()
        attempt.cancel()
        transport.destroy()
      })
    }
  }

  private record(): StreamInfo {
    return connectionStreamInfo(this.listener.deps.context.runtime, this.transport.info)
  }

  private log(record: StreamInfo): void {
    record.end = this.listener.deps.context.runtime.now()
    for (const logger of this.listener.loggers) logger.log(record)
  }
}
