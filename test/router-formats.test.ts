import net from 'node:net'
import { expect, test } from 'vitest'
import { get, httpFilter, httpHarness, oneHost, routerFilter, toA } from './support/http.ts'

const { proxy, upstream } = httpHarness()

test('CEL expressions make header values', async () => {
  const a = await upstream('a')
  const p = await proxy(
    toA(
      {},
      {
        request_headers_to_add: [
          { header: { key: 'x-seen', value: '%CEL(request.url_path)% %CEL(request.headers["x-none"])%' } },
        ],
        response_headers_to_add: [{ header: { key: 'x-ok', value: '%CEL(response.code == 200)%' } }],
      },
    ),
    [a],
  )
  const response = await get(p.http, '/p?q')
  expect(a.last.headers.get('x-seen')).toBe('/p')
  expect(response.headers.get('x-ok')).toBe('true')
})

test('host and path can be made by formats', async () => {
  const a = await upstream('a')
  const p = await proxy(toA({ host_rewrite: '%REQ(x-tenant)%.test', path_rewrite: '/in/%REQ(x-tenant)%' }), [a])
  await get(p.http, '/p?q=1', { 'x-tenant': 't1' })
  expect([a.last.headers.get('host'), a.last.path]).toEqual(['t1.test', '/in/t1?q=1'])
  expect(a.last.headers.get('x-envoy-original-path')).toBe('/p?q=1')
})

test("a fixed answer's body can be made by a format", async () => {
  const p = await proxy({
    route_config: oneHost([
      {
        match: { prefix: '/' },
        direct_response: {
          status: 200,
          body: { inline_string: 'hello' },
          body_format: { json_format: { said: '%LOCAL_REPLY_BODY%', path: '%REQ(:PATH)%' } },
        },
      },
    ]),
  })
  const response = await get(p.http, '/')
  expect(JSON.parse(response.body)).toEqual({ said: 'hello', path: '/' })
  expect(response.headers.get('content-type')).toBe('application/json')
})

test('routes match cookies', async () => {
  const a = await upstream('a')
  const cookies = [{ name: 'beta', string_match: { exact: 'yes' } }]
  const p = await proxy(
    {
      route_config: oneHost([
        { match: { prefix: '/', cookies }, direct_response: { status: 201 } },
        { match: { prefix: '/' }, route: { cluster: 'a' } },
      ]),
    },
    [a],
  )
  const statuses = []
  for (const cookie of ['beta=yes', 'a=1; beta="yes"', 'beta=no; beta=yes', '']) {
    statuses.push((await get(p.http, '/', { cookie })).status)
  }
  expect(statuses).toEqual([201, 201, 200, 200])
})

test('headers and query parameters are changed by the filter and then by the route', async () => {
  const a = await upstream('a', { headers: { 'x-inner': '1' } })
  const filter = 'envoy.filters.http.header_mutation'
  const type = 'envoy.extensions.filters.http.header_mutation.v3'
  const append = (key: string, value: string) => ({ append: { header: { key, value } } })
  const p = await proxy(
    {
      http_filters: [
        httpFilter(filter, `${type}.HeaderMutation`, {
          mutations: {
            request_mutations: [append('x-by', 'filter'), { remove_on_match: { key_matcher: { prefix: 'x-drop-' } } }],
            query_parameter_mutations: [{ append: { record: { key: 'b', value: '%REQ(:METHOD)%' } } }, { remove: 'c' }],
            response_mutations: [{ remove: 'x-inner' }],
          },
        }),
        routerFilter(),
      ],
      route_config: oneHost([
        {
          match: { prefix: '/' },
          route: { cluster: 'a' },
          typed_per_filter_config: {
            [filter]: {
              '@type': `type.googleapis.com/${type}.HeaderMutationPerRoute`,
              mutations: { request_mutations: [append('x-by', 'route')] },
            },
          },
        },
      ]),
    },
    [a],
  )
  const response = await get(p.http, '/p?c=3&a=1', { 'x-drop-this': '1' })
  expect(a.last.path).toBe('/p?a=1&b=GET')
  expect([a.last.headers.get('x-by'), a.last.headers.get('x-drop-this')]).toEqual(['filter | route', undefined])
  expect(response.headers.has('x-inner')).toBe(false)
  const decoded = await get(p.http, '/p?a=%0d%0ax-evil:1')
  expect([decoded.status, decoded.body]).toEqual([503, 'invalid header value for: :path'])
})

