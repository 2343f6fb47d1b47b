import { describe, expect, test } from 'vitest'
import type { ClientStreamHandler, ResetReason } from '../src/proxy/http/codec.ts'
import { headerName, RequestHead } from '../src/proxy/http/headers.ts'
import { createClientConnection } from '../src/proxy/http1/client.ts'
import { type Http1ClientSettings, http1ClientSettings } from '../src/proxy/http1/settings.ts'
import { MemoryTransport } from './support/memory-transport.ts'

/** A client connection with one exchange, whose events are written down. */
class Exchange implements ClientStreamHandler {
  readonly transport = new MemoryTransport()
  readonly events: string[] = []
  private readonly connection

  constructor(method = 'GET', settings: Partial<Http1ClientSettings> = {}, extra: [string, string][] = []) {
    this.connection = createClientConnection(this.transport, http1ClientSettings(settings), {
      onIdle: () => this.events.push('idle'),
      onClose: (remote) => this.events.push(`closed ${remote ? 'by peer' : 'by us'}`),
      onDrain: () => this.events.push('drain'),
    })
    const head = RequestHead.create(method, '/', 'a')
    for (const [name, value] of extra) head.add(headerName(name), value)
    this.connection.newStream(this).sendHeaders(head, extra.length === 0)
  }

  onInterim(head: { status: number }): void {
    this.events.push(`interim ${head.status}`)
  }

  onHeaders(head: Parameters<ClientStreamHandler['onHeaders']>[0], end: boolean): void {
    const lines: string[] = []
    head.forEach((name, value) => {
      lines.push(`${name}=${value}`)
    })
    this.events.push(`${head.status} ${lines.join(' ')}${end ? ' end' : ''}`)
  }

  onData(chunk: Uint8Array, end: boolean): void {
    const text = Buffer.from(chunk).toString('latin1')
    const last = this.events.at(-1)
    if (last?.startsWith('data ') && !last.endsWith(' end')) this.events[this.events.length - 1] = `${last}${text}`
    else if (text !== '' || end) this.events.push(`data ${text}`)
    if (end) this.events[this.events.length - 1] += ' end'
  }

  onTrailers(trailers: Parameters<ClientStreamHandler['onTrailers']>[0]): void {
    trailers.forEach((name, value) => {
      this.events.push(`trailer ${name}=${value}`)
    })
  }

  onReset(reason: ResetReason): void {
    this.events.push(`reset ${reason}`)
  }

  onWritable(): void {}
}

const chunked = 'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n'
const refused = ['reset protocol error']
const closed = 'closed by us'
const failed = [...refused, closed]
const ok = ['200 content-length=2', 'data ok end', 'idle']
const many = (n: number): string => Array.from({ length: n }, (_, i) => `x-${i}: 1\r\n`).join('')

