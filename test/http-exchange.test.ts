import { describe, expect, test } from 'vitest'
import { exchange, get, httpHarness, oneHost, toA } from './support/http.ts'
import { Client, eventually } from './support/proxy.ts'

const { proxy, upstream } = httpHarness()

const direct = (status: number, body = '') => ({ direct_response: { status, body: { inline_string: body } } })

describe('a request goes through', () => {
  test('with the headers that Envoy adds on the way', async () => {
    const a = await upstream('a', { headers: { 'x-up': '1', server: 'mine' }, body: 'hello' })
    const p = await proxy(toA(), [a])
    const response = await get(p.http, '/p?q=1', { 'x-mine': 'v' })
    expect(response.status).toBe(200)
    expect(response.body).toBe('hello')
    expect(response.headers.get('server')).toBe('envoy')
    expect(response.headers.get('x-up')).toBe('1')
    expect(response.headers.get('x-envoy-upstream-service-time')).toMatch(/^\d+$/)
    expect(a.last.path).toBe('/p?q=1')
    expect([...a.last.headers.keys()]).toEqual([
      'host',
      'x-mine',
      'x-forwarded-proto',
      'x-request-id',
      'x-envoy-expected-rq-timeout-ms',
    ])
    expect(a.last.headers.get('x-envoy-expected-rq-timeout-ms')).toBe('15000')
  })

  test('one after the other on the same connections', async () => {
    const a = await upstream('a')
    const p = await proxy(toA(), [a])
    const one = 'GET /1 HTTP/1.1\r\nhost: a\r\n\r\n'
    const answers = await exchange(p.http, one + one + one, 3)
    expect(answers.map((r) => r.body)).toEqual(['a', 'a', 'a'])
    expect(p.counter('cluster.a.upstream_cx_total')).toBe(1)
    expect(p.counter('http.h.downstream_rq_2xx')).toBe(3)
  })

  test('with a body of any size', async () => {
    const a = await upstream('a', { body: 'y'.repeat(3_000_000) })
    const p = await proxy(toA(), [a])
    const body = 'x'.repeat(3_000_000)
    const response = await get(p.http, '/', {}, 'POST', body)
    expect(response.body.length).toBe(3_000_000)
    expect(a.last.body).toBe(body)
  })

  test('rewritten, with the original remembered', async () => {
    const a = await upstream('a')
    const p = await proxy(
      toA({
        regex_rewrite: { pattern: { regex: '^/svc/([^/]+)' }, substitution: '/x/\\1' },
        host_rewrite_literal: 'other.test',
        append_x_forwarded_host: true,
      }),
      [a],
    )
    await get(p.http, '/svc/me/z?q=/svc/q')
    expect(a.last.path).toBe('/x/me/z?q=/svc/q')
    expect(Object.fromEntries(a.last.headers)).toMatchObject({
      host: 'other.test',
      'x-envoy-original-path': '/svc/me/z?q=/svc/q',
      'x-envoy-original-host': 'svc.test',
      'x-forwarded-host': 'svc.test',
    })
  })

  test('with headers changed level by level', async () => {
    const a = await upstream('a', { headers: { 'x-drop': '1' } })
    const add = (value: string, action = 'APPEND_IF_EXISTS_OR_ADD') => ({
      header: { key: 'x-l', value },
      append_action: action,
    })
    const config = oneHost(
      [
        {
          name: 'r',
          match: { prefix: '/' },
          route: { cluster: 'a' },
          request_headers_to_add: [add('route'), { header: { key: 'x-name', value: '%ROUTE_NAME%-%REQ(x-in)%' } }],
          request_headers_to_remove: ['x-in'],
          response_headers_to_remove: ['x-drop'],
        },
      ],
      {
        request_headers_to_add: [add('host', 'OVERWRITE_IF_EXISTS_OR_ADD')],
        response_headers_to_add: [{ header: { key: 'x-r', value: 'v' } }],
      },
    )
    const p = await proxy({ route_config: config }, [a])
    const response = await get(p.http, '/', { 'x-in': 'i' })
    expect(a.last.headers.get('x-l')).toBe('host')
    expect(a.last.headers.get('x-name')).toBe('r-')
    expect(response.headers.get('x-r')).toBe('v')
    expect(response.headers.has('x-drop')).toBe(false)
  })
})

