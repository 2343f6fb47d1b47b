import net from 'node:net'
import { describe, expect, test } from 'vitest'
import { extAuthz, extAuthzRoute, httpService } from './support/ext-authz.ts'
import { type Answer, get, httpHarness, routerFilter, toA, type Upstream } from './support/http.ts'
import { Client, eventually } from './support/proxy.ts'

const { proxy, upstream } = httpHarness()
const patterns = (...names: string[]) => ({ patterns: names.map((exact) => ({ exact })) })

/** A proxy to `a` that asks `auth` first. */
async function asking(config: object, answers: Answer[], more: { route?: object; host?: object; hcm?: object } = {}) {
  const a = await upstream('a')
  const auth = await upstream('auth', ...answers)
  const p = await proxy(
    { ...toA(more.route, more.host), http_filters: [extAuthz(config), routerFilter()], ...more.hcm },
    [a, auth],
  )
  return { a, auth, p }
}

const sent = (u: Upstream) => Object.fromEntries([...u.last.headers].map(([k, v]) => [k.toLowerCase(), v]))

describe('an authorizer of plain HTTP', () => {
  test('is asked with the method, path, host and authorization of a request, and nothing else of it', async () => {
    const { a, auth, p } = await asking({ http_service: httpService() }, [{}])
    const headers = { host: 'shop.test', authorization: 'Bearer t', cookie: 'c=1', 'x-a': '1' }
    expect((await get(p.http, '/cart?id=7', headers, 'POST', 'order')).status).toBe(200)
    expect([auth.last.method, auth.last.path, auth.last.body]).toEqual(['POST', '/cart?id=7', ''])
    expect(sent(auth)).toEqual({
      host: 'shop.test',
      authorization: 'Bearer t',
      'content-length': '0',
      'x-envoy-internal': 'true',
      'x-envoy-expected-rq-timeout-ms': '5000',
    })
    expect([a.last.body, sent(a)['x-a']]).toEqual(['order', '1'])
    expect(p.counter('http.h.ext_authz.ok')).toBe(1)
    expect(p.counter('cluster.a.ext_authz.ok')).toBe(1)
  })

  test('gets the headers that are let through, once each, and those that are added; under another path', async () => {
    const request = {
      allowed_headers: patterns('x-a', 'cookie'),
      headers_to_add: [{ key: 'x-via', value: '%REQ(:METHOD)%' }],
    }
    const { auth, p } = await asking(
      { http_service: httpService({ path_prefix: '/check', authorization_request: request }) },
      [{}],
    )
    await get(p.http, '/p?q', { 'x-a': '1', 'X-A': '2', 'x-b': '3', cookie: 'c=1' })
    expect(auth.last.path).toBe('/check/p?q')
    expect(sent(auth)).toMatchObject({ 'x-a': '1,2', cookie: 'c=1', 'x-via': 'GET' })
    expect(sent(auth)).not.toHaveProperty('x-b')
  })

  test('a denial goes to the client with status, headers and body; the request goes nowhere', async () => {
    const answer = { status: 401, body: 'who are you?', headers: { 'www-authenticate': 'Basic', 'x-why': 'because' } }
    const { a, p } = await asking({ http_service: httpService() }, [answer])
    const denied = await get(p.http, '/')
    expect([denied.status, denied.body]).toEqual([401, 'who are you?'])
    expect(denied.headers.get('www-authenticate')).toBe('Basic')
    expect(denied.headers.get('x-why')).toBe('because')
    expect(a.received).toHaveLength(0)
    expect(p.counter('http.h.ext_authz.denied')).toBe(1)
    expect(p.counter('cluster.a.upstream_rq_401')).toBe(1)
  })

  test.each([201, 206, 302, 403])('only 200 permits: %d denies', async (status) => {
    const { a, p } = await asking({ http_service: httpService() }, [{ status }])
    expect((await get(p.http, '/')).status).toBe(status)
    expect([a.received.length, p.counter('http.h.ext_authz.denied')]).toEqual([0, 1])
  })

  test('what it tells the proxy is not told to the client', async () => {
    const { p } = await asking({ http_service: httpService() }, [
      { status: 403, headers: { 'x-envoy-auth-headers-to-remove': 'x-a', 'x-why': 'because' } },
    ])
    const { headers } = await get(p.http, '/')
    expect([headers.get('x-why'), headers.has('x-envoy-auth-headers-to-remove')]).toEqual(['because', false])
  })

  test('a client cannot say in its place whether the body is whole', async () => {
    const allowed = patterns('x-envoy-auth-partial-body', 'x-a')
    const service = httpService({ authorization_request: { allowed_headers: allowed } })
    const { auth, p } = await asking({ http_service: service }, [{}])
    await get(p.http, '/', { 'x-envoy-auth-partial-body': 'false', 'x-a': '1' })
    expect([sent(auth)['x-a'], sent(auth)['x-envoy-auth-partial-body']]).toEqual(['1', undefined])
  })

  test('while it fails, what is let through has a mark only where that is asked for', async () => {
    const { a, p } = await asking({ http_service: httpService(), failure_mode_allow: true }, [{ status: 503 }])
    expect((await get(p.http, '/')).status).toBe(200)
    expect(sent(a)).not.toHaveProperty('x-envoy-auth-failure-mode-allowed')
  })

  test('no more of its denial than max_denied_response_body_bytes', async () => {
    const config = { http_service: httpService(), max_denied_response_body_bytes: 4 }
    const { p } = await asking(config, [{ status: 403, body: 'who are you?' }])
    expect((await get(p.http, '/')).body).toBe('who ')
  })

  test('of a denial the client sees only what is let through, once that is said', async () => {
    const answer = { status: 403, headers: { 'x-why': 'because', 'x-secret': 's', location: '/login' } }
    const response = { allowed_client_headers: patterns('x-why') }
    const { p } = await asking({ http_service: httpService({ authorization_response: response }) }, [answer])
    const { headers } = await get(p.http, '/')
    expect([headers.get('x-why'), headers.get('location'), headers.has('x-secret')]).toEqual([
      'because',
      '/login',
      false,
    ])
  })

  test('a permission changes the request and the response as far as it is let', async () => {
    const headers = {
      'x-user': 'ann',
      'x-role': 'admin',
      'x-other': 'no',
      'x-session': 's1',
      'x-envoy-auth-headers-to-remove': 'cookie, x-tmp',
    }
    const response = {
      allowed_upstream_headers: patterns('x-user'),
      allowed_upstream_headers_to_append: patterns('x-role'),
      allowed_client_headers_on_success: patterns('x-session'),
    }
    const { a, p } = await asking({ http_service: httpService({ authorization_response: response }) }, [{ headers }])
    const answer = await get(p.http, '/', { 'x-user': 'mallory', 'x-role': 'guest', cookie: 'c=1', 'x-tmp': '1' })
    expect(sent(a)).toMatchObject({ 'x-user': 'ann', 'x-role': 'guest | admin' })
    for (const gone of ['cookie', 'x-tmp', 'x-other']) expect(sent(a)).not.toHaveProperty(gone)
    expect(answer.headers.get('x-session')).toBe('s1')
  })

  test('the route is looked for again after a change, where that is asked for', async () => {
    const a = await upstream('a')
    const auth = await upstream('auth', { headers: { 'x-tenant': 'blue' } })
    const service = httpService({ authorization_response: { allowed_upstream_headers: patterns('x-tenant') } })
    const blue = {
      match: { prefix: '/', headers: [{ name: 'x-tenant', string_match: { exact: 'blue' } }] },
      direct_response: { status: 200, body: { inline_string: 'blue' } },
    }
    const routes = [blue, { match: { prefix: '/' }, route: { cluster: 'a' } }]
    const route_config = { name: 'rc', virtual_hosts: [{ name: 'vh', domains: ['*'], routes }] }
    const start = (config: object) =>
      proxy({ route_config, http_filters: [extAuthz({ http_service: service, ...config }), routerFilter()] }, [a, auth])
    expect((await get((await start({})).http, '/')).body).toBe('a')
    expect((await get((await start({ clear_route_cache: true })).http, '/')).body).toBe('blue')
  })
})

