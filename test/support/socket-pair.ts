import type { AddressInfo } from 'node:net'
import net from 'node:net'
import { identityBook, type Transport, type TransportHandler } from '../../src/proxy/listener/connection.ts'
import {
  acceptTransport,
  type ConnectOptions,
  connectTransport,
  type SocketTransport,
  type TransportVariant,
} from '../../src/proxy/net/transport.ts'
import { SystemRuntime } from '../../src/runtime-system.ts'

export const runtime = new SystemRuntime()

/** A handler that keeps what it is told, and lets a test wait for it. */
export class Recorder implements TransportHandler {
  received = ''
  ended = false
  drained = 0
  closed = false
  error: string | undefined = undefined
  private waiting: (() => void)[] = []

  onData(chunk: Buffer): void {
    this.received += chunk.toString('latin1')
    this.changed()
  }

  onEnd(): void {
    this.ended = true
    this.changed()
  }

  onDrain(): void {
    this.drained++
    this.changed()
  }

  onClose(error: string | undefined): void {
    this.closed = true
    this.error = error
    this.changed()
  }

  /** Resolves when the condition holds. */
  async until(condition: () => boolean): Promise<void> {
    while (!condition()) await new Promise<void>((resolve) => this.waiting.push(resolve))
  }

  private changed(): void {
    const waiting = this.waiting
    this.waiting = []
    for (const resolve of waiting) resolve()
  }
}

/** A server on a free port that gives each accepted connection as a transport. */
export class Server {
  readonly server: net.Server
  readonly accepted: SocketTransport[] = []
  onAccept: ((transport: SocketTransport) => void) | undefined = undefined
  private waiting: ((transport: SocketTransport) => void)[] = []

  constructor(variant: TransportVariant, bufferLimit?: number) {
    this.server = net.createServer({ allowHalfOpen: true }, (socket) => {
      const transport = acceptTransport(socket, {
        runtime,
        book: identityBook,
        variant,
        ...(bufferLimit === undefined ? {} : { bufferLimit }),
      })
      this.accepted.push(transport)
      this.onAccept?.(transport)
      this.waiting.shift()?.(transport)
    })
  }

  async listen(): Promise<number> {
    await new Promise<void>((resolve) => this.server.listen(0, '127.0.0.1', resolve))
    return (this.server.address() as AddressInfo).port
  }

  next(): Promise<SocketTransport> {
    return new Promise((resolve) => this.waiting.push(resolve))
  }

  close(): void {
    for (const transport of this.accepted) transport.destroy()
    this.server.close()
  }
}

/** Connects; rejects with what the attempt failed with. */
export function connect(port: number, options: Partial<ConnectOptions> = {}): Promise<Transport> {
  return new Promise((resolve, reject) => {
    connectTransport(
      { address: { ip: '127.0.0.1', port } },
      { runtime, book: identityBook, ...options },
      {
        onConnected(transport) {
          transport.handler = new Recorder()
          resolve(transport)
        },
        onFailed: (error, details) => reject(new Error(`${error}: ${details}`)),
      },
    )
  })
}

/** Both ends of a connection, each with a recorder. */
export async function socketPair(
  server: Server,
  port: number,
  variant: TransportVariant,
): Promise<{ near: Transport; far: SocketTransport; nearSees: Recorder; farSees: Recorder }> {
  const accepted = server.next()
  const near = await connect(port, { variant })
  const far = await accepted
  const farSees = new Recorder()
  far.handler = farSees
  return { near, far, nearSees: near.handler as Recorder, farSees }
}
