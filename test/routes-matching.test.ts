import { describe, expect, test } from 'vitest'
import type { RouteConfiguration } from '#gen/envoy/config/route/v3/route_pb.js'
import { ConfigError } from '../src/proxy/context.ts'
import { ExchangeInfo } from '../src/proxy/http/exchange-info.ts'
import { headerName, RequestHead } from '../src/proxy/http/headers.ts'
import { compileRouteConfiguration } from '../src/proxy/http/router/compile.ts'
import { describeAction, type RouteInput } from '../src/proxy/http/router/route.ts'
import type { RouteTable } from '../src/proxy/http/router/route-table.ts'
import type { ConnectionInfo } from '../src/proxy/listener/connection.ts'
import { SystemRuntime } from '../src/runtime-system.ts'
import { readJson } from '../src/xds/json.ts'
import { oneHost } from './support/http.ts'

const connection: ConnectionInfo = {
  id: 1,
  remote: { ip: '10.0.0.1', port: 1000 },
  directRemote: { ip: '10.0.0.1', port: 1000 },
  local: { ip: '10.0.0.2', port: 80 },
  sni: '',
  tls: undefined,
  transportFailure: undefined,
}

function compile(config: object): RouteTable {
  const message = readJson('envoy.config.route.v3.RouteConfiguration', config as never) as RouteConfiguration
  return compileRouteConfiguration(message, { runtime: new SystemRuntime(), filterConfigs: () => new Map() })
}

function input(path: string, headers: Record<string, string> = {}, method = 'GET', random = 0): RouteInput {
  const { host = 'svc.test', ...others } = headers
  const request = RequestHead.create(method, path, host)
  request.scheme = 'http'
  request.add(headerName('x-forwarded-proto'), 'http')
  for (const [name, value] of Object.entries(others)) {
    for (const one of value.split(' | ')) request.add(headerName(name), one)
  }
  const info = new ExchangeInfo(connection)
  return { request, info, connection, random: () => random }
}

/** Name of the route that a request takes. */
function routed(table: RouteTable, ...request: Parameters<typeof input>): string | undefined {
  return table.route(input(...request))?.name
}

function table(...matches: object[]): RouteTable {
  const routes = matches.map((match, i) => ({ name: `r${i}`, match, direct_response: { status: 200 } }))
  return compile(oneHost(routes))
}

describe('paths', () => {
  const cases: [string, object, [string, boolean][]][] = [
    [
      'a prefix is a plain one',
      { prefix: '/foo' },
      [
        ['/foo', true],
        ['/foobar', true],
        ['/fo', false],
        ['/foo?x', true],
      ],
    ],
    [
      'a prefix in any case',
      { prefix: '/Foo', case_sensitive: false },
      [
        ['/fOO/x', true],
        ['/bar', false],
      ],
    ],
    [
      'an exact path without its query',
      { path: '/foo' },
      [
        ['/foo', true],
        ['/foo?a=b', true],
        ['/foo/', false],
      ],
    ],
    [
      'a regex matches the whole path',
      { safe_regex: { regex: '/v[12]/.*' } },
      [
        ['/v1/', true],
        ['/v3/', false],
        ['/x/v1/', false],
        ['/v1/a?q=/z', true],
      ],
    ],
    [
      'a regex that is a literal',
      { safe_regex: { regex: '/v1' } },
      [
        ['/v1', true],
        ['/v1/', false],
      ],
    ],
    [
      'a regex that is a literal and anything',
      { safe_regex: { regex: '/v1/.+' } },
      [
        ['/v1/', false],
        ['/v1/a', true],
      ],
    ],
    [
      'a separated prefix',
      { path_separated_prefix: '/api' },
      [
        ['/api', true],
        ['/api/', true],
        ['/apix', false],
      ],
    ],
    [
      'a template',
      {
        path_match_policy: {
          name: 'envoy.path.match.uri_template.uri_template_matcher',
          typed_config: {
            '@type': 'type.googleapis.com/envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig',
            path_template: '/a/{x}/c/{y=**}',
          },
        },
      },
      [
        ['/a/b/c/d/e', true],
        ['/a/b/c/', true],
        ['/a/b/d', false],
        ['/a/b/b/c/x', false],
      ],
    ],
    ['CONNECT only', { connect_matcher: {} }, [['/', false]]],
  ]
  test.each(cases)('%s', (_name, match, paths) => {
    const routes = table(match)
    for (const [path, hit] of paths) expect([path, routed(routes, path) !== undefined]).toEqual([path, hit])
  })

  test('path parameters are left out where the configuration says so', () => {
    const routes = compile(
      oneHost(
        [{ name: 'p', match: { path: '/a' }, direct_response: { status: 200 } }],
        {},
        {
          ignore_path_parameters_in_path_matching: true,
        },
      ),
    )
    expect(routed(routes, '/a;v=1?x')).toBe('p')
  })
})

