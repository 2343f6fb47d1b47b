import { once } from 'node:events'
import http from 'node:http'
import http2 from 'node:http2'
import type net from 'node:net'
import { afterEach, expect, it } from 'vitest'
import { FrameClient, frame, headerBlock, requestFrame, u32 } from './support/http2-frames.ts'
import { eventually, httpFilter, type RunningProxy, socketAddress, startProxy, staticCluster } from './support/proxy.ts'

const LOG = 'envoy.extensions.access_loggers.stream.v3.StdoutAccessLog'
const FORMAT = '%REQ(:METHOD)% %REQ(:PATH)% %PROTOCOL% %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%\n'

const closing: (() => unknown)[] = []
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close()
})

interface Setup {
  readonly proxy: RunningProxy
  readonly port: number
  readonly log: string[]
  readonly requests: http.IncomingMessage[]
}

/** A proxy with an HTTP listener in front of a server; `/direct` is answered by the proxy itself. */
async function setup(
  more: object = {},
  handler: (request: http.IncomingMessage, response: http.ServerResponse) => void = (_request, response) =>
    response.end('hello'),
): Promise<Setup> {
  const requests: http.IncomingMessage[] = []
  const app = http.createServer((request, response) => {
    requests.push(request)
    handler(request, response)
  })
  app.on('upgrade', (request, socket) => {
    requests.push(request)
    socket.write('HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n\r\n')
    socket.on('data', (chunk: Buffer) => socket.write(`echo ${chunk}`))
  })
  app.listen(0, '127.0.0.1')
  await once(app, 'listening')
  closing.push(() => {
    app.closeAllConnections()
    app.close()
  })
  const log: string[] = []
  const filter = httpFilter('', {
    route_config: {
      virtual_hosts: [
        {
          name: 'all',
          domains: ['*'],
          routes: [
            { match: { path: '/direct' }, direct_response: { status: 200, body: { inline_string: 'direct' } } },
            { match: { prefix: '/' }, route: { cluster: 'app', timeout: '1s' } },
          ],
        },
      ],
    },
    access_log: [
      {
        name: 'stdout',
        typed_config: {
          '@type': `type.googleapis.com/${LOG}`,
          log_format: { text_format_source: { inline_string: FORMAT } },
        },
      },
    ],
    delayed_close_timeout: '0.01s',
    ...more,
  })
  const proxy = await startProxy(
    {
      static_resources: {
        listeners: [{ name: 'l', address: socketAddress(0), filter_chains: [{ filters: [filter] }] }],
        clusters: [staticCluster('app', (app.address() as net.AddressInfo).port)],
      },
    },
    { logs: { open: () => ({ write: (line) => void log.push(line.trim()) }) } },
  )
  closing.push(() => proxy.stop())
  return { proxy, port: proxy.port('l'), log, requests }
}

function session(port: number): http2.ClientHttp2Session {
  const client = http2.connect(`http://127.0.0.1:${port}`)
  client.on('error', () => {})
  closing.push(() => client.destroy())
  return client
}

function frames(port: number): FrameClient {
  const client = new FrameClient(port)
  closing.push(() => client.close())
  return client
}

interface Answer {
  readonly status: number
  readonly headers: http2.IncomingHttpHeaders
  readonly body: string
  readonly trailers: http2.IncomingHttpHeaders | undefined
  readonly interim: number[]
}

/** One request and its answer. */
async function ask(
  client: http2.ClientHttp2Session,
  headers: http2.OutgoingHttpHeaders,
  body?: string,
): Promise<Answer> {
  const stream = client.request(headers, { endStream: body === undefined })
  const interim: number[] = []
  let trailers: http2.IncomingHttpHeaders | undefined
  let text = ''
  let answer: http2.IncomingHttpHeaders = {}
  stream.on('headers', (h) => interim.push(Number(h[':status'])))
  stream.on('response', (h) => {
    answer = h
  })
  stream.on('trailers', (h) => {
    trailers = h
  })
  stream.on('data', (chunk) => {
    text += chunk
  })
  stream.on('error', () => {})
  if (body !== undefined) stream.end(body)
  await once(stream, 'close')
  return { status: Number(answer[':status']), headers: answer, body: text, trailers, interim }
}

