import http2 from 'node:http2'
import { describe, expect, test } from 'vitest'
import { exchange, get, httpFilter, httpHarness, oneHost, routerFilter } from './support/http.ts'
import { client, pod, service, startMesh } from './support/mesh.ts'

const { proxy, upstream } = httpHarness()
const TYPE = 'envoy.extensions.filters.http.buffer.v3.Buffer'
const own = (prefix: string, config: object) => ({
  match: { prefix },
  route: { cluster: 'a' },
  typed_per_filter_config: { b: { '@type': `type.googleapis.com/${TYPE}PerRoute`, ...config } },
})
const buffered = (max_request_bytes: number | undefined, routes: object[] = []) => ({
  route_config: oneHost([...routes, { match: { prefix: '/' }, route: { cluster: 'a' } }]),
  http_filters: [httpFilter('b', TYPE, { max_request_bytes }), routerFilter()],
  http_protocol_options: { enable_trailers: true },
})
const chunked = (path: string, chunks: string[]) =>
  `POST ${path} HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n${chunks.map((c) => `${c.length.toString(16)}\r\n${c}\r\n`).join('')}0\r\n`

describe('the buffer filter', () => {
  test('a chunked request goes on as a whole, with its length', async () => {
    const a = await upstream('a')
    const p = await proxy(buffered(10), [a])
    await exchange(p.http, `${chunked('/', ['abc', 'def'])}\r\n`)
    expect([a.last.body, a.last.headers.get('content-length'), a.last.headers.get('transfer-encoding')]).toEqual([
      'abcdef',
      '6',
      undefined,
    ])
    await exchange(p.http, `${chunked('/', ['abc'])}x-after: 1\r\n\r\n`)
    expect([a.last.body, a.last.headers.get('content-length')]).toEqual(['abc', '3'])
    await get(p.http, '/')
    expect(a.last.headers.has('content-length')).toBe(false)
  })

  test('nothing goes on before the end', async () => {
    const a = await upstream('a')
    const p = await proxy(buffered(10), [a])
    const session = http2.connect(`http://127.0.0.1:${p.http}`)
    try {
      const stream = session.request({ ':method': 'POST', ':path': '/' })
      stream.write('abc')
      // A request on the same connection is answered meanwhile.
      const other = session.request({ ':path': '/other' }).resume()
      await new Promise((resolve) => other.on('close', resolve))
      expect(a.received.map((r) => r.path)).toEqual(['/other'])
      stream.resume().end('def')
      await new Promise((resolve) => stream.on('close', resolve))
      expect([a.last.path, a.last.body, a.last.headers.get('content-length')]).toEqual(['/', 'abcdef', '6'])
    } finally {
      session.destroy()
    }
  })

  test('a request beyond the limit is answered with 413, and counted', async () => {
    const a = await upstream('a')
    const p = await proxy(buffered(10), [a])
    expect((await get(p.http, '/', {}, 'POST', 'x'.repeat(10))).status).toBe(200)
    const refused = await get(p.http, '/', {}, 'POST', 'x'.repeat(11))
    expect([refused.status, refused.body]).toEqual([413, 'Payload Too Large'])
    expect((await exchange(p.http, `${chunked('/', ['abcdefg', 'hijklmn'])}\r\n`))[0]?.status).toBe(413)
    expect(a.received).toHaveLength(1)
    expect(p.counter('http.h.downstream_rq_too_large')).toBe(2)
  })

  test("the limit holds before the end, and in the place of the connection's", async () => {
    const a = await upstream('a')
    const p = await proxy(buffered(10), [a])
    // The last chunk never comes.
    expect((await exchange(p.http, chunked('/', ['abcdefg', 'hijklmn'])))[0]?.status).toBe(413)
    const more = 1024 * 1024 + 100_000
    const wide = await proxy(buffered(2 * more), [a])
    expect((await get(wide.http, '/', {}, 'POST', 'x'.repeat(more))).status).toBe(200)
    expect(a.last.body).toHaveLength(more)
  })

  test('a route has its own limit, or none', async () => {
    const a = await upstream('a')
    const routes = [own('/off', { disabled: true }), own('/more', { buffer: { max_request_bytes: 20 } })]
    const p = await proxy(buffered(10, routes), [a])
    const post = async (path: string, length: number) =>
      (await get(p.http, path, {}, 'POST', 'x'.repeat(length))).status
    expect([await post('/more', 20), await post('/more', 21), await post('/off', 30)]).toEqual([200, 413, 200])
    await exchange(p.http, `${chunked('/off', ['abc'])}\r\n`)
    expect(a.last.headers.get('transfer-encoding')).toBe('chunked')
  })

  test('an EnvoyFilter puts it before an app', async () => {
    const mesh = await startMesh(`${service('reviews')}${pod('reviews', 'v1')}${client()}
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: whole}
spec:
  workloadSelector: {labels: {app: reviews}}
  configPatches:
  - applyTo: HTTP_FILTER
    match:
      context: SIDECAR_INBOUND
      listener:
        filterChain: {filter: {name: envoy.filters.network.http_connection_manager, subFilter: {name: envoy.filters.http.router}}}
    patch:
      operation: INSERT_BEFORE
      value:
        name: envoy.filters.http.buffer
        typed_config: {"@type": type.googleapis.com/${TYPE}, max_request_bytes: 10}
`)
    try {
      const post = (body: string) => mesh.get('client', 'http://reviews:9080/', { body })
      expect((await post('0123456789')).echo?.request.body).toBe('0123456789')
      expect((await post('0123456789a')).status).toBe(413)
    } finally {
      await mesh.stop()
    }
  })
})
