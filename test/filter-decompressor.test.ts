import http2 from 'node:http2'
import zlib from 'node:zlib'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { handlerUpstream, open } from './support/compression.ts'
import { get, httpFilter, httpHarness, oneHost, routerFilter, startHttpProxy, type Upstream } from './support/http.ts'
import { client, pod, service, startMesh } from './support/mesh.ts'
import { eventually } from './support/proxy.ts'

const { proxy, upstream } = httpHarness()
const TYPE = 'envoy.extensions.filters.http.decompressor.v3.Decompressor'
const library = (name: string, type: string, config: object = {}) => ({
  name,
  typed_config: { '@type': `type.googleapis.com/envoy.extensions.compression.${type}`, ...config },
})
const gunzip = (config: object = {}) => library('g', 'gzip.decompressor.v3.Gzip', config)
const brotli = (config: object = {}) => library('b', 'brotli.decompressor.v3.Brotli', config)
const decompressor = (decompressor_library: object, config: object = {}, name = 'd') =>
  httpFilter(name, TYPE, { decompressor_library, ...config })
const withFilters = (...filters: object[]) => ({
  route_config: oneHost([{ match: { prefix: '/' }, route: { cluster: 'a' } }]),
  http_filters: [...filters, routerFilter()],
  http_protocol_options: { enable_trailers: true },
})
const body = 'A line of text that was worth compressing. '.repeat(20)
const zipped = zlib.gzipSync(body)

