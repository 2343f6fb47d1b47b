import http from 'node:http'
import net from 'node:net'
import { grpcMessage, httpStatusOf } from '../../proxy/http/local-replies.ts'
import { isGrpcContentType } from '../../proxy/http/router/route-match.ts'
import type { DoorContext } from './door.ts'
import { from, join, resetSoon } from './door-tcp.ts'
import type { Injection } from './fault-state.ts'
import { Shaper } from './shaper.ts'

/** Heads as large as any sidecar lets through. */
const MAX_HEADER_SIZE = 1024 * 1024
/** What is about one connection only. */
const HOP_BY_HOP: ReadonlySet<string> = new Set(['connection', 'keep-alive', 'proxy-connection'])

/** The HTTP/1 side of a door. It does not listen: connections are given to it. */
export function serveHttp1(context: DoorContext, agent: http.Agent): http.Server {
  const server = http.createServer(
    {
      keepAliveTimeout: 0,
      requestTimeout: 0,
      headersTimeout: 0,
      maxHeaderSize: MAX_HEADER_SIZE,
      requireHostHeader: false,
    },
    (request, response) => {
      response.sendDate = false
      // A connection each, so that the next one can be refused.
      if (context.faults()?.perRequest) response.shouldKeepAlive = false
      whenDecided(request, request.socket, context, (injection) => {
        if (injection?.ending?.kind === 'abort' || injection?.ending?.kind === 'grpc')
          abort(request, response, injection)
        else forward(request, response, context, agent, injection)
      })
    },
  )
  server.maxHeadersCount = 0
  const tunnelled = (request: http.IncomingMessage, socket: net.Socket, head: Buffer) =>
    whenDecided(request, socket, context, (injection) => tunnel(request, socket, head, context, injection))
  server.on('upgrade', tunnelled)
  server.on('connect', tunnelled)
  return server
}

/** Delays, hangs and resets as decided, and calls `go` with what remains to be done. */
function whenDecided(
  request: http.IncomingMessage,
  socket: net.Socket,
  context: DoorContext,
  go: (injection: Injection | undefined) => void,
): void {
  const injection = context.faults()?.ofRequest(context.port, {
    method: request.method ?? '',
    path: request.url ?? '',
    header: (name) => {
      const value = request.headers[name]
      return Array.isArray(value) ? value.join(',') : value
    },
  })
  if (injection === undefined) {
    go(undefined)
    return
  }
  const { delay, ending } = injection
  const wait = (ms: number | undefined, then: () => void) => {
    const giveUp = context.holds.hold(ms, () => {
      socket.off('close', giveUp)
      if (!socket.destroyed) then()
    })
    socket.once('close', giveUp)
  }
  const proceed = () => {
    if (ending?.kind === 'hang') wait(undefined, () => go(undefined))
    else if (ending?.kind === 'reset' && ending.after === 'request') socket.resetAndDestroy()
    else go(injection)
  }
  if (delay === 0) proceed()
  else wait(delay, proceed)
}

function abort(request: http.IncomingMessage, response: http.ServerResponse, { ending }: Injection): void {
  request.resume()
  if (ending?.kind === 'abort') {
    const { status, body, headers } = ending
    response.writeHead(status, [
      ...headers.flat(),
      ...(body && !headers.some(([name]) => name === 'content-type') ? ['content-type', 'text/plain'] : []),
      ...(status === 204 || status === 304 ? [] : ['content-length', String(Buffer.byteLength(body))]),
    ])
    response.end(request.method === 'HEAD' || status === 204 || status === 304 ? undefined : body)
  } else if (ending?.kind === 'grpc') {
    const grpc = ['grpc-status', String(ending.status), 'grpc-message', grpcMessage(ending.message)]
    const asked = isGrpcContentType(request.headers['content-type'])
    const type = asked ? ['content-type', 'application/grpc'] : []
    response.writeHead(asked ? 200 : httpStatusOf(ending.status), [...type, ...grpc, 'content-length', '0'])
    response.end()
  }
}

