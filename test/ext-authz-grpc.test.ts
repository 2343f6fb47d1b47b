import { afterEach, describe, expect, test } from 'vitest'
import {
  Authorizer,
  answerRaw,
  type CheckAnswer,
  checkFrame,
  extAuthz,
  extAuthzRoute,
  grpcService,
  overHttp2,
  RawAuthorizer,
} from './support/ext-authz.ts'
import { get, httpFilter, httpHarness, routerFilter, toA, type Upstream } from './support/http.ts'
import { Client, eventually } from './support/proxy.ts'

const { proxy, upstream } = httpHarness()
const running: { stop(): void }[] = []
afterEach(() => {
  for (const r of running.splice(0)) r.stop()
})

async function authorizer(...answers: CheckAnswer[]): Promise<Authorizer> {
  const started = await Authorizer.start(...answers)
  running.push(started)
  return started
}

/** A proxy to `a` that asks what listens on a port first. */
async function askingAt(
  port: number,
  config: object = {},
  more: { route?: object; host?: object; before?: object[]; hcm?: object } = {},
) {
  const a = await upstream('a')
  const filter = extAuthz({ grpc_service: grpcService(), ...config })
  const p = await proxy(
    { ...toA(more.route, more.host), http_filters: [...(more.before ?? []), filter, routerFilter()], ...more.hcm },
    [a, { name: 'auth', port } as Upstream],
    { auth: overHttp2 },
  )
  return { a, p }
}

async function asking(
  answers: CheckAnswer[],
  config: object = {},
  more: { route?: object; host?: object; before?: object[]; hcm?: object } = {},
) {
  const auth = await authorizer(...answers)
  return { auth, ...(await askingAt(auth.port, config, more)) }
}

const header = (key: string, value: string, more: object = {}) => ({ header: { key, value }, ...more })
const ok = (okResponse: object): CheckAnswer => ({ check: { okResponse } })
const sent = (u: Upstream) => Object.fromEntries(u.last.headers)

