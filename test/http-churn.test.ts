import net from 'node:net'
import { expect, test } from 'vitest'
import { type Answer, httpFilter, httpHarness, routerFilter, toA } from './support/http.ts'
import { eventually } from './support/proxy.ts'

const { proxy, upstream } = httpHarness()

/** A request that may be broken off at any byte; resolves when its connection is gone. */
function attempt(port: number, i: number): Promise<void> {
  return new Promise((resolve) => {
    const body = 'x'.repeat((i * 7919) % 40_000)
    const text = `POST /${i} HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: ${body.length}\r\n\r\n${body}`
    const socket = net.connect({ port, host: '127.0.0.1' })
    socket.on('error', () => {})
    socket.on('close', () => resolve())
    socket.on('data', () => {
      if (i % 5 === 0) socket.destroy()
    })
    socket.on('connect', () => {
      if (i % 3 === 0) {
        socket.write(text.slice(0, (i * 613) % text.length))
        setTimeout(() => (i % 2 === 0 ? socket.resetAndDestroy() : socket.destroy()), i % 20)
      } else socket.write(text)
    })
  })
}

test('after clients that break off, upstreams that fail, retries, mirrors and faults nothing is left open', async () => {
  const script: Answer[] = []
  for (let i = 0; i < 400; i++) {
    const kinds: Answer[] = [
      {},
      { status: 503 },
      { fail: 'close' },
      { body: 'y'.repeat(30_000) },
      { delay: 15 },
      { fail: 'reset' },
      { delay: 60 },
    ]
    script.push(kinds[i % kinds.length]!)
  }
  const a = await upstream('a', ...script)
  const b = await upstream('b', { delay: 5 })
  const fault = httpFilter('envoy.filters.http.fault', 'envoy.extensions.filters.http.fault.v3.HTTPFault', {
    delay: { fixed_delay: '0.01s', percentage: { numerator: 30 } },
    abort: { http_status: 500, percentage: { numerator: 10 } },
  })
  const route = {
    timeout: '0.2s',
    retry_policy: { retry_on: '5xx,reset', num_retries: 2, per_try_timeout: '0.04s' },
    request_mirror_policies: [{ cluster: 'b' }],
  }
  const p = await proxy({ ...toA(route), http_filters: [fault, routerFilter()] }, [a, b])
  for (let round = 0; round < 3; round++) {
    await Promise.all(Array.from({ length: 40 }, (_, i) => attempt(p.http, round * 40 + i)))
  }
  const gauges = [
    'http.h.downstream_rq_active',
    'http.h.downstream_cx_active',
    'http.h.fault.active_faults',
    'cluster.a.upstream_rq_active',
    'cluster.a.upstream_rq_pending_active',
    'cluster.b.upstream_rq_active',
    'cluster.b.upstream_rq_pending_active',
  ]
  await eventually(() => gauges.every((name) => p.counter(name) === 0))
  expect(p.counter('http.h.downstream_rq_total')).toBeGreaterThan(100)
  expect(p.counter('cluster.a.upstream_rq_retry')).toBeGreaterThan(0)
}, 20_000)
