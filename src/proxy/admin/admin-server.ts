import http from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Address } from '../listener/connection.ts'
import type { AdminHandler, AdminResponse } from './handler.ts'
import { ready } from './ready.ts'
import type { AdminView } from './view.ts'

/** The admin interface of one proxy (source/server/admin/admin.cc). */
export class AdminServer {
  private readonly server: http.Server
  private readonly view: AdminView

  constructor(view: AdminView) {
    this.view = view
    this.server = http.createServer((request, response) => {
      this.answer(request).then(
        (answer) => send(response, answer),
        (error: unknown) =>
          send(response, { status: 500, body: `${error instanceof Error ? error.message : error}\n` }),
      )
    })
  }

  /** Resolves with the address that is bound. Rejects with the system's error. */
  listen(host: string, port: number): Promise<Address> {
    return new Promise((resolve, reject) => {
      this.server.once('error', reject)
      this.server.listen({ host, port }, () => {
        this.server.off('error', reject).on('error', () => {})
        const bound = this.server.address() as AddressInfo
        resolve({ ip: bound.address, port: bound.port })
      })
    })
  }

  /** Stops at once; answers under way are cut. */
  close(): Promise<void> {
    return new Promise((resolve) => {
      this.server.close(() => resolve())
      this.server.closeAllConnections()
    })
  }

  private async answer(request: http.IncomingMessage): Promise<AdminResponse> {
    const target = request.url ?? '/'
    const mark = target.indexOf('?')
    const path = mark < 0 ? target : target.slice(0, mark)
    let handler: AdminHandler | undefined = ready
    if (path !== ready.path) {
      // Loaded when first asked for: a proxy that serves should not have waited for it.
      const { handlers, helpText } = await import('./handlers.ts')
      handler = handlers.find((h) => h.path === path)
      if (!handler) return { status: 404, body: `invalid path. ${helpText()}` }
    }
    const method = request.method ?? 'GET'
    if (handler.mutates && method !== 'POST') {
      return { status: 405, body: `Method ${method} not allowed, POST required.` }
    }
    return handler.run(this.view, new URLSearchParams(mark < 0 ? '' : target.slice(mark + 1)))
  }
}

function send(response: http.ServerResponse, answer: AdminResponse): void {
  response.writeHead(answer.status, {
    'content-type': answer.contentType ?? 'text/plain; charset=UTF-8',
    'cache-control': 'no-cache, max-age=0',
    'x-content-type-options': 'nosniff',
  })
  response.end(answer.body)
}
