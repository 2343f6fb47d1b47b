import { describe, expect, test } from 'vitest'
import { exchange, get, httpHarness, toA } from './support/http.ts'
import { eventually } from './support/proxy.ts'

const { proxy, upstream } = httpHarness()

const mirrored = (...policies: object[]) => toA({ request_mirror_policies: policies })

describe('copies of a request', () => {
  test('go out with their body, and their answers are dropped', async () => {
    const a = await upstream('a')
    const b = await upstream('b', { status: 500 })
    const p = await proxy(mirrored({ cluster: 'b' }), [a, b])
    const response = await get(p.http, '/x', { host: 'svc.test:8080' }, 'POST', 'the body')
    expect([response.status, response.body]).toEqual([200, 'a'])
    await eventually(() => b.received[0]?.body === 'the body')
    expect(b.last.headers.get('host')).toBe('svc.test-shadow:8080')
    expect(b.last.headers.get('x-envoy-internal')).toBe('true')
    await eventually(() => p.counter('cluster.b.internal.upstream_rq_500') === 1)
  })

  test('can be told apart as the policy says', async () => {
    const a = await upstream('a')
    const b = await upstream('b')
    const c = await upstream('c')
    const p = await proxy(
      mirrored(
        { cluster: 'b', disable_shadow_host_suffix_append: true, request_headers_mutations: [{ remove: 'x-secret' }] },
        {
          cluster: 'c',
          host_rewrite_literal: 'copy.test',
          request_headers_mutations: [{ append: { header: { key: 'x-copy', value: '%REQ(:PATH)%' } } }],
        },
      ),
      [a, b, c],
    )
    await get(p.http, '/p', { 'x-secret': 's' })
    await eventually(() => b.received.length + c.received.length === 2)
    expect([b.last.headers.get('host'), b.last.headers.get('x-secret')]).toEqual(['svc.test', undefined])
    expect([c.last.headers.get('host'), c.last.headers.get('x-copy')]).toEqual(['copy.test', '/p'])
    expect(a.last.headers.get('x-secret')).toBe('s')
  })

  test('go to the cluster that a header names', async () => {
    const a = await upstream('a')
    const b = await upstream('b')
    const p = await proxy(mirrored({ cluster_header: 'x-to' }), [a, b])
    expect((await get(p.http, '/', { 'x-to': 'nowhere' })).status).toBe(200)
    await get(p.http, '/', { 'x-to': 'b' })
    await eventually(() => b.received.length === 1)
  })

  test('never hold up the request: a mirror that hangs, is down, or fails', async () => {
    const a = await upstream('a')
    const b = await upstream('b', { fail: 'hang' })
    const dead = await upstream('dead')
    dead.stop()
    const p = await proxy(mirrored({ cluster: 'b' }, { cluster: 'dead' }), [a, b, dead])
    const bytes = 'GET / HTTP/1.1\r\nhost: svc.test\r\n\r\n'
    const answers = await exchange(p.http, bytes.repeat(2), 2)
    expect(answers.map((r) => r.status)).toEqual([200, 200])
    await eventually(() => p.counter('cluster.dead.upstream_rq_503') === 2)
  })
})
