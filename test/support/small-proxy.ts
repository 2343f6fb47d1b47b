import type {
  ClientStream,
  ClientStreamHandler,
  ServerConnectionHandler,
  ServerStream,
  ServerStreamHandler,
} from '../../src/proxy/http/codec.ts'
import { type HeaderMap, headerName, type RequestHead, ResponseHead } from '../../src/proxy/http/headers.ts'

const CONNECTION = headerName('connection')
const DATE = headerName('date')
const EXPECT = headerName('expect')
const SERVER = headerName('server')
const TE = headerName('te')
const UPGRADE = headerName('upgrade')
const X_FORWARDED_PROTO = headerName('x-forwarded-proto')
const hopByHop = ['connection', 'upgrade', 'keep-alive', 'proxy-connection', 'transfer-encoding'].map((n) =>
  headerName(n),
)

/** What every response has beside its own headers; the codec's own replies get it too. */
export function decorate(head: ResponseHead): void {
  head.set(DATE, 'D')
  head.set(SERVER, 'envoy')
}

/** Gives a client stream for the next request. */
export type Upstream = (handler: ClientStreamHandler) => ClientStream

/**
 * The least of a proxy between the two codecs: enough of the connection manager that requests and answers
 * can be compared with those of a real Envoy.
 */
export function smallProxy(upstream: Upstream, options: { upgrades?: boolean } = {}): ServerConnectionHandler {
  return {
    onRequest: (stream, head, end) => new Exchange(stream, upstream, options.upgrades ?? false).begin(head, end),
    onCodecError() {},
    onClose() {},
  }
}

class Exchange implements ServerStreamHandler {
  private client: ClientStream | undefined = undefined
  private readonly stream: ServerStream
  private readonly upstream: Upstream
  private readonly upgrades: boolean

  constructor(stream: ServerStream, upstream: Upstream, upgrades: boolean) {
    this.stream = stream
    this.upstream = upstream
    this.upgrades = upgrades
    stream.handler = this
  }

  begin(head: RequestHead, end: boolean): void {
    const upgrade = head.has(UPGRADE) && head.hasToken(CONNECTION, 'upgrade')
    const refusal = this.refusal(head, upgrade)
    if (refusal !== 0) {
      this.answer(refusal, refusal === 400)
      return
    }
    if (head.get(EXPECT) === '100-continue') {
      head.remove(EXPECT)
      this.stream.sendInterim(ResponseHead.create(100))
    }
    if (!upgrade) for (const name of hopByHop) head.remove(name)
    if (head.has(TE)) head.set(TE, 'trailers')
    if (!head.has(X_FORWARDED_PROTO)) head.add(X_FORWARDED_PROTO, 'http')
    this.client = this.upstream(new Answer(this.stream, this))
    this.client.sendHeaders(head, end)
  }

  private refusal(head: RequestHead, upgrade: boolean): number {
    if (!head.hasAuthority) return 400
    if (this.upgrades) return 0
    if (!head.path.startsWith('/')) return 404
    return upgrade ? 403 : 0
  }

  answer(status: number, close: boolean): void {
    const head = ResponseHead.create(status)
    decorate(head)
    if (close) this.stream.connection.drain()
    this.stream.sendHeaders(head, true)
  }

  onData(chunk: Uint8Array, end: boolean): void {
    if (this.client?.sendData(chunk, end) === false) this.stream.pauseReading()
  }

  onTrailers(trailers: HeaderMap): void {
    this.client?.sendTrailers(trailers)
  }

  onReset(): void {
    this.client?.reset()
  }

  onWritable(): void {
    this.client?.resumeReading()
  }

  /** The answer is further than the client takes it. */
  hold(): void {
    this.client?.pauseReading()
  }
}

class Answer implements ClientStreamHandler {
  private readonly stream: ServerStream
  private readonly exchange: Exchange
  private started = false

  constructor(stream: ServerStream, exchange: Exchange) {
    this.stream = stream
    this.exchange = exchange
  }

  onInterim(): void {}

  onHeaders(head: ResponseHead, end: boolean): void {
    this.started = true
    if (head.status !== 101) head.remove(CONNECTION)
    decorate(head)
    this.stream.sendHeaders(head, end)
  }

  onData(chunk: Uint8Array, end: boolean): void {
    if (!this.stream.sendData(chunk, end)) this.exchange.hold()
  }

  onTrailers(trailers: HeaderMap): void {
    this.stream.sendTrailers(trailers)
  }

  onReset(): void {
    if (this.started) this.stream.reset('protocol error')
    else this.exchange.answer(502, false)
  }

  onWritable(): void {
    this.stream.resumeReading()
  }
}