function forward(
  request: http.IncomingMessage,
  response: http.ServerResponse,
  context: DoorContext,
  agent: http.Agent,
  injection: Injection | undefined,
): void {
  const { socket } = request
  const upstream = http.request({
    ...context.app,
    ...from(socket),
    agent,
    method: request.method,
    path: request.url,
    headers: withoutHopByHop(request.rawHeaders),
    setHost: false,
    maxHeaderSize: MAX_HEADER_SIZE,
  })
  // The app is gone, or broke off: so does its connection.
  upstream.on('error', () => socket.resetAndDestroy())
  upstream.on('information', ({ statusCode, headers }) => {
    if (statusCode === 103 && headers.link !== undefined) response.writeEarlyHints({ link: headers.link })
    else if (statusCode === 102) response.writeProcessing()
  })
  upstream.on('response', (answer) => {
    answer.on('error', () => socket.resetAndDestroy())
    respond(answer, response, context, injection)
  })
  response.on('close', () => upstream.destroy())
  request.pipe(upstream)
}

function respond(
  answer: http.IncomingMessage,
  response: http.ServerResponse,
  { runtime }: DoorContext,
  injection: Injection | undefined,
): void {
  const { ending, bytesPerSecond } = injection ?? {}
  const { socket } = response
  response.writeHead(answer.statusCode ?? 502, answer.statusMessage, withoutHopByHop(answer.rawHeaders))
  const after = ending?.kind === 'reset' ? ending.after : undefined
  const cut = () => socket && resetSoon(socket)
  if (after === 'headers' || after === 0) {
    response.flushHeaders()
    cut()
    return
  }
  answer.on('end', () => {
    if (answer.rawTrailers.length > 0) response.addTrailers(pairs(answer.rawTrailers))
    // Less than it was to be cut off after: then at its end.
    if (after !== undefined) cut()
  })
  const cutAfter = typeof after === 'number' ? after : undefined
  if (bytesPerSecond === undefined && cutAfter === undefined) answer.pipe(response)
  else answer.pipe(new Shaper({ runtime, bytesPerSecond, cutAfter, onCut: cut })).pipe(response)
}

/** An upgrade or a CONNECT: the head goes on as it came, and after it two streams of bytes. */
function tunnel(
  request: http.IncomingMessage,
  socket: net.Socket,
  head: Buffer,
  context: DoorContext,
  injection: Injection | undefined,
): void {
  const { ending } = injection ?? {}
  if (ending?.kind === 'abort' || ending?.kind === 'grpc') {
    const status = ending.kind === 'abort' ? ending.status : httpStatusOf(ending.status)
    const body = ending.kind === 'abort' ? ending.body : ''
    socket.end(
      `HTTP/1.1 ${status} ${http.STATUS_CODES[status] ?? ''}\r\ncontent-length: ${Buffer.byteLength(body)}\r\nconnection: close\r\n\r\n${body}`,
    )
    return
  }
  const app = net.connect({ ...context.app, ...from(socket), noDelay: true })
  app.on('error', () => socket.resetAndDestroy())
  socket.on('error', () => app.destroy())
  socket.on('close', () => app.destroy())
  const lines = [`${request.method} ${request.url} HTTP/${request.httpVersion}`]
  for (let i = 0; i + 1 < request.rawHeaders.length; i += 2)
    lines.push(`${request.rawHeaders[i]}: ${request.rawHeaders[i + 1]}`)
  app.write(Buffer.from(`${lines.join('\r\n')}\r\n\r\n`, 'latin1'))
  if (head.length > 0) app.write(head)
  join(socket, app, context, injection)
}

function withoutHopByHop(raw: readonly string[]): string[] {
  const kept: string[] = []
  for (let i = 0; i + 1 < raw.length; i += 2)
    if (!HOP_BY_HOP.has(raw[i]!.toLowerCase())) kept.push(raw[i]!, raw[i + 1]!)
  return kept
}

function pairs(raw: readonly string[]): [string, string][] {
  const out: [string, string][] = []
  for (let i = 0; i + 1 < raw.length; i += 2) out.push([raw[i]!, raw[i + 1]!])
  return out
}
