import { once } from 'node:events'
import http from 'node:http'
import type net from 'node:net'

/** A server of a test that a pod has for its app. */
export interface App {
  /** The annotation of a pod whose port 9080 it is. */
  readonly annotation: string
  readonly port: number
  /** What came, in order. */
  readonly requests: http.IncomingMessage[]
  close(): Promise<void>
}

/** Starts an HTTP server on a free port; `handler` gets the number of the request, from 1. */
export async function startApp(
  handler: (request: http.IncomingMessage, response: http.ServerResponse, count: number) => void,
): Promise<App> {
  const requests: http.IncomingMessage[] = []
  const server = http.createServer((request, response) => {
    requests.push(request)
    handler(request, response, requests.length)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as net.AddressInfo
  return {
    annotation: `dinghy.dev/app: "9080=127.0.0.1:${port}"`,
    port,
    requests,
    async close() {
      server.closeAllConnections()
      server.close()
      await once(server, 'close')
    },
  }
}
