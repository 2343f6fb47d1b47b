import http, { type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { fromJsonString, toJson } from '@bufbuild/protobuf'
import type { RateLimitRequest } from '#gen/envoy/service/ratelimit/v3/rls_pb.js'
import { registry, schemaOf } from '../xds/messages.ts'
import { dumpLimits } from './config.ts'
import type { Health } from './health.ts'
import { prometheusText } from './prometheus.ts'
import type { RateLimitService } from './service.ts'
import type { Stats } from './stats.ts'

/** An HTTP server that listens. */
export interface HttpDoor {
  /** `host:port` as bound. */
  readonly address: string
  /** Takes no more requests; resolves when those under way are answered. */
  drain(): Promise<void>
}

/** What answers a path. */
export type Route = (request: IncomingMessage, response: ServerResponse) => void | Promise<void>

/** The most that a body may have, bytes. */
const MAX_BODY = 4 * 1024 * 1024
const OVER_LIMIT = 2

/** Listens for HTTP, with an answer for each path. Rejects when the address cannot be bound. */
export async function serveHttp(
  host: string,
  port: number,
  routes: Readonly<Record<string, Route>>,
): Promise<HttpDoor> {
  const server = http.createServer((request, response) => {
    const path = (request.url ?? '/').split('?')[0]!
    const route = Object.hasOwn(routes, path) ? routes[path] : routes['*']
    if (!route) return text(response, 404, '404 page not found\n')
    Promise.resolve(route(request, response)).catch(() => {
      if (response.headersSent) response.destroy()
      else text(response, 500, 'Internal Server Error\n')
    })
  })
  const shown = host.includes(':') ? `[${host}]` : host
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      const reason = error.code === 'EADDRINUSE' ? 'the address is in use' : error.message
      reject(new Error(`cannot listen for HTTP on ${shown}:${port}: ${reason}`, { cause: error }))
    })
    server.listen(port, host, resolve)
  })
  return {
    address: `${shown}:${(server.address() as AddressInfo).port}`,
    drain: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeIdleConnections()
      }),
  }
}

/** `/json` and `/healthcheck`. */
export function serviceRoutes(service: RateLimitService, health: Health): Record<string, Route> {
  return {
    '/json': (request, response) => answerJson(service, request, response),
    '/healthcheck': (_, response) => {
      if (health.good) text(response, 200, 'OK')
      else response.writeHead(500, { 'content-length': 0 }).end()
    },
  }
}

/** What is to be seen of the running service: its limits, its counters. */
export function debugRoutes(service: RateLimitService, stats: Stats): Record<string, Route> {
  const help =
    '/metrics: print out stats for Prometheus\n' +
    '/rlconfig: print out the currently loaded configuration for debugging\n' +
    '/stats: print out stats\n'
  return {
    '*': (_, response) => text(response, 200, help),
    '/rlconfig': (_, response) => text(response, 200, service.limits ? dumpLimits(service.limits) : ''),
    '/stats': (_, response) => {
      const lines = stats.all().map(({ name, value }) => `${name}: ${value}\n`)
      text(response, 200, lines.join(''))
    },
    '/metrics': metricsRoute(stats),
  }
}

/** The counters in Prometheus' text format. */
export function metricsRoute(stats: Stats): Route {
  return (_, response) => text(response, 200, prometheusText(stats), 'text/plain; version=0.0.4; charset=utf-8')
}

/** A RateLimitRequest as proto3 JSON, for those that have no gRPC; whatever is wrong with it is a 400, as in the reference. */
async function answerJson(
  service: RateLimitService,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  try {
    const body = await bodyOf(request)
    const schema = schemaOf('envoy.service.ratelimit.v3.RateLimitRequest')
    const asked = fromJsonString(schema, body, { registry: registry() }) as unknown as RateLimitRequest
    const answer = await service.shouldRateLimit(asked)
    const json = toJson(schemaOf(answer.$typeName), answer, { registry: registry() })
    text(response, answer.overallCode === OVER_LIMIT ? 429 : 200, JSON.stringify(json), 'application/json')
  } catch {
    text(response, 400, 'Bad Request\n')
  }
}

async function bodyOf(request: IncomingMessage): Promise<string> {
  const parts: Buffer[] = []
  let length = 0
  for await (const part of request) {
    length += (part as Buffer).length
    if (length > MAX_BODY) throw new Error('the body is too long')
    parts.push(part as Buffer)
  }
  return Buffer.concat(parts).toString('utf8')
}

function text(response: ServerResponse, status: number, body: string, type = 'text/plain; charset=utf-8'): void {
  response.writeHead(status, { 'content-type': type, 'content-length': Buffer.byteLength(body) }).end(body)
}
