import { afterEach, describe, expect, it } from 'vitest'
import { client, pod, service, startMesh, type TestMesh } from './support/mesh.ts'
import { type Group, type SpreadProxy, startSpread } from './support/spread-proxy.ts'

const running: { stop(): Promise<void> }[] = []
afterEach(async () => {
  for (const proxy of running.splice(0)) await proxy.stop()
})

const HTTP = 'type.googleapis.com/envoy.extensions.http.stateful_session.'
const FILTER = 'type.googleapis.com/envoy.extensions.filters.http.stateful_session.v3.StatefulSession'
const cookieState = (cookie: object = {}) => ({
  name: 'envoy.http.stateful_session.cookie',
  typed_config: { '@type': `${HTTP}cookie.v3.CookieBasedSessionState`, cookie: { name: 'sid', ...cookie } },
})
const headerState = {
  name: 'envoy.http.stateful_session.header',
  typed_config: { '@type': `${HTTP}header.v3.HeaderBasedSessionState`, name: 'x-session' },
}
const ROUTER = {
  name: 'envoy.filters.http.router',
  typed_config: { '@type': 'type.googleapis.com/envoy.extensions.filters.http.router.v3.Router' },
}
const THREE: Group[] = [{ hosts: { a: {}, b: {}, c: {} } }]

async function start(session: object, groups = THREE, cluster: object = {}): Promise<SpreadProxy> {
  const filter = { name: 'envoy.filters.http.stateful_session', typed_config: { '@type': FILTER, ...session } }
  const proxy = await startSpread({ groups, cluster, hcm: { http_filters: [filter, ROUTER] } })
  running.push(proxy)
  return proxy
}

/** The value of a session cookie for an address, as Envoy writes it. */
const cookieOf = (address: string) =>
  Buffer.concat([Buffer.from([0x0a, address.length]), Buffer.from(address)]).toString('base64')

describe('sessions by cookie', () => {
  it('the first answer names its host, and further requests go there', async () => {
    const proxy = await start({ session_state: cookieState({ path: '/' }) })
    const first = await proxy.call()
    const [set] = first.headers['set-cookie'] ?? []
    expect(set).toBe(`sid="${cookieOf(proxy.addresses[first.body]!)}"; Path=/; HttpOnly`)
    for (let i = 0; i < 6; i++) {
      const again = await proxy.call({ headers: { cookie: set!.split(';')[0]! } })
      expect([again.body, again.headers['set-cookie']]).toEqual([first.body, undefined])
    }
  })

  it('a cookie for some paths only counts and is given there', async () => {
    const proxy = await start({ session_state: cookieState({ path: '/shop' }) })
    for (const [path, given] of [
      ['/', false],
      ['/shop', true],
      ['/shop/x', true],
      ['/shop?x', true],
      ['/shopping', false],
    ] as const)
      expect([path, (await proxy.call({ path })).headers['set-cookie'] !== undefined]).toEqual([path, given])
  })

  it('ttl and attributes are told to the client, and an old cookie counts no more', async () => {
    const attributes = [{ name: 'SameSite', value: 'Strict' }, { name: 'Secure' }]
    const proxy = await start({ session_state: cookieState({ ttl: '60s', attributes }) })
    const { headers } = await proxy.call()
    expect(headers['set-cookie']![0]).toMatch(/^sid="[^"]+"; Max-Age=60; SameSite=Strict; Secure; HttpOnly$/)
    const old = Buffer.concat([Buffer.from(cookieOf(proxy.addresses.a!), 'base64'), Buffer.from([0x10, 1])])
    const answers = new Set<string>()
    for (let i = 0; i < 6; i++)
      answers.add((await proxy.call({ headers: { cookie: `sid="${old.toString('base64')}"` } })).body)
    expect(answers.size).toBe(3)
  })

  it('a host that is out is replaced, or with strict, nobody answers', async () => {
    const sick: Group[] = [{ hosts: { a: { status: 'UNHEALTHY' }, b: {}, c: {} } }]
    const state = { session_state: cookieState() }
    const loose = await start(state, sick)
    const moved = await loose.call({ headers: { cookie: `sid="${cookieOf(loose.addresses.a!)}"` } })
    expect(moved.status).toBe(200)
    expect(moved.headers['set-cookie']).toHaveLength(1)
    const strict = await start({ ...state, strict: true }, sick)
    const refused = await strict.call({ headers: { cookie: `sid="${cookieOf(strict.addresses.a!)}"` } })
    expect([refused.status, refused.body]).toEqual([503, 'no healthy upstream'])
  })

  it('override_host_status: sessions may last where new ones do not begin', async () => {
    const groups: Group[] = [{ hosts: { a: { status: 'DRAINING' }, b: {} } }]
    const cluster = { common_lb_config: { override_host_status: { statuses: ['HEALTHY', 'DRAINING'] } } }
    const proxy = await start({ session_state: cookieState() }, groups, cluster)
    expect((await proxy.call({ headers: { cookie: `sid="${cookieOf(proxy.addresses.a!)}"` } })).body).toBe('a')
    expect((await proxy.call()).body).toBe('b')
  })
})

it('sessions by header', async () => {
  const proxy = await start({ session_state: headerState })
  const first = await proxy.call()
  const session = first.headers['x-session'] as string
  expect(Buffer.from(session, 'base64').toString()).toBe(proxy.addresses[first.body])
  for (let i = 0; i < 6; i++) {
    const again = await proxy.call({ headers: { 'x-session': session } })
    expect([again.body, again.headers['x-session']]).toEqual([first.body, undefined])
  }
})

describe("a Service with Istio's label for sessions", () => {
  const labelled = (label: string) => service('reviews').replace('namespace: default', `$&, labels: {${label}}`)
  const pods = ['v1', 'v2', 'v3'].map((name) => pod('reviews', name)).join('')
  const up = async (label: string, env: Record<string, string>): Promise<TestMesh> => {
    const mesh = await startMesh([client(), labelled(label), pods].join(''), { env })
    running.push(mesh)
    return mesh
  }
  const ON = { PILOT_ENABLE_PERSISTENT_SESSION_FILTER: 'true' }

  it('gives a cookie, and keeps to the pod that it names', async () => {
    const mesh = await up('istio.io/persistent-session: who', ON)
    const first = await mesh.get('client', 'http://reviews:9080/')
    const set = first.headers['set-cookie']!
    expect(set).toMatch(/^who="[^"]+"; Path=\/; HttpOnly$/)
    const counts = await mesh.split('client', 'http://reviews:9080/', 8, { headers: { cookie: set.split(';')[0]! } })
    expect(Object.keys(counts)).toHaveLength(1)
  })

  it('does nothing unless istiod is told to', async () => {
    const mesh = await up('istio.io/persistent-session: who', {})
    expect((await mesh.get('client', 'http://reviews:9080/')).headers['set-cookie']).toBeUndefined()
  })
})
