import { once } from 'node:events'
import type http from 'node:http'
import zlib from 'node:zlib'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { handlerUpstream, open, plain } from './support/compression.ts'
import { addressOf, gatewayYaml } from './support/gateway.ts'
import { get, httpFilter, httpHarness, oneHost, routerFilter, startHttpProxy, type Upstream } from './support/http.ts'
import { client, pod, service, startMesh, type TestMesh } from './support/mesh.ts'
import { eventually } from './support/proxy.ts'

const { proxy, upstream } = httpHarness()
const TYPE = 'envoy.extensions.filters.http.compressor.v3.Compressor'
const PER_ROUTE = `type.googleapis.com/${TYPE}PerRoute`
const library = (name: string, type: string, config: object = {}) => ({
  name,
  typed_config: { '@type': `type.googleapis.com/envoy.extensions.compression.${type}`, ...config },
})
const gzip = (config: object = {}) => library('text', 'gzip.compressor.v3.Gzip', config)
const brotli = (config: object = {}) => library('small', 'brotli.compressor.v3.Brotli', config)
const compressor = (compressor_library: object, config: object = {}, name = 'c') =>
  httpFilter(name, TYPE, { compressor_library, ...config })
const withFilters = (filters: object[], routes: object[] = []) => ({
  route_config: oneHost([...routes, { match: { prefix: '/' }, route: { cluster: 'a' } }]),
  http_filters: [...filters, routerFilter()],
})
const body = 'A line of text that is worth compressing. '.repeat(20)
const text = { 'content-type': 'text/plain' }
/** Takes brotli a while. */
const large = Buffer.from(Array.from({ length: 400_000 }, (_, i) => 32 + ((i * i) % 91)))
const takes = (encoding: string) => ({ 'accept-encoding': encoding })