describe('answers of its own', () => {
  test('no route', async () => {
    const p = await proxy({ route_config: { name: 'rc', virtual_hosts: [] } })
    const response = await get(p.http, '/')
    expect([response.status, response.body]).toEqual([404, ''])
    expect(p.counter('http.h.no_route')).toBe(1)
  })

  test('unknown cluster', async () => {
    const p = await proxy({
      route_config: oneHost([{ match: { prefix: '/' }, route: { cluster: 'x' } }], {}, { validate_clusters: false }),
    })
    expect((await get(p.http, '/')).status).toBe(503)
  })

  test('nobody listens', async () => {
    const a = await upstream('a')
    a.stop()
    const p = await proxy(toA(), [a])
    const response = await get(p.http, '/')
    expect(response.status).toBe(503)
    expect(response.body).toBe(
      'upstream connect error or disconnect/reset before headers. reset reason: remote connection failure',
    )
  })

  test('the upstream hangs up', async () => {
    const a = await upstream('a', { fail: 'close' })
    const p = await proxy(toA(), [a])
    const response = await get(p.http, '/')
    expect(response.body).toContain('reset reason: connection termination')
  })

  test('gRPC gets a status instead of a text', async () => {
    const a = await upstream('a')
    a.stop()
    const p = await proxy(toA(), [a])
    const response = await get(p.http, '/', { 'content-type': 'application/grpc' })
    expect(response.status).toBe(200)
    expect(response.headers.get('grpc-status')).toBe('14')
    expect(response.headers.get('grpc-message')).toContain('remote connection failure')
  })

  test('a fixed body, a redirect, and an added header on both', async () => {
    const routes = [
      { match: { path: '/d' }, ...direct(418, 'tea') },
      { match: { path: '/201' }, ...direct(201, 'made') },
      { match: { prefix: '/' }, redirect: { https_redirect: true, path_redirect: '/to' } },
    ]
    const p = await proxy({
      route_config: oneHost(routes, { response_headers_to_add: [{ header: { key: 'x-r', value: '1' } }] }),
    })
    const tea = await get(p.http, '/d')
    expect([tea.status, tea.body, tea.headers.get('x-r'), tea.headers.get('content-type')]).toEqual([
      418,
      'tea',
      '1',
      'text/plain',
    ])
    expect((await get(p.http, '/201')).headers.get('location')).toBe('http://svc.test/201')
    const moved = await get(p.http, '/x?q=1', { host: 'h.test:80' })
    expect([moved.status, moved.headers.get('location'), moved.headers.get('x-r')]).toEqual([
      301,
      'https://h.test/to?q=1',
      '1',
    ])
  })

  test('an answer of the router itself tells the attempts, too', async () => {
    const a = await upstream('a')
    a.stop()
    const routes = [{ match: { prefix: '/' }, route: { cluster: 'a' } }]
    const p = await proxy({ route_config: oneHost(routes, { include_attempt_count_in_response: true }) }, [a])
    const response = await get(p.http, '/')
    expect([response.status, response.headers.get('x-envoy-attempt-count')]).toEqual([503, '1'])
  })

  test('the upstream of a gRPC request is told the time that the route leaves', async () => {
    const a = await upstream('a')
    const max = { grpc_timeout_header_max: '5s', grpc_timeout_header_offset: '0.1s' }
    const p = await proxy(toA({ max_stream_duration: max }), [a])
    await get(p.http, '/', { 'content-type': 'application/grpc', 'grpc-timeout': '1S' })
    expect(a.last.headers.get('grpc-timeout')).toBe('900m')
  })

  test('a fixed body takes its type and further headers from the route', async () => {
    const set = (key: string, value: string) => ({
      header: { key, value },
      append_action: 'OVERWRITE_IF_EXISTS_OR_ADD',
    })
    const routes = [
      {
        match: { path: '/j' },
        ...direct(200, '{}'),
        response_headers_to_add: [set('content-type', 'application/json')],
      },
      { match: { path: '/l' }, ...direct(301, 'x'), response_headers_to_add: [set('location', '/else')] },
      { match: { prefix: '/' }, ...direct(200, 'x'), response_headers_to_remove: ['content-type', 'content-length'] },
    ]
    const p = await proxy({ route_config: oneHost(routes) })
    expect((await get(p.http, '/j')).headers.get('content-type')).toBe('application/json')
    expect((await get(p.http, '/l')).headers.get('location')).toBe('/else')
    const removed = (await get(p.http, '/')).headers
    expect([removed.get('content-type'), removed.get('content-length')]).toEqual(['text/plain', '1'])
  })

  test.each([
    [{ path_redirect: 'rel' }, 'http://svc.test/rel?q=1'],
    [{ path_redirect: '/p#f' }, 'http://svc.test/p#f?q=1'],
    [{ path_redirect: '/p?z=9', strip_query: true }, 'http://svc.test/p?z=9'],
    [{ prefix_rewrite: '/p?z=9', strip_query: true }, 'http://svc.test/p'],
    [{ regex_rewrite: { pattern: { regex: '/(.*)' }, substitution: '/y/\\1' } }, 'http://svc.test/y/x?q=1'],
  ])('redirect %j', async (redirect, location) => {
    const p = await proxy({ route_config: oneHost([{ match: { prefix: '/x' }, redirect }]) })
    expect((await get(p.http, '/x?q=1')).headers.get('location')).toBe(location)
  })

  test('a host that requires TLS redirects with the port it was asked on', async () => {
    const p = await proxy({
      route_config: oneHost([{ match: { prefix: '/' }, ...direct(200) }], { require_tls: 'ALL' }),
    })
    expect((await get(p.http, '/', { host: 'h.test:80' })).headers.get('location')).toBe('https://h.test:80/')
  })

  test('an empty x-forwarded-proto finds no route', async () => {
    const p = await proxy({ route_config: oneHost([{ match: { prefix: '/' }, ...direct(200) }]) })
    expect((await get(p.http, '/', { 'x-forwarded-proto': '' })).status).toBe(404)
  })

  test('a substitution that RE2 cannot carry out leaves what RE2 leaves', async () => {
    const a = await upstream('a')
    for (const [substitution, path] of [
      ['-\\2', '/a'],
      ['-\\x', '/-'],
    ]) {
      const p = await proxy(toA({ regex_rewrite: { pattern: { regex: '(a)' }, substitution } }), [a])
      await get(p.http, '/a')
      expect(a.last.path).toBe(path)
    }
  })

  test('a head that does not come in whole in time is 408', async () => {
    const p = await proxy({ request_headers_timeout: '0.05s', route_config: oneHost([]) })
    const [answer] = await exchange(p.http, 'GET / HTTP/1.1\r\nho', 1)
    expect([answer?.status, answer?.body, answer?.headers.get('connection')]).toEqual([
      408,
      'request header timeout',
      'close',
    ])
    expect(p.counter('http.h.downstream_rq_header_timeout')).toBe(1)
    expect(p.counter('http.h.downstream_rq_total')).toBe(1)
  })

  test('an upgrade that is ignored by its name is no upgrade', async () => {
    const a = await upstream('a')
    const p = await proxy({ ...toA(), http_protocol_options: { ignore_http_11_upgrade: [{ prefix: 'TLS/' }] } }, [a])
    const answer = await get(p.http, '/', { connection: 'upgrade', upgrade: 'TLS/1.2' })
    expect([answer.status, a.last.headers.has('upgrade')]).toEqual([200, false])
  })

  test('a local 400 leaves the connection open with stream_error_on_invalid_http_message', async () => {
    const p = await proxy({
      stream_error_on_invalid_http_message: true,
      route_config: oneHost([{ match: { prefix: '/' }, ...direct(400) }]),
    })
    expect((await get(p.http, '/')).headers.has('connection')).toBe(false)
  })

  test('a local 400 closes the connection', async () => {
    const p = await proxy({ route_config: oneHost([{ match: { prefix: '/' }, ...direct(400) }]) })
    expect((await get(p.http, '/')).headers.get('connection')).toBe('close')
  })

  test('with other words, by local_reply_config', async () => {
    const p = await proxy({
      route_config: oneHost([{ match: { path: '/d' }, ...direct(418, 'tea') }]),
      local_reply_config: {
        mappers: [
          {
            filter: {
              status_code_filter: { comparison: { op: 'EQ', value: { default_value: 404, runtime_key: 'k' } } },
            },
            status_code: 410,
            body: { inline_string: 'gone' },
            headers_to_add: [{ header: { key: 'x-why', value: '%RESPONSE_CODE_DETAILS%' } }],
          },
        ],
        body_format: { json_format: { code: '%RESPONSE_CODE%', text: '%LOCAL_REPLY_BODY%' } },
      },
    })
    const gone = await get(p.http, '/')
    expect([gone.status, gone.headers.get('x-why'), gone.headers.get('content-type')]).toEqual([
      410,
      'route_not_found',
      'application/json',
    ])
    expect(JSON.parse(gone.body)).toEqual({ code: 410, text: 'gone' })
    expect(JSON.parse((await get(p.http, '/d')).body)).toEqual({ code: 418, text: 'tea' })
  })

  test('require_tls sends plaintext callers to https', async () => {
    const p = await proxy({
      route_config: oneHost([{ match: { prefix: '/' }, ...direct(200) }], { require_tls: 'ALL' }),
    })
    const moved = await get(p.http, '/a?b')
    expect([moved.status, moved.headers.get('location')]).toEqual([301, 'https://svc.test/a?b'])
    expect((await get(p.http, '/', { 'x-forwarded-proto': 'https' })).status).toBe(200)
  })
})