describe('the decompressor filter', () => {
  const running: { stop(): unknown }[] = []
  afterEach(async () => {
    vi.restoreAllMocks()
    for (const r of running.splice(0).reverse()) await r.stop()
  })
  /** A proxy with these filters before a server that sends `pieces`, one by one. */
  const inFrontOf = async (encoding: string, pieces: readonly Uint8Array[], ...filters: object[]) => {
    const server = await handlerUpstream('a', async (_request, response) => {
      response.writeHead(200, { 'content-encoding': encoding })
      for (const piece of pieces) await new Promise((resolve) => response.write(piece, resolve))
      response.end()
    })
    const p = await startHttpProxy(withFilters(...filters), [server as unknown as Upstream])
    running.push(server, p)
    return p
  }
  const fetched = async (port: number, headers: Record<string, string> = {}) => {
    const response = await open(port, '/', headers)
    let text = ''
    for await (const chunk of response.setEncoding('latin1')) text += chunk
    return { text, headers: response.headers, trailers: response.trailers }
  }

  test('decompresses responses, asks for compressed ones, and tells the sizes in trailers', async () => {
    const p = await inFrontOf(
      'gzip',
      [zipped.subarray(0, 7), zipped.subarray(7, 30), zipped.subarray(30)],
      decompressor(gunzip()),
    )
    const got = await fetched(p.http)
    expect([got.text, got.headers['content-encoding']]).toEqual([body, undefined])
    expect(got.trailers).toEqual({
      'x-envoy-decompressor-g-compressed-bytes': String(zipped.length),
      'x-envoy-decompressor-g-uncompressed-bytes': String(body.length),
    })
    const stat = (name: string) => p.counter(`http.h.decompressor.g.gzip.response.${name}`)
    expect(['decompressed', 'total_compressed_bytes', 'total_uncompressed_bytes'].map(stat)).toEqual([
      1,
      zipped.length,
      body.length,
    ])
  })

  test.each([
    ['', 'gzip'],
    ['gzip;q=0.3, br', 'br,gzip'],
    ['br;q=0.5 , deflate', 'br;q=0.5,deflate,gzip'],
  ])('tells the server that it takes gzip beside "%s"', async (given, sent) => {
    const a = await upstream('a')
    const p = await proxy(withFilters(decompressor(gunzip())), [a])
    await get(p.http, '/', given === '' ? {} : { 'accept-encoding': given })
    expect(a.last.headers.get('accept-encoding')).toBe(sent)
  })

  test('takes off one coding of a list, the first; each filter its own', async () => {
    const twice = zlib.brotliCompressSync(zipped)
    const p = await inFrontOf('br, gzip', [twice], decompressor(gunzip()), decompressor(brotli(), {}, 'e'))
    const got = await fetched(p.http)
    expect([got.text, got.headers['content-encoding']]).toEqual([body, undefined])
    const one = await inFrontOf('BR , gzip', [twice], decompressor(brotli()))
    expect((await fetched(one.http)).headers['content-encoding']).toBe('gzip')
  })

  test('requests too, over HTTP/2, with trailers of their own', async () => {
    const a = await upstream('a')
    const p = await proxy(withFilters(decompressor(gunzip())), [a])
    const session = http2.connect(`http://127.0.0.1:${p.http}`)
    const request = session.request({ ':method': 'POST', 'content-encoding': 'gzip' })
    request.end(zipped)
    await new Promise((resolve) => request.resume().on('end', resolve))
    session.close()
    expect([a.last.body, a.last.headers.get('content-encoding')]).toEqual([body, undefined])
    expect(p.counter('http.h.decompressor.g.gzip.request.decompressed')).toBe(1)
  })

  test('leaves alone what must not be transformed, unless told otherwise', async () => {
    const answer = { headers: { 'cache-control': 'No-Transform', 'content-encoding': 'gzip' }, body: 'as it is' }
    const a = await upstream('a', answer)
    const p = await proxy(withFilters(decompressor(gunzip())), [a])
    expect((await get(p.http, '/')).body).toBe('as it is')
    const response_direction_config = { common_config: { ignore_no_transform_header: true } }
    const other = await proxy(withFilters(decompressor(gunzip(), { response_direction_config })), [a])
    expect((await get(other.http, '/')).headers.has('content-encoding')).toBe(false)
    expect(other.counter('http.h.decompressor.g.gzip.decompressor_library.zlib_data_error')).toBe(1)
  })

  test('what stands behind the data is dropped, what is broken is counted, and the response ends all the same', async () => {
    const junk = Buffer.from('junk')
    const wrong = Buffer.from(zipped)
    wrong[wrong.length - 6]! ^= 1 // its checksum
    const cases: [Buffer, string, number][] = [
      [Buffer.concat([zipped, junk]), body, 0],
      [Buffer.concat([zipped, zipped]), body, 0],
      [wrong, body, 1],
      [junk, '', 1],
    ]
    for (const [piece, expected, errors] of cases) {
      const p = await inFrontOf('gzip', [piece], decompressor(gunzip()))
      expect((await fetched(p.http)).text).toBe(expected)
      expect(p.counter('http.h.decompressor.g.gzip.decompressor_library.zlib_data_error')).toBe(errors)
    }
    const short = await inFrontOf('gzip', [zipped.subarray(0, zipped.length - 20)], decompressor(gunzip()))
    const { text } = await fetched(short.http)
    expect([body.startsWith(text), text.length > 0]).toEqual([true, true])
  })

  test('a bomb is given up at the ratio that is allowed', async () => {
    const bomb = zlib.gzipSync(Buffer.alloc(2_000_000))
    const p = await inFrontOf('gzip', [bomb], decompressor(gunzip({ max_inflate_ratio: 10, chunk_size: 8192 })))
    const got = await fetched(p.http)
    expect(got.text.length).toBe((Math.floor((10 * bomb.length) / 8192) + 1) * 8192)
    expect(p.counter('http.h.decompressor.g.gzip.decompressor_library.zlib_data_error')).toBe(1)
  })

  test('nothing is held for clients that went away', async () => {
    const streams = vi.spyOn(zlib, 'createInflateRaw')
    const server = await handlerUpstream('a', (_request, response) => {
      response.writeHead(200, { 'content-encoding': 'gzip' })
      response.write(zipped.subarray(0, 50)) // and no more
    })
    const p = await startHttpProxy(withFilters(decompressor(gunzip())), [server as unknown as Upstream])
    running.push(server, p)
    for (let i = 0; i < 5; i++) (await open(p.http, '/', {})).destroy()
    await eventually(() => streams.mock.results.every(({ value }) => value.destroyed))
    expect(streams).toHaveBeenCalledTimes(5)
  })

  test('an EnvoyFilter puts it before an app', async () => {
    const mesh = await startMesh(`${service('reviews')}${pod('reviews', 'v1')}${client()}
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: unzip}
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
        name: envoy.filters.http.decompressor
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.http.decompressor.v3.Decompressor
          decompressor_library:
            name: basic
            typed_config: {"@type": type.googleapis.com/envoy.extensions.compression.gzip.decompressor.v3.Gzip}
`)
    running.push(mesh)
    const [answer] = await mesh.mesh.call({
      from: 'client',
      url: 'http://reviews:9080/',
      method: 'POST',
      headers: [['content-encoding', 'gzip']],
      body: zipped.toString('base64'),
      count: 1,
      concurrency: 1,
      timeout: 10_000,
    })
    const { request } = JSON.parse(Buffer.from(answer!.body ?? '', 'base64').toString())
    expect([request.body, request.headers['content-encoding']]).toEqual([body, undefined])
  })
})
