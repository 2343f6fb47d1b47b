import http2 from 'node:http2'
import type net from 'node:net'
import { grpcMessage, httpStatusOf } from '../../proxy/http/local-replies.ts'
import { isGrpcContentType } from '../../proxy/http/router/route-match.ts'
import type { DoorContext } from './door.ts'
import type { Injection } from './fault-state.ts'
import { Shaper } from './shaper.ts'

const { NGHTTP2_CANCEL, NGHTTP2_INTERNAL_ERROR } = http2.constants

/** The HTTP/2 side of a door (prior knowledge), which resets streams where HTTP/1 resets connections. */
export class Http2Door {
  readonly #context: DoorContext
  readonly #server = http2.createServer()
  #app: http2.ClientHttp2Session | undefined

  constructor(context: DoorContext) {
    this.#context = context
    this.#server.on('stream', (stream, headers) => this.#stream(stream, headers))
    this.#server.on('sessionError', () => {})
  }

  /** Takes a connection; what has been read of it is put back. */
  serve(socket: net.Socket): void {
    this.#server.emit('connection', socket)
  }

  close(): void {
    this.#server.close()
    this.#app?.destroy()
  }

  #stream(stream: http2.ServerHttp2Stream, headers: http2.IncomingHttpHeaders): void {
    const { port, holds } = this.#context
    stream.on('error', () => {})
    const faults = this.#context.faults()
    const injection = faults?.ofRequest(port, {
      method: String(headers[':method'] ?? ''),
      path: String(headers[':path'] ?? ''),
      header: (name) => headers[name]?.toString(),
    })
    // A connection each, so that the next one can be refused.
    if (faults?.perRequest) stream.session?.close()
    if (injection === undefined) {
      this.#forward(stream, headers, undefined)
      return
    }
    const { delay, ending } = injection
    const wait = (ms: number | undefined, then: () => void) => {
      const giveUp = holds.hold(ms, () => {
        stream.off('close', giveUp)
        if (!stream.destroyed) then()
      })
      stream.once('close', giveUp)
    }
    const proceed = () => {
      if (ending?.kind === 'hang') wait(undefined, () => this.#forward(stream, headers, undefined))
      else if (ending?.kind === 'reset' && ending.after === 'request') stream.close(NGHTTP2_INTERNAL_ERROR)
      else if (ending?.kind === 'abort' || ending?.kind === 'grpc') abort(stream, headers, injection)
      else this.#forward(stream, headers, injection)
    }
    if (delay === 0) proceed()
    else wait(delay, proceed)
  }

  #session(): http2.ClientHttp2Session {
    if (this.#app === undefined || this.#app.closed || this.#app.destroyed) {
      const { host, port } = this.#context.app
      const session = http2.connect(`http://${host}:${port}`)
      session.on('error', () => {})
      this.#app = session
    }
    return this.#app
  }

  #forward(
    stream: http2.ServerHttp2Stream,
    headers: http2.IncomingHttpHeaders,
    injection: Injection | undefined,
  ): void {
    const request = this.#session().request(headers, { endStream: stream.readableEnded })
    const { ending, bytesPerSecond } = injection ?? {}
    const after = ending?.kind === 'reset' ? ending.after : undefined
    const cut = () => setImmediate(() => stream.close(NGHTTP2_INTERNAL_ERROR))
    request.on('error', () => stream.close(request.rstCode || NGHTTP2_INTERNAL_ERROR))
    stream.on('close', () => request.close(NGHTTP2_CANCEL))
    let trailers: http2.IncomingHttpHeaders | undefined
    request.on('trailers', (received) => {
      trailers = received
    })
    request.on('response', (received, flags) => {
      if (stream.destroyed || stream.headersSent) return
      const endStream = (flags & http2.constants.NGHTTP2_FLAG_END_STREAM) !== 0
      stream.respond({ ...received }, { endStream, waitForTrailers: !endStream })
      if (endStream) return
      if (after === 'headers' || after === 0) return void cut()
      stream.on('wantTrailers', () => {
        if (after !== undefined) cut()
        else if (trailers) stream.sendTrailers(trailers)
        else stream.close()
      })
      const cutAfter = typeof after === 'number' ? after : undefined
      if (bytesPerSecond === undefined && cutAfter === undefined) request.pipe(stream)
      else
        request.pipe(new Shaper({ runtime: this.#context.runtime, bytesPerSecond, cutAfter, onCut: cut })).pipe(stream)
    })
    stream.pipe(request)
  }
}

function abort(stream: http2.ServerHttp2Stream, headers: http2.IncomingHttpHeaders, { ending }: Injection): void {
  stream.resume()
  if (ending?.kind === 'abort') {
    const given = Object.fromEntries(ending.headers)
    const type = ending.body && given['content-type'] === undefined ? { 'content-type': 'text/plain' } : {}
    stream.respond({ ':status': ending.status, ...type, ...given }, { endStream: ending.body === '' })
    if (ending.body !== '') stream.end(ending.body)
  } else if (ending?.kind === 'grpc') {
    const grpc = { 'grpc-status': String(ending.status), 'grpc-message': grpcMessage(ending.message) }
    const asked = isGrpcContentType(headers['content-type'])
    stream.respond(
      asked
        ? { ':status': 200, 'content-type': 'application/grpc', ...grpc }
        : { ':status': httpStatusOf(ending.status), ...grpc },
      { endStream: true },
    )
  }
}
