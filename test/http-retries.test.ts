import { describe, expect, test } from 'vitest'
import { exchange, get, httpHarness, oneHost, toA } from './support/http.ts'
import { Client, eventually } from './support/proxy.ts'

const { proxy, upstream } = httpHarness()

describe('retries', () => {
  const retry = (more: object = {}) =>
    toA(
      {
        retry_policy: {
          retry_on: '5xx',
          num_retries: 2,
          retry_back_off: { base_interval: '0.001s', max_interval: '0.002s' },
          ...more,
        },
      },
      {
        include_request_attempt_count: true,
      },
    )

  test('until it works, the body sent again', async () => {
    const a = await upstream('a', { status: 503 }, { fail: 'close' }, { body: 'ok' })
    const p = await proxy(retry(), [a])
    const response = await get(p.http, '/', {}, 'POST', 'the body')
    expect(response.body).toBe('ok')
    expect(a.received.map((r) => [r.body, r.headers.get('x-envoy-attempt-count')])).toEqual([
      ['the body', '1'],
      ['the body', '2'],
      ['the body', '3'],
    ])
    expect(p.counter('cluster.a.upstream_rq_retry')).toBe(2)
    expect(p.counter('cluster.a.upstream_rq_retry_success')).toBe(1)
    expect(p.counter('cluster.a.retry.upstream_rq_503')).toBe(1)
  })

  test('then the last answer goes through', async () => {
    const a = await upstream('a', { status: 503, body: 'busy' })
    const p = await proxy(retry(), [a])
    const response = await get(p.http, '/')
    expect([response.status, response.body, a.received.length]).toEqual([503, 'busy', 3])
    expect(p.counter('cluster.a.upstream_rq_retry_limit_exceeded')).toBe(1)
  })

  test('not for what the policy does not name', async () => {
    const a = await upstream('a', { status: 503 })
    const p = await proxy(
      retry({ retry_on: 'connect-failure,retriable-status-codes', retriable_status_codes: [500] }),
      [a],
    )
    expect((await get(p.http, '/')).status).toBe(503)
    expect(a.received.length).toBe(1)
  })

  test('another host is tried after a refused connection', async () => {
    const dead = await upstream('dead')
    dead.stop()
    const a = await upstream('a')
    const hosts = [dead, a].map((u) => ({
      endpoint: { address: { socket_address: { address: '127.0.0.1', port_value: u.port } } },
    }))
    const p = await proxy(
      retry({
        retry_on: 'connect-failure',
        host_selection_retry_max_attempts: 5,
        retry_host_predicate: [
          {
            name: 'envoy.retry_host_predicates.previous_hosts',
            typed_config: {
              '@type': 'type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate',
            },
          },
        ],
      }),
      [a],
      { a: { load_assignment: { cluster_name: 'a', endpoints: [{ lb_endpoints: hosts }] } } },
    )
    for (let i = 0; i < 6; i++) expect((await get(p.http, '/')).status).toBe(200)
  })

  test('a slow try is cut off and tried again', async () => {
    const a = await upstream('a', { delay: 5000 }, { body: 'quick' })
    const p = await proxy(retry({ per_try_timeout: '0.05s' }), [a])
    expect((await get(p.http, '/')).body).toBe('quick')
    expect(p.counter('cluster.a.upstream_rq_per_try_timeout')).toBe(1)
  })

  test('a body too big to keep ends the retries, not the request', async () => {
    const a = await upstream('a', { status: 503 })
    const p = await proxy(
      {
        route_config: oneHost([
          {
            match: { prefix: '/' },
            route: { cluster: 'a', retry_policy: { retry_on: '5xx' } },
            per_request_buffer_limit_bytes: 4,
          },
        ]),
      },
      [a],
    )
    expect((await get(p.http, '/', {}, 'POST', 'too long')).status).toBe(503)
    expect(a.received.length).toBe(1)
    expect(p.counter('cluster.a.retry_or_shadow_abandoned')).toBe(1)
  })
})

describe('timeouts', () => {
  test('the route gives up', async () => {
    const a = await upstream('a', { fail: 'hang' })
    const p = await proxy(toA({ timeout: '0.05s' }), [a])
    const response = await get(p.http, '/')
    expect([response.status, response.body]).toEqual([504, 'upstream request timeout'])
    expect(p.counter('cluster.a.upstream_rq_timeout')).toBe(1)
  })

  test('a stream on which nothing moves', async () => {
    const a = await upstream('a', { fail: 'hang' })
    const p = await proxy({ ...toA(), stream_idle_timeout: '0.05s' }, [a])
    const response = await get(p.http, '/')
    expect([response.status, response.body]).toEqual([504, 'stream timeout'])
  })

  test('a request that does not come in whole', async () => {
    const a = await upstream('a')
    const p = await proxy({ ...toA(), request_timeout: '0.05s' }, [a])
    const [response] = await exchange(p.http, 'POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nabc')
    expect([response?.status, response?.body, response?.headers.get('connection')]).toEqual([
      408,
      'request timeout',
      'close',
    ])
  })

  test('a connection that is idle from the start is closed', async () => {
    const p = await proxy({ ...toA(), common_http_protocol_options: { idle_timeout: '0.03s' } }, [await upstream('a')])
    const client = new Client(p.http)
    await client.ended
    client.destroy()
    expect(p.counter('http.h.downstream_cx_idle_timeout')).toBe(1)
  })
})

test('requests are mirrored, the answer to the copy dropped', async () => {
  const a = await upstream('a')
  const b = await upstream('b', { status: 500, body: 'ignored' })
  const p = await proxy(toA({ request_mirror_policies: [{ cluster: 'b' }, { cluster_header: 'x-unknown' }] }), [a, b])
  const response = await get(p.http, '/m', { host: 'svc.test:80' }, 'POST', 'copy me')
  expect(response.body).toBe('a')
  await eventually(() => b.received.length === 1 && b.last.body === 'copy me')
  expect(b.last.headers.get('host')).toBe('svc.test-shadow:80')
  expect(b.last.headers.get('x-envoy-internal')).toBe('true')
})