/** What arrives, what comes of it. As a real Envoy 1.40 takes it, refusals (502 for its client) included. */
const responses: Record<string, [string, readonly string[]]> = {
  'content-length': ['HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok', ok],
  'no reason': ['HTTP/1.1 200\r\ncontent-length: 2\r\n\r\nok', ok],
  'a blank for a reason': ['HTTP/1.1 200 \r\ncontent-length: 2\r\n\r\nok', ok],
  'bare LF': ['HTTP/1.1 200 OK\ncontent-length: 2\n\nok', ok],
  'two blanks': ['HTTP/1.1  200 OK\r\ncontent-length: 2\r\n\r\nok', ok],
  'a reason with bytes beyond ASCII and a CR': ['HTTP/1.1 200 \xe9\rb\r\ncontent-length: 2\r\n\r\nok', ok],
  'HTTP/1.0': [
    'HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok',
    ['drain', '200 content-length=2', 'data ok end', closed],
  ],
  'HTTP/2.0 in the status line': [
    'HTTP/2.0 200 OK\r\ncontent-length: 2\r\n\r\nok',
    ['drain', '200 content-length=2', 'data ok end', closed],
  ],
  'HTTP/1.0 with keep-alive': [
    'HTTP/1.0 200 OK\r\ncontent-length: 2\r\nconnection: keep-alive\r\n\r\nok',
    ['200 content-length=2 connection=keep-alive', 'data ok end', 'idle'],
  ],
  'status 999': ['HTTP/1.1 999 Odd\r\ncontent-length: 0\r\n\r\n', ['999 content-length=0 end', 'idle']],
  chunks: [`${chunked}2\r\nok\r\n1\r\n!\r\n0\r\n\r\n`, ['200 transfer-encoding=chunked', 'data ok! end', 'idle']],
  'Chunked in upper case': [
    'HTTP/1.1 200 OK\r\ntransfer-encoding: Chunked\r\n\r\n0\r\n\r\n',
    ['200 transfer-encoding=Chunked', 'data  end', 'idle'],
  ],
  'dropped trailers': [
    `${chunked}2\r\nok\r\n0\r\nx: y\r\n\r\n`,
    ['200 transfer-encoding=chunked', 'data ok end', 'idle'],
  ],
  'a continued value': ['HTTP/1.1 204 OK\r\nx: a\r\n b\r\n\r\n', ['204 x=a b end', 'idle']],
  'lines joined that may come once': [
    'HTTP/1.1 204 OK\r\netag: 1\r\netag: 2\r\nset-cookie: 1\r\nset-cookie: 2\r\n\r\n',
    ['204 etag=1,2 set-cookie=1 set-cookie=2 end', 'idle'],
  ],
  '204 with length 0': ['HTTP/1.1 204 No\r\ncontent-length: 0\r\n\r\n', ['204  end', 'idle']],
  '304 with a length': ['HTTP/1.1 304 No\r\ncontent-length: 2\r\n\r\n', ['304 content-length=2 end', 'idle']],
  '304 chunked': [
    'HTTP/1.1 304 No\r\ntransfer-encoding: chunked\r\n\r\n',
    ['304 transfer-encoding=chunked end', 'idle'],
  ],
  'interim responses': [
    'HTTP/1.1 100 C\r\n\r\nHTTP/1.1 103 E\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok',
    ['interim 100', 'interim 103', ...ok],
  ],
  'connection: close': [
    'HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n',
    ['drain', '200 connection=close content-length=0 end', closed],
  ],
  '101 nobody asked for': ['HTTP/1.1 101 S\r\nupgrade: foo\r\n\r\nraw', ['drain', '101 upgrade=foo end', closed]],
  '100 lines': [
    `HTTP/1.1 204 OK\r\n${many(100)}\r\n`,
    [`204 ${many(100).trim().replaceAll(': ', '=').replaceAll('\r\n', ' ')} end`, 'idle'],
  ],
  '101 lines': [`HTTP/1.1 204 OK\r\n${many(101)}\r\n`, failed],
  'a head of 80 KiB and one byte': [`HTTP/1.1 204 OK\r\nx: ${'b'.repeat(81_921 - 24)}\r\n\r\n`, failed],
  'a blank line before the status line': ['\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok', failed],
  'no HTTP': ['ICY 200 OK\r\n\r\n', failed],
  'an odd version': ['HTTP/1 200 OK\r\n\r\n', failed],
  'status 099': ['HTTP/1.1 099 Odd\r\ncontent-length: 2\r\n\r\nok', failed],
  'status 20': ['HTTP/1.1 20 Odd\r\n\r\n', failed],
  'status 200x': ['HTTP/1.1 200x Odd\r\n\r\n', failed],
  'a control in the reason': ['HTTP/1.1 200 a\x01b\r\n\r\n', failed],
  'a blank in a name': ['HTTP/1.1 200 OK\r\nx y: a\r\n\r\n', failed],
  'a control in a value': ['HTTP/1.1 200 OK\r\nx: a\x01\r\n\r\n', failed],
  'two lengths': ['HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nokk', failed],
  'the same length twice': ['HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 2\r\n\r\nok', failed],
  'length and chunks': ['HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n', failed],
  'gzip, chunked': ['HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n', failed],
  'chunked twice': [
    'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n',
    failed,
  ],
  '204 with a body': ['HTTP/1.1 204 No\r\ncontent-length: 2\r\n\r\nok', failed],
  '204 chunked': ['HTTP/1.1 204 No\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n', failed],
  '100 with a body': ['HTTP/1.1 100 C\r\ncontent-length: 2\r\n\r\nok', failed],
  'a bad chunk': [`${chunked}zz\r\n`, ['200 transfer-encoding=chunked', ...failed]],
  'bad trailers': [`${chunked}0\r\nbad\r\n\r\n`, ['200 transfer-encoding=chunked', ...failed]],
  'a second response nobody asked for': [
    'HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil',
    [...ok, closed],
  ],
}

describe('responses are taken or refused as Envoy does, wherever they are cut', () => {
  test.each(Object.entries(responses))('%s', (_name, [raw, want]) => {
    for (const cut of [0, ...Array.from({ length: 30 }, (_, i) => 1 + Math.floor((i * raw.length) / 30))]) {
      const exchange = new Exchange()
      if (cut > 0) exchange.transport.feed(raw.slice(0, cut))
      if (!exchange.transport.closed) exchange.transport.feed(raw.slice(cut))
      expect(exchange.events).toEqual(want)
    }
  })

  test.each(Object.entries(responses))('%s, byte by byte', (_name, [raw, want]) => {
    const exchange = new Exchange()
    for (const byte of raw) if (!exchange.transport.closed) exchange.transport.feed(byte)
    expect(exchange.events).toEqual(want)
  })
})