describe('headers', () => {
  const cases: [string, object, Record<string, string>, boolean][] = [
    ['present', { present_match: true }, { 'x-v': '' }, true],
    ['present, but it is absent', { present_match: true }, {}, false],
    ['absent', { present_match: false }, {}, true],
    ['not present', { present_match: true, invert_match: true }, {}, true],
    ['exact', { string_match: { exact: 'a' } }, { 'x-v': 'a' }, true],
    ['exact misses another case', { string_match: { exact: 'a' } }, { 'x-v': 'A' }, false],
    ['exact in any case', { string_match: { exact: 'a', ignore_case: true } }, { 'x-v': 'A' }, true],
    ['any of repeated values', { string_match: { exact: 'b' } }, { 'x-v': 'a | b' }, true],
    ['never the joined values', { string_match: { exact: 'a,b' } }, { 'x-v': 'a | b' }, false],
    ['inverted, no value may match', { string_match: { exact: 'b' }, invert_match: true }, { 'x-v': 'a | b' }, false],
    ['inverted, another value', { string_match: { exact: 'b' }, invert_match: true }, { 'x-v': 'a' }, true],
    ['inverted, absent', { string_match: { exact: 'b' }, invert_match: true }, {}, false],
    [
      'inverted, absent counts as empty',
      { string_match: { exact: 'b' }, invert_match: true, treat_missing_header_as_empty: true },
      {},
      true,
    ],
    ['range', { range_match: { start: '1', end: '10' } }, { 'x-v': '9' }, true],
    ['range end is out', { range_match: { start: '1', end: '10' } }, { 'x-v': '10' }, false],
    ['regex is a full match', { string_match: { safe_regex: { regex: 'a.c' } } }, { 'x-v': 'xabc' }, false],
    ['contains', { string_match: { contains: 'b' } }, { 'x-v': 'abc' }, true],
    ['suffix', { string_match: { suffix: 'bc' } }, { 'x-v': 'abc' }, true],
    ['the old empty exact match takes any value', { exact_match: '' }, { 'x-v': 'abc' }, true],
  ]
  test.each(cases)('%s', (_name, matcher, headers, hit) => {
    const routes = table({ prefix: '/', headers: [{ name: 'x-v', ...matcher }] })
    expect(routed(routes, '/', headers) !== undefined).toBe(hit)
  })

  test('method, authority and path are headers too', () => {
    const routes = table(
      { prefix: '/', headers: [{ name: ':method', string_match: { exact: 'POST' } }] },
      { prefix: '/', headers: [{ name: ':authority', string_match: { prefix: 'a.' } }] },
      { prefix: '/', headers: [{ name: 'host', string_match: { prefix: 'b.' } }] },
    )
    expect(routed(routes, '/', {}, 'POST')).toBe('r0')
    expect(routed(routes, '/', { host: 'a.test' })).toBe('r1')
    expect(routed(routes, '/', { host: 'b.test' })).toBe('r2')
    expect(routed(routes, '/')).toBeUndefined()
  })
})

test('query parameters are matched by their first value', () => {
  const routes = table(
    { prefix: '/', query_parameters: [{ name: 'v', string_match: { exact: '1' } }] },
    { prefix: '/', query_parameters: [{ name: 'w', present_match: true }] },
    { prefix: '/', query_parameters: [{ name: 'z', present_match: false }] },
  )
  expect(routed(routes, '/?v=1')).toBe('r0')
  expect(routed(routes, '/?vv=1&z')).toBeUndefined()
  expect(routed(routes, '/?v=2&v=1&z')).toBeUndefined()
  expect(routed(routes, '/?w&z')).toBe('r1')
  expect(routed(routes, '/?')).toBe('r2')
})

test('the first route that matches wins, and conditions other than the path count', () => {
  const routes = table({ prefix: '/', grpc: {} }, { prefix: '/a' }, { path: '/a/b' })
  expect(routed(routes, '/a/b', { 'content-type': 'application/grpc+proto' })).toBe('r0')
  expect(routed(routes, '/a/b', { 'content-type': 'application/grpc-web' })).toBe('r1')
})

test('a share of requests by random number', () => {
  const fraction = { default_value: { numerator: 30, denominator: 'HUNDRED' } }
  const routes = table({ prefix: '/', runtime_fraction: fraction }, { prefix: '/' })
  expect(routed(routes, '/', {}, 'GET', 29)).toBe('r0')
  expect(routed(routes, '/', {}, 'GET', 30)).toBe('r1')
})

test('dynamic metadata', () => {
  const routes = table({
    prefix: '/',
    dynamic_metadata: [{ filter: 'f', path: [{ key: 'a' }, { key: 'b' }], value: { string_match: { exact: 'x' } } }],
  })
  const request = input('/')
  expect(routes.route(request)).toBeUndefined()
  request.info.dynamicMetadata = new Map([['f', { a: { b: 'x' } }]])
  expect(routes.route(request)?.name).toBe('r0')
})

