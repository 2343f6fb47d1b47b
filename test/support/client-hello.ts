import net from 'node:net'
import tls from 'node:tls'

/** The first bytes that a TLS client sends. */
export async function clientHello(options: tls.ConnectionOptions): Promise<Buffer> {
  const server = net.createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as net.AddressInfo
  const hello = new Promise<Buffer>((resolve) => {
    server.once('connection', (socket) => socket.once('data', (data) => resolve(data)))
  })
  const client = tls.connect({ port, host: '127.0.0.1', rejectUnauthorized: false, ...options })
  client.on('error', () => {})
  const bytes = await hello
  client.destroy()
  server.close()
  return bytes
}
