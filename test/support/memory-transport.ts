import type { ConnectionInfo, Transport, TransportHandler } from '../../src/proxy/listener/connection.ts'
import { ConnectionFacts } from '../../src/proxy/net/facts.ts'
import { enterTurn, leaveTurn } from '../../src/proxy/net/turn.ts'

/** A transport without a socket, for tests that feed a codec thousands of streams piece by piece. */
export class MemoryTransport implements Transport {
  readonly info: ConnectionInfo = new ConnectionFacts({ ip: '192.0.2.1', port: 1 }, { ip: '192.0.2.2', port: 2 })
  handler: TransportHandler = { onData() {}, onEnd() {}, onDrain() {}, onClose() {} }
  bytesRead = 0
  bytesWritten = 0
  /** What was written, as latin1. */
  written = ''
  /** Number of writes. */
  writes = 0
  ended = false
  closed = false
  paused = false
  /** What `write` answers. */
  room = true
  onWrite: (() => void) | undefined = undefined

  write(bytes: Uint8Array): boolean {
    this.written += Buffer.from(bytes).toString('latin1')
    this.bytesWritten += bytes.length
    this.writes++
    this.onWrite?.()
    return this.room
  }

  end(): void {
    this.ended = true
  }

  close(): void {
    this.closed = true
  }

  destroy(): void {
    this.closed = true
  }

  pause(): void {
    this.paused = true
  }

  resume(): void {
    this.paused = false
  }

  /** Bytes arrive; everything that follows from them has happened when it returns. */
  feed(text: string): void {
    this.bytesRead += text.length
    enterTurn()
    try {
      this.handler.onData(Buffer.from(text, 'latin1'))
    } finally {
      leaveTurn()
    }
  }

  /** The peer closes its side. */
  feedEnd(): void {
    enterTurn()
    try {
      this.handler.onEnd()
    } finally {
      leaveTurn()
    }
  }

  feedClose(error?: string): void {
    enterTurn()
    try {
      this.handler.onClose(error)
    } finally {
      leaveTurn()
    }
  }

  feedDrain(): void {
    this.room = true
    enterTurn()
    try {
      this.handler.onDrain()
    } finally {
      leaveTurn()
    }
  }
}