describe('when the authorizer fails', () => {
  const failures: [string, Answer[] | 'down', object][] = [
    ['is not there', 'down', {}],
    ['answers 503', [{ status: 503 }], {}],
    ['closes without an answer', [{ fail: 'close' }], {}],
    ['hangs up', [{ fail: 'reset' }], {}],
    ['takes too long', [{ fail: 'hang' }], { server_uri: { uri: 'http://x', cluster: 'auth', timeout: '0.05s' } }],
  ]
  test.each(failures)('as it %s: 403, or on with a mark where that is allowed', async (_what, answers, service) => {
    for (const allow of [false, true]) {
      const config = {
        http_service: httpService(service),
        failure_mode_allow: allow,
        failure_mode_allow_header_add: allow,
      }
      const { a, auth, p } = await asking(config, answers === 'down' ? [] : answers)
      if (answers === 'down') auth.stop()
      expect((await get(p.http, '/')).status).toBe(allow ? 200 : 403)
      expect(a.received.length).toBe(allow ? 1 : 0)
      if (allow) expect(sent(a)['x-envoy-auth-failure-mode-allowed']).toBe('true')
      expect(p.counter('http.h.ext_authz.error')).toBe(1)
      expect(p.counter('http.h.ext_authz.failure_mode_allowed')).toBe(allow ? 1 : 0)
    }
  })

  test('in the middle of a denial: an error, not half a denial', async () => {
    const a = await upstream('a')
    const cut = net.createServer((socket) => {
      socket.on('error', () => {})
      socket.once('data', () => socket.end('HTTP/1.1 401 Unauthorized\r\ncontent-length: 100\r\n\r\nhalf'))
    })
    await new Promise<void>((resolve) => cut.listen(0, '127.0.0.1', resolve))
    const auth = { name: 'auth', port: (cut.address() as net.AddressInfo).port } as Upstream
    const config = { http_service: httpService(), status_on_error: { code: 'ServiceUnavailable' } }
    const p = await proxy({ ...toA(), http_filters: [extAuthz(config), routerFilter()] }, [a, auth])
    const answer = await get(p.http, '/')
    cut.close()
    expect([answer.status, answer.body]).toEqual([503, ''])
    expect(a.received).toHaveLength(0)
  })

  test('it is asked again where that is said, body and all', async () => {
    const retry_policy = {
      retry_on: '5xx',
      num_retries: 2,
      retry_back_off: { base_interval: '0.001s', max_interval: '2s' },
    }
    const config = { http_service: httpService({ retry_policy }), with_request_body: { max_request_bytes: 10 } }
    const { auth, p } = await asking(config, [{ status: 503 }, { fail: 'close' }, {}])
    expect((await get(p.http, '/', {}, 'POST', 'hello')).status).toBe(200)
    expect(auth.received.map((r) => r.body)).toEqual(['hello', 'hello', 'hello'])
    expect(p.counter('cluster.auth.upstream_rq_retry')).toBe(2)
  })

  test('every attempt has its own time, and all together have theirs', async () => {
    const retry_policy = { retry_on: 'reset', retry_back_off: { base_interval: '0.001s', max_interval: '0.05s' } }
    const { auth, p } = await asking({ http_service: httpService({ retry_policy }) }, [{ fail: 'hang' }])
    expect((await get(p.http, '/')).status).toBe(403)
    expect(auth.received).toHaveLength(2)
    expect(p.counter('cluster.auth.upstream_rq_per_try_timeout')).toBe(2)
  })

  test('a client that leaves meanwhile takes its check along', async () => {
    const { auth, p } = await asking({ http_service: httpService() }, [{ fail: 'hang' }])
    const client = new Client(p.http)
    client.write('GET / HTTP/1.1\r\nhost: x\r\n\r\n')
    await eventually(() => auth.received.length === 1)
    client.destroy()
    await eventually(() => p.counter('cluster.auth.upstream_cx_destroy_local') === 1)
    expect(p.counter('http.h.ext_authz.error')).toBe(0)
    expect(p.counter('http.h.downstream_rq_active')).toBe(0)
  })
})

