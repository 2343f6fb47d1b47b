import type { Message } from '@bufbuild/protobuf'
import type { ConnectionHandler, ListenerContext, ProxyContext } from '../context.ts'
import type { SocketTransport } from '../net/transport.ts'
import type { StreamInfo } from '../stream-info.ts'
import { sharedStreamInfo } from '../tcp/stream-info.ts'
import type { Transport, TransportHandler } from './connection.ts'

/** What a read filter answers: whether the filters after it may see what it was shown (envoy/network/filter.h FilterStatus). */
export type FilterStatus = 'continue' | 'stop'

/** A network filter that stands before the last one of its chain. */
export interface ReadFilter {
  /** Called once, before any byte. `stop`: the filters after it hear of the connection when it calls `continueReading`. */
  onNewConnection(): FilterStatus
  /** All that is read and not passed on; after `stop` it comes again with what follows. `end`: the peer has half-closed, and may. */
  onData(data: Buffer, end: boolean): FilterStatus
  /** The connection is gone. */
  onClose?(): void
}

/** What a read filter may do with its connection (envoy/network/filter.h ReadFilterCallbacks). */
export interface ReadFilterCallbacks {
  readonly transport: Transport
  /** The record of the connection, which its log lines and the filters after this one read. */
  readonly info: StreamInfo
  /** Goes on after this filter. */
  continueReading(): void
}

/** Makes the filter of one connection. */
export type ReadFilterMaker = (callbacks: ReadFilterCallbacks) => ReadFilter

/** Builds a read filter from its unpacked config. Throws ConfigError. */
export type ReadFilterFactory = (config: Message, context: ProxyContext, listener: ListenerContext) => ReadFilterMaker

/** Puts read filters before the filter that ends the chain; without any, that filter stays as it is. */
export function withReadFilters(
  makers: readonly ReadFilterMaker[],
  last: ConnectionHandler,
  context: ProxyContext,
  listener: ListenerContext,
): ConnectionHandler {
  if (makers.length === 0) return last
  return {
    onConnection(transport) {
      // What comes out of the acceptance of connections are sockets, with TLS or without.
      new ReadChain(makers, last, transport as SocketTransport, context, listener).start()
    },
    readsLater: last.readsLater ?? false,
    onNeverReached: (transport, secure) => last.onNeverReached?.(transport, secure),
    whenWarm: (ready) => last.whenWarm(ready),
    ...(last.whenDiscovered ? { whenDiscovered: (ready: () => void) => last.whenDiscovered?.(ready) } : {}),
    close: () => last.close(),
    get connections() {
      return last.connections
    },
  }
}

interface Entry {
  readonly filter: ReadFilter
  begun: boolean
}

/**
 * The read filters of one connection (source/common/network/filter_manager_impl.cc): each is told of the connection and
 * shown its bytes before the next. Stands between the transport and the handler that the last filter sets.
 */
class ReadChain implements TransportHandler {
  private readonly transport: SocketTransport
  private readonly last: ConnectionHandler
  private readonly limit: number
  private readonly entries: Entry[]
  private next: TransportHandler | undefined
  private lastBegun = false
  /** Read, and held back by a filter. */
  private held: Buffer | undefined
  /** Bytes that every filter has let pass, but that the last one was not ready to take. */
  private cleared = 0
  private ended = false
  private closed = false
  private pausedHere = false

  constructor(
    makers: readonly ReadFilterMaker[],
    last: ConnectionHandler,
    transport: SocketTransport,
    context: ProxyContext,
    listener: ListenerContext,
  ) {
    this.transport = transport
    this.last = last
    this.limit = listener.perConnectionBufferLimit || Number.POSITIVE_INFINITY
    const info = sharedStreamInfo(context.runtime, transport.info)
    info.listenerName ??= listener.name
    this.entries = makers.map((make, i) => ({
      filter: make({ transport, info, continueReading: () => this.proceed(i + 1) }),
      begun: false,
    }))
  }

  start(): void {
    if (this.last.readsLater) this.transport.pause()
    this.transport.handler = this
    this.transport.intercept((handler) => {
      this.next = handler
      return this
    })
    this.proceed(0)
  }

  /** Runs the filters from the one with this index on. */
  private proceed(from: number): void {
    if (this.closed) return
    const data = this.held
    if (!this.pass(from, data ?? NOTHING, this.ended)) return
    this.held = undefined
    if (data !== undefined) this.giveOn(data)
    if (this.pausedHere) {
      this.pausedHere = false
      this.transport.resume()
    }
    this.transport.redeliver()
    if (this.ended && data === undefined) this.next?.onEnd()
  }

  /** Shows all filters from an index on what there is; true when the last of them may have it. */
  private pass(from: number, data: Buffer, end: boolean): boolean {
    for (let i = from; i < this.entries.length; i++) {
      const entry = this.entries[i]!
      if (!entry.begun) {
        entry.begun = true
        if (entry.filter.onNewConnection() === 'stop' || this.closed) return false
      }
      if ((data.length > 0 || end) && (entry.filter.onData(data, end) === 'stop' || this.closed)) return false
    }
    if (!this.lastBegun) {
      this.lastBegun = true
      this.last.onConnection(this.transport)
    }
    return true
  }

  onData(chunk: Buffer): void {
    let fresh = chunk
    if (this.cleared > 0) {
      const known = Math.min(this.cleared, chunk.length)
      this.cleared -= known
      this.next?.onData(known === chunk.length ? chunk : chunk.subarray(0, known))
      if (known === chunk.length) {
        if (this.ended && this.cleared === 0 && this.held === undefined) this.next?.onEnd()
        return
      }
      fresh = chunk.subarray(known)
    }
    const data = this.held === undefined ? fresh : Buffer.concat([this.held, fresh])
    const waited = !this.lastBegun
    if (!this.pass(0, data, false)) {
      this.held = data === fresh ? Buffer.from(fresh) : data
      if (this.held.length < this.limit || this.closed) return
      this.pausedHere = true
      this.transport.pause()
      return
    }
    this.held = undefined
    if (waited) {
      this.giveOn(data)
    } else {
      this.next?.onData(data)
    }
  }

  onEnd(): void {
    this.ended = true
    const data = this.held
    if (this.last.endCloses) {
      // Filters are not shown such an end (source/common/network/connection_impl.cc onReadReady), and nothing waits for one.
      if (this.lastBegun && data === undefined) {
        this.next?.onEnd()
      } else {
        this.closed = true
        this.transport.destroy()
      }
      return
    }
    if (!this.pass(0, data ?? NOTHING, true)) return
    this.held = undefined
    if (data === undefined) this.next?.onEnd()
    else this.giveOn(data)
  }

  /** The last filter may want to wait, so that bytes which were held back go the ordinary way. */
  private giveOn(data: Buffer): void {
    this.cleared += data.length
    this.transport.unread(data)
    this.transport.redeliver()
  }

  onDrain(): void {
    this.next?.onDrain()
  }

  onClose(error: string | undefined): void {
    this.closed = true
    for (const { filter } of this.entries) filter.onClose?.()
    if (!this.lastBegun) this.last.onNeverReached?.(this.transport)
    this.next?.onClose(error)
  }
}

const NOTHING = Buffer.alloc(0)
