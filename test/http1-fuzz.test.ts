import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { ClientStreamHandler, ServerConnectionHandler } from '../src/proxy/http/codec.ts'
import { type HeaderMap, headerName, RequestHead, ResponseHead } from '../src/proxy/http/headers.ts'
import { createClientConnection } from '../src/proxy/http1/client.ts'
import { createServerConnection } from '../src/proxy/http1/server.ts'
import { http1ClientSettings, http1Settings } from '../src/proxy/http1/settings.ts'
import { TestRuntime } from '../src/runtime-test.ts'
import { MemoryTransport } from './support/memory-transport.ts'

/** A message as both codecs tell it. */
interface Told {
  head: string
  headers: [string, string][]
  body: string
  trailers: [string, string][]
  done: boolean
}

const pairs = (map: HeaderMap): [string, string][] => {
  const out: [string, string][] = []
  map.forEach((name, value) => {
    out.push([name, value])
  })
  return out
}

/** Reads requests from pieces of bytes, answering each at once. */
function readRequests(pieces: Iterable<string>): { told: Told[]; error: string; written: string } {
  const transport = new MemoryTransport()
  const told: Told[] = []
  let error = ''
  const handler: ServerConnectionHandler = {
    onRequest(stream, head, end) {
      const one: Told = {
        head: `${head.method} ${head.path} ${head.authority}`,
        headers: pairs(head),
        body: '',
        trailers: [],
        done: end,
      }
      told.push(one)
      const finish = (): void => {
        one.done = true
        stream.sendHeaders(ResponseHead.create(204), true)
      }
      stream.handler = {
        onData(chunk, last) {
          one.body += Buffer.from(chunk).toString('latin1')
          if (last) finish()
        },
        onTrailers(trailers) {
          one.trailers = pairs(trailers)
          finish()
        },
        onReset(why) {
          error = why.error ?? 'closed'
        },
        onWritable() {},
      }
      if (end) finish()
    },
    onCodecError(e) {
      error = e.details
    },
    onClose() {},
  }
  createServerConnection(transport, http1Settings(new TestRuntime(), { enableTrailers: true }), handler)
  for (const piece of pieces) if (!transport.closed) transport.feed(piece)
  return { told, error, written: transport.written }
}

/** Reads one response. */
function readResponse(pieces: Iterable<string>, method = 'GET'): { told: Told | undefined; error: string } {
  const transport = new MemoryTransport()
  let told: Told | undefined
  let error = ''
  const handler: ClientStreamHandler = {
    onInterim() {},
    onHeaders(head, end) {
      told = { head: String(head.status), headers: pairs(head), body: '', trailers: [], done: end }
    },
    onData(chunk, end) {
      told!.body += Buffer.from(chunk).toString('latin1')
      told!.done = end
    },
    onTrailers(trailers) {
      told!.trailers = pairs(trailers)
      told!.done = true
    },
    onReset(reason) {
      error = reason
    },
    onWritable() {},
  }
  const connection = createClientConnection(transport, http1ClientSettings({ enableTrailers: true }), {
    onIdle() {},
    onClose() {},
    onDrain() {},
  })
  connection.newStream(handler).sendHeaders(RequestHead.create(method, '/', 'a'), true)
  for (const piece of pieces) if (!transport.closed) transport.feed(piece)
  return { told, error }
}

const split = (text: string, cuts: number[]): string[] => {
  const at = [...new Set(cuts.map((c) => c % (text.length + 1)))].sort((a, b) => a - b)
  return [0, ...at].map((start, i) => text.slice(start, at[i] ?? text.length)).filter((piece) => piece !== '')
}

const cuts = fc.array(fc.nat(), { maxLength: 12 })
const of = (chars: string, min = 1, max = 12): fc.Arbitrary<string> =>
  fc.string({ unit: fc.constantFrom(...chars), minLength: min, maxLength: max })
const letters = 'abcdefghijklmnopqrstuvwxyzABCXYZ'
const name = of(`${letters}0123456789-_!~`)
  .filter((n) => n.length > 2)
  .map((n) => `q${n}`)
const value = fc
  .string({ unit: fc.constantFrom(...`${letters} \t,;=:"()\xe9\xff`), maxLength: 40 })
  .map((v) => v.replace(/^[ \t]+|[ \t]+$/g, ''))
const headerLines = fc.array(fc.tuple(name, value), { maxLength: 30 })
const bytes = fc.string({ unit: fc.constantFrom('\0', '\r', '\n', 'a', '0', ':', ' ', '\xff'), maxLength: 300 })
const method = fc.constantFrom('GET', 'POST', 'PUT', 'DELETE', 'OPTIONS', 'PROPFIND')
const path = of(`${letters}0123456789-._~!$&'()*+,;=:@%/?`, 0, 60).map((p) => `/${p}`)

interface Message {
  lines: [string, string][]
  body: string
  framing: 'none' | 'length' | 'chunked'
  sizes: number[]
  trailers: [string, string][]
}

const message: fc.Arbitrary<Message> = fc.record({
  lines: headerLines,
  body: bytes,
  framing: fc.constantFrom('none', 'length', 'chunked'),
  sizes: fc.array(fc.integer({ min: 1, max: 50 }), { minLength: 1, maxLength: 8 }),
  trailers: fc.array(fc.tuple(name, value), { maxLength: 3 }),
})

const linesOf = (list: [string, string][]): string => list.map(([n, v]) => `${n}: ${v}\r\n`).join('')

