import { expect, test } from 'vitest'
import { get, httpHarness, oneHost } from './support/http.ts'

const { proxy, upstream } = httpHarness()

test('requests of a virtual cluster are counted apart, all others as other', async () => {
  const a = await upstream('a', {}, { status: 503 }, {}, { status: 404 })
  const route = {
    match: { prefix: '/' },
    route: { cluster: 'a', retry_policy: { retry_on: '5xx', retry_back_off: { base_interval: '0.001s' } } },
  }
  const virtual = [
    {
      name: 'orders',
      headers: [
        { name: ':path', string_match: { prefix: '/orders' } },
        { name: ':method', string_match: { exact: 'POST' } },
      ],
    },
  ]
  const p = await proxy({ route_config: oneHost([route], { virtual_clusters: virtual }) }, [a])
  await get(p.http, '/orders/1', {}, 'POST', 'x')
  await get(p.http, '/orders/2', {}, 'POST', 'x')
  await get(p.http, '/orders/3')
  const count = (name: string) => p.counter(`vhost.vh.vcluster.${name}`)
  expect([count('orders.upstream_rq_total'), count('orders.upstream_rq_200')]).toEqual([3, 2])
  expect([count('orders.upstream_rq_retry'), count('orders.upstream_rq_retry_success')]).toEqual([1, 1])
  expect([count('other.upstream_rq_total'), count('other.upstream_rq_404')]).toEqual([1, 1])
})

test('a route with a stat_prefix counts its own', async () => {
  const a = await upstream('a', {}, { fail: 'hang' })
  const p = await proxy(
    {
      route_config: oneHost([
        { stat_prefix: 'slow', match: { prefix: '/slow' }, route: { cluster: 'a', timeout: '0.05s' } },
        { match: { prefix: '/' }, route: { cluster: 'a' } },
      ]),
    },
    [a],
  )
  await get(p.http, '/')
  await get(p.http, '/slow')
  const count = (name: string) => p.counter(`vhost.vh.route.slow.upstream_rq_${name}`)
  expect(['total', '504', 'timeout', 'completed'].map(count)).toEqual([1, 1, 1, 1])
})
