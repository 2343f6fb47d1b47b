import { createHash } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { exchange, get, httpFilter, httpHarness, oneHost, routerFilter } from './support/http.ts'
import { client, pod, service, startMesh } from './support/mesh.ts'

const { proxy, upstream } = httpHarness()
const TYPE = 'envoy.extensions.filters.http.basic_auth.v3.BasicAuth'
const hash = (password: string) => `{SHA}${createHash('sha1').update(password).digest('base64')}`
const credential = (name: string, password: string) => `Basic ${Buffer.from(`${name}:${password}`).toString('base64')}`
const inline = (inline_string: string) => ({ users: { inline_string } })
const BOB = inline(`# staff\n\nbob:${hash('pw')}\nann:${hash('p:w')}\n`)
const to = (prefix: string, own?: object) => ({
  match: { prefix },
  route: { cluster: 'a' },
  ...(own && { typed_per_filter_config: { b: { '@type': `type.googleapis.com/${TYPE}PerRoute`, ...own } } }),
})
const closed = (config: object, routes: object[] = []) => ({
  route_config: oneHost([...routes, to('/')]),
  http_filters: [httpFilter('b', TYPE, config), routerFilter()],
})

describe('the basic auth filter', () => {
  test('who knows a password gets in, and the app is told the name', async () => {
    const a = await upstream('a')
    const p = await proxy(closed({ ...BOB, forward_username_header: 'X-User' }), [a])
    for (const [name, password] of [
      ['bob', 'pw'],
      ['ann', 'p:w'],
    ] as const) {
      const authorization = credential(name, password)
      expect((await get(p.http, '/', { authorization, 'x-user': 'root' })).status).toBe(200)
      expect([a.last.headers.get('x-user'), a.last.headers.get('authorization')]).toEqual([name, authorization])
    }
    expect([p.counter('http.h.basic_auth.allowed'), p.counter('http.h.basic_auth.denied')]).toEqual([2, 0])
  })

  test.each([
    [undefined, 'Missing username and password.'],
    ['Bearer x', "Expected 'Basic' authentication scheme."],
    [credential('bob', 'pw').replace('Basic', 'basic'), "Expected 'Basic' authentication scheme."],
    [`Basic ${Buffer.from('bob').toString('base64')}`, 'Invalid basic credential format.'],
    ['Basic %%%', 'Invalid basic credential format.'],
    [credential('bob', 'no'), 'Invalid username/password combination.'],
    [credential('eve', 'pw'), 'Invalid username/password combination.'],
  ])('%s is refused with 401', async (authorization, why) => {
    const a = await upstream('a')
    const p = await proxy(closed(BOB), [a])
    const got = await get(p.http, '/secret?q=1', authorization === undefined ? {} : { authorization })
    expect([got.status, got.body]).toEqual([401, `User authentication failed. ${why}`])
    expect(got.headers.get('www-authenticate')).toBe('Basic realm="http://svc.test/secret?q=1"')
    expect([a.received.length, p.counter('http.h.basic_auth.denied')]).toEqual([0, 1])
  })

  test('the credential may be in another header', async () => {
    const a = await upstream('a')
    const p = await proxy(closed({ ...BOB, authentication_header: 'X-Auth' }), [a])
    const value = credential('bob', 'pw')
    expect((await get(p.http, '/', { 'x-auth': value })).status).toBe(200)
    expect((await get(p.http, '/', { authorization: value })).status).toBe(401)
  })

  test('a route has users of its own', async () => {
    const a = await upstream('a')
    const p = await proxy(closed(BOB, [to('/own', inline(`zoe:${hash('z')}`)), to('/nobody', inline('# none'))]), [a])
    const status = async (path: string, name: string, password: string) =>
      (await get(p.http, path, { authorization: credential(name, password) })).status
    expect(await status('/own', 'zoe', 'z')).toBe(200)
    expect([
      await status('/own', 'bob', 'pw'),
      await status('/', 'zoe', 'z'),
      await status('/nobody', 'bob', 'pw'),
    ]).toEqual([401, 401, 401])
  })

  test('the challenge repeats 256 characters of a path', async () => {
    const p = await proxy(closed(BOB), [await upstream('a')])
    const [got] = await exchange(p.http, `GET /${'x'.repeat(300)} HTTP/1.1\r\nhost: h\r\n\r\n`)
    expect(got?.headers.get('www-authenticate')).toBe(`Basic realm="http://h/${'x'.repeat(255)}"`)
  })

  test.each([
    ['bob', 'basic auth: invalid htpasswd format, username:password is expected'],
    ['bob:', 'basic auth: empty user name or password'],
    [`:${hash('x')}`, 'basic auth: empty user name or password'],
    ['bob:$apr1$x', 'basic auth: unsupported htpasswd format: please use {SHA}'],
    ['bob:{SHA}x', 'basic auth: invalid htpasswd format, invalid SHA hash length'],
    [`bob:${hash('x')}\nbob:${hash('y')}`, 'basic auth: duplicate users'],
  ])('users %j are refused', async (users, why) => {
    await expect(proxy(closed(inline(users)))).rejects.toThrow(why)
  })

  test('an EnvoyFilter puts it before an app', async () => {
    const mesh = await startMesh(`${service('reviews')}${pod('reviews', 'v1')}${client()}
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: staff}
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
        name: envoy.filters.http.basic_auth
        typed_config:
          "@type": type.googleapis.com/${TYPE}
          users: {inline_string: "bob:${hash('pw')}"}
          forward_username_header: x-user
`)
    try {
      const headers = { authorization: credential('bob', 'pw') }
      expect((await mesh.get('client', 'http://reviews:9080/')).status).toBe(401)
      const got = await mesh.get('client', 'http://reviews:9080/', { headers })
      expect(got.echo?.request.headers['x-user']).toBe('bob')
    } finally {
      await mesh.stop()
    }
  })
})
