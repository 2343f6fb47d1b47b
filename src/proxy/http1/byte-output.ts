import type { Transport } from '../listener/connection.ts'
import { type Chunk, chunkCapacity, takeChunk } from '../net/chunk.ts'
import { SocketTransport } from '../net/socket-transport.ts'
import { type Flushable, flushAtTurnEnd } from '../net/turn.ts'

/** Where codecs write: straight into the buffer that leaves at the end of the turn. */
export interface ByteOutput {
  /** A chunk with room for `n` bytes: fill it from `chunk.end`, move `end`, then `commit` what was added. */
  reserve(n: number): Chunk
  /** False: above the high-water mark; the transport's `onDrain` follows. */
  commit(n: number): boolean
  /** Hands on what is buffered here; for use before `end` and `close`. */
  flush(): void
}

/** The output of a transport: its own if it has one, else one that collects and calls `write`. */
export function byteOutput(transport: Transport): ByteOutput {
  return transport instanceof SocketTransport ? new SocketOutput(transport) : new CollectingOutput(transport)
}

class SocketOutput implements ByteOutput {
  private readonly transport: SocketTransport

  constructor(transport: SocketTransport) {
    this.transport = transport
  }

  reserve(n: number): Chunk {
    return this.transport.reserve(n)
  }

  commit(n: number): boolean {
    return this.transport.commit(n)
  }

  flush(): void {}
}

class CollectingOutput implements ByteOutput, Flushable {
  private chunk: Chunk = takeChunk(chunkCapacity)
  private asked = false
  private room = true
  private readonly transport: Transport

  constructor(transport: Transport) {
    this.transport = transport
  }

  reserve(n: number): Chunk {
    if (this.chunk.end + n > this.chunk.buf.length) this.flush()
    if (n > this.chunk.buf.length) this.chunk = takeChunk(n)
    return this.chunk
  }

  commit(_n: number): boolean {
    if (!this.asked) {
      this.asked = true
      flushAtTurnEnd(this)
    }
    return this.room
  }

  flush(): void {
    this.asked = false
    if (this.chunk.end === 0) return
    this.room = this.transport.write(this.chunk.filled())
    this.chunk.end = 0
  }
}
