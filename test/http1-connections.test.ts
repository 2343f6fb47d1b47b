import { describe, expect, test } from 'vitest'
import type { ServerStream } from '../src/proxy/http/codec.ts'
import { HeaderMap, headerName, ResponseHead } from '../src/proxy/http/headers.ts'
import { createServerConnection } from '../src/proxy/http1/server.ts'
import { type Http1Settings, http1Settings } from '../src/proxy/http1/settings.ts'
import { TestRuntime } from '../src/runtime-test.ts'
import { Pair, settled, statusesIn } from './support/http1-pair.ts'
import { MemoryTransport } from './support/memory-transport.ts'
import { decorate } from './support/small-proxy.ts'

const get = 'GET / HTTP/1.1\r\nhost: a\r\n\r\n'

/** A server connection whose requests the test answers by hand. */
class Server {
  readonly transport = new MemoryTransport()
  readonly runtime = new TestRuntime()
  readonly streams: ServerStream[] = []
  readonly events: string[] = []
  readonly connection

  constructor(settings: Partial<Http1Settings> = {}) {
    this.connection = createServerConnection(this.transport, http1Settings(this.runtime, { decorate, ...settings }), {
      onRequest: (stream, head, end) => {
        this.events.push(`${head.method} ${head.path}${end ? ' end' : ''}`)
        this.streams.push(stream)
        stream.handler = {
          onData: (chunk, last) => this.events.push(`data ${Buffer.from(chunk).toString()}${last ? ' end' : ''}`),
          onTrailers: (trailers) =>
            trailers.forEach((name, value) => {
              this.events.push(`trailer ${name}=${value}`)
            }),
          onReset: (why) => this.events.push(`reset ${JSON.stringify(why)}`),
          onWritable: () => this.events.push('writable'),
        }
      },
      onCodecError: (error) => this.events.push(`error ${error.status} ${error.details} ${error.bytesSent}`),
      onClose: () => this.events.push('closed'),
    })
  }

  answer(i: number, body: string, headers: Record<string, string> = {}, status = 200): void {
    const head = ResponseHead.create(status)
    for (const [name, value] of Object.entries(headers)) head.add(headerName(name), value)
    this.streams[i]!.sendHeaders(head, body === '')
    if (body !== '') this.streams[i]!.sendData(Buffer.from(body), true)
  }
}

describe('pipelining', () => {
  test('requests wait for the answer to the one before, and reading stops meanwhile', async () => {
    const server = new Server()
    server.transport.feed(get + get.replace('/ ', '/2 '))
    expect(server.events).toEqual(['GET / end'])
    expect(server.transport.paused).toBe(true)
    server.answer(0, 'one', { 'content-length': '3' })
    await settled()
    expect(server.events).toEqual(['GET / end', 'GET /2 end'])
    expect(server.transport.paused).toBe(false)
    server.answer(1, 'two', { 'content-length': '3' })
    await settled()
    expect(server.transport.written).toBe(
      'HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\noneHTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\ntwo',
    )
  })

  test('answers that are there at once leave in one write', async () => {
    const pair = new Pair()
    pair.down.feed('GET x HTTP/1.1\r\nhost: a\r\n\r\n'.replace('x', '/').repeat(1) + get.repeat(2))
    await settled()
    expect(statusesIn(pair.down.written)).toBe('200 200 200')
    const local = new Pair()
    local.down.feed('OPTIONS * HTTP/1.1\r\nhost: a\r\n\r\n'.repeat(20))
    expect(statusesIn(local.down.written)).toBe(Array(20).fill('404').join(' '))
    expect(local.down.writes).toBe(1)
  })

  test('a head and its body leave in one write', async () => {
    const pair = new Pair()
    pair.down.feed(get)
    await settled()
    expect(pair.down.writes).toBe(1)
    expect(pair.ups[0]!.writes).toBe(1)
  })

  test('an answer to an old stream does not reach a later one', async () => {
    const server = new Server()
    server.transport.feed(get)
    server.answer(0, '')
    server.transport.feed(get)
    server.answer(0, 'again')
    server.streams[0]!.reset('local reset')
    await settled()
    expect(statusesIn(server.transport.written)).toBe('200')
    expect(server.transport.closed).toBe(false)
  })
})

