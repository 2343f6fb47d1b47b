import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { head, inboundOf, outboundOf, type Recorder, recordingApp, sendRaw } from '../support/attacker.ts'
import { FrameClient, frame, headerBlock, requestFrame } from '../support/http2-frames.ts'
import { client, pod, service, startMesh, type TestMesh } from '../support/mesh.ts'

const HOST = 'host: reviews:9080\r\n'
/** What is hidden behind, or within, the first request. */
const NEXT = `GET /next HTTP/1.1\r\n${HOST}\r\n`
const post = (lines: string, body = '') => `POST /a HTTP/1.1\r\n${HOST}${lines}\r\n${body}${NEXT}`
const get = (lines: string) => `GET /a HTTP/1.1\r\n${HOST}${lines}\r\n${NEXT}`
const chunked = (body: string) => post('transfer-encoding: chunked\r\n', body)
const HELLO = '5\r\nhello\r\n0\r\n\r\n'
const EMPTY = '0\r\n\r\n'

const REFUSED = [[400], []] as const
const UNKNOWN_CODING = [[501], []] as const
const OLD = [[426], []] as const
/** Both are seen as two, in order, and the first with this body. */
const two = (first: string) =>
  [
    [200, 200],
    [first, 'GET /next '],
  ] as const

type Outcome = readonly [statuses: readonly number[], app: readonly string[]]
/** What a real Envoy 1.40 does with each, set up as Istio sets it up, and what the server behind it gets. */
const table: Record<string, readonly [bytes: string, ...Outcome]> = {
  // Lengths that contradict each other.
  'a length and chunks': [post('content-length: 6\r\ntransfer-encoding: chunked\r\n', EMPTY), ...REFUSED],
  'chunks and a length': [post('transfer-encoding: chunked\r\ncontent-length: 4\r\n', HELLO), ...REFUSED],
  'two equal lengths': [post('content-length: 5\r\ncontent-length: 5\r\n', 'hello'), ...REFUSED],
  'two lengths': [post('content-length: 5\r\ncontent-length: 0\r\n', 'hello'), ...REFUSED],
  'a list of lengths': [post('content-length: 5, 5\r\n', 'hello'), ...REFUSED],
  'a length of +5': [post('content-length: +5\r\n', 'hello'), ...REFUSED],
  'a length of -5': [post('content-length: -5\r\n', 'hello'), ...REFUSED],
  'a length of 0x5': [post('content-length: 0x5\r\n', 'hello'), ...REFUSED],
  'a length of 5.0': [post('content-length: 5.0\r\n', 'hello'), ...REFUSED],
  'a length of 1 5': [post('content-length: 1 5\r\n', 'hello'), ...REFUSED],
  'an empty length': [post('content-length:\r\n', 'hello'), ...REFUSED],
  'a length past 64 bits': [post('content-length: 18446744073709551616\r\n', 'hello'), ...REFUSED],
  'a length after a vertical tab': [post('content-length: \x0b5\r\n', 'hello'), ...REFUSED],
  'a length of 0005': [post('content-length: 0005\r\n', 'hello'), ...two('POST /a hello')],
  'a length between tabs': [post('content-length:\t5\t\r\n', 'hello'), ...two('POST /a hello')],
  'a length named as hop by hop': [
    post('connection: content-length\r\ncontent-length: 5\r\n', 'hello'),
    ...two('POST /a hello'),
  ],
  'a length with an underscore': [post('content_length: 5\r\n'), ...two('POST /a ')],
  // Codings.
  xchunked: [post('transfer-encoding: xchunked\r\n', EMPTY), ...UNKNOWN_CODING],
  'chunked twice': [post('transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n', EMPTY), ...UNKNOWN_CODING],
  'chunked, then identity': [
    post('transfer-encoding: chunked\r\ntransfer-encoding: identity\r\n', EMPTY),
    ...UNKNOWN_CODING,
  ],
  'chunked, identity': [post('transfer-encoding: chunked, identity\r\n', EMPTY), ...UNKNOWN_CODING],
  'identity, chunked': [post('transfer-encoding: identity, chunked\r\n', EMPTY), ...UNKNOWN_CODING],
  'gzip, chunked': [post('transfer-encoding: gzip, chunked\r\n', EMPTY), ...UNKNOWN_CODING],
  '"chunked"': [post('transfer-encoding: "chunked"\r\n', EMPTY), ...UNKNOWN_CODING],
  'chunked;q=1': [post('transfer-encoding: chunked;q=1\r\n', EMPTY), ...UNKNOWN_CODING],
  'an empty coding': [post('transfer-encoding:\r\n'), ...UNKNOWN_CODING],
  'a space before the colon': [post('transfer-encoding : chunked\r\n', EMPTY), ...REFUSED],
  'a vertical tab before chunked': [post('transfer-encoding:\x0bchunked\r\n', EMPTY), ...REFUSED],
  'a NUL behind chunked': [post('transfer-encoding: chunked\x00\r\n', EMPTY), ...REFUSED],
  'CHUNKED after a tab': [post('Transfer-Encoding:\tCHUNKED\r\n', EMPTY), ...two('POST /a ')],
  'chunked on a continued line': [post('transfer-encoding:\r\n chunked\r\n', HELLO), ...two('POST /a hello')],
  'chunked behind a bare line feed': [post('x: y\ntransfer-encoding: chunked\r\n', HELLO), ...two('POST /a hello')],
  'chunked behind a bare CR': [post('x: y\rtransfer-encoding: chunked\r\n'), ...two('POST /a ')],
  transfer_encoding: [post('transfer_encoding: chunked\r\ncontent-length: 5\r\n', EMPTY), ...two('POST /a 0\r\n\r\n')],
  'chunked named as hop by hop': [
    post('connection: transfer-encoding\r\ntransfer-encoding: chunked\r\n', HELLO),
    ...two('POST /a hello'),
  ],
  'chunks in HTTP/1.0': [post('transfer-encoding: chunked\r\n', EMPTY).replace('1.1', '1.0'), ...OLD],
  // Chunks.
  'an extension': [chunked('5;a=b\r\nhello\r\n0\r\n\r\n'), ...two('POST /a hello')],
  'an extension with a line feed': [chunked('5;a="\n"\r\nhello\r\n0\r\n\r\n'), ...REFUSED],
  'an extension that ends in a line feed': [chunked('5;\nhello\r\n0\r\n\r\n'), ...REFUSED],
  'an extension with a CR': [chunked('5;\rx\r\nhello\r\n0\r\n\r\n'), ...REFUSED],
  'line feeds alone': [chunked('5\nhello\n0\n\n'), ...REFUSED],
  'a size of 0x5': [chunked('0x5\r\nhello\r\n0\r\n\r\n'), ...REFUSED],
  'a size of +5': [chunked('+5\r\nhello\r\n0\r\n\r\n'), ...REFUSED],
  'a size of -5': [chunked('-5\r\nhello\r\n0\r\n\r\n'), ...REFUSED],
  'a size of 0_5': [chunked('0_5\r\nhello\r\n0\r\n\r\n'), ...REFUSED],
  'a size behind a space': [chunked(' 5\r\nhello\r\n0\r\n\r\n'), ...REFUSED],
  'a size before a space': [chunked('5 \r\nhello\r\n0\r\n\r\n'), ...two('POST /a hello')],
  'a size with zeros': [chunked('00000005\r\nhello\r\n000\r\n\r\n'), ...two('POST /a hello')],
  'a size past 64 bits': [chunked('10000000000000005\r\nhello\r\n0\r\n\r\n'), ...REFUSED],
  'no size': [chunked('\r\nhello\r\n0\r\n\r\n'), ...REFUSED],
  'a size of letters': [chunked('xyz\r\nhello\r\n0\r\n\r\n'), ...REFUSED],
  'more than the size says': [chunked('5\r\nhelloXX\r\n0\r\n\r\n'), ...two('POST /a hello')],
  'no line end behind the data': [chunked('5\r\nhello0\r\n\r\n'), ...REFUSED],
  'no blank line at the end': [chunked('5\r\nhello\r\n0\r\n'), ...REFUSED],
  'framing in trailers': [
    chunked('5\r\nhello\r\n0\r\ncontent-length: 99\r\ntransfer-encoding: chunked\r\nhost: evil\r\n\r\n'),
    ...two('POST /a hello'),
  ],
  'a trailer without a colon': [chunked('0\r\nbad trailer\r\n\r\n'), ...REFUSED],
  // Lines.
  'a bare CR for a line end': [`GET /a HTTP/1.1\r${HOST}\r\n${NEXT}`, ...REFUSED],
  'line feeds for line ends': [`GET /a HTTP/1.1\n${HOST.trim()}\n\n${NEXT}`, ...two('GET /a ')],
  'a continued line': [get('x: a\r\n b\r\n'), ...two('GET /a ')],
  'a continued first line': [`GET /a HTTP/1.1\r\n x: a\r\n${HOST}\r\n${NEXT}`, ...REFUSED],
  'a continued Host': [`GET /a HTTP/1.1\r\n${HOST}  evil\r\n\r\n${NEXT}`, ...REFUSED],
  'a CR in a value': [get('x: a\rb\r\n'), ...two('GET /a ')],
  'a NUL in a value': [get('x: a\x00b\r\n'), ...REFUSED],
  'a line without a colon': [get('xyz\r\n'), ...REFUSED],
  'a line without a name': [get(': v\r\n'), ...REFUSED],
  'a name with a space': [get('x y: v\r\n'), ...REFUSED],
  'a :path header': [get(':path: /next\r\n'), ...REFUSED],
  'a :method header': [get(':method: POST\r\n'), ...REFUSED],
  'blank lines first': [`\r\n\r\n${get('')}`, ...two('GET /a ')],
  // Request lines.
  'no version': [get('').replace(' HTTP/1.1', ''), ...OLD],
  'HTTP/1.0': [get('').replace('1.1', '1.0'), ...OLD],
  'HTTP/1.2': [get('').replace('1.1', '1.2'), ...OLD],
  'HTTP/2.0': [get('').replace('1.1', '2.0'), ...OLD],
  'HTTP/1.10': [get('').replace('1.1', '1.10'), ...REFUSED],
  'two targets': [get('').replace('/a', '/a /b'), ...REFUSED],
  'two versions': [get('').replace('1.1', '1.1 HTTP/1.1'), ...REFUSED],
  'a method in small letters': [get('').replace('GET', 'get'), ...REFUSED],
  'a method that nobody knows': [get('').replace('GET', 'FOO'), ...REFUSED],
  'a NUL in the target': [get('').replace('/a', '/a\x00'), ...REFUSED],
  'no Host': [`GET /a HTTP/1.1\r\n\r\n${NEXT}`, ...REFUSED],
  // Bodies where nobody expects them.
  'a request as the body of a GET': [
    `GET /a HTTP/1.1\r\n${HOST}content-length: ${NEXT.length}\r\n\r\n${NEXT}`,
    [200],
    [`GET /a ${NEXT}`],
  ],
  'a GET with a body, and one behind it': [
    get('content-length: 5\r\n').replace(NEXT, `hello${NEXT}`),
    ...two('GET /a hello'),
  ],
  'a DELETE in chunks, and one behind it': [chunked(HELLO).replace('POST', 'DELETE'), ...two('DELETE /a hello')],
  // Expect and Upgrade.
  'Expect, and one behind it': [
    post('expect: 100-continue\r\ncontent-length: 5\r\n', 'hello'),
    [100, 200, 200],
    ['POST /a hello', 'GET /next '],
  ],
  'Expect of another thing': [post('expect: 200-ok\r\ncontent-length: 5\r\n', 'hello'), [417, 200], ['GET /next ']],
  // That 100 is of the app, which reads more into it.
  'an obfuscated Expect': [
    post('expect: y 100-continue\r\ncontent-length: 5\r\n', 'hello'),
    [100, 200, 200],
    ['POST /a hello', 'GET /next '],
  ],
  'Upgrade: h2c': [
    get('connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABk\r\n'),
    ...two('GET /a '),
  ],
  'Upgrade to what nobody allows': [get('connection: upgrade\r\nupgrade: foo\r\n'), [403], []],
  'Connection: host': [get('connection: host\r\n'), ...REFUSED],
  'Connection: x-forwarded-for': [get('connection: x-forwarded-for\r\nx-forwarded-for: 1.2.3.4\r\n'), ...REFUSED],
}