describe('the body of a request', () => {
  const body = (max: number, partial = false) => ({
    http_service: httpService(),
    with_request_body: { max_request_bytes: max, allow_partial_message: partial },
  })

  test('goes to the authorizer, and then on', async () => {
    const { a, auth, p } = await asking(body(10), [{}])
    expect((await get(p.http, '/', {}, 'POST', 'hello')).status).toBe(200)
    expect([auth.last.body, a.last.body]).toEqual(['hello', 'hello'])
    expect(sent(auth)).toMatchObject({ 'content-length': '5', 'x-envoy-auth-partial-body': 'false' })
  })

  test('that is longer than it may be: 413, and nobody is asked', async () => {
    const { a, auth, p } = await asking(body(4), [{}])
    const refused = await get(p.http, '/', {}, 'POST', 'hello')
    expect([refused.status, refused.body]).toEqual([413, 'Payload Too Large'])
    expect([a.received.length, auth.received.length]).toEqual([0, 0])
    expect(p.counter('http.h.downstream_rq_too_large')).toBe(1)
  })

  test('that grows longer than it may be is refused before its end', async () => {
    const { a, auth, p } = await asking(body(4), [{}])
    const client = new Client(p.http)
    client.write('POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\nhello')
    await client.receives('413 Payload Too Large')
    expect([a.received.length, auth.received.length]).toEqual([0, 0])
    client.destroy()
  })

  test('as much of it as is enough, and not a byte more, is waited for', async () => {
    const { auth, p } = await asking(body(5, true), [{}])
    const client = new Client(p.http)
    client.write('POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\nhello')
    await eventually(() => auth.received.length === 1)
    expect(auth.last.body).toBe('hello')
    client.destroy()
  })

  test('is held on the routes alone that ask for it, as much as they say', async () => {
    const with_request_body = { max_request_bytes: 5, allow_partial_message: true }
    const per = extAuthzRoute({ check_settings: { with_request_body } })
    const { auth, p } = await asking({ http_service: httpService() }, [{}], { host: { typed_per_filter_config: per } })
    await get(p.http, '/', {}, 'POST', 'hello world')
    expect([auth.last.body, sent(auth)['x-envoy-auth-partial-body']]).toEqual(['hello', 'true'])
  })

  test('its beginning is enough where that is said; the rest follows the permission', async () => {
    const { a, auth, p } = await asking(body(4, true), [{}])
    const client = new Client(p.http)
    client.write('POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\nhello')
    await eventually(() => auth.received.length === 1)
    client.write('1234')
    await client.receives('\r\n\r\na')
    expect([auth.last.body, a.last.body]).toEqual(['hell', 'hello1234'])
    expect(sent(auth)['x-envoy-auth-partial-body']).toBe('true')
    client.destroy()
  })

  test('stays with the proxy on routes that want it so', async () => {
    const per = extAuthzRoute({ check_settings: { disable_request_body_buffering: true } })
    const { a, auth, p } = await asking(body(4), [{}], { host: { typed_per_filter_config: per } })
    expect((await get(p.http, '/', {}, 'POST', 'hello')).status).toBe(200)
    expect([auth.last.body, a.last.body]).toEqual(['', 'hello'])
  })
})

describe('what a config may not be', () => {
  test.each([
    ['path_prefix: should start with "/".', { http_service: httpService({ path_prefix: 'x' }) }],
    [
      'Only one of path_prefix or path_override',
      { http_service: httpService({ path_prefix: '/x', path_override: '/y' }) },
    ],
    [
      'Invalid duplicate configuration for allowed_headers.',
      {
        allowed_headers: patterns('x'),
        http_service: httpService({ authorization_request: { allowed_headers: patterns('y') } }),
      },
    ],
    ['google_grpc: not supported', { grpc_service: { google_grpc: { target_uri: 'x', stat_prefix: 'g' } } }],
  ])('%s', async (message, config) => {
    await expect(proxy({ ...toA(), http_filters: [extAuthz(config), routerFilter()] })).rejects.toThrow(message)
  })
})
