import type net from 'node:net'
import type { Runtime, Timer } from '../../runtime.ts'
import type { AddressBook, Transport, TransportHandler } from '../listener/connection.ts'
import type { Chunk } from './chunk.ts'
import { ConnectionFacts, localAddress, remoteAddress } from './facts.ts'
import { directHandle, type StreamHandle, sharedReadBuffer, sharedView, streamBinding } from './handle.ts'
import { Output, type OutputOwner } from './output.ts'
import { atTurnEnd, enterTurn, leaveTurn, type TurnTask } from './turn.ts'

/** `shared`: direct reads into one shared buffer and direct writes. `plain`: public stream events only. */
export type TransportVariant = 'shared' | 'plain'

/** What an accepted connection is like. */
export interface AcceptOptions {
  readonly runtime: Runtime
  readonly book: AddressBook
  /** High-water mark of what waits to be written, bytes. Default 1 MiB; 0 is no limit. */
  readonly bufferLimit?: number
  /** Forces a variant; left out, the runtime decides. */
  readonly variant?: TransportVariant
}

/** How long a closed connection waits for the peer's FIN after its own. */
const lingerMs = 1000

const unset: TransportHandler = { onData() {}, onEnd() {}, onDrain() {}, onClose() {} }

/**
 * A transport over a connected socket, plain or TLS. Reading begins when a handler is set. Once made, the
 * socket belongs to it: nobody else may read, write or listen.
 */
export class SocketTransport implements Transport, OutputOwner, TurnTask {
  readonly info: ConnectionFacts
  readonly socket: net.Socket
  readonly options: AcceptOptions
  bytesRead = 0
  bytesWritten = 0
  /** It was destroyed from this side, before the peer ended it. */
  closedHere = false
  /** Bytes of the last read: what Envoy takes for what its buffer holds. */
  lastRead = 0
  readonly output: Output
  private sink: TransportHandler = unset
  private wrap: ((handler: TransportHandler) => TransportHandler) | undefined = undefined
  private readonly handle: StreamHandle | undefined
  private early: Buffer | undefined
  private started = false
  private paused = false
  private ending = false
  private closing = false
  private ended = false
  private detached = false
  private finished = false
  private endTold = false
  private told = false
  private error: string | undefined = undefined
  private linger: Timer | undefined = undefined

  constructor(socket: net.Socket, info: ConnectionFacts, options: AcceptOptions) {
    this.socket = socket
    this.info = info
    this.options = options
    this.handle = options.variant === 'plain' ? undefined : directHandle(socket)
    this.output = new Output(socket, this.handle, options.bufferLimit ?? 1024 * 1024, this)
    socket.allowHalfOpen = true
    this.early = drain(socket)
    socket.pause()
    if (this.handle !== undefined) this.readDirect(this.handle)
    else socket.on('data', this.receive).pause()
    socket.on('end', this.onSocketEnd)
    socket.on('error', this.onSocketError)
    socket.on('close', this.onSocketClose)
  }

  get handler(): TransportHandler {
    return this.sink
  }

  set handler(handler: TransportHandler) {
    this.sink = this.wrap === undefined ? handler : this.wrap(handler)
    if (this.started) return
    this.started = true
    atTurnEnd(this)
  }

  write(bytes: Uint8Array): boolean {
    if (this.ending) return true
    this.bytesWritten += bytes.length
    return this.output.write(bytes)
  }

  /** For codecs: room for `n` bytes in the buffer that leaves at the end of the turn. */
  reserve(n: number): Chunk {
    return this.output.reserve(n)
  }

  /** For codecs: `n` bytes were put there. */
  commit(n: number): boolean {
    this.bytesWritten += n
    return this.output.commit(n)
  }

  end(): void {
    if (this.ending) return
    this.ending = true
    this.output.finish()
  }

  close(): void {
    if (this.closing) return
    this.closing = true
    this.paused = false
    this.early = undefined
    this.startReading()
    this.linger = this.options.runtime.after(lingerMs, () => this.destroy())
    this.end()
    if (this.ended) this.destroyWhenWritten()
  }

  destroy(reset = false): void {
    if (this.detached) return
    this.closedHere = !this.ended && !this.finished
    this.ending = true
    this.closing = true
    this.linger?.cancel()
    this.output.close()
    this.info.detectedCloseType ??= reset ? 'LocalReset' : 'Normal'
    if (reset) this.resetSocket()
    else this.socket.destroy()
  }

  pause(): void {
    if (this.paused || this.closing) return
    this.paused = true
    if (this.started) this.stopReading()
  }

  resume(): void {
    if (!this.paused) return
    this.paused = false
    if (this.started) atTurnEnd(this)
  }

  /** Gives bytes back: they come first when reading goes on. Only before a handler is set, or within `onData`. */
  unread(bytes: Buffer): void {
    this.bytesRead -= bytes.length
    this.early = this.early === undefined ? Buffer.from(bytes) : Buffer.concat([bytes, this.early])
  }

  get hasUnread(): boolean {
    return this.early !== undefined
  }

  /** What `unread` gave back comes now, unless reading is paused: for who gives back outside `onData`. */
  redeliver(): void {
    if (this.started && !this.paused) atTurnEnd(this)
  }

  /** Handlers that are set from now on are given to `wrap`, which answers with the one to be called in their place. */
  intercept(wrap: (handler: TransportHandler) => TransportHandler): void {
    this.wrap = wrap
  }