/** The bytes behind the first line. */
function rest(m: Message): string {
  if (m.framing === 'none') return `${linesOf(m.lines)}\r\n`
  if (m.framing === 'length') return `${linesOf(m.lines)}Content-Length: ${m.body.length}\r\n\r\n${m.body}`
  let out = `${linesOf(m.lines)}Transfer-Encoding: chunked\r\n\r\n`
  for (let at = 0, i = 0; at < m.body.length; i++) {
    const piece = m.body.slice(at, at + m.sizes[i % m.sizes.length]!)
    out += `${piece.length.toString(16)}\r\n${piece}\r\n`
    at += piece.length
  }
  return `${out}0\r\n${linesOf(m.trailers)}\r\n`
}

const lower = (list: [string, string][]): [string, string][] => list.map(([n, v]) => [n.toLowerCase(), v])

/** What a codec should tell of it. */
function expected(head: string, m: Message): Told {
  const headers = lower(m.lines)
  if (m.framing === 'length') headers.push(['content-length', String(m.body.length)])
  if (m.framing === 'chunked') headers.push(['transfer-encoding', 'chunked'])
  return {
    head,
    headers,
    body: m.framing === 'none' ? '' : m.body,
    trailers: m.framing === 'chunked' ? lower(m.trailers) : [],
    done: true,
  }
}

describe('whatever the cuts', () => {
  test('requests of any shape, one behind the other, are read as they were meant', () => {
    const request = fc.record({ method, path, message })
    fc.assert(
      fc.property(fc.array(request, { minLength: 1, maxLength: 4 }), cuts, (requests, at) => {
        const text = requests.map((r) => `${r.method} ${r.path} HTTP/1.1\r\nHost: h\r\n${rest(r.message)}`).join('')
        const want = requests.map((r) => expected(`${r.method} ${r.path} h`, r.message))
        const got = readRequests(split(text, at))
        expect(got.error).toBe('')
        expect(got.told).toEqual(want)
      }),
      { numRuns: 300 },
    )
  })

  test('responses of any shape are read as they were meant', () => {
    fc.assert(
      fc.property(message, fc.integer({ min: 200, max: 599 }), cuts, (m, status, at) => {
        fc.pre(status !== 204 && status !== 304)
        const framed: Message = m.framing === 'none' ? { ...m, framing: 'length' } : m
        const got = readResponse(split(`HTTP/1.1 ${status} Some reason\r\n${rest(framed)}`, at))
        expect(got.error).toBe('')
        expect(got.told).toEqual(expected(String(status), framed))
      }),
      { numRuns: 300 },
    )
  })

  test('any bytes mean the same, and nothing throws', () => {
    const piece = fc.oneof(
      fc.constantFrom('GET / HTTP/1.1\r\n', 'Host: a\r\n', '\r\n', '\n', '\r', ' ', '\t', ':', 'Content-Length: 3\r\n'),
      fc.constantFrom(
        'Transfer-Encoding: chunked\r\n',
        '3\r\nabc\r\n',
        '0\r\n\r\n',
        '0\r\n',
        'POST ',
        '/x',
        ' HTTP/1.1',
      ),
      fc.constantFrom('HTTP/1.1 200 OK\r\n', 'Connection: close\r\n', 'Upgrade: h2c\r\n', 'CONNECT a:1 HTTP/1.1\r\n'),
      bytes,
    )
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 14 }), cuts, (parts, at) => {
        const text = parts.join('')
        const joined = (told: Told[]): string => JSON.stringify(told)
        const whole = readRequests([text])
        const cut = readRequests(split(text, at))
        expect(joined(cut.told)).toBe(joined(whole.told))
        expect(cut.error).toBe(whole.error)
        expect(cut.written).toBe(whole.written)
        const response = readResponse([text])
        const cutResponse = readResponse(split(text, at))
        expect(cutResponse.error).toBe(response.error)
        expect(JSON.stringify(cutResponse.told)).toBe(JSON.stringify(response.told))
      }),
      { numRuns: 1500 },
    )
  })
})

describe('what one side writes the other reads back', () => {
  const writeRequest = (m: Message, verb: string, target: string): string => {
    const transport = new MemoryTransport()
    const connection = createClientConnection(transport, http1ClientSettings({ enableTrailers: true }), {
      onIdle() {},
      onClose() {},
      onDrain() {},
    })
    const stream = connection.newStream({
      onInterim() {},
      onHeaders() {},
      onData() {},
      onTrailers() {},
      onReset() {},
      onWritable() {},
    })
    const head = RequestHead.create(verb, target, 'h')
    for (const [n, v] of m.lines) head.add(headerName(n), v)
    if (m.framing === 'length') head.add(headerName('content-length'), String(m.body.length))
    stream.sendHeaders(head, m.framing === 'none')
    if (m.framing === 'length') stream.sendData(Buffer.from(m.body, 'latin1'), true)
    if (m.framing === 'chunked') {
      stream.sendData(Buffer.from(m.body, 'latin1'), m.trailers.length === 0)
      if (m.trailers.length > 0) {
        const trailers = head.clone()
        trailers.clear()
        for (const [n, v] of m.trailers) trailers.add(headerName(n), v)
        stream.sendTrailers(trailers)
      }
    }
    transport.feed('')
    return transport.written
  }

  test('requests', () => {
    fc.assert(
      fc.property(message, method, path, cuts, (m, verb, target, at) => {
        const got = readRequests(split(writeRequest(m, verb, target), at))
        const want = expected(`${verb} ${target} h`, m)
        if (m.framing === 'none' && verb !== 'GET' && verb !== 'DELETE') want.headers.push(['content-length', '0'])
        expect(got.error).toBe('')
        expect(got.told).toEqual([want])
      }),
      { numRuns: 300 },
    )
  })
})