describe('the compressor filter', () => {
  const running: { stop(): unknown }[] = []
  afterEach(async () => {
    vi.restoreAllMocks()
    for (const r of running.splice(0).reverse()) await r.stop()
  })
  /** A proxy with these filters before a server with a handler of its own. */
  const inFrontOf = async (handler: http.RequestListener, filters: object[]) => {
    const server = await handlerUpstream('a', handler)
    const p = await startHttpProxy(withFilters(filters), [server as unknown as Upstream])
    running.push(server, p)
    return p
  }

  test('compresses what a client takes, and says so', async () => {
    const a = await upstream('a', { body, headers: { ...text, etag: '"strong"' } })
    const p = await proxy(withFilters([compressor(gzip())]), [a])
    const got = await get(p.http, '/', takes('br, gzip;q=0.5'))
    expect(plain(got)).toBe(body)
    expect(got.body.length).toBeLessThan(body.length / 4)
    const shown = ['content-encoding', 'vary', 'transfer-encoding', 'content-length', 'etag'].map((name) =>
      got.headers.get(name),
    )
    expect(shown).toEqual(['gzip', 'Accept-Encoding', 'chunked', undefined, undefined])
    expect(a.last.headers.get('accept-encoding')).toBe('br, gzip;q=0.5')
    const stat = (name: string) => p.counter(`http.h.compressor.text.gzip.${name}`)
    expect([stat('compressed'), stat('header_compressor_used'), stat('total_uncompressed_bytes')]).toEqual([
      1,
      1,
      body.length,
    ])
    expect(stat('total_compressed_bytes')).toBe(got.body.length)
    expect(stat('request.not_compressed')).toBe(1)
  })

  test.each<[string, Record<string, string>, string, object]>([
    ['no accept-encoding', {}, 'no_accept_header', {}],
    ['one that refuses it', takes('gzip;q=0, *;q=0'), 'header_not_valid', {}],
    ['identity above it', takes('gzip;q=0.5, identity'), 'header_identity', {}],
    ['a short body', takes('gzip'), 'content_length_too_small', { body: 'short' }],
    ['an etag, with disable_on_etag_header', takes('gzip'), 'not_compressed_etag', { headers: { etag: '"x"' } }],
    ['another content type', takes('gzip'), 'not_compressed', { headers: { 'content-type': 'image/png' } }],
    ['no-transform', takes('gzip'), 'not_compressed', { headers: { 'cache-control': 'no-transform' } }],
    ['a body that is encoded already', takes('gzip'), 'not_compressed', { headers: { 'content-encoding': 'x' } }],
  ])('leaves alone: %s', async (_what, headers, counter, answer) => {
    const a = await upstream('a', {
      body,
      ...answer,
      headers: { ...text, ...(answer as { headers?: object }).headers },
    })
    const p = await proxy(withFilters([compressor(gzip(), { disable_on_etag_header: true })]), [a])
    const got = await get(p.http, '/', headers)
    expect(got.headers.get('content-encoding')).not.toBe('gzip')
    expect(got.headers.get('content-length')).toBe(String(got.body.length))
    expect(p.counter(`http.h.compressor.text.gzip.${counter}`)).toBe(1)
    expect(p.counter('http.h.compressor.text.gzip.compressed')).toBe(0)
  })

  test.each([
    ['gzip, br', 'gzip'],
    ['gzip;q=0.5, br;q=0.6', 'br'],
    ['*', 'gzip'],
    ['*;q=0.1, br;q=0.1, gzip;q=0', 'br'],
    ['deflate', undefined],
  ])('several compressors choose by what the client prefers: %s', async (wanted, encoding) => {
    const a = await upstream('a', { body, headers: text })
    const p = await proxy(withFilters([compressor(gzip()), compressor(brotli(), {}, 'd')]), [a])
    const got = await get(p.http, '/', takes(wanted))
    expect([got.headers.get('content-encoding'), plain(got)]).toEqual([encoding, body])
    expect(got.headers.get('vary')).toBe('Accept-Encoding')
  })

  test('choose_first breaks a tie, and a route may turn it off or take another library', async () => {
    const a = await upstream('a', { body, headers: text })
    const own = (prefix: string, config: object) => ({
      match: { prefix },
      route: { cluster: 'a' },
      typed_per_filter_config: { c: { '@type': PER_ROUTE, ...config } },
    })
    const p = await proxy(
      withFilters(
        [compressor(brotli(), {}, 'd'), compressor(gzip(), { choose_first: true })],
        [
          own('/off', { disabled: true }),
          own('/other', { overrides: { compressor_library: brotli(), response_direction_config: {} } }),
          own('/hide', { overrides: { response_direction_config: { remove_accept_encoding_header: true } } }),
        ],
      ),
      [a],
    )
    const encodings = []
    for (const path of ['/', '/off', '/other', '/hide'])
      encodings.push((await get(p.http, path, takes('br, gzip'))).headers.get('content-encoding'))
    expect(encodings).toEqual(['gzip', undefined, 'br', 'gzip'])
    expect(a.last.headers.has('accept-encoding')).toBe(false)
  })

  test('weakens etags, matches content types, and tells its reasons, where that is asked for', async () => {
    const a = await upstream(
      'a',
      { body, headers: { 'content-type': 'font/woff', etag: '"x"' } },
      { body, headers: { 'content-type': 'text/plain' } },
      { body, status: 206, headers: { 'content-type': 'font/woff' } },
    )
    const response_direction_config = {
      common_config: { content_type_matcher: [{ prefix: 'font/' }] },
      weaken_etag_on_compress: true,
      status_header_enabled: true,
      uncompressible_response_codes: [206],
    }
    const p = await proxy(withFilters([compressor(gzip(), { response_direction_config })]), [a])
    const first = await get(p.http, '/', takes('gzip'))
    expect(first.headers.get('etag')).toBe('W/"x"')
    const status = 'x-envoy-compression-status'
    expect(first.headers.get(status)).toBe(`gzip;Compressed;OriginalLength=${body.length}`)
    expect((await get(p.http, '/', takes('gzip'))).headers.get(status)).toBe('gzip;ContentTypeNotAllowed')
    expect((await get(p.http, '/', takes('gzip'))).headers.get(status)).toBe('gzip;StatusCodeNotAllowed')
    expect(p.counter('http.h.compressor.text.gzip.response.compressed')).toBe(1)
  })

  test('answers without a body pass: HEAD, 204 and 304', async () => {
    const a = await upstream('a', { body, headers: text }, { status: 204, body: '' }, { status: 304, body: '' })
    const p = await proxy(withFilters([compressor(gzip())]), [a])
    const head = await get(p.http, '/', takes('gzip'), 'HEAD')
    expect([head.headers.get('content-length'), head.headers.get('content-encoding')]).toEqual(['840', undefined])
    expect((await get(p.http, '/', takes('gzip'))).status).toBe(204)
    expect((await get(p.http, '/', takes('gzip'))).status).toBe(304)
    expect(p.counter('http.h.compressor.text.gzip.compressed')).toBe(0)
  })

  test('requests are compressed where that is configured', async () => {
    const a = await upstream('a')
    const p = await proxy(withFilters([compressor(gzip(), { request_direction_config: {} })]), [a])
    await get(p.http, '/', text, 'POST', body)
    expect(a.last.headers.get('content-encoding')).toBe('gzip')
    expect(zlib.gunzipSync(Buffer.from(a.last.body, 'latin1')).toString()).toBe(body)
    expect(p.counter('http.h.compressor.text.gzip.request.compressed')).toBe(1)
  })

  test('each event of a stream goes out when it comes', async () => {
    let next: () => void = () => {}
    const p = await inFrontOf(
      (_request, response) => {
        let sent = 0
        next = () => (sent++ < 3 ? response.write(`data: ${sent}\n\n`) : response.end())
        response.writeHead(200, text)
        next()
      },
      [compressor(gzip())],
    )
    const response = await open(p.http, '/', takes('gzip'))
    const events: string[] = []
    for await (const chunk of response.pipe(zlib.createGunzip())) {
      events.push(String(chunk))
      next() // the second comes only once the first was read
    }
    expect(events).toEqual(['data: 1\n\n', 'data: 2\n\n', 'data: 3\n\n'])
  })

  test('a client that reads slowly slows the server down', async () => {
    const total = 24 * 1024 * 1024
    let sent = 0
    const p = await inFrontOf(
      async (_request, response) => {
        response.writeHead(200, text)
        while (sent < total) {
          const chunk = Buffer.from(Array.from({ length: 16_384 }, () => (Math.random() * 256) | 0)) // will not shrink
          const piece = Buffer.concat(Array(16).fill(chunk))
          sent += piece.length
          if (!response.write(piece)) await once(response, 'drain')
        }
        response.end()
      },
      [compressor(gzip({ window_bits: 9, compression_level: 'BEST_SPEED' }))],
    )
    const response = await open(p.http, '/', takes('gzip'))
    let last = -1
    while (last !== sent) {
      last = sent
      await new Promise((resolve) => setTimeout(resolve, 250))
    }
    expect(sent).toBeLessThan(total)
    let received = 0
    for await (const chunk of response.pipe(zlib.createGunzip())) received += (chunk as Buffer).length
    expect(received).toBe(total)
  })

  test('a filter that lets the head go later does not end the body early', async () => {
    const other = await upstream('other', { delay: 20 })
    const server = await handlerUpstream('a', (_request, response) => {
      response.writeHead(200, text)
      response.end(large)
    })
    const source = `function envoy_on_response(h)
      h:httpCall("other", {[":method"]="GET", [":path"]="/", [":authority"]="o"}, "", 1000)
    end`
    const lua = httpFilter('lua', 'envoy.extensions.filters.http.lua.v3.Lua', {
      default_source_code: { inline_string: source },
    })
    const p = await startHttpProxy(withFilters([lua, compressor(brotli({ quality: 11, window_bits: 24 }))]), [
      server as unknown as Upstream,
      other,
    ])
    running.push(server, p)
    expect(plain(await get(p.http, '/', takes('br')))).toBe(large.toString('latin1'))
  })

  test('nothing is held for clients that went away', async () => {
    const streams = vi.spyOn(zlib, 'createGzip')
    const p = await inFrontOf(
      (_request, response) => {
        response.writeHead(200, text)
        const timer = setInterval(() => response.write(body), 1)
        response.on('close', () => clearInterval(timer))
      },
      [compressor(gzip())],
    )
    for (let i = 0; i < 10; i++) {
      const response = await open(p.http, '/', takes('gzip'))
      await once(response, 'data')
      response.destroy()
    }
    await eventually(() => streams.mock.results.every(({ value }) => value.destroyed))
    expect(streams).toHaveBeenCalledTimes(10)
  })

  test('a large body does not hold others up', async () => {
    const p = await inFrontOf(
      (request, response) => {
        response.writeHead(200, text)
        response.end(request.url === '/large' ? large : 'small')
      },
      [compressor(brotli({ quality: 11, window_bits: 24 }))],
    )
    const order: string[] = []
    const slow = get(p.http, '/large', takes('br')).then((got) => {
      order.push('large')
      return got
    })
    await open(p.http, '/small', takes('br'))
    order.push('small')
    expect(plain(await slow)).toBe(large.toString('latin1'))
    expect(order).toEqual(['small', 'large'])
  })

  test('what cannot be is refused by name', async () => {
    const starting = (filter: object) =>
      proxy({
        route_config: oneHost([{ match: { prefix: '/' }, direct_response: { status: 200 } }]),
        http_filters: [filter, routerFilter()],
      })
    await expect(starting(compressor(library('x', 'gzip.decompressor.v3.Gzip')))).rejects.toThrow(
      "Didn't find a registered implementation for type: 'envoy.extensions.compression.gzip.decompressor.v3.Gzip'",
    )
    const zstd = starting(compressor(library('z', 'zstd.compressor.v3.Zstd', { dictionary: { inline_string: 'x' } })))
    await expect(zstd).rejects.toThrow(/zstd: not supported by Node .*node:zlib has it from 22.15|dictionary/)
  })

  test('an EnvoyFilter puts it on a gateway and on a sidecar', async () => {
    const filter = (name: string, context: string, where: string, selector: string) => `
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: ${name}, namespace: ${where}}
spec:
  workloadSelector: {labels: {${selector}}}
  configPatches:
  - applyTo: HTTP_FILTER
    match:
      context: ${context}
      listener:
        filterChain: {filter: {name: envoy.filters.network.http_connection_manager, subFilter: {name: envoy.filters.http.router}}}
    patch:
      operation: INSERT_BEFORE
      value:
        name: envoy.filters.http.compressor
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.http.compressor.v3.Compressor
          response_direction_config:
            common_config: {min_content_length: 100, content_type: [application/json]}
          compressor_library:
            name: text_optimized
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.compression.gzip.compressor.v3.Gzip
              memory_level: 3
              window_bits: 10
              compression_level: BEST_COMPRESSION
              compression_strategy: DEFAULT_STRATEGY
---`
    const routing = `
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: shop}
spec: {selector: {istio: ingressgateway}, servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ["*"]}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: shop}
spec: {hosts: ["*"], gateways: [shop], http: [{route: [{destination: {host: reviews}}]}]}
---`
    const mesh: TestMesh = await startMesh(
      gatewayYaml() +
        service('reviews') +
        pod('reviews', 'v1') +
        service('ratings') +
        pod('ratings', 'v1') +
        client() +
        routing +
        filter('gateway-gzip', 'GATEWAY', 'istio-system', 'istio: ingressgateway') +
        filter('ratings-gzip', 'SIDECAR_INBOUND', 'default', 'app: ratings'),
    )
    running.push(mesh)
    const { host, port } = addressOf(mesh, 'istio-ingressgateway', 8080)
    const got = await fetch(`http://${host}:${port}/`, { headers: takes('gzip') })
    expect([got.status, got.headers.get('content-encoding'), got.headers.get('vary')]).toEqual([
      200,
      'gzip',
      'Accept-Encoding',
    ])
    expect(((await got.json()) as { workload: string }).workload).toBe('reviews-v1')
    const inner = await mesh.get('client', 'http://ratings:9080/', { headers: takes('gzip') })
    expect(inner.headers['content-encoding']).toBe('gzip')
    expect((await mesh.get('client', 'http://reviews:9080/', { headers: takes('gzip') })).echo?.workload).toBe(
      'reviews-v1',
    )
  })
})