test('domains: exact, longest suffix, longest prefix, any', () => {
  const host = (name: string, ...domains: string[]) => ({
    name,
    domains,
    routes: [{ name, match: { prefix: '/' }, direct_response: { status: 200 } }],
  })
  const routes = compile({
    name: 'rc',
    virtual_hosts: [
      host('any', '*'),
      host('exact', 'www.foo.com'),
      host('suffix', '*.foo.com'),
      host('longer-suffix', '*-bar.foo.com'),
      host('prefix', 'www.*'),
      host('longer-prefix', 'www.foo.*'),
    ],
  })
  const expected: Record<string, string> = {
    'WWW.foo.com': 'exact',
    'x.foo.com': 'suffix',
    'x-bar.foo.com': 'longer-suffix',
    '.foo.com': 'any',
    'www.foo.org': 'longer-prefix',
    'www.other.org': 'prefix',
    'www.': 'any',
    'www.foo.com:80': 'longer-prefix',
  }
  for (const [name, wanted] of Object.entries(expected))
    expect([name, routed(routes, '/', { host: name })]).toEqual([name, wanted])
})

test('weighted clusters by random number, sum of weights', () => {
  const clusters = [
    { name: 'a', weight: 1 },
    { name: 'b', weight: 0 },
    { name: 'c', weight: 3 },
  ]
  const routes = compile(oneHost([{ match: { prefix: '/' }, route: { weighted_clusters: { clusters } } }]))
  const picked = [0, 1, 2, 3, 4].map((r) => routes.route(input('/', {}, 'GET', r))?.forward?.cluster)
  expect(picked).toEqual(['a', 'c', 'c', 'c', 'a'])
})

test('weighted clusters by a header with one number', () => {
  const weighted = {
    header_name: 'x-split',
    clusters: [
      { name: 'a', weight: 1 },
      { name: 'b', weight: 1 },
    ],
  }
  const routes = compile(oneHost([{ match: { prefix: '/' }, route: { weighted_clusters: weighted } }]))
  expect(routes.route(input('/', { 'x-split': '7' }))?.forward?.cluster).toBe('b')
  expect(routes.route(input('/', { 'x-split': 'seven' }))?.forward?.cluster).toBe('a')
})

test('routes and their conditions can say what they are', () => {
  const routes = compile(
    oneHost([
      {
        match: { prefix: '/a', headers: [{ name: 'x-user', string_match: { exact: 'jason' } }] },
        route: { cluster: 'outbound|80||a' },
        metadata: { filter_metadata: { dinghy: { file: 'a.yaml', line: 3 } } },
      },
    ]),
  )
  const route = routes.virtualHosts[0]!.routes[0]!
  expect(String(route.match)).toBe('path prefix "/a" and header x-user exact "jason"')
  expect(describeAction(route)).toBe('cluster outbound|80||a')
  expect(route.metadata.get('dinghy')).toEqual({ file: 'a.yaml', line: 3 })
})

describe('refused with the place', () => {
  const cases: [string, object, RegExp][] = [
    [
      'a bad regex',
      oneHost([{ match: { safe_regex: { regex: '(' } }, direct_response: { status: 200 } }]),
      /routes\[0\].*regex/,
    ],
    [
      'two catch-alls',
      {
        virtual_hosts: [
          { name: 'a', domains: ['*'] },
          { name: 'b', domains: ['*'] },
        ],
      },
      /Only a single wildcard domain/,
    ],
    [
      'a domain twice',
      {
        virtual_hosts: [
          { name: 'a', domains: ['x'] },
          { name: 'b', domains: ['X'] },
        ],
      },
      /Duplicate entry of domain X/,
    ],
    [
      'weights of zero',
      oneHost([{ match: { prefix: '/' }, route: { weighted_clusters: { clusters: [{ name: 'a', weight: 0 }] } } }]),
      /greater than 0/,
    ],
    [
      'a pseudo header to add',
      oneHost([
        {
          match: { prefix: '/' },
          route: { cluster: 'a' },
          request_headers_to_add: [{ header: { key: ':path', value: 'x' } }],
        },
      ]),
      /:path/,
    ],
    [
      'a field that is not there',
      oneHost([{ match: { prefix: '/' }, route: { inline_cluster_specifier_plugin: {} } }]),
      /routes\[0\]\.route\.inline_cluster_specifier_plugin: not supported/,
    ],
    ['no path', oneHost([{ match: {}, route: { cluster: 'a' } }]), /path_specifier/],
  ]
  test.each(cases)('%s', (_name, config, message) => {
    expect(() => compile(config)).toThrow(ConfigError)
    expect(() => compile(config)).toThrow(message)
  })

  test('every error at once', () => {
    const bad = { match: { safe_regex: { regex: '[' } }, route: { cluster: 'a', hedge_policy: {} } }
    try {
      compile(oneHost([bad, bad]))
      expect.unreachable()
    } catch (e) {
      expect((e as ConfigError).errors.length).toBeGreaterThanOrEqual(2)
    }
  })
})
