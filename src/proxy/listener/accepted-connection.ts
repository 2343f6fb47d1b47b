import type { Timer } from '../../runtime.ts'
import { type SocketTransport, serverTls } from '../net/transport.ts'
import type { StreamInfo } from '../stream-info.ts'
import { sharedStreamInfo } from '../tcp/stream-info.ts'
import type { Transport, TransportHandler } from './connection.ts'
import type { FilterChain } from './filter-chain.ts'
import type { Incoming } from './incoming.ts'
import type { Listener } from './listener.ts'
import type { ListenerFilter } from './listener-filters.ts'

/**
 * The way of one connection from `accept` to its filter chain: listener filters in order, hand-off to the listener
 * of the original destination, the choice of the chain, TLS (source/common/listener_manager/active_tcp_socket.cc).
 * A listener without filters that read goes through all of it in one turn, without looking at a byte. What filters
 * have read goes back to the transport, so that it comes first to whoever takes the connection.
 */
export class AcceptedConnection implements TransportHandler {
  private readonly listener: Listener
  private readonly transport: SocketTransport
  private readonly incoming: Incoming
  private readonly handOff: boolean
  /** Undefined: the config of one is missing. */
  private readonly filters: readonly ListenerFilter[] | undefined
  private next = 0
  private seen: Buffer | undefined
  private inspecting = false
  private timer: Timer | undefined

  /** `handOff`: whether another listener may get the connection. */
  constructor(listener: Listener, transport: SocketTransport, incoming: Incoming, handOff: boolean) {
    this.listener = listener
    this.transport = transport
    this.incoming = incoming
    this.handOff = handOff
    this.filters = listener.filters.current
  }

  /** Runs filters up to the one that wants to see more. */
  run(): void {
    const { filters } = this
    if (filters === undefined) {
      this.listener.stats.extensionConfigMissing.inc()
      this.transport.destroy()
      return
    }
    while (this.next < filters.length) {
      const filter = filters[this.next]!
      if (!filter.disabled(this.incoming)) {
        let step = filter.onAccept(this.incoming)
        if (step === 'more' && this.seen !== undefined) step = this.show()
        if (step === 'more') {
          this.inspect()
          return
        }
        if (step === 'close') {
          this.drop()
          return
        }
      }
      this.next++
    }
    this.leaveFilters()
    this.dispatch()
  }

  /** Shows the present filter all that is not consumed. */
  private show(): 'more' | 'done' | 'close' {
    const rest = this.seen!.subarray(this.incoming.consumed)
    if (rest.length === 0) return 'more'
    return this.filters![this.next]!.onData(this.incoming, rest)
  }

  private inspect(): void {
    if (this.inspecting) return
    const { listener } = this
    this.inspecting = true
    listener.stats.preCxActive.inc()
    if (listener.filtersTimeout > 0) {
      this.timer = listener.deps.context.runtime.after(listener.filtersTimeout, () => this.onTimeout())
    }
    this.transport.handler = this
  }

  onData(chunk: Buffer): void {
    this.seen = this.seen === undefined ? Buffer.from(chunk) : Buffer.concat([this.seen, chunk])
    const step = this.show()
    if (step === 'close') {
      this.drop()
    } else if (step === 'done') {
      this.next++
      this.run()
    }
  }

  onEnd(): void {
    this.listener.stats.filterRemoteClose.inc()
    this.drop()
  }

  onDrain(): void {}

  onClose(error: string | undefined): void {
    if (!this.inspecting) return
    const { stats } = this.listener
    ;(error === undefined ? stats.filterRemoteClose : stats.filterError).inc()
    this.drop()
  }

  private onTimeout(): void {
    this.listener.stats.preCxTimeout.inc()
    if (!this.listener.continueOnTimeout) {
      this.drop()
      return
    }
    this.leaveFilters()
    this.dispatch()
  }

  /** Inspection is over: the bytes go back, less what a filter has taken out of them. */
  private leaveFilters(): void {
    if (!this.inspecting) return
    this.inspecting = false
    this.timer?.cancel()
    this.listener.stats.preCxActive.dec()
    this.transport.rewind()
    const rest = this.seen?.subarray(this.incoming.consumed)
    if (rest !== undefined && rest.length > 0) this.transport.unread(rest)
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
        owner.admit(transport, incoming.handedOver(), false)
        return
      }
    }
    if (incoming.transportProtocol === '') incoming.transportProtocol = 'raw_buffer'
    const { info } = transport
    info.local = incoming.local
    info.remote = incoming.remote
    info.sni = incoming.sni
    info.proxyTlvs = incoming.proxyTlvs
    const chain = listener.matcher.find(incoming)
    if (chain) {
      this.enter(chain)
      return
    }
    listener.stats.noFilterChainMatch.inc()
    const record = this.record()
    record.flags.push('NR')
    record.responseCodeDetails = 'filter_chain_not_found'
    // The kernel resets a connection that is closed with bytes unread; those that a filter has read count as unread.
    transport.destroy(this.seen !== undefined && this.seen.length > incoming.consumed)
    this.log(record)
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
    // Before the transport's own, so that the listener's log line comes before the filter's.
    transport.socket.prependOnceListener('close', () => {
      stats.cxDestroy.inc()
      stats.cxActive.dec()
      stats.workerCxActive.dec()
      stats.cxLength.record(runtime.now() - started)
      if (record) this.log(record)
      chain.left(current)
    })
    if (!chain.handler || chain.handler.refuses?.() === true) transport.destroy()
    else if (!chain.tls) chain.handler.onConnection(transport)
    else {
      this.handshake(chain, (secure) => {
        chain.connections.delete(current)
        current = secure
        chain.connections.add(current)
        chain.handler!.onConnection(secure)
      })
    }
  }

  private handshake(chain: FilterChain, secured: (secure: Transport) => void): void {
    const { transport, listener } = this
    const tls = chain.tls!
    const options = tls.options()
    if (!options) {
      transport.info.transportFailure = 'TLS error: Secret is not supplied by SDS'
      tls.stats.missingSecret()
      chain.handler?.onNeverReached?.(transport, true)
      // With the ClientHello unread, as above.
      transport.destroy(this.seen !== undefined && this.seen.length > this.incoming.consumed)
      return
    }
    let timer: Timer | undefined
    // Envoy goes on without ALPN when there is nothing in common; who has not looked at the ClientHello cannot know.
    const { transportProtocol, applicationProtocols } = this.incoming
    const clientAlpn = transportProtocol === 'tls' ? applicationProtocols : undefined
    const attempt = serverTls(
      transport,
      { ...options, clientAlpn },
      {
        onSecure(secure) {
          timer?.cancel()
          tls.stats.onSecure(secure.info.tls)
          secured(secure)
        },
        onFailed(details) {
          timer?.cancel()
          tls.stats.onFailed(details)
          chain.handler?.onNeverReached?.(transport, true)
        },
      },
    )
    if (chain.transportSocketConnectTimeout > 0) {
      timer = listener.deps.context.runtime.after(chain.transportSocketConnectTimeout, () => {
        listener.stats.transportSocketConnectTimeout.inc()
        attempt.cancel()
        transport.socket.destroy()
      })
    }
  }

  private record(): StreamInfo {
    return sharedStreamInfo(this.listener.deps.context.runtime, this.transport.info)
  }

  private log(record: StreamInfo): void {
    record.listenerName ??= this.listener.name
    record.end = this.listener.deps.context.runtime.now()
    for (const logger of this.listener.loggers) logger.log(record)
  }
}