test('a client that leaves takes its request with it', async () => {
  const a = await upstream('a', { fail: 'hang' })
  const p = await proxy(toA(), [a])
  const client = new Client(p.http)
  client.write('GET / HTTP/1.1\r\nhost: a\r\n\r\n')
  await eventually(() => a.received.length === 1)
  client.destroy()
  await eventually(
    () => p.counter('http.h.downstream_rq_active') === 0 && p.counter('cluster.a.upstream_rq_active') === 0,
  )
  expect(p.counter('http.h.downstream_cx_destroy_remote_active_rq')).toBe(1)
})

test('connections say goodbye after so many requests', async () => {
  const p = await proxy({ ...toA(), common_http_protocol_options: { max_requests_per_connection: 2 } }, [
    await upstream('a'),
  ])
  const one = 'GET / HTTP/1.1\r\nhost: a\r\n\r\n'
  const answers = await exchange(p.http, one + one + one, 3)
  expect(answers.map((r) => r.headers.get('connection'))).toEqual([undefined, 'close'])
})

describe('upgrades', () => {
  const hello = 'GET / HTTP/1.1\r\nhost: a\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n'
  test('are refused unless configured', async () => {
    const p = await proxy(toA(), [await upstream('a')])
    const [response] = await exchange(p.http, hello)
    expect([response?.status, response?.headers.get('connection')]).toEqual([403, 'close'])
    expect(p.counter('http.h.downstream_rq_ws_on_non_ws_route')).toBe(1)
  })
  test('an answer that agrees to nothing leaves without its body', async () => {
    const p = await proxy({ ...toA(), upgrade_configs: [{ upgrade_type: 'websocket' }] }, [
      await upstream('a', { body: 'plain' }),
    ])
    const [response] = await exchange(p.http, hello)
    expect([response?.status, response?.body, response?.headers.get('connection')]).toEqual([200, '', 'close'])
  })
})