describe('framing of responses', () => {
  const written = async (request: string, act: (s: Server) => void, settings: Partial<Http1Settings> = {}) => {
    const server = new Server(settings)
    server.transport.feed(request)
    act(server)
    await settled()
    return server.transport.written
  }

  test('without a length the body leaves in chunks, behind the other headers', async () => {
    expect(await written(get, (s) => s.answer(0, 'hello', { x: '1' }))).toBe(
      'HTTP/1.1 200 OK\r\nx: 1\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n',
    )
  })

  test('without a body it says so', async () => {
    expect(await written(get, (s) => s.answer(0, ''))).toBe('HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n')
  })

  test('204 and 304 have neither length nor body', async () => {
    expect(await written(get, (s) => s.answer(0, '', {}, 204))).toBe('HTTP/1.1 204 No Content\r\n\r\n')
    expect(await written(get, (s) => s.answer(0, 'x', {}, 304))).toBe('HTTP/1.1 304 Not Modified\r\n\r\n')
  })

  test('HEAD is answered without a body, as if it had one', async () => {
    const head = get.replace('GET', 'HEAD')
    expect(await written(head, (s) => s.answer(0, '', { 'content-length': '5' }))).toBe(
      'HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n',
    )
    expect(await written(head, (s) => s.answer(0, 'hello'))).toBe(
      'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n',
    )
    expect(await written(head, (s) => s.answer(0, ''))).toBe('HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n')
  })

  test('a transfer-encoding that was left in is not sent twice', async () => {
    expect(await written(get, (s) => s.answer(0, 'a', { 'transfer-encoding': 'chunked' }))).toBe(
      'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n',
    )
  })

  test('HTTP/1.0 gets its version, and the end of the connection as the end of the body', async () => {
    expect(await written('GET / HTTP/1.0\r\n\r\n', (s) => s.answer(0, 'a'), { acceptHttp10: true })).toBe(
      'HTTP/1.0 200 OK\r\nconnection: close\r\n\r\na',
    )
  })

  test('HTTP/1.0 may ask to keep the connection', async () => {
    const request = 'GET / HTTP/1.0\r\nconnection: Keep-Alive\r\n\r\n'
    expect(await written(request, (s) => s.answer(0, 'a', { 'content-length': '1' }), { acceptHttp10: true })).toBe(
      'HTTP/1.0 200 OK\r\ncontent-length: 1\r\nconnection: keep-alive\r\n\r\na',
    )
  })

  test('trailers are sent when enabled', async () => {
    const send = (s: Server): void => {
      const trailers = new HeaderMap()
      trailers.add(headerName('X-T'), '1')
      s.streams[0]!.sendHeaders(ResponseHead.create(200), false)
      s.streams[0]!.sendData(Buffer.from('a'), false)
      s.streams[0]!.sendTrailers(trailers)
    }
    const start = 'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\n'
    expect(await written(get, send, { enableTrailers: true })).toBe(`${start}x-t: 1\r\n\r\n`)
    expect(await written(get, send)).toBe(`${start}\r\n`)
  })

  test('names can be written in proper case', async () => {
    expect(
      await written(get, (s) => s.answer(0, 'a', { 'x-some-name': 'Some: value' }), { headerCase: 'proper' }),
    ).toBe('HTTP/1.1 200 OK\r\nX-Some-Name: Some: value\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n')
  })

  test('a value cannot break its line', async () => {
    expect(await written(get, (s) => s.answer(0, '', { x: 'a\r\nset-cookie: evil\0' }))).toBe(
      'HTTP/1.1 200 OK\r\nx: aset-cookie: evil\r\ncontent-length: 0\r\n\r\n',
    )
  })

  test('interim responses come before', async () => {
    const send = (s: Server): void => {
      s.streams[0]!.sendInterim(ResponseHead.create(100))
      s.answer(0, '')
    }
    expect(await written(get, send)).toBe('HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n')
  })
})

