import http from 'node:http'
import http2 from 'node:http2'
import net from 'node:net'

/** What begins an HTTP/1 request: a method, then a space. */
const HTTP_START = /^(?:GET|HEAD|POST|PUT|DELETE|PATCH|OPTIONS|TRACE|CONNECT) /

/** What begins HTTP/2 with prior knowledge. */
const HTTP2_START = 'PRI * HT'

/** A running stand-in. */
export interface StandIn {
  readonly host: string
  readonly port: number
  close(): Promise<void>
  /** Closes as a crash would: connections are reset. */
  kill(): Promise<void>
}

/**
 * Listens on a free loopback port. What speaks HTTP, 1 or 2, is answered by `handler`; any other bytes come back
 * as they were (a TCP echo), so that one stand-in serves a port of whatever protocol.
 */
export async function startStandIn(handler: http.RequestListener): Promise<StandIn> {
  const web = http.createServer({ keepAliveTimeout: 0, requestTimeout: 0, headersTimeout: 0 }, handler)
  web.on('upgrade', (_request, socket: net.Socket) => {
    socket.on('error', () => socket.destroy())
    socket.write('HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n')
    socket.pipe(socket)
  })
  // node:http2 gives handlers requests and responses in the manner of node:http.
  const web2 = http2.createServer(
    handler as unknown as (q: http2.Http2ServerRequest, s: http2.Http2ServerResponse) => void,
  )
  web2.on('sessionError', () => {})
  const open = new Set<net.Socket>()
  const server = net.createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
    open.add(socket)
    socket.on('close', () => open.delete(socket))
    socket.on('error', () => socket.destroy())
    socket.once('data', (first: Buffer) => {
      socket.pause()
      socket.unshift(first)
      const start = first.toString('latin1', 0, 8)
      if (HTTP_START.test(start)) {
        socket.allowHalfOpen = false
        web.emit('connection', socket)
      } else if (start === HTTP2_START) {
        socket.allowHalfOpen = false
        // It takes what was put back by itself, and must not be resumed.
        web2.emit('connection', socket)
        return
      } else socket.pipe(socket)
      socket.resume()
    })
  })
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(0, '127.0.0.1', resolve)
  })
  const { port } = server.address() as net.AddressInfo
  const close = (end: (socket: net.Socket) => void) =>
    new Promise<void>((resolve) => {
      server.close(() => resolve())
      for (const socket of open) end(socket)
    })
  return {
    host: '127.0.0.1',
    port,
    close: () => close((socket) => socket.destroy()),
    kill: () => close((socket) => socket.resetAndDestroy()),
  }
}