test('a connection that brought bytes beyond its response is closed, not used again', () => {
  const exchange = new Exchange()
  exchange.transport.feed('HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokEXTRA')
  expect(exchange.transport.closed).toBe(true)
})

test('bytes on an idle connection close it', () => {
  const exchange = new Exchange()
  exchange.transport.feed('HTTP/1.1 204 OK\r\n\r\n')
  expect(exchange.transport.closed).toBe(false)
  exchange.transport.feed('HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil')
  expect(exchange.transport.closed).toBe(true)
  expect(exchange.events).toEqual(['204  end', 'idle', closed])
})

describe('an upstream that closes', () => {
  const ends: Record<string, [string, readonly string[]]> = {
    'before it answers is a connection termination': ['', ['reset connection termination']],
    'within the head is a protocol error': ['HTTP/1.1 200 OK\r\ncont', refused],
    'within a body with a length is a protocol error': [
      'HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nok',
      ['200 content-length=10', 'data ok', ...refused],
    ],
    'within chunks is a protocol error': [
      `${chunked}2\r\nok\r\n`,
      ['200 transfer-encoding=chunked', 'data ok', ...refused],
    ],
    'ends a body that has no framing': ['HTTP/1.1 200 OK\r\nx: y\r\n\r\nuntil', ['200 x=y', 'data until end']],
  }
  test.each(Object.entries(ends))('%s', (_name, [raw, want]) => {
    const fin = new Exchange()
    if (raw !== '') fin.transport.feed(raw)
    fin.transport.feedEnd()
    fin.transport.feedClose()
    expect(fin.events).toEqual([...want, 'closed by peer'])
    const reset = new Exchange()
    if (raw !== '') reset.transport.feed(raw)
    reset.transport.feedClose('ECONNRESET')
    expect(reset.events).toEqual([...want, 'closed by peer'])
  })
})

describe('requests', () => {
  test.each([
    ['GET', 'GET / HTTP/1.1\r\nhost: a\r\n\r\n'],
    ['HEAD', 'HEAD / HTTP/1.1\r\nhost: a\r\n\r\n'],
    ['DELETE', 'DELETE / HTTP/1.1\r\nhost: a\r\n\r\n'],
    ['POST', 'POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n'],
    ['OPTIONS', 'OPTIONS / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n'],
  ])('without a body say so only where one is expected: %s', (method, written) => {
    const exchange = new Exchange(method)
    exchange.transport.feed('')
    expect(exchange.transport.written).toBe(written)
  })

  test('a HEAD response has no body whatever its headers say', () => {
    const exchange = new Exchange('HEAD')
    exchange.transport.feed('HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n')
    expect(exchange.events).toEqual(['200 content-length=5 end', 'idle'])
  })

  test('an upgrade makes the connection a tunnel after 101', () => {
    const exchange = new Exchange('GET', {}, [
      ['connection', 'Upgrade'],
      ['upgrade', 'websocket'],
    ])
    exchange.transport.feed('HTTP/1.1 101 S\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\nraw \r\n bytes')
    exchange.transport.feed(' more')
    exchange.transport.feedEnd()
    expect(exchange.transport.written).toBe(
      'GET / HTTP/1.1\r\nhost: a\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n',
    )
    expect(exchange.events).toEqual([
      'drain',
      '101 connection=Upgrade upgrade=websocket',
      'data raw \r\n bytes more end',
      'closed by peer',
    ])
  })

  test('trailers are kept when asked for', () => {
    const exchange = new Exchange('GET', { enableTrailers: true })
    exchange.transport.feed(`${chunked}2\r\nok\r\n0\r\nX-T: y\r\n\r\n`)
    expect(exchange.events).toEqual(['200 transfer-encoding=chunked', 'data ok', 'trailer x-t=y', 'idle'])
  })

  test('an answer before the request is complete leaves a connection nobody can use again', () => {
    const exchange = new Exchange('POST', {}, [['content-length', '5']])
    exchange.transport.feed('HTTP/1.1 413 Too\r\ncontent-length: 0\r\n\r\n')
    expect(exchange.events).toEqual(['413 content-length=0 end', 'drain', closed])
    expect(exchange.transport.closed).toBe(true)
  })
})