describe('an authorizer of gRPC', () => {
  test('learns who asks whom for what', async () => {
    const { auth, p } = await asking([{ check: {} }], { include_tls_session: true })
    await get(p.http, '/cart?id=7', { host: 'shop.test', 'x-a': '1', 'X-A': '2', 'x-raw': '\xe9' })
    const { source, destination, request, tlsSession } = auth.last.attributes!
    const socket = (a: typeof source) =>
      a?.address?.address.case === 'socketAddress' ? a.address.address.value : undefined
    expect(socket(source)?.address).toBe('127.0.0.1')
    expect(socket(destination)?.portSpecifier).toEqual({ case: 'portValue', value: p.http })
    expect([source!.principal, tlsSession!.sni]).toEqual(['', ''])
    expect(request!.http).toMatchObject({
      method: 'GET',
      path: '/cart?id=7',
      host: 'shop.test',
      scheme: 'http',
      protocol: 'HTTP/1.1',
      size: 0n,
    })
    expect(request!.http!.id).toMatch(/^\d+$/)
    expect(request!.http!.headers).toMatchObject({
      ':path': '/cart?id=7',
      ':method': 'GET',
      'x-a': '1,2',
      'x-raw': '!',
    })
    expect(Number(request!.time!.seconds)).toBeGreaterThan(1_700_000_000)
    expect(auth.metadata[0]).not.toHaveProperty('authorization')
  })

  test('is called with a timeout, an authority and metadata of the config', async () => {
    const service = grpcService({
      envoy_grpc: { cluster_name: 'auth', authority: 'authz.svc' },
      initial_metadata: [
        { key: 'x-of', value: '%REQ(:path)%' },
        { key: 'x-key-bin', value: 'abc' },
      ],
    })
    const { auth, p } = await asking([{ check: {} }], { grpc_service: service })
    expect((await get(p.http, '/p')).status).toBe(200)
    expect(auth.metadata[0]).toMatchObject({ 'x-of': '/p', 'x-envoy-internal': 'true' })
    expect(String(auth.metadata[0]!['x-key-bin'])).toBe('abc')
  })

  test('sees the headers that are chosen for it, raw if that is asked for', async () => {
    const { auth, p } = await asking([{ check: {} }], {
      allowed_headers: { patterns: [{ prefix: 'x-' }] },
      disallowed_headers: { patterns: [{ exact: 'x-secret' }] },
      encode_raw_headers: true,
    })
    await get(p.http, '/', { 'x-a': '\xff', 'x-secret': 's', cookie: 'c' })
    const http = auth.last.attributes!.request!.http!
    const seen = Object.fromEntries(http.headerMap!.headers.map((h) => [h.key, [...h.rawValue]]))
    expect(seen['x-a']).toEqual([0xff])
    expect(Object.keys(seen)).not.toContain('x-secret')
    expect(Object.keys(seen)).not.toContain('cookie')
    expect(http.headers).toEqual({})
  })

  test('gets the body as text, or as bytes', async () => {
    const body = { max_request_bytes: 100 }
    const text = await asking([{ check: {} }], { with_request_body: body })
    await get(text.p.http, '/', {}, 'POST', 'a\xffb')
    expect(text.auth.last.attributes!.request!.http).toMatchObject({ body: 'a!b', size: 3n })
    const bytes = await asking([{ check: {} }], { with_request_body: { ...body, pack_as_bytes: true } })
    await get(bytes.p.http, '/', {}, 'POST', 'a\xffb')
    expect([...bytes.auth.last.attributes!.request!.http!.rawBody]).toEqual([0x61, 0xff, 0x62])
    expect(bytes.a.last.body).toBe('a\xffb')
  })

  test('a permission sets, joins and removes headers, sets query parameters, and adds to the response', async () => {
    const answer = ok({
      headers: [
        header('x-user', 'ann'),
        header('x-role', 'admin', { append: true }),
        header('x-none', '1', { append: true }),
      ],
      headersToRemove: ['cookie', 'host'],
      queryParametersToSet: [{ key: 'b', value: '2' }],
      queryParametersToRemove: ['a'],
      responseHeadersToAdd: [header('set-cookie', 's=1'), header('x-new', 'n', { appendAction: 'ADD_IF_ABSENT' })],
    })
    const { a, p } = await asking([answer])
    const response = await get(p.http, '/p?c=3&a=1', { 'x-role': 'guest', cookie: 'c' })
    expect(a.last.path).toBe('/p?b=2&c=3')
    expect(sent(a)).toMatchObject({ 'x-user': 'ann', 'x-role': 'guest,admin', host: 'svc.test' })
    for (const gone of ['x-none', 'cookie']) expect(sent(a)).not.toHaveProperty(gone)
    expect([response.headers.get('set-cookie'), response.headers.get('x-new')]).toEqual(['s=1', 'n'])
  })

  test('a denial says how the client is answered; 403 if it does not', async () => {
    const deniedResponse = { status: { code: 'PaymentRequired' }, body: 'pay', headers: [header('X-Why', 'w')] }
    const { a, p } = await asking([
      { check: { status: { code: 7 } } },
      { check: { status: { code: 7 }, deniedResponse } },
    ])
    const plain = await get(p.http, '/')
    expect([plain.status, plain.body]).toEqual([403, ''])
    const full = await get(p.http, '/')
    expect([full.status, full.body, full.headers.get('x-why')]).toEqual([402, 'pay', 'w'])
    expect(a.received).toHaveLength(0)
  })

  test('an error of its own is one, with its own answer', async () => {
    const errorResponse = { status: { code: 'BadGateway' }, body: 'no database' }
    const { p } = await asking([{ check: { status: { code: 13 }, errorResponse } }])
    const answer = await get(p.http, '/')
    expect([answer.status, answer.body, p.counter('http.h.ext_authz.error')]).toEqual([502, 'no database', 1])
  })

  test('what may not be a header is refused where changes are looked at', async () => {
    const { a, p } = await asking([ok({ headers: [header('x a', '1')] })], { validate_mutations: true })
    expect((await get(p.http, '/')).status).toBe(500)
    expect([a.received.length, p.counter('http.h.ext_authz.invalid')]).toEqual([0, 1])
  })

  test.each<[string, CheckAnswer]>([
    ['a denial', { check: { status: { code: 7 }, deniedResponse: { headers: [header('x a', '1')] } } }],
    ['the response', ok({ responseHeadersToAdd: [header('x a', '1')] })],
    [
      'the response, by an action that there is not',
      ok({ responseHeadersToAdd: [header('x-a', '1', { appendAction: 9 })] }),
    ],
  ])('nor what may not be a header of %s', async (_what, answer) => {
    const { a, p } = await asking([answer], { validate_mutations: true })
    expect((await get(p.http, '/')).status).toBe(500)
    expect([a.received.length, p.counter('http.h.ext_authz.invalid')]).toEqual([0, 1])
  })

  test.each([
    ['bytes', [header('x-a', 'x'.repeat(2000))], { max_request_headers_kb: 1 }],
    [
      'headers',
      Array.from({ length: 20 }, (_, i) => header(`x-${i}`, '1')),
      { common_http_protocol_options: { max_headers_count: 20 } },
    ],
  ])('a permission does not lift the limits of a request: too many %s', async (_what, headers, hcm) => {
    const { a, p } = await asking([ok({ headers })], {}, { hcm })
    expect((await get(p.http, '/')).status).toBe(500)
    expect([a.received.length, p.counter('http.h.ext_authz.request_header_limits_reached')]).toEqual([0, 1])
  })

  test('a response gets no more headers than may be, where that is said', async () => {
    const responseHeadersToAdd = Array.from({ length: 120 }, (_, i) => header(`x-${i}`, '1'))
    const { p } = await asking([ok({ responseHeadersToAdd })], { enforce_response_header_limits: true })
    expect((await get(p.http, '/')).status).toBe(500)
    expect(p.counter('http.h.ext_authz.response_header_limits_reached')).toBe(1)
  })

  test('what it tells other filters is dropped where that is said', async () => {
    const { p } = await asking([ok({ dynamicMetadata: { a: 'b' } })], { enable_dynamic_metadata_ingestion: false })
    expect((await get(p.http, '/')).status).toBe(200)
    expect(p.counter('http.h.ext_authz.ignored_dynamic_metadata')).toBe(1)
  })

  test('rules that make an error of what may not be done hold for removals, too', async () => {
    const rules = { disallow_all: true, disallow_is_error: true }
    const { a, p } = await asking([ok({ headersToRemove: ['x-a'] })], { decoder_header_mutation_rules: rules })
    expect((await get(p.http, '/', { 'x-a': '1' })).status).toBe(500)
    expect(a.received).toHaveLength(0)
  })

  test.each([
    ['x-a', 'a\r\nx-evil: 1', 'x-a'],
    ['x-a', 'a\0b', 'x-a'],
    [':method', 'GET /other HTTP/1.1\r\nx-evil: 1\r\ny: ', ':method'],
    [':path', '/p HTTP/1.1\r\nx-evil: 1\r\ny: ', ':path'],
    ['host', 'a\r\nx-evil: 1', ':authority'],
  ])('a request does not go on with more than one line as its %s: %j', async (name, value, told) => {
    const { a, p } = await asking([ok({ headers: [header(name, value)] })])
    const answer = await get(p.http, '/')
    expect([answer.status, answer.body, a.received.length]).toEqual([503, `invalid header value for: ${told}`, 0])
  })

  test('nor with such a query; what would have joined a header that is not there is no problem', async () => {
    const queryParametersToSet = [{ key: 'q', value: 'a HTTP/1.1\r\nx-evil: 1' }]
    const joined = { headers: [header('x-none', 'a\r\nb', { append: true })] }
    const { a, p } = await asking([ok({ queryParametersToSet }), ok(joined)])
    expect((await get(p.http, '/')).body).toBe('invalid header value for: :path')
    expect((await get(p.http, '/')).status).toBe(200)
    expect(a.received).toHaveLength(1)
  })

  test('no answer gets another line through the name of a header', async () => {
    const evil = header('x-a: 1\r\nx-evil', '1')
    const { p } = await asking([
      ok({ responseHeadersToAdd: [evil, header('x-r', '1')] }),
      { check: { status: { code: 7 }, deniedResponse: { headers: [evil, header('x-d', '1')] } } },
    ])
    const passed = await get(p.http, '/')
    expect([passed.headers.get('x-r'), passed.headers.get('x-evil')]).toEqual(['1', undefined])
    const denied = await get(p.http, '/')
    expect([denied.status, denied.headers.get('x-d'), denied.headers.get('x-evil')]).toEqual([403, '1', undefined])
  })

  test('rules say which headers it may change', async () => {
    const headers = [header('x-a', '1'), header('x-envoy-b', '1'), header('host', 'evil'), header('x-no', '1')]
    const rules = { disallow_expression: { regex: 'x-no' } }
    const { a, p } = await asking([ok({ headers })], { decoder_header_mutation_rules: rules })
    await get(p.http, '/')
    expect(sent(a)).toMatchObject({ 'x-a': '1', host: 'svc.test' })
    for (const gone of ['x-envoy-b', 'x-no']) expect(sent(a)).not.toHaveProperty(gone)
  })

  test('in shadow mode everything passes, and only counts', async () => {
    const { p } = await asking([{ check: { status: { code: 7 } } }], { shadow_mode: true })
    expect((await get(p.http, '/')).status).toBe(200)
    expect([p.counter('http.h.ext_authz.denied'), p.counter('http.h.ext_authz.shadow_denied')]).toEqual([1, 1])
  })
})