it('a client with prior knowledge is served by HTTP/2, others on the same port by HTTP/1.1', async () => {
  const { proxy, port, requests } = await setup()
  const client = session(port)
  const answers = await Promise.all(
    ['/a', '/b', '/c'].map((path) => ask(client, { ':path': path, cookie: ['a=1', 'b=2'], 'x-y': ['1', '2'] })),
  )
  expect(answers.map((a) => [a.status, a.body])).toEqual(Array(3).fill([200, 'hello']))
  expect(requests[0]!.headers).toMatchObject({ cookie: 'a=1; b=2', 'x-y': '1, 2', 'x-forwarded-proto': 'http' })
  const plain = await fetch(`http://127.0.0.1:${port}/direct`)
  expect(await plain.text()).toBe('direct')
  const value = (name: string) => proxy.counter(`http.h.downstream_${name}`)
  expect([value('cx_http2_total'), value('cx_http1_total'), value('rq_http2_total'), value('rq_http1_total')]).toEqual([
    1, 1, 3, 1,
  ])
  expect(proxy.counter('http2.streams_active')).toBe(0)
})

it('codec_type HTTP1 and HTTP2 leave no choice', async () => {
  const one = await setup({ codec_type: 'HTTP1' })
  expect((await fetch(`http://127.0.0.1:${one.port}/direct`)).status).toBe(200)
  const refused = frames(one.port)
  await refused.closed
  const two = await setup({ codec_type: 'HTTP2' })
  expect((await ask(session(two.port), { ':path': '/direct' })).body).toBe('direct')
  await expect(fetch(`http://127.0.0.1:${two.port}/direct`)).rejects.toThrow()
})

it('bodies go both ways, large ones at the pace of the slower side', async () => {
  const { port, requests } = await setup({}, (request, response) => {
    let length = 0
    request.on('data', (chunk) => {
      length += chunk.length
    })
    request.on('end', () => {
      response.write('x'.repeat(length))
      response.end('!')
    })
  })
  const client = session(port)
  const size = 3_000_000
  const answer = await ask(client, { ':method': 'POST', ':path': '/' }, 'y'.repeat(size))
  expect(answer.body.length).toBe(size + 1)
  // One that does not read: the proxy stops taking from the upstream.
  const slow = client.request({ ':method': 'POST', ':path': '/' })
  slow.end('z'.repeat(size))
  slow.pause()
  await once(slow, 'response')
  await eventually(() => requests.length === 2)
  let got = 0
  slow.on('data', (chunk) => {
    got += chunk.length
  })
  slow.resume()
  await once(slow, 'end')
  expect(got).toBe(size + 1)
})

it('interim answers, HEAD and trailers', async () => {
  const { port, requests } = await setup({ http_protocol_options: { enable_trailers: true } }, (request, response) => {
    request.resume()
    response.end('hello')
  })
  const client = session(port)
  const expecting = await ask(client, { ':method': 'POST', ':path': '/', expect: '100-continue' }, 'x')
  expect([expecting.interim, expecting.status]).toEqual([[100], 200])
  expect(requests[0]!.headers.expect).toBeUndefined()
  const head = await ask(client, { ':method': 'HEAD', ':path': '/direct' })
  expect([head.status, head.headers['content-length'], head.body]).toEqual([200, '6', ''])
})

it('an answer that comes before the end of the request ends the stream without an error', async () => {
  const { proxy, port, log } = await setup()
  const client = frames(port)
  client.send(requestFrame(1, false, { ':method': 'POST', ':path': '/direct' }))
  await client.sees('RST_STREAM 1 code=0')
  expect(client.seen.some((line) => line === 'DATA 1 direct')).toBe(true)
  client.send(requestFrame(3, true, { ':path': '/direct' }))
  await client.sees('DATA 3')
  expect(proxy.counter('http.h.downstream_rq_response_before_rq_complete')).toBe(1)
  expect(proxy.counter('http2.tx_reset')).toBe(1)
  await eventually(() => log.length === 2)
  expect(log[0]).toBe('POST /direct HTTP/2 200 - direct_response')
})

it('a request that the client resets is logged as such, and the connection goes on', async () => {
  const { proxy, port, log, requests } = await setup({}, (request, response) => {
    if (request.url !== '/hang') response.end('hello')
  })
  const client = frames(port)
  client.send(requestFrame(1, true, { ':path': '/hang' }))
  await eventually(() => requests.length === 1)
  client.send(frame(3, 0, 1, u32(8)))
  await eventually(() => log.length === 1)
  expect(log[0]).toBe('GET /hang HTTP/2 0 DR http2.remote_reset')
  client.send(requestFrame(3, true))
  await client.sees('DATA 3 hello')
  expect([proxy.counter('http2.rx_reset'), proxy.counter('http.h.downstream_cx_destroy_active_rq')]).toEqual([1, 0])
})

it('a client that goes away takes its requests with it', async () => {
  const { proxy, port, log, requests } = await setup({}, () => {})
  const client = frames(port)
  client.send(requestFrame(1, true), requestFrame(3, true))
  await eventually(() => requests.length === 2)
  client.close()
  await eventually(() => log.length === 2)
  expect(log).toEqual(Array(2).fill('GET / HTTP/2 0 DC downstream_remote_disconnect'))
  expect(proxy.counter('http.h.downstream_cx_destroy_remote_active_rq')).toBe(1)
  expect(proxy.counter('http2.streams_active')).toBe(0)
})

