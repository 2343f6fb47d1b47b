import { afterEach, describe, expect, it } from 'vitest'
import {
  Client,
  echoServer,
  eventually,
  socketAddress,
  startProxy,
  staticCluster,
  tcpProxyFilter,
} from './support/proxy.ts'
import { Gate, type SpreadProxy, startSpread } from './support/spread-proxy.ts'

const running: { stop(): unknown }[] = []
afterEach(async () => {
  for (const proxy of running.splice(0)) await proxy.stop()
})

async function start(thresholds: object, options: Partial<Parameters<typeof startSpread>[0]> = {}) {
  const proxy = await startSpread({
    groups: [{ hosts: { a: {} } }],
    cluster: { circuit_breakers: thresholds },
    ...options,
  })
  running.push(proxy)
  return proxy
}

const limits = (limit: object) => ({ thresholds: [{ track_remaining: true, ...limit }] })
const gauge = (proxy: SpreadProxy, name: string) => proxy.counter(`cluster.a.circuit_breakers.default.${name}`)

describe('circuit breakers', () => {
  it('of five requests that come together to a cold pool, one waits for its connection, and that is all that may', async () => {
    const gate = new Gate()
    const proxy = await start(limits({ max_connections: 1, max_pending_requests: 1 }), {
      upstreams: { a: gate.upstream('a') },
    })
    const answers = Promise.all(Array.from({ length: 5 }, () => proxy.call()))
    await eventually(() => proxy.counter('cluster.a.upstream_rq_pending_overflow') === 4)
    await gate.reached(1)
    gate.open()
    const all = await answers
    expect(all.map((a) => a.status).sort()).toEqual([200, 503, 503, 503, 503])
    const refused = all.find((a) => a.status === 503)!
    expect(refused.headers['x-envoy-overloaded']).toBe('true')
    expect(refused.body).toContain('reset reason: overflow')
  })

  it('gauges tell what remains, and that a limit is reached', async () => {
    const gate = new Gate()
    const proxy = await start(limits({ max_connections: 1, max_requests: 3 }), { upstreams: { a: gate.upstream('a') } })
    expect([gauge(proxy, 'cx_open'), gauge(proxy, 'remaining_cx'), gauge(proxy, 'remaining_rq')]).toEqual([0, 1, 3])
    const answer = proxy.call()
    await gate.reached(1)
    expect([gauge(proxy, 'cx_open'), gauge(proxy, 'remaining_cx'), gauge(proxy, 'remaining_rq')]).toEqual([1, 0, 2])
    gate.open()
    expect((await answer).status).toBe(200)
    const { body } = await proxy.admin('/stats?filter=remaining_cx_pools')
    expect(body).toContain('cluster.a.circuit_breakers.default.remaining_cx_pools: 18446744073709551614')
  })

  it('a limit of nothing is not open before anybody comes', async () => {
    const proxy = await start(limits({ max_requests: 0, max_retries: 0 }))
    expect([gauge(proxy, 'rq_open'), gauge(proxy, 'rq_retry_open')]).toEqual([0, 0])
    expect((await proxy.call()).status).toBe(503)
  })

  it('what remains of a retry budget is not told once it is asked', async () => {
    const budget = { retry_budget: { budget_percent: { value: 50 }, min_retry_concurrency: 1 } }
    const proxy = await start(limits(budget), {
      upstreams: { a: (_request, response) => response.writeHead(503).end() },
      route: { retry_policy: { retry_on: '5xx', num_retries: 1 } },
    })
    expect(gauge(proxy, 'remaining_retries')).toBe(3)
    await proxy.call()
    expect(gauge(proxy, 'remaining_retries')).toBe(0)
    expect(proxy.counter('cluster.a.upstream_rq_retry')).toBe(1)
  })

  it('max_connection_pools: without room for a pool there is no healthy upstream', async () => {
    const none = await start(limits({ max_connection_pools: 0 }))
    const refused = await none.call()
    expect([refused.status, refused.body]).toEqual([503, 'no healthy upstream'])
    expect(none.counter('cluster.a.upstream_cx_pool_overflow')).toBe(1)
    const one = await start(limits({ max_connection_pools: 1 }))
    expect((await one.call()).status).toBe(200)
    expect(gauge(one, 'cx_pool_open')).toBe(1)
  })

  it('per_host_thresholds: requests wait for the host, though the cluster has room', async () => {
    const gate = new Gate()
    const proxy = await start(
      { per_host_thresholds: [{ max_connections: 1 }] },
      { upstreams: { a: gate.upstream('a') } },
    )
    const both = Promise.all([proxy.call(), proxy.call()])
    await eventually(() => proxy.counter('cluster.a.upstream_rq_pending_active') === 1)
    await gate.reached(1)
    gate.open()
    await gate.reached(2)
    gate.open()
    expect((await both).map((a) => a.status)).toEqual([200, 200])
    expect(proxy.counter('cluster.a.upstream_cx_total')).toBe(1)
  })

  it('per_host_thresholds with anything but connections are refused', async () => {
    await expect(start({ per_host_thresholds: [{ max_requests: 1 }] })).rejects.toThrow(
      'Unsupported field in per_host_thresholds',
    )
  })
})

describe('circuit breakers of byte connections', () => {
  const start = async (breakers: object) => {
    const server = await echoServer('hello;')
    const proxy = await startProxy({
      static_resources: {
        listeners: [
          { name: 'l', address: socketAddress(0), filter_chains: [{ filters: [tcpProxyFilter({ cluster: 'a' })] }] },
        ],
        clusters: [staticCluster('a', server.port, { circuit_breakers: breakers })],
      },
    })
    running.push(proxy, { stop: () => server.close() })
    return proxy
  }

  it('a host at its limit makes others wait until a connection closes', async () => {
    const proxy = await start({ per_host_thresholds: [{ max_connections: 1 }] })
    const first = new Client(proxy.port('l'))
    await first.receives('hello;')
    const second = new Client(proxy.port('l'))
    await eventually(() => proxy.counter('cluster.a.upstream_rq_pending_active') === 1)
    expect(second.text).toBe('')
    first.destroy()
    await second.receives('hello;')
    second.destroy()
    expect(proxy.counter('cluster.a.upstream_cx_overflow')).toBe(1)
  })

  it('max_connections refuses at once', async () => {
    const proxy = await start({ thresholds: [{ max_connections: 1 }] })
    const first = new Client(proxy.port('l'))
    await first.receives('hello;')
    const second = new Client(proxy.port('l'))
    await second.ended
    expect(second.text).toBe('')
    first.destroy()
  })

  it('without a place to wait, attempts count as failed ones', async () => {
    const proxy = await start({ thresholds: [{ max_pending_requests: 0 }] })
    const refused = new Client(proxy.port('l'))
    await refused.ended
    expect(proxy.counter('cluster.a.upstream_rq_pending_overflow')).toBe(1)
    expect(proxy.counter('cluster.a.upstream_cx_connect_attempts_exceeded')).toBe(1)
  })
})