describe('closing', () => {
  test.each(['close', 'Close', 'keep-alive, close'])('connection: %s is answered in kind', async (value) => {
    const server = new Server()
    server.transport.feed(`GET / HTTP/1.1\r\nhost: a\r\nconnection: ${value}\r\n\r\n${get}`)
    server.answer(0, 'a')
    await settled()
    expect(server.transport.written).toContain('connection: close\r\ntransfer-encoding: chunked\r\n\r\n1\r\na')
    expect(server.transport.closed).toBe(true)
    expect(server.events).toEqual(['GET / end'])
  })

  test('a drained connection closes with the next answer, at once if it is idle', async () => {
    const busy = new Server()
    busy.transport.feed(get)
    busy.connection.drain()
    expect(busy.transport.closed).toBe(false)
    busy.answer(0, '')
    await settled()
    expect(busy.transport.written).toBe('HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n')
    expect(busy.transport.closed).toBe(true)
    const idle = new Server()
    idle.connection.drain()
    expect(idle.transport.closed).toBe(true)
  })

  test('an answer before the request is complete closes, but leaves the client a second to read it', async () => {
    const server = new Server()
    server.transport.feed('POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nabc')
    server.answer(0, 'no', { 'content-length': '2' }, 413)
    server.transport.feed('defghij')
    await settled()
    expect(server.transport.written).toBe(
      'HTTP/1.1 413 Payload Too Large\r\ncontent-length: 2\r\nconnection: close\r\n\r\nno',
    )
    expect(server.transport.closed).toBe(false)
    server.runtime.advance(999)
    expect(server.transport.closed).toBe(false)
    server.runtime.advance(1)
    expect(server.transport.closed).toBe(true)
    expect(server.events).toEqual(['POST / ', 'data abc'].map((e) => e.trim()))
  })

  test('a client that closes before its answer has disconnected', () => {
    const server = new Server()
    server.transport.feed(get)
    server.transport.feedEnd()
    server.transport.feedClose()
    expect(server.events).toEqual(['GET / end', 'reset {"remote":true}', 'closed'])
  })

  test('a reset after the response began ends the connection without its end', async () => {
    const server = new Server()
    server.transport.feed(get)
    server.streams[0]!.sendHeaders(ResponseHead.create(200), false)
    server.streams[0]!.reset('protocol error')
    await settled()
    expect(server.transport.written).toBe('HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n')
    server.runtime.advance(1000)
    expect(server.transport.closed).toBe(true)
  })
})

describe('broken bodies', () => {
  const chunked = 'POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n'

  test('are answered with 400 while there is no response yet', async () => {
    const server = new Server()
    server.transport.feed(`${chunked}zz\r\n`)
    await settled()
    expect(statusesIn(server.transport.written)).toBe('400')
    expect(server.events).toEqual([
      'POST /',
      'reset {"remote":false,"error":"http1.codec_error","status":400,"bytesSent":11}',
    ])
  })

  test('are not answered twice', async () => {
    const server = new Server()
    server.transport.feed(chunked)
    server.streams[0]!.sendHeaders(ResponseHead.create(200), false)
    server.transport.feed('zz\r\n')
    await settled()
    expect(statusesIn(server.transport.written)).toBe('200')
    expect(server.events[1]).toBe('reset {"remote":false,"error":"http1.codec_error","status":0,"bytesSent":0}')
  })

  test('trailers arrive when enabled', () => {
    const server = new Server({ enableTrailers: true })
    server.transport.feed(`${chunked}2\r\nok\r\n0\r\nX-T: 1\r\n\r\n`)
    expect(server.events).toEqual(['POST /', 'data ok', 'trailer x-t=1'])
  })
})