  /** Stops and forgets the handler, so that the next one starts afresh (a peek has seen enough). */
  rewind(): void {
    this.sink = unset
    this.endTold = false
    this.started = false
    this.stopReading()
  }

  /** Takes back what `unread` gave, as if it had been delivered. */
  takeUnread(): void {
    this.bytesRead += this.early?.length ?? 0
    this.early = undefined
  }

  /** Lets go of the socket, for TLS to take over. Returns bytes that were read but not consumed. */
  detach(): Buffer | undefined {
    this.detached = true
    this.stopReading()
    this.socket.off('data', this.receive).off('end', this.onSocketEnd).off('error', this.onSocketError)
    this.socket.off('close', this.onSocketClose)
    const early = this.early
    this.early = undefined
    return early
  }

  runAtTurnEnd(): void {
    if (!this.started || this.paused || this.detached || this.told) return
    const early = this.early
    if (early !== undefined) {
      this.early = undefined
      this.receive(early)
      if (this.early !== undefined || this.paused || !this.started) return
    }
    if (this.finished) this.tellClosed()
    else if (this.ended) this.tellEnded()
    else this.startReading()
  }

  onWriteError(code: string): void {
    this.error ??= code
    this.info.detectedCloseType ??= 'RemoteReset'
    this.destroy()
  }

  onOutputDrained(): void {
    if (!this.closing) this.inTurn(drained)
  }

  onOutputFinished(): void {
    this.socket.end()
    if (this.closing && this.ended) this.destroyWhenWritten()
  }

  private readDirect(handle: StreamHandle): void {
    const state = streamBinding!.streamBaseState
    const nread = streamBinding!.kReadBytesOrError
    const others = handle.onread
    this.stopReading()
    handle.useUserBuffer(sharedReadBuffer)
    handle.onread = () => {
      const n = state[nread]!
      if (n > 0) this.receive(sharedView(n))
      else if (n < 0) others.call(handle)
    }
  }

  private readonly receive = (chunk: Buffer): void => {
    if (this.closing) return
    if (this.paused || !this.started) {
      // TLS hands over what it has decrypted, whether or not anyone reads.
      this.early = this.early === undefined ? Buffer.from(chunk) : Buffer.concat([this.early, chunk])
      return
    }
    this.bytesRead += chunk.length
    this.lastRead = chunk.length
    enterTurn()
    try {
      this.sink.onData(chunk)
    } finally {
      leaveTurn()
    }
  }

  private startReading(): void {
    const handle = this.handle
    if (handle === undefined) {
      this.socket.resume()
    } else if (!handle.reading && !this.socket.destroyed) {
      handle.reading = true
      handle.readStart()
    }
  }

  private stopReading(): void {
    const handle = this.handle
    if (handle === undefined) {
      this.socket.pause()
    } else if (handle.reading && !this.socket.destroyed) {
      handle.reading = false
      handle.readStop()
    }
  }

  private readonly onSocketEnd = (): void => {
    this.ended = true
    if (this.closing) this.destroyWhenWritten()
    else if (this.started && !this.paused) this.tellEnded()
  }

  private readonly onSocketError = (error: NodeJS.ErrnoException): void => {
    this.error ??= error.code ?? 'ECONNRESET'
    this.info.detectedCloseType ??= 'RemoteReset'
  }

  private readonly onSocketClose = (): void => {
    if (this.finished) return
    this.finished = true
    this.ending = true
    this.closing = true
    this.linger?.cancel()
    this.output.close()
    this.info.detectedCloseType ??= 'Normal'
    if (this.started) this.tellClosed()
  }

  private tellEnded(): void {
    if (this.endTold) return
    this.endTold = true
    this.inTurn(peerEnded)
  }

  private tellClosed(): void {
    if (this.told) return
    this.told = true
    this.inTurn(gone)
  }

  private inTurn(event: (transport: SocketTransport, sink: TransportHandler, error: string | undefined) => void): void {
    enterTurn()
    try {
      event(this, this.sink, this.error)
    } finally {
      leaveTurn()
    }
  }

  private destroyWhenWritten(): void {
    if (this.output.waiting === 0) this.destroy()
  }

  private resetSocket(): void {
    const handle = (this.socket as unknown as { _handle?: StreamHandle | null })._handle
    if (handle && typeof handle.reset === 'function') this.socket.resetAndDestroy()
    else {
      const below = handle?._parent
      if (below && typeof below.reset === 'function') {
        below.reset(() => {})
        // Closing already, it would never tell TLS, which closes it once more and waits.
        below.close = (told) => {
          if (told) setImmediate(told)
        }
      }
      this.socket.destroy()
    }
  }
}

const drained = (_t: SocketTransport, sink: TransportHandler): void => sink.onDrain()
const peerEnded = (_t: SocketTransport, sink: TransportHandler): void => sink.onEnd()
const gone = (_t: SocketTransport, sink: TransportHandler, error: string | undefined): void => sink.onClose(error)

/** What the socket's own buffer holds, from before the transport took over. */
function drain(socket: net.Socket): Buffer | undefined {
  if (socket.readableLength === 0) return undefined
  return (socket.read() as Buffer | null) ?? undefined
}

/** Makes a transport of a socket a server accepted. Nothing is read before it has a handler (or is peeked). */
export function acceptTransport(socket: net.Socket, options: AcceptOptions): SocketTransport {
  socket.setNoDelay(true)
  const facts = new ConnectionFacts(remoteAddress(socket, options.book), localAddress(socket, options.book))
  facts.connected = options.runtime.now()
  return new SocketTransport(socket, facts, options)
}
