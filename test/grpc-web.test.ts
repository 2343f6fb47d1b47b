import { once } from 'node:events'
import http from 'node:http'
import http2 from 'node:http2'
import type net from 'node:net'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { httpFilter, type RunningProxy, socketAddress, startProxy, staticCluster } from './support/proxy.ts'

const OPTIONS = 'envoy.extensions.upstreams.http.v3.HttpProtocolOptions'
const TEXT = 'application/grpc-web-text'

let server: http2.Http2Server
let proxy: RunningProxy
const sessions = new Set<http2.ServerHttp2Session>()
let seen: { headers: http2.IncomingHttpHeaders; body: Buffer } | undefined

/** A message of gRPC: flags, length, text. */
function message(text: string): Buffer {
  const out = Buffer.alloc(5 + text.length)
  out.writeUInt32BE(text.length, 1)
  out.write(text, 5)
  return out
}

beforeAll(async () => {
  server = http2.createServer()
  server.on('session', (session) => sessions.add(session))
  server.on('stream', async (stream, headers) => {
    const chunks: Buffer[] = []
    stream.on('error', () => {})
    stream.on('data', (chunk: Buffer) => chunks.push(chunk))
    if (!(await new Promise((resolve) => stream.on('end', () => resolve(!stream.aborted))))) return
    seen = { headers, body: Buffer.concat(chunks) }
    if (headers[':path'] === '/s.S/Page') {
      stream.respond({ ':status': 503, 'content-type': 'text/plain' })
      stream.end('no such thing')
      return
    }
    stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true })
    stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0', 'x-t': '1' }))
    stream.write(message('one'))
    stream.end(message('two'))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const filter = httpFilter('', {
    route_config: {
      virtual_hosts: [{ name: 'all', domains: ['*'], routes: [{ match: { prefix: '/' }, route: { cluster: 'app' } }] }],
    },
    http_filters: [
      {
        name: 'envoy.filters.http.grpc_web',
        typed_config: { '@type': 'type.googleapis.com/envoy.extensions.filters.http.grpc_web.v3.GrpcWeb' },
      },
      {
        name: 'envoy.filters.http.router',
        typed_config: { '@type': 'type.googleapis.com/envoy.extensions.filters.http.router.v3.Router' },
      },
    ],
  })
  const options = { '@type': `type.googleapis.com/${OPTIONS}`, explicit_http_config: { http2_protocol_options: {} } }
  proxy = await startProxy({
    static_resources: {
      listeners: [{ name: 'l', address: socketAddress(0), filter_chains: [{ filters: [filter] }] }],
      clusters: [
        staticCluster('app', (server.address() as net.AddressInfo).port, {
          typed_extension_protocol_options: { [OPTIONS]: options },
        }),
      ],
    },
  })
})
afterAll(async () => {
  await proxy?.stop()
  for (const session of sessions) session.destroy()
  server?.close()
})

async function post(
  path: string,
  type: string,
  pieces: readonly (Buffer | string)[],
): Promise<{ status: number; headers: http.IncomingHttpHeaders; body: Buffer }> {
  const headers = { 'content-type': type, accept: type }
  const request = http.request({ port: proxy.port('l'), host: '127.0.0.1', path, method: 'POST', headers })
  for (const piece of pieces) request.write(piece)
  request.end()
  const [response] = (await once(request, 'response')) as [http.IncomingMessage]
  const chunks: Buffer[] = []
  for await (const chunk of response) chunks.push(chunk as Buffer)
  return { status: response.statusCode!, headers: response.headers, body: Buffer.concat(chunks) }
}

const TRAILERS = 'grpc-status:0\r\nx-t:1\r\n'
const trailerFrame = () => {
  const out = message(TRAILERS)
  out[0] = 0x80
  return out
}

it('a binary call reaches a gRPC server, its trailers come back in the body', async () => {
  const got = await post('/s.S/Call', 'application/grpc-web+proto', [message('hi')])
  expect([got.status, got.headers['content-type']]).toEqual([200, 'application/grpc-web+proto'])
  expect(got.body).toEqual(Buffer.concat([message('one'), message('two'), trailerFrame()]))
  expect(seen!.headers).toMatchObject({ 'content-type': 'application/grpc', te: 'trailers' })
  expect(seen!.body).toEqual(message('hi'))
  expect(proxy.counter('cluster.app.grpc-web.s.S.Call.success')).toBe(1)
})

it('a text call is base64 both ways, wherever it is cut', async () => {
  const text = message('hello').toString('base64')
  const got = await post('/s.S/Call', TEXT, [text.slice(0, 5), text.slice(5)])
  expect(got.headers['content-type']).toBe(`${TEXT}+proto`)
  const parts = [message('one'), message('two'), trailerFrame()].map((part) => part.toString('base64'))
  expect(got.body.toString()).toBe(parts.join(''))
  expect(seen!.body).toEqual(message('hello'))
})

it('text that is no base64 is refused', async () => {
  const got = await post('/s.S/Call', TEXT, ['abc'])
  expect([got.status, got.headers['grpc-status'], got.headers['grpc-message']]).toEqual([
    400,
    '13',
    'Bad gRPC-web request, invalid base64 data.',
  ])
})

it('an answer that is no gRPC becomes a status and a message', async () => {
  const got = await post('/s.S/Page', 'application/grpc-web', [message('hi')])
  expect([got.status, got.headers['grpc-status'], got.headers['grpc-message'], got.body.length]).toEqual([
    503,
    '14',
    'no such thing',
    0,
  ])
})