describe('who is asked about', () => {
  test('only what an RBAC filter has picked, as Istio has it', async () => {
    const rules = {
      shadow_rules_stat_prefix: 'istio_ext_authz_',
      shadow_rules: {
        policies: {
          'istio-ext-authz-ns[a]-policy[b]-rule[0]': {
            permissions: [{ url_path: { path: { prefix: '/admin' } } }],
            principals: [{ any: true }],
          },
        },
      },
    }
    const enabled = {
      filter: 'envoy.filters.http.rbac',
      path: [{ key: 'istio_ext_authz_shadow_effective_policy_id' }],
      value: { string_match: { prefix: 'istio-ext-authz' } },
    }
    const config = { filter_enabled_metadata: enabled, metadata_context_namespaces: ['envoy.filters.http.rbac'] }
    const before = [httpFilter('rbac', 'envoy.extensions.filters.http.rbac.v3.RBAC', rules)]
    const { auth, p } = await asking([{ check: { status: { code: 7 } } }], config, { before })
    expect((await get(p.http, '/')).status).toBe(200)
    expect((await get(p.http, '/admin')).status).toBe(403)
    expect([auth.checks.length, p.counter('http.h.ext_authz.disabled')]).toEqual([1, 1])
    expect(auth.last.attributes!.metadataContext!.filterMetadata['envoy.filters.http.rbac']).toMatchObject({
      istio_ext_authz_shadow_engine_result: 'allowed',
    })
  })

  test('nothing while the filter is off; then all is let through, or nothing', async () => {
    const off = { filter_enabled: { default_value: { numerator: 0 } } }
    const open = await asking([{ check: {} }], off)
    expect((await get(open.p.http, '/')).status).toBe(200)
    const deny_at_disable = { runtime_key: 'k', default_value: true }
    const shut = await asking([{ check: {} }], { ...off, deny_at_disable })
    expect((await get(shut.p.http, '/')).status).toBe(403)
    expect([open.auth.checks.length, shut.auth.checks.length]).toEqual([0, 0])
  })

  test('routes give it words of their own, ask somebody else, or nobody', async () => {
    const outer = extAuthzRoute({ check_settings: { context_extensions: { a: 'host', b: 'host' } } })
    const inner = extAuthzRoute({ check_settings: { context_extensions: { a: 'route' } } })
    const auth = await authorizer({ check: {} })
    const other = await upstream('other', { status: 401 })
    const a = await upstream('a')
    const service = { server_uri: { uri: 'http://x', cluster: 'other', timeout: '5s' } }
    const routes = [
      {
        match: { prefix: '/free' },
        route: { cluster: 'a' },
        typed_per_filter_config: extAuthzRoute({ disabled: true }),
      },
      {
        match: { prefix: '/other' },
        route: { cluster: 'a' },
        typed_per_filter_config: extAuthzRoute({ check_settings: { http_service: service } }),
      },
      { match: { prefix: '/' }, route: { cluster: 'a' }, typed_per_filter_config: inner },
    ]
    const hosts = [{ name: 'vh', domains: ['*'], routes, typed_per_filter_config: outer }]
    const filter = extAuthz({ grpc_service: grpcService() })
    const p = await proxy(
      { route_config: { name: 'rc', virtual_hosts: hosts }, http_filters: [filter, routerFilter()] },
      [a, other, { name: 'auth', port: auth.port } as Upstream],
      { auth: overHttp2 },
    )
    await get(p.http, '/')
    expect(auth.last.attributes!.contextExtensions).toEqual({ a: 'route', b: 'host' })
    expect((await get(p.http, '/free')).status).toBe(200)
    expect((await get(p.http, '/other')).status).toBe(401)
    expect(auth.checks).toHaveLength(1)
  })
})

