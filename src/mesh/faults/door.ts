import http from 'node:http'
import net from 'node:net'
import type { Runtime } from '../../runtime.ts'
import type { SocketAddress } from '../address-book.ts'
import { serveHttp1 } from './door-http1.ts'
import { Http2Door } from './door-http2.ts'
import { serveTcp } from './door-tcp.ts'
import type { FaultState } from './fault-state.ts'
import type { Holds } from './holds.ts'

/** What begins HTTP/1 and HTTP/2. */
const HTTP1_START = /^[A-Z]{3,20} /
const HTTP2_START = 'PRI * HTTP/2.0'
/** How long a connection may say nothing before it is taken for one whose server speaks first, ms. */
const SILENCE_MS = 50

/** What the handlers of a door's connections work with. */
export interface DoorContext {
  /** The container port. */
  readonly port: number
  readonly app: SocketAddress
  readonly runtime: Runtime
  readonly holds: Holds
  /** The faults that are set now, if any. */
  faults(): FaultState | undefined
}

/**
 * Stands between a sidecar and its app while the app has faults, and does to requests and connections what the
 * faults say; without them it passes everything on.
 */
export class FaultDoor {
  readonly address: SocketAddress
  readonly #context: DoorContext
  readonly #server: net.Server
  readonly #http1: http.Server
  readonly #http2: Http2Door
  readonly #agent: http.Agent
  readonly #open: Set<net.Socket>

  private constructor(
    context: DoorContext,
    server: net.Server,
    http1: http.Server,
    http2: Http2Door,
    agent: http.Agent,
    open: Set<net.Socket>,
  ) {
    this.#context = context
    this.#server = server
    this.#http1 = http1
    this.#http2 = http2
    this.#agent = agent
    this.#open = open
    const { port } = server.address() as net.AddressInfo
    this.address = { host: '127.0.0.1', port }
  }

  /** Opens the door of one container port, on a free loopback port. */
  static async open(context: DoorContext): Promise<FaultDoor> {
    const agent = new http.Agent({ keepAlive: true })
    const http1 = serveHttp1(context, agent)
    const http2 = new Http2Door(context)
    const open = new Set<net.Socket>()
    const server = net.createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
      open.add(socket)
      socket.on('close', () => open.delete(socket))
      socket.on('error', () => socket.destroy())
      sniff(socket, context, (protocol) => {
        if (protocol === 'tcp') serveTcp(socket, context)
        else {
          socket.allowHalfOpen = false
          if (protocol === 'http1') {
            http1.emit('connection', socket)
            socket.resume()
          } else http2.serve(socket)
        }
      })
    })
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject)
      server.listen(0, '127.0.0.1', resolve)
    })
    return new FaultDoor(context, server, http1, http2, agent, open)
  }

  /** Ends every connection as a crash would. */
  reset(): void {
    for (const socket of this.#open) socket.resetAndDestroy()
  }

  async close(): Promise<void> {
    this.#context.holds.release()
    this.#http1.close()
    this.#http2.close()
    this.#agent.destroy()
    await new Promise<void>((resolve) => {
      this.#server.close(() => resolve())
      this.reset()
    })
  }
}

/** By the first bytes: a sidecar sends a request's at once, so whoever stays silent waits for the server. */
function sniff(
  socket: net.Socket,
  { runtime }: DoorContext,
  found: (protocol: 'http1' | 'http2' | 'tcp') => void,
): void {
  const settle = (protocol: 'http1' | 'http2' | 'tcp', first?: Buffer) => {
    timer.cancel()
    socket.off('data', spoken)
    socket.off('end', silent)
    socket.off('close', gone)
    socket.pause()
    if (first) socket.unshift(first)
    found(protocol)
  }
  const spoken = (first: Buffer) => {
    const text = first.toString('latin1', 0, 24)
    settle(text.startsWith(HTTP2_START) ? 'http2' : HTTP1_START.test(text) ? 'http1' : 'tcp', first)
  }
  const silent = () => settle('tcp')
  const gone = () => timer.cancel()
  const timer = runtime.after(SILENCE_MS, silent)
  socket.on('data', spoken)
  socket.on('end', silent)
  socket.on('close', gone)
}
