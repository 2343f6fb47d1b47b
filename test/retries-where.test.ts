import { describe, expect, test } from 'vitest'
import { get, httpHarness, toA, type Upstream } from './support/http.ts'

const { proxy, upstream } = httpHarness()

const endpoint = (u: Upstream, more: object = {}) => ({
  endpoint: { address: { socket_address: { address: '127.0.0.1', port_value: u.port } } },
  ...more,
})
const retry = (more: object) =>
  toA({ retry_policy: { retry_on: '5xx', retry_back_off: { base_interval: '0.001s' }, ...more } })
const previousPriorities = (frequency: number) => ({
  retry_priority: {
    name: 'envoy.retry_priorities.previous_priorities',
    typed_config: {
      '@type': 'type.googleapis.com/envoy.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig',
      update_frequency: frequency,
    },
  },
})

describe('retries go', () => {
  const spread = (...upstreams: Upstream[]) => ({
    a: {
      load_assignment: {
        cluster_name: 'a',
        endpoints: upstreams.map((u, priority) => ({ priority, lb_endpoints: [endpoint(u)] })),
      },
    },
  })

  test('to priorities that were not tried', async () => {
    const a = await upstream('a', { status: 503 })
    const b = await upstream('b', { status: 503 })
    const c = await upstream('c')
    const p = await proxy(retry({ num_retries: 2, ...previousPriorities(1) }), [a], spread(a, b, c))
    for (let i = 0; i < 3; i++) expect((await get(p.http, '/')).body).toBe('c')
    expect([a.received.length, b.received.length]).toEqual([3, 3])
  })

  test('and over all of them again once each was', async () => {
    const a = await upstream('a', { status: 503 })
    const b = await upstream('b', { status: 503 })
    const p = await proxy(retry({ num_retries: 3, ...previousPriorities(1) }), [a], spread(a, b))
    await get(p.http, '/')
    expect(a.received.length + b.received.length).toBe(4)
    expect(b.received.length).toBeGreaterThan(0)
  })

  test('to hosts without the labels to avoid', async () => {
    const a = await upstream('a', { status: 503 })
    const b = await upstream('b')
    const old = { metadata: { filter_metadata: { 'envoy.lb': { version: 'old' } } } }
    const p = await proxy(
      retry({
        num_retries: 1,
        host_selection_retry_max_attempts: 20,
        retry_host_predicate: [
          {
            name: 'envoy.retry_host_predicates.omit_host_metadata',
            typed_config: {
              '@type': 'type.googleapis.com/envoy.extensions.retry.host.omit_host_metadata.v3.OmitHostMetadataConfig',
              metadata_match: { filter_metadata: { 'envoy.lb': { version: 'old' } } },
            },
          },
        ],
      }),
      [a],
      { a: { load_assignment: { cluster_name: 'a', endpoints: [{ lb_endpoints: [endpoint(a, old), endpoint(b)] }] } } },
    )
    for (let i = 0; i < 6; i++) expect((await get(p.http, '/')).status).toBe(200)
  })
})

describe('retries are counted', () => {
  test('when they are made, not when they are meant', async () => {
    const a = await upstream('a', { status: 503 })
    const slow = { retry_policy: { retry_on: '5xx', retry_back_off: { base_interval: '60s' } }, timeout: '0.1s' }
    const p = await proxy(toA(slow), [a])
    expect((await get(p.http, '/')).status).toBe(504)
    expect(p.counter('cluster.a.upstream_rq_retry')).toBe(0)
  })
})