describe('tunnels', () => {
  test('bytes pass as they are both ways after 101', async () => {
    const pair = new Pair({}, {}, { upgrades: true })
    pair.answer = undefined
    pair.down.feed('GET / HTTP/1.1\r\nhost: a\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n')
    pair.ups[0]!.feed('HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\nfrom up')
    pair.down.feed('0\r\n\r\nfrom down')
    await settled()
    expect(pair.down.written).toBe(
      'HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\ndate: D\r\nserver: envoy\r\n\r\nfrom up',
    )
    expect(pair.forwarded).toMatch(/upgrade: websocket\r\nx-forwarded-proto: http\r\n\r\n0\r\n\r\nfrom down$/)
    pair.ups[0]!.feedEnd()
    await settled()
    expect(pair.down.closed).toBe(true)
  })

  test('CONNECT opens one with 200', async () => {
    const pair = new Pair({}, {}, { upgrades: true })
    pair.answer = undefined
    pair.down.feed('CONNECT b.test:443 HTTP/1.1\r\nhost: b.test:443\r\n\r\n')
    pair.ups[0]!.feed('HTTP/1.1 200 OK\r\n\r\nraw')
    await settled()
    expect(pair.down.written).toBe('HTTP/1.1 200 OK\r\ndate: D\r\nserver: envoy\r\n\r\nraw')
    expect(pair.forwarded).toMatch(/^CONNECT b\.test:443 HTTP\/1\.1\r\nhost: b\.test:443\r\n/)
  })

  test('a refused one closes after the answer', async () => {
    const pair = new Pair()
    pair.down.feed('GET / HTTP/1.1\r\nhost: a\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n')
    await settled()
    expect(pair.down.written).toBe(
      'HTTP/1.1 403 Forbidden\r\ndate: D\r\nserver: envoy\r\nconnection: close\r\ncontent-length: 0\r\n\r\n',
    )
  })
})

test('sendData says when the client is too slow, and the stream learns when it is not', async () => {
  const server = new Server()
  server.transport.feed(get)
  server.transport.room = false
  server.streams[0]!.sendHeaders(ResponseHead.create(200), false)
  await settled()
  expect(server.streams[0]!.sendData(Buffer.from('a'), false)).toBe(false)
  server.transport.feedDrain()
  expect(server.events).toEqual(['GET / end', 'writable'])
})

describe('settings', () => {
  const status = async (raw: string, settings: Partial<Http1Settings>): Promise<[string, string]> => {
    const pair = new Pair(settings)
    pair.down.feed(raw)
    await settled()
    return [statusesIn(pair.down.written), pair.forwarded]
  }

  test('underscores can be refused, or dropped', async () => {
    const raw = 'GET / HTTP/1.1\r\nhost: a\r\nx_a: 1\r\nx-b: 2\r\n\r\n'
    expect((await status(raw, { underscores: 'reject' }))[0]).toBe('400')
    expect((await status(raw, { underscores: 'drop' }))[1]).toBe(
      'GET / HTTP/1.1\r\nhost: a\r\nx-b: 2\r\nx-forwarded-proto: http\r\n\r\n',
    )
  })

  test('https targets can be refused on plaintext', async () => {
    const raw = 'GET https://b/ HTTP/1.1\r\nhost: a\r\n\r\n'
    expect((await status(raw, { refuseHttpsOnPlaintext: true }))[0]).toBe('403')
    expect((await status(raw, {}))[0]).toBe('200')
  })

  test('a length beside chunks can be allowed: it is dropped', async () => {
    const raw = 'POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n'
    expect(await status(raw, { allowChunkedLength: true })).toEqual([
      '200',
      'POST / HTTP/1.1\r\nhost: a\r\nx-forwarded-proto: http\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n',
    ])
  })

  test('HTTP/1.0 without a host can be given one', async () => {
    const raw = 'GET / HTTP/1.0\r\n\r\n'
    const settings = { acceptHttp10: true, defaultHostForHttp10: 'fallback' }
    expect((await status(raw, settings))[1]).toMatch(/^GET \/ HTTP\/1\.1\r\nhost: fallback\r\n/)
    expect((await status(raw, { acceptHttp10: true }))[0]).toBe('400')
  })
})