it.each<[string, Record<string, string | undefined>, [string, string][]]>([
  ['no :path', { ':path': undefined }, []],
  ['a relative path', { ':path': 'x' }, []],
  ['no :method', { ':method': undefined }, []],
  ['no :scheme', { ':scheme': undefined }, []],
  ['no authority', { ':authority': undefined }, []],
  ['user information in the authority', { ':authority': 'u@a' }, []],
  ['an upper-case name', {}, [['X-A', '1']]],
  ['connection', {}, [['connection', 'close']]],
  ['te: gzip', {}, [['te', 'gzip']]],
  ['an unknown pseudo header', {}, [[':x', '1']]],
  ['a content-length of nothing', { ':method': 'POST' }, [['content-length', '5']]],
])('a head with %s drops the connection without a word', async (_name, changes, more) => {
  const { proxy, port, log } = await setup()
  const client = frames(port)
  client.send(requestFrame(1, true, changes, more))
  await client.closed
  await eventually(() => log.length === 1)
  expect(log[0]).toMatch(/^- - HTTP\/2 0 DPE http2\.(invalid\.header\.field|violation\.of\.messaging\.rule)$/)
  expect(client.seen.filter((line) => /RST|GOAWAY|HEADERS/.test(line))).toEqual([])
  expect(proxy.counter('http2.rx_messaging_error')).toBe(1)
  expect(proxy.counter('http.h.downstream_cx_protocol_error')).toBe(1)
})

it('override_stream_error_on_invalid_http_message ends the stream alone', async () => {
  const { port, log } = await setup({ http2_protocol_options: { override_stream_error_on_invalid_http_message: true } })
  const client = frames(port)
  client.send(requestFrame(1, true, { ':path': undefined }))
  await client.sees('RST_STREAM 1 code=1')
  client.send(requestFrame(3, true))
  await client.sees('DATA 3 hello')
  await eventually(() => log.length === 2)
})

it('too many headers reset the stream', async () => {
  const { proxy, port, log } = await setup()
  const client = frames(port)
  const many = Array.from({ length: 110 }, (_, i): [string, string] => [`x-${i}`, '1'])
  client.send(requestFrame(1, true, {}, many))
  await client.sees('RST_STREAM 1 code=2')
  await eventually(() => log.length === 1)
  expect(log[0]).toBe('- - HTTP/2 0 DR http2.too_many_headers')
  expect(proxy.counter('http2.header_overflow')).toBe(1)
})

it.each<[string, (client: FrameClient) => void, string]>([
  ['frames without payload', (c) => c.send(...Array(3).fill(frame(0, 0, 1))), 'inbound_empty_frames_flood'],
  [
    'PRIORITY frames',
    (c) => c.send(...Array(250).fill(frame(2, 0, 1, Buffer.from([0, 0, 0, 0, 5])))),
    'inbound_priority_frames_flood',
  ],
  [
    'WINDOW_UPDATE frames',
    (c) => c.send(...Array(50).fill(frame(8, 0, 0, u32(1)))),
    'inbound_window_update_frames_flood',
  ],
  ['PINGs', (c) => c.send(...Array(1100).fill(frame(6, 0, 0, Buffer.alloc(8)))), 'outbound_control_flood'],
])('a flood of %s closes the connection', async (_name, flood, counter) => {
  const { proxy, port, requests } = await setup({}, () => {})
  const client = frames(port)
  client.send(requestFrame(1, false, { ':method': 'POST' }))
  await eventually(() => requests.length === 1)
  flood(client)
  await client.closed
  expect(proxy.counter(`http2.${counter}`)).toBe(1)
})

it('a draining proxy announces a GOAWAY with the next answer, and closes when its time is over', async () => {
  const { proxy, port } = await setup({ drain_timeout: '0.2s' })
  const client = frames(port)
  client.send(requestFrame(1, true, { ':path': '/direct' }))
  await client.sees('DATA 1')
  await proxy.admin('/healthcheck/fail', 'POST')
  client.send(requestFrame(3, true, { ':path': '/direct' }))
  await client.sees('DATA 3')
  expect(client.seen.filter((line) => line.startsWith('GOAWAY'))).toEqual(['GOAWAY 0 last=2147483647 code=0'])
  // What was on its way is still served.
  client.send(requestFrame(5, true, { ':path': '/direct' }))
  await client.sees('DATA 5')
  await client.sees('GOAWAY 0 last=5 code=0')
  await client.closed
  expect(proxy.counter('http.h.downstream_cx_drain_close')).toBe(1)
  expect(proxy.counter('http2.goaway_sent')).toBe(1)
})

