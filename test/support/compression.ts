import { once } from 'node:events'
import http from 'node:http'
import type { AddressInfo } from 'node:net'
import zlib from 'node:zlib'
import type { RawResponse } from './http.ts'

/** A body as it was before it was compressed. */
export function plain(answer: RawResponse): string {
  const bytes = Buffer.from(answer.body, 'latin1')
  const encoding = answer.headers.get('content-encoding')
  if (encoding === 'gzip') return zlib.gunzipSync(bytes).toString('latin1')
  return encoding === 'br' ? zlib.brotliDecompressSync(bytes).toString('latin1') : answer.body
}

/** A server with a handler of its own, in the place of an `Upstream` of that name. */
export async function handlerUpstream(name: string, handler: http.RequestListener) {
  const server = http.createServer(handler).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  return {
    name,
    port,
    stop() {
      server.closeAllConnections()
      server.close()
    },
  }
}

/** `GET path`: the response as a stream, once its head is there. */
export async function open(port: number, path: string, headers: Record<string, string>): Promise<http.IncomingMessage> {
  const request = http.get({ port, host: '127.0.0.1', path, headers, agent: false })
  request.on('error', () => {})
  const [response] = (await once(request, 'response')) as [http.IncomingMessage]
  return response
}
