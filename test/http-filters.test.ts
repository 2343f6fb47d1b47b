import { describe, expect, test } from 'vitest'
import { get, httpFilter, httpHarness, oneHost, routerFilter, startHttpProxy, toA } from './support/http.ts'

const { proxy, upstream } = httpHarness()

describe('filters', () => {
  const fault = (config: object) =>
    httpFilter('envoy.filters.http.fault', 'envoy.extensions.filters.http.fault.v3.HTTPFault', config)
  const always = { numerator: 100 }

  test('a fault delays, then aborts', async () => {
    const p = await proxy(
      {
        ...toA(),
        http_filters: [
          fault({
            delay: { fixed_delay: '0.05s', percentage: always },
            abort: { http_status: 555, percentage: always },
          }),
          routerFilter(),
        ],
      },
      [await upstream('a')],
    )
    const start = performance.now()
    const response = await get(p.http, '/')
    expect(performance.now() - start).toBeGreaterThan(45)
    expect([response.status, response.body]).toEqual([555, 'fault filter abort'])
    expect(p.counter('http.h.fault.delays_injected')).toBe(1)
    expect(p.counter('http.h.fault.active_faults')).toBe(0)
  })

  test('a delayed request keeps its body', async () => {
    const a = await upstream('a')
    const p = await proxy(
      { ...toA(), http_filters: [fault({ delay: { fixed_delay: '0.02s', percentage: always } }), routerFilter()] },
      [a],
    )
    expect((await get(p.http, '/', {}, 'POST', 'kept')).body).toBe('a')
    expect(a.last.body).toBe('kept')
  })

  test('a fault without a percentage never fires', async () => {
    const p = await proxy({ ...toA(), http_filters: [fault({ abort: { http_status: 500 } }), routerFilter()] }, [
      await upstream('a'),
    ])
    expect((await get(p.http, '/')).status).toBe(200)
  })

  test('a route has its own fault, and a switched-off filter has none', async () => {
    const own = (config: object) => ({ typed_per_filter_config: { 'envoy.filters.http.fault': config } })
    const abort = {
      '@type': 'type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault',
      abort: { http_status: 418, percentage: always },
    }
    const off = { '@type': 'type.googleapis.com/envoy.config.route.v3.FilterConfig', disabled: true }
    const routes = [
      { match: { path: '/f' }, route: { cluster: 'a' }, ...own(abort) },
      { match: { path: '/off' }, route: { cluster: 'a' }, ...own(off) },
      { match: { prefix: '/' }, route: { cluster: 'a' } },
    ]
    const p = await proxy(
      {
        route_config: oneHost(routes),
        http_filters: [fault({ abort: { http_status: 500, percentage: always } }), routerFilter()],
      },
      [await upstream('a')],
    )
    expect((await get(p.http, '/f')).status).toBe(418)
    expect((await get(p.http, '/off')).status).toBe(200)
    expect((await get(p.http, '/')).status).toBe(500)
  })

  test('a slow response is slow', async () => {
    const p = await proxy(
      {
        ...toA(),
        http_filters: [
          fault({ response_rate_limit: { fixed_limit: { limit_kbps: 16 }, percentage: always } }),
          routerFilter(),
        ],
      },
      [await upstream('a', { body: 'x'.repeat(4096) })],
    )
    const start = performance.now()
    expect((await get(p.http, '/')).body.length).toBe(4096)
    expect(performance.now() - start).toBeGreaterThan(150)
  })

  test('CORS: preflight answered, origin echoed, strangers forwarded', async () => {
    const a = await upstream('a')
    const cors = {
      '@type': 'type.googleapis.com/envoy.extensions.filters.http.cors.v3.CorsPolicy',
      allow_origin_string_match: [{ exact: 'http://ok.test' }],
      allow_methods: 'GET,POST',
      max_age: '60',
      allow_credentials: true,
      expose_headers: 'x-e',
    }
    const p = await proxy(
      {
        route_config: oneHost([
          {
            match: { prefix: '/' },
            route: { cluster: 'a' },
            typed_per_filter_config: { 'envoy.filters.http.cors': cors },
          },
        ]),
        http_filters: [
          httpFilter('envoy.filters.http.cors', 'envoy.extensions.filters.http.cors.v3.Cors'),
          routerFilter(),
        ],
      },
      [a],
    )
    const preflight = await get(
      p.http,
      '/',
      { origin: 'http://ok.test', 'access-control-request-method': 'GET' },
      'OPTIONS',
    )
    expect(preflight.status).toBe(200)
    expect(Object.fromEntries(preflight.headers)).toMatchObject({
      'access-control-allow-origin': 'http://ok.test',
      'access-control-allow-methods': 'GET,POST',
      'access-control-max-age': '60',
      'access-control-allow-credentials': 'true',
    })
    expect(a.received.length).toBe(0)
    const plain = await get(p.http, '/', { origin: 'http://ok.test' })
    expect(plain.headers.get('access-control-expose-headers')).toBe('x-e')
    const stranger = await get(
      p.http,
      '/',
      { origin: 'http://no.test', 'access-control-request-method': 'GET' },
      'OPTIONS',
    )
    expect([stranger.body, stranger.headers.has('access-control-allow-origin')]).toEqual(['a', false])
  })
})

describe('refused when configured, by name', () => {
  const cases: [string, object, RegExp][] = [
    [
      'an unknown filter',
      { http_filters: [httpFilter('x', 'envoy.extensions.filters.http.kill_request.v3.KillRequest'), routerFilter()] },
      /http_filters\[0\] x/,
    ],
    [
      'no router at the end',
      { http_filters: [httpFilter('c', 'envoy.extensions.filters.http.cors.v3.Cors')] },
      /non-terminal filter named c/,
    ],
    ['HTTP/3', { codec_type: 'HTTP3' }, /HTTP3/],
    ['a field that does nothing here', { proxy_status_config: {} }, /proxy_status_config: not supported/],
    ['an unknown cluster in an inline route', toA(), /unknown cluster 'a'/],
  ]
  test.each(cases)('%s', async (_name, hcm, message) => {
    await expect(startHttpProxy({ route_config: oneHost([]), ...hcm }, [])).rejects.toThrow(message)
  })
})