describe('when the gRPC authorizer fails', () => {
  const cases: [string, Parameters<typeof RawAuthorizer.start>[0]][] = [
    ['says that it is unavailable', (s) => answerRaw(s, Buffer.alloc(0), { 'grpc-status': '14' })],
    ['answers without a message', (s) => answerRaw(s, Buffer.alloc(0), { 'grpc-status': '0' })],
    ['answers without a status', (s) => answerRaw(s, checkFrame({}), { 'x-none': '1' })],
    ['sends no message of its own', (s) => answerRaw(s, Buffer.from('0000000002ffff', 'hex'), { 'grpc-status': '0' })],
    ['sends a frame of no known kind', (s) => answerRaw(s, Buffer.from('0200000000', 'hex'), { 'grpc-status': '0' })],
    ['gives a status that is none', (s) => answerRaw(s, checkFrame({}), { 'grpc-status': 'fine' })],
    [
      'permits, and ends without a status',
      (s) => {
        s.respond({ ':status': 200, 'content-type': 'application/grpc' })
        s.end(checkFrame({}))
      },
    ],
    [
      'permits under another status of HTTP',
      (s) => {
        s.respond({ ':status': 503, 'content-type': 'application/grpc' }, { waitForTrailers: true })
        s.on('wantTrailers', () => s.sendTrailers({ 'grpc-status': '0' }))
        s.end(checkFrame({}))
      },
    ],
    ['sends a compressed frame', (s) => answerRaw(s, Buffer.from('01000000020a00', 'hex'), { 'grpc-status': '0' })],
    [
      'speaks no gRPC',
      (s) => {
        s.respond({ ':status': 200 })
        s.end('hello')
      },
    ],
    [
      'answers 503',
      (s) => {
        s.respond({ ':status': 503 })
        s.end()
      },
    ],
    ['resets the call', (s) => s.close(2)],
    ['drops the connection', (s) => s.session?.destroy()],
    [
      'breaks off in its message',
      (s) => {
        s.respond({ ':status': 200, 'content-type': 'application/grpc' })
        s.write(checkFrame({ deniedResponse: { body: 'x'.repeat(100) } }).subarray(0, 30), () => s.session?.destroy())
      },
    ],
  ]
  test.each(cases)('as it %s: 403 with flag and details, and the request goes nowhere', async (_what, answer) => {
    const raw = await RawAuthorizer.start(answer)
    running.push(raw)
    const { a, p } = await askingAt(raw.port)
    const refused = await get(p.http, '/')
    expect([refused.status, refused.body, raw.calls, a.received.length]).toEqual([403, '', 1, 0])
    expect(p.counter('http.h.ext_authz.error')).toBe(1)
  })

  test('it is called again where that is said', async () => {
    const raw: RawAuthorizer = await RawAuthorizer.start((s) =>
      raw.calls === 1 ? s.close(2) : answerRaw(s, checkFrame({}), { 'grpc-status': '0' }),
    )
    running.push(raw)
    const retry_policy = { retry_on: 'reset', retry_back_off: { base_interval: '0.001s', max_interval: '2s' } }
    const { p } = await askingAt(raw.port, { grpc_service: grpcService({ retry_policy }) })
    expect((await get(p.http, '/')).status).toBe(200)
    expect(raw.calls).toBe(2)
  })

  test('a message longer than allowed is an error, a long one otherwise no problem', async () => {
    const denied = { check: { status: { code: 7 }, deniedResponse: { body: 'x'.repeat(2_000_000) } } }
    const { p } = await asking([denied])
    expect((await get(p.http, '/')).body).toHaveLength(2_000_000)
    const limit = grpcService({ envoy_grpc: { cluster_name: 'auth', max_receive_message_length: 1000 } })
    const limited = await asking([denied], { grpc_service: limit })
    expect((await get(limited.p.http, '/')).body).toBe('')
    expect(limited.p.counter('http.h.ext_authz.error')).toBe(1)
  })

  test('a hanging one is waited for as long as it may take', async () => {
    const { auth, p } = await asking(['hangs'], { grpc_service: grpcService({ timeout: '0.05s' }) })
    expect((await get(p.http, '/')).status).toBe(403)
    expect(p.counter('cluster.auth.upstream_rq_timeout')).toBe(1)
    await eventually(() => auth.cancelled === 1)
  })

  test('a client that leaves meanwhile takes its call along', async () => {
    const { auth, p } = await asking(['hangs'])
    const client = new Client(p.http)
    client.write('GET / HTTP/1.1\r\nhost: x\r\n\r\n')
    await eventually(() => auth.checks.length === 1)
    client.destroy()
    await eventually(() => auth.cancelled === 1)
    expect(p.counter('http.h.ext_authz.error')).toBe(0)
  })

  test('nobody there, or no such cluster', async () => {
    const auth = await authorizer({ check: {} })
    auth.stop()
    const { p } = await askingAt(auth.port)
    expect((await get(p.http, '/')).status).toBe(403)
    const nowhere = await asking([{ check: {} }], {
      grpc_service: grpcService({ envoy_grpc: { cluster_name: 'none' } }),
    })
    expect((await get(nowhere.p.http, '/')).status).toBe(403)
  })
})
