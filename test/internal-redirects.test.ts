import { describe, expect, test } from 'vitest'
import { get, httpHarness, oneHost } from './support/http.ts'

const { proxy, upstream } = httpHarness()

const to = (location: string, status = 302, more: Record<string, string> = {}) => ({
  status,
  headers: { location, ...more },
})
const routes = (policy: object) => ({
  route_config: oneHost([
    { name: 'old', match: { prefix: '/old' }, route: { cluster: 'a', internal_redirect_policy: policy } },
    { name: 'new', match: { prefix: '/new' }, route: { cluster: 'b' } },
    { name: 'rest', match: { prefix: '/' }, route: { cluster: 'b' } },
  ]),
})
const predicate = (type: string, config: object = {}) => ({
  name: 'p',
  typed_config: { '@type': `type.googleapis.com/envoy.extensions.internal_redirect.${type}`, ...config },
})

describe("an upstream's redirect is followed", () => {
  test('without the client seeing it', async () => {
    const a = await upstream('a', to('http://other.test/new?q=1#part'))
    const b = await upstream('b')
    const p = await proxy(routes({}), [a, b])
    const response = await get(p.http, '/old?x')
    expect([response.status, response.body]).toEqual([200, 'b'])
    expect([b.last.path, b.last.headers.get('host')]).toEqual(['/new?q=1', 'other.test'])
    expect(b.last.headers.get('x-envoy-original-url')).toBe('http://svc.test/old?x')
    expect(p.counter('cluster.a.upstream_internal_redirect_succeeded_total')).toBe(1)
    expect(p.counter('http.h.downstream_rq_total')).toBe(2)
    expect(p.counter('http.h.downstream_rq_completed')).toBe(1)
  })

  test('with its body', async () => {
    const a = await upstream('a', to('http://svc.test/new', 307))
    const b = await upstream('b')
    const p = await proxy(routes({ redirect_response_codes: [307] }), [a, b])
    await get(p.http, '/old', {}, 'POST', 'the body')
    expect([b.last.method, b.last.body]).toEqual(['POST', 'the body'])
  })

  test('after 303 as a GET without body', async () => {
    const a = await upstream('a', to('http://svc.test/new', 303))
    const b = await upstream('b')
    const p = await proxy(routes({ redirect_response_codes: [303] }), [a, b])
    await get(p.http, '/old', {}, 'POST', 'the body')
    expect([b.last.method, b.last.body, b.last.headers.get('content-length')]).toEqual(['GET', '', undefined])
  })

  test('taking headers of the response along', async () => {
    const a = await upstream('a', to('http://svc.test/new', 302, { 'x-copy': 'mine' }))
    const b = await upstream('b')
    const p = await proxy(routes({ response_headers_to_copy: ['x-copy', 'x-gone'] }), [a, b])
    await get(p.http, '/old', { 'x-copy': 'yours', 'x-gone': '1' })
    expect([b.last.headers.get('x-copy'), b.last.headers.get('x-gone')]).toEqual(['mine', undefined])
  })
})

describe("an upstream's redirect goes to the client", () => {
  const refused: [string, object, string, string][] = [
    ['when it leads to another scheme', {}, 'https://svc.test/new', 'unsafe_scheme'],
    ['when it is no URL', {}, '/new', 'bad_location'],
    ['when it is one too many', { max_internal_redirects: 0 }, 'http://svc.test/new', 'too_many_redirects'],
    [
      'when its route is not on the list',
      { predicates: [predicate('allow_listed_routes.v3.AllowListedRoutesConfig', { allowed_route_names: ['new'] })] },
      'http://svc.test/elsewhere',
      'predicate',
    ],
    [
      'when it goes from the clear to TLS',
      { allow_cross_scheme_redirect: true, predicates: [predicate('safe_cross_scheme.v3.SafeCrossSchemeConfig')] },
      'https://svc.test/new',
      'predicate',
    ],
  ]
  test.each(refused)('%s', async (_name, policy, location, why) => {
    const a = await upstream('a', to(location))
    const b = await upstream('b')
    const p = await proxy(routes(policy), [a, b])
    const response = await get(p.http, '/old')
    expect([response.status, response.headers.get('location')]).toEqual([302, location])
    expect(p.counter(`http.h.passthrough_internal_redirect_${why}`)).toBe(1)
    expect(b.received).toEqual([])
  })

  test('when it has led to the same route before', async () => {
    const a = await upstream('a', to('http://svc.test/old'), to('http://svc.test/old'), {})
    const b = await upstream('b')
    const policy = { max_internal_redirects: 9, predicates: [predicate('previous_routes.v3.PreviousRoutesConfig')] }
    const p = await proxy(routes(policy), [a, b])
    expect((await get(p.http, '/old')).status).toBe(302)
    expect(a.received.length).toBe(2)
  })

  test('when the body was too big to be kept', async () => {
    const a = await upstream('a', to('http://svc.test/new', 307))
    const b = await upstream('b')
    const config = routes({ redirect_response_codes: [307] })
    const host = config.route_config as { virtual_hosts: { per_request_buffer_limit_bytes?: number }[] }
    host.virtual_hosts[0]!.per_request_buffer_limit_bytes = 4
    const p = await proxy(config, [a, b])
    expect((await get(p.http, '/old', {}, 'POST', 'the body')).status).toBe(307)
  })
})
