import { describe, expect, test } from 'vitest'
import { get, httpFilter, httpHarness, oneHost, routerFilter } from './support/http.ts'
import { client, pod, service, startMesh } from './support/mesh.ts'

const { proxy, upstream } = httpHarness()
const TYPE = 'envoy.extensions.filters.http.csrf.v3.CsrfPolicy'
const percent = (numerator: number) => ({ default_value: { numerator, denominator: 'HUNDRED' } })
const to = (prefix: string, own?: object) => ({
  match: { prefix },
  route: { cluster: 'a' },
  ...(own && { typed_per_filter_config: { c: { '@type': `type.googleapis.com/${TYPE}`, ...own } } }),
})
const guarded = (config: object, routes: object[] = []) => ({
  route_config: oneHost([...routes, to('/')]),
  http_filters: [httpFilter('c', TYPE, config), routerFilter()],
})
const on = { filter_enabled: percent(100) }

describe('the csrf filter', () => {
  test.each([
    [{ origin: 'http://svc.test' }, 200],
    [{ origin: 'https://svc.test/path' }, 200],
    [{ referer: 'http://svc.test/page' }, 200],
    [{ origin: 'null', referer: 'http://svc.test/page' }, 403],
    [{ origin: 'http://evil.test' }, 403],
    [{ origin: 'http://evil.test', referer: 'http://svc.test' }, 403],
    [{ origin: 'http://svc.test:81' }, 403],
    [{ origin: 'http://user@svc.test' }, 200],
    [{}, 403],
    [{ origin: 'http://friend.test' }, 200],
    [{ origin: 'http://a.friends.test' }, 200],
  ])('a POST with %j is answered with %i', async (headers, status) => {
    const a = await upstream('a')
    const p = await proxy(
      guarded({ ...on, additional_origins: [{ exact: 'friend.test' }, { suffix: '.friends.test' }] }),
      [a],
    )
    const got = await get(p.http, '/', { ...headers }, 'POST', 'x')
    expect([got.status, a.received.length]).toEqual([status, status === 200 ? 1 : 0])
    if (status === 403) expect(got.body).toBe('Invalid origin')
  })

  test('only methods that change something are judged; verdicts are counted', async () => {
    const a = await upstream('a')
    const p = await proxy(guarded(on), [a])
    const statuses: Record<string, number> = {}
    for (const method of ['GET', 'OPTIONS', 'POST', 'PUT', 'DELETE', 'PATCH'])
      statuses[method] = (await get(p.http, '/', { origin: 'http://evil.test' }, method)).status
    expect(statuses).toEqual({ GET: 200, OPTIONS: 200, POST: 403, PUT: 403, DELETE: 403, PATCH: 403 })
    await get(p.http, '/', {}, 'POST', 'x')
    // What hides where it comes from has no origin, whatever its referer.
    await get(p.http, '/', { origin: 'null', referer: 'http://svc.test/' }, 'POST', 'x')
    await get(p.http, '/', { origin: 'http://svc.test' }, 'POST', 'x')
    const count = (name: string) => p.counter(`http.h.csrf.${name}`)
    expect([count('request_invalid'), count('missing_source_origin'), count('request_valid')]).toEqual([4, 2, 1])
  })

  test('a shadow policy counts and lets pass; a route has its own', async () => {
    const a = await upstream('a')
    const shadow = { filter_enabled: percent(0), shadow_enabled: percent(100) }
    const p = await proxy(guarded(shadow, [to('/own', on)]), [a])
    const post = async (path: string) => (await get(p.http, path, { origin: 'http://evil.test' }, 'POST', 'x')).status
    expect([await post('/'), await post('/own')]).toEqual([200, 403])
    expect(p.counter('http.h.csrf.request_invalid')).toBe(2)
  })

  test('the runtime turns it on', async () => {
    const a = await upstream('a')
    const enabled = { filter_enabled: { ...percent(0), runtime_key: 'csrf.on' } }
    const layers = [{ name: 's', static_layer: { 'csrf.on': 100 } }]
    const p = await proxy(guarded(enabled), [a], {}, { layered_runtime: { layers } })
    expect((await get(p.http, '/', {}, 'POST', 'x')).status).toBe(403)
  })

  test('an EnvoyFilter puts it before an app', async () => {
    const mesh = await startMesh(`${service('reviews')}${pod('reviews', 'v1')}${client()}
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: csrf}
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
        name: envoy.filters.http.csrf
        typed_config:
          "@type": type.googleapis.com/${TYPE}
          filter_enabled: {default_value: {numerator: 100, denominator: HUNDRED}}
`)
    try {
      const post = async (origin: string) =>
        (await mesh.get('client', 'http://reviews:9080/', { method: 'POST', headers: { origin } })).status
      expect([await post('http://reviews:9080'), await post('http://evil.test')]).toEqual([200, 403])
    } finally {
      await mesh.stop()
    }
  })
})