describe('request smuggling', () => {
  let mesh: TestMesh
  let app: Recorder
  beforeAll(async () => {
    app = await recordingApp()
    mesh = await startMesh(
      [client(), service('reviews'), pod('reviews', 'v1', { annotations: app.annotation })].join(''),
    )
  })
  afterAll(async () => {
    await mesh?.stop()
    await app?.close()
  })
  afterEach(() => {
    app.seen.length = 0
  })
  const lines = () => app.seen.map(({ method, url, body }) => `${method} ${url} ${body}`)

  it.each(Object.entries(table))('%s', async (_, [bytes, statuses, seen]) => {
    for (const to of [inboundOf(mesh, 'reviews-v1'), outboundOf(mesh, 'client', 9080)]) {
      app.seen.length = 0
      const got = await sendRaw(to, bytes, { answers: Math.max(1, statuses.length) })
      expect([got.statuses, lines()]).toEqual([statuses, seen])
    }
  })

  it('headers that say how long a body is never reach the app twice, nor what Connection names', async () => {
    await sendRaw(
      outboundOf(mesh, 'client', 9080),
      get(
        'connection: x-role, keep-alive\r\nx-role: admin\r\nte: gzip, trailers\r\nproxy-connection: x\r\nkeep-alive: y\r\n',
      ),
      { answers: 2 },
    )
    const names = app.seen[0]!.rawHeaders.filter((_, i) => i % 2 === 0).map((name) => name.toLowerCase())
    expect(new Set(names).size).toBe(names.length)
    for (const name of ['x-role', 'keep-alive', 'proxy-connection', 'upgrade', 'transfer-encoding'])
      expect(names).not.toContain(name)
  })

  it('what follows a refused request on the connection is never read', async () => {
    const { statuses, end } = await sendRaw(inboundOf(mesh, 'reviews-v1'), post('x y: z\r\n') + NEXT.repeat(5))
    expect([statuses, lines()]).toEqual([[400], []])
    expect(end).not.toBe('silent')
  })

  it('a client that ends within a head, a length or a chunk leaves no request behind', async () => {
    for (const bytes of [
      'GET /a HTTP/1.1\r\nhost: reviews:9080\r\n',
      'POST /a HTTP/1.1\r\nhost: reviews:9080\r\ncontent-length: 50\r\n\r\nhello',
    ]) {
      const to = outboundOf(mesh, 'client', 9080)
      const socket = (await import('node:net')).connect(to)
      socket.on('error', () => {})
      await new Promise((resolve) => socket.once('connect', resolve))
      socket.end(bytes)
      await new Promise((resolve) => socket.once('close', resolve))
      const { statuses } = await sendRaw(to, head('/after', undefined, ['connection: close']))
      expect(statuses).toEqual([200])
      expect(app.seen.filter(({ body }) => body.includes('GET')).length).toBe(0)
    }
    expect(lines().filter((line) => line.startsWith('GET /after'))).toHaveLength(2)
  })

  describe('over HTTP/2, towards an app that speaks HTTP/1.1', () => {
    const pseudo = { ':path': '/a', ':authority': 'reviews:9080' }
    const lengthy = { ...pseudo, ':method': 'POST' }
    /** Each is dropped without an answer, with its connection, as the real one does. */
    const dropped: Record<string, Buffer[]> = {
      'a name in capitals': [requestFrame(1, true, pseudo, [['Transfer-Encoding', 'chunked']])],
      'transfer-encoding': [requestFrame(1, true, pseudo, [['transfer-encoding', 'chunked']])],
      connection: [requestFrame(1, true, pseudo, [['connection', 'close']])],
      upgrade: [requestFrame(1, true, pseudo, [['upgrade', 'h2c']])],
      'keep-alive': [requestFrame(1, true, pseudo, [['keep-alive', 'x']])],
      'proxy-connection': [requestFrame(1, true, pseudo, [['proxy-connection', 'x']])],
      'te that is not trailers': [requestFrame(1, true, pseudo, [['te', 'gzip']])],
      'a line end in the path': [requestFrame(1, true, { ...pseudo, ':path': `/a HTTP/1.1\r\n\r\n${NEXT}` })],
      'a line end in the method': [
        requestFrame(1, true, { ...pseudo, ':method': `GET /x HTTP/1.1\r\nx: y\r\n\r\nGET` }),
      ],
      'a line end in the authority': [requestFrame(1, true, { ...pseudo, ':authority': 'reviews:9080\r\nx: y' })],
      'no path': [requestFrame(1, true, { ...pseudo, ':path': undefined })],
      'no method': [requestFrame(1, true, { ...pseudo, ':method': undefined })],
      'an empty path': [requestFrame(1, true, { ...pseudo, ':path': '' })],
      'a relative path': [requestFrame(1, true, { ...pseudo, ':path': 'admin' })],
      'a pseudo header that nobody knows': [requestFrame(1, true, { ...pseudo, ':x': 'y' })],
      'a pseudo header behind others': [
        frame(
          1,
          5,
          1,
          headerBlock([
            [':method', 'GET'],
            ['x', 'y'],
            [':path', '/'],
            [':scheme', 'http'],
            [':authority', 'a'],
          ]),
        ),
      ],
      'two paths': [
        frame(
          1,
          5,
          1,
          headerBlock([
            [':method', 'GET'],
            [':path', '/'],
            [':path', '/admin'],
            [':scheme', 'http'],
            [':authority', 'a'],
          ]),
        ),
      ],
      'a length of 5 without a body': [requestFrame(1, true, lengthy, [['content-length', '5']])],
      'two lengths': [
        requestFrame(1, false, lengthy, [
          ['content-length', '5'],
          ['content-length', '6'],
        ]),
        frame(0, 1, 1, Buffer.from('hello')),
      ],
      'a length of +5': [
        requestFrame(1, false, lengthy, [['content-length', '+5']]),
        frame(0, 1, 1, Buffer.from('hello')),
      ],
      'more body than the length says': [
        requestFrame(1, false, lengthy, [['content-length', '0']]),
        frame(0, 1, 1, Buffer.from(NEXT)),
      ],
    }
    /** nghttp2 leaves such a field out, and the request goes on without it. */
    const leftOut: Record<string, Buffer[]> = {
      'a line end in a value': [requestFrame(1, true, pseudo, [['x', `a\r\n\r\n${NEXT}`]])],
      'a line feed in a value': [requestFrame(1, true, pseudo, [['x', 'a\nb: c']])],
      'a NUL in a value': [requestFrame(1, true, pseudo, [['x', 'a\x00b']])],
      'a line end in a name': [requestFrame(1, true, pseudo, [['x\r\ny', 'z']])],
      'a colon in a name': [requestFrame(1, true, pseudo, [['x: y\r\nz', 'z']])],
      'a space in a name': [requestFrame(1, true, pseudo, [['x y', 'z']])],
      'an empty name': [requestFrame(1, true, pseudo, [['', 'z']])],
    }
    it.each(Object.entries(leftOut))('%s: the app gets the one request, without that field', async (_, frames) => {
      for (const { host, port } of [inboundOf(mesh, 'reviews-v1'), outboundOf(mesh, 'client', 9080)]) {
        app.seen.length = 0
        const attacker = new FrameClient(port, host)
        try {
          attacker.send(...frames)
          await attacker.sees('HEADERS 1')
        } finally {
          attacker.close()
        }
        await sendRaw(outboundOf(mesh, 'client', 9080), head('/after', undefined, ['connection: close']))
        expect(lines()).toEqual(['GET /a ', 'GET /after '])
        const names = app.seen[0]!.rawHeaders.filter((_, i) => i % 2 === 0)
        for (const name of ['', 'x', 'x: y', 'x y', 'z', 'b']) expect(names).not.toContain(name)
      }
    })
    it.each(['past its sidecar', 'through both'])(
      '%s: none of them gets an answer, nor the app a request',
      async (way) => {
        const { host, port } = way === 'through both' ? outboundOf(mesh, 'client', 9080) : inboundOf(mesh, 'reviews-v1')
        const answered = await Promise.all(
          Object.entries(dropped).map(async ([what, frames]) => {
            const attacker = new FrameClient(port, host)
            try {
              attacker.send(...frames)
              await Promise.race([attacker.sees('RST_STREAM 1'), attacker.sees('GOAWAY'), attacker.closed])
              return attacker.seen.some((line) => line.startsWith('HEADERS')) ? what : undefined
            } finally {
              attacker.close()
            }
          }),
        )
        expect(answered.filter((what) => what !== undefined)).toEqual([])
        // Nothing was left in a connection to the app either.
        await sendRaw(outboundOf(mesh, 'client', 9080), head('/after', undefined, ['connection: close']))
        expect(lines().filter((line) => line !== 'GET /after ')).toEqual([])
      },
    )
  })
})
