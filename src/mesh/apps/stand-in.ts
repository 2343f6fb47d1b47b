import http from 'node:http'
import net from 'node:net'

/** What begins an HTTP/1 request: a method, then a space. */
const HTTP_START = /^(?:GET|HEAD|POST|PUT|DELETE|PATCH|OPTIONS|TRACE|CONNECT) /

/** A running stand-in. */
export interface StandIn {
  readonly host: string
  readonly port: number
  close(): Promise<void>
}

/**
 * Listens on a free loopback port. What speaks HTTP is answered by `handler`; any other bytes come back
 * as they were (a TCP echo), so that one stand-in serves a port of whatever protocol.
 */
export async function startStandIn(handler: http.RequestListener): Promise<StandIn> {
  const web = http.createServer({ keepAliveTimeout: 0, requestTimeout: 0, headersTimeout: 0 }, handler)
  web.on('upgrade', (_request, socket: net.Socket) => {
    socket.on('error', () => socket.destroy())
    socket.write('HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n')
    socket.pipe(socket)
  })
  const open = new Set<net.Socket>()
  const server = net.createServer({ allowHalfOpen: true }, (socket) => {
    open.add(socket)
    socket.on('close', () => open.delete(socket))
    socket.on('error', () => socket.destroy())
    socket.once('data', (first: Buffer) => {
      socket.pause()
      socket.unshift(first)
      if (HTTP_START.test(first.toString('latin1', 0, 8))) {
        socket.allowHalfOpen = false
        web.emit('connection', socket)
      } else socket.pipe(socket)
      socket.resume()
    })
  })
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(0, '127.0.0.1', resolve)
  })
  const { port } = server.address() as net.AddressInfo
  return {
    host: '127.0.0.1',
    port,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        for (const socket of open) socket.destroy()
      }),
  }
}