it('a connection goes away after max_requests_per_connection', async () => {
  const { proxy, port } = await setup({
    drain_timeout: '0.05s',
    common_http_protocol_options: { max_requests_per_connection: 2 },
  })
  const client = frames(port)
  client.send(requestFrame(1, true, { ':path': '/direct' }))
  await client.sees('DATA 1')
  expect(client.seen.some((line) => line.startsWith('GOAWAY'))).toBe(false)
  client.send(requestFrame(3, true, { ':path': '/direct' }))
  await client.sees('GOAWAY 0 last=2147483647')
  await client.closed
  expect(proxy.counter('http.h.downstream_cx_max_requests_reached')).toBe(1)
})

it('an idle connection is drained', async () => {
  const { proxy, port } = await setup({
    drain_timeout: '0.05s',
    common_http_protocol_options: { idle_timeout: '0.1s' },
  })
  const client = frames(port)
  client.send(requestFrame(1, true, { ':path': '/direct' }))
  await client.closed
  expect(client.seen.filter((line) => line.startsWith('GOAWAY'))).toEqual([
    'GOAWAY 0 last=2147483647 code=0',
    'GOAWAY 0 last=1 code=0',
  ])
  expect(proxy.counter('http.h.downstream_cx_idle_timeout')).toBe(1)
})

it('a client that answers no PING is cut off', async () => {
  const { proxy, port } = await setup({
    http2_protocol_options: {
      connection_keepalive: { interval: '0.05s', timeout: '0.05s', interval_jitter: { value: 0 } },
    },
  })
  const client = frames(port)
  await client.sees('PING 0')
  await client.closed
  expect(proxy.counter('http2.keepalive_timeout')).toBe(1)
})

it('max_concurrent_streams and the windows are told to the client', async () => {
  const { port } = await setup({
    http2_protocol_options: {
      max_concurrent_streams: 7,
      initial_stream_window_size: 70_000,
      initial_connection_window_size: 80_000,
      allow_connect: true,
    },
  })
  const client = session(port)
  const [settings] = (await once(client, 'remoteSettings')) as [http2.Settings]
  expect(settings).toMatchObject({ maxConcurrentStreams: 7, initialWindowSize: 70_000, enableConnectProtocol: true })
})

it('a WebSocket over HTTP/2 becomes one of HTTP/1.1 upstream', async () => {
  const { proxy, port, requests } = await setup({
    upgrade_configs: [{ upgrade_type: 'websocket' }],
    http2_protocol_options: { allow_connect: true },
  })
  const client = session(port)
  await once(client, 'remoteSettings')
  const stream = client.request({ ':method': 'CONNECT', ':protocol': 'websocket', ':path': '/ws', ':scheme': 'http' })
  const [answer] = (await once(stream, 'response')) as [http2.IncomingHttpHeaders]
  expect([answer[':status'], answer.upgrade]).toEqual([200, undefined])
  stream.write('ping')
  const [echo] = (await once(stream, 'data')) as [Buffer]
  expect(String(echo)).toBe('echo ping')
  expect(requests[0]).toMatchObject({
    method: 'GET',
    url: '/ws',
    headers: { upgrade: 'websocket', connection: 'upgrade' },
  })
  expect(proxy.counter('http.h.downstream_cx_upgrades_active')).toBe(1)
  const refused = client.request({ ':method': 'CONNECT', ':protocol': 'other', ':path': '/ws', ':scheme': 'http' })
  const [no] = (await once(refused, 'response')) as [http2.IncomingHttpHeaders]
  expect(no[':status']).toBe(403)
})

it('a client that resets all it asks is cut off', async () => {
  const { proxy, port } = await setup({}, () => {})
  const client = frames(port)
  for (let i = 0; i < 260; i++) client.send(requestFrame(2 * i + 1, true), frame(3, 0, 2 * i + 1, u32(8)))
  await client.closed
  expect(proxy.counter('http.h.downstream_rq_too_many_premature_resets')).toBe(1)
})

it('trailers of a request that are none end the request', async () => {
  const { port, log, requests } = await setup({}, () => {})
  const client = frames(port)
  client.send(requestFrame(1, false, { ':method': 'POST' }))
  await eventually(() => requests.length === 1)
  client.send(frame(0, 0, 1, Buffer.from('abc')), frame(1, 4, 1, headerBlock([['x', '1']])))
  await client.closed
  await eventually(() => log.length === 1)
  expect(log[0]).toBe('POST / HTTP/2 0 DPE http2.violation.of.messaging.rule')
})