test('an early mutation decides the route, and a detector who the client is', async () => {
  const a = await upstream('a')
  const p = await proxy(
    {
      ...toA(),
      early_header_mutation_extensions: [
        {
          name: 'early',
          typed_config: {
            '@type':
              'type.googleapis.com/envoy.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation',
            mutations: [{ append: { header: { key: 'x-early', value: '1' } } }],
          },
        },
      ],
      original_ip_detection_extensions: [
        {
          name: 'client',
          typed_config: {
            '@type':
              'type.googleapis.com/envoy.extensions.http.original_ip_detection.custom_header.v3.CustomHeaderConfig',
            header_name: 'x-client',
            allow_extension_to_set_address_as_trusted: true,
            reject_with_status: { code: 401 },
          },
        },
      ],
      internal_address_config: { cidr_ranges: [{ address_prefix: '10.0.0.0', prefix_len: 8 }] },
    },
    [a],
  )
  expect((await get(p.http, '/', { 'x-client': '10.1.2.3' })).status).toBe(200)
  expect([a.last.headers.get('x-early'), a.last.headers.get('x-envoy-internal')]).toEqual(['1', 'true'])
  expect((await get(p.http, '/')).status).toBe(401)
  expect(p.counter('http.h.downstream_rq_rejected_via_ip_detection')).toBe(1)
})

test('header names go on as they were spelt, where the codecs are told so', async () => {
  const a = await upstream('a', { headers: { 'X-InNer': '1' } })
  const preserve = (more: object = {}) => ({
    http_protocol_options: {
      header_key_format: {
        stateful_formatter: {
          name: 'preserve_case',
          typed_config: {
            '@type':
              'type.googleapis.com/envoy.extensions.http.header_formatters.preserve_case.v3.PreserveCaseFormatterConfig',
            ...more,
          },
        },
      },
    },
  })
  const p = await proxy({ ...toA(), ...preserve() }, [a], {
    a: {
      typed_extension_protocol_options: {
        'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': {
          '@type': 'type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions',
          explicit_http_config: preserve({ formatter_type_on_envoy_headers: 'PROPER_CASE' }),
        },
      },
    },
  })
  const text = await new Promise<string>((resolve, reject) => {
    let received = ''
    const socket = net.connect(p.http, '127.0.0.1', () =>
      socket.write('GET / HTTP/1.1\r\nHOst: svc.test\r\nX-mIx: 1\r\n\r\n'),
    )
    socket.on('error', reject)
    socket.on('data', (chunk) => {
      received += chunk.toString('latin1')
      if (!received.endsWith('\r\n\r\na')) return
      socket.destroy()
      resolve(received)
    })
  })
  expect(a.last.rawHeaders).toEqual(expect.arrayContaining(['HOst', 'X-mIx', 'x-request-id']))
  expect(text).toContain('\r\nX-InNer: 1\r\n')
  expect(text).toContain('\r\nServer: envoy\r\n')
})

test('the scope of a request decides its routes', async () => {
  const scope = (name: string, key: string) => ({
    name,
    key: { fragments: [{ string_key: key }] },
    route_configuration: {
      name,
      virtual_hosts: [
        {
          name,
          domains: ['*'],
          routes: [{ match: { prefix: '/' }, direct_response: { status: 200, body: { inline_string: name } } }],
        },
      ],
    },
  })
  const p = await proxy({
    scoped_routes: {
      name: 'scopes',
      scope_key_builder: {
        fragments: [
          {
            header_value_extractor: {
              name: 'x-scope',
              element_separator: ';',
              element: { separator: '=', key: 'tenant' },
            },
          },
        ],
      },
      scoped_route_configurations_list: { scoped_route_configurations: [scope('one', 'a'), scope('two', 'b')] },
    },
  })
  const of = async (value: string) => {
    const { status, body } = await get(p.http, '/', { 'x-scope': value })
    return `${status} ${body}`
  }
  expect(await of('user=1;tenant=a')).toBe('200 one')
  expect(await of('tenant=b')).toBe('200 two')
  expect(await of('tenant=c')).toBe('404 ')
})
