import { afterEach, describe, expect, test } from 'vitest'
import { startMesh, type TestMesh } from '../src/testing/index.ts'
import { client, pod, service } from './support/mesh.ts'

let mesh: TestMesh
afterEach(() => mesh?.close())

/** Statuses of requests, one after the other. */
async function statuses(count: number, url: string, from = 'client', headers: Record<string, string> = {}) {
  const out: number[] = []
  for (let i = 0; i < count; i++) out.push((await mesh.call(from, url, { headers })).status)
  return out
}

const times = (count: number, status: number): number[] => Array(count).fill(status)

const FILTER = 'envoy.filters.http.local_ratelimit'
const TYPE = 'type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit'
const STRUCT = 'type.googleapis.com/udpa.type.v1.TypedStruct'

const envoyFilter = (app: string, patches: string) => `
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: filter-local-ratelimit-svc, namespace: istio-system}
spec:
  workloadSelector:
    labels: {app: ${app}}
  configPatches:
${patches}
---`

/** As Istio's task writes it: the limit of a whole workload. */
const perPod = (tokens: number, interval: string, more = '') => `
    - applyTo: HTTP_FILTER
      match:
        context: SIDECAR_INBOUND
        listener:
          filterChain:
            filter:
              name: "envoy.filters.network.http_connection_manager"
      patch:
        operation: INSERT_BEFORE
        value:
          name: ${FILTER}
          typed_config:
            "@type": ${STRUCT}
            type_url: ${TYPE}
            value:
              stat_prefix: http_local_rate_limiter
              token_bucket:
                max_tokens: ${tokens}
                tokens_per_fill: ${tokens}
                fill_interval: ${interval}
              filter_enabled:
                runtime_key: local_rate_limit_enabled
                default_value:
                  numerator: 100
                  denominator: HUNDRED
              filter_enforced:
                runtime_key: local_rate_limit_enforced
                default_value:
                  numerator: 100
                  denominator: HUNDRED
              response_headers_to_add:
                - append: false
                  header:
                    key: x-local-rate-limit
                    value: 'true'
${more}`

/** The filter with nothing but its name: routes bring their limits. */
const bare = (context = '') => `
    - applyTo: HTTP_FILTER${context ? `\n      match: {context: ${context}}` : ''}
      patch:
        operation: INSERT_BEFORE
        value:
          name: ${FILTER}
          typed_config:
            "@type": ${STRUCT}
            type_url: ${TYPE}
            value:
              stat_prefix: http_local_rate_limiter`

const on = (key: string) => `{runtime_key: ${key}, default_value: {numerator: 100, denominator: HUNDRED}}`

describe('local rate limits as Istio documents them', () => {
  test('a limit for each pod: four requests a minute, and the header that says why', async () => {
    mesh = await startMesh(
      [
        client(),
        service('productpage'),
        pod('productpage', 'v1'),
        service('reviews'),
        pod('reviews', 'v1'),
        envoyFilter('productpage', perPod(4, '60s')),
      ].join(''),
    )
    expect(await statuses(5, 'http://productpage:9080/productpage')).toEqual([...times(4, 200), 429])
    const refused = await mesh.call('client', 'http://productpage:9080/')
    expect([refused.status, refused.body, refused.headers['x-local-rate-limit']]).toEqual([
      429,
      'local_rate_limited',
      'true',
    ])
    expect(await statuses(6, 'http://reviews:9080/')).toEqual(times(6, 200))
    await mesh.clock.advance('15s')
    expect(await statuses(2, 'http://productpage:9080/')).toEqual([200, 429])
    await mesh.clock.advance('60s')
    expect(await statuses(5, 'http://productpage:9080/')).toEqual([...times(4, 200), 429])
  })

  test('a limit for a route of the client: other services are not counted', async () => {
    mesh = await startMesh(
      [
        client(),
        service('srv', 'default', { name: 'http', port: 80 }),
        pod('srv', 'v1', { port: 80 }),
        service('other', 'default', { name: 'http', port: 80 }),
        pod('other', 'v1', { port: 80 }),
        envoyFilter(
          'client',
          `${bare()}
    - applyTo: HTTP_ROUTE
      match:
        context: SIDECAR_OUTBOUND
        routeConfiguration:
          vhost:
            name: "srv.default.svc.cluster.local:80"
            route:
              action: ANY
      patch:
        operation: MERGE
        value:
          typed_per_filter_config:
            ${FILTER}:
              "@type": ${STRUCT}
              type_url: ${TYPE}
              value:
                stat_prefix: http_local_rate_limiter
                token_bucket: {max_tokens: 1, tokens_per_fill: 1, fill_interval: 600s}
                filter_enabled: ${on('local_rate_limit_enabled')}
                filter_enforced: ${on('local_rate_limit_enforced')}`,
        ),
      ].join(''),
    )
    expect(await statuses(3, 'http://srv/')).toEqual([200, 429, 429])
    expect(await statuses(3, 'http://other/')).toEqual([200, 200, 200])
    await mesh.clock.advance('10m')
    expect(await statuses(2, 'http://srv/')).toEqual([200, 429])
  })

  test('a limit for a path by descriptors, beside the one for all: what is left is told', async () => {
    mesh = await startMesh(
      [
        client(),
        service('productpage', 'default', { name: 'http', port: 8000 }),
        pod('productpage', 'v1', { port: 8000 }),
        envoyFilter(
          'productpage',
          `${bare('SIDECAR_INBOUND')}
    - applyTo: HTTP_ROUTE
      match:
        context: SIDECAR_INBOUND
        routeConfiguration:
          vhost:
            name: "inbound|http|8000"
            route:
              action: ANY
      patch:
        operation: MERGE
        value:
          route:
            rate_limits:
              - actions:
                  - remote_address: {}
              - actions:
                  - header_value_match:
                      descriptor_value: "productpage"
                      expect_match: true
                      headers:
                        - name: :path
                          string_match:
                            prefix: /productpage
                            ignore_case: true
          typed_per_filter_config:
            ${FILTER}:
              "@type": ${TYPE}
              stat_prefix: test_enabled
              token_bucket:
                max_tokens: 15
                tokens_per_fill: 15
                fill_interval: 6000s
              enable_x_ratelimit_headers: DRAFT_VERSION_03
              filter_enabled: ${on('test_enabled')}
              filter_enforced: ${on('test_enabled')}
              response_headers_to_add:
                - append: false
                  header:
                    key: x-local-rate-limit
                    value: "true"
              descriptors:
                - entries:
                    - key: header_match
                      value: productpage
                  token_bucket:
                    max_tokens: 10
                    tokens_per_fill: 10
                    fill_interval: 6000s`,
        ),
      ].join(''),
    )
    const page = 'http://productpage:8000/ProductPage?u=normal'
    const first = await mesh.call('client', page)
    expect([first.headers['x-ratelimit-limit'], first.headers['x-ratelimit-remaining']]).toEqual(['10', '9'])
    expect(await statuses(10, page)).toEqual([...times(9, 200), 429])
    const other = await mesh.call('client', 'http://productpage:8000/api')
    expect([other.status, other.headers['x-ratelimit-limit'], other.headers['x-ratelimit-remaining']]).toEqual([
      200,
      '15',
      '4',
    ])
    expect(await statuses(5, 'http://productpage:8000/api')).toEqual([...times(4, 200), 429])
  })

  test('a limit of a virtual host, with its own actions', async () => {
    mesh = await startMesh(
      [
        client(),
        service('reviews'),
        pod('reviews', 'v1'),
        envoyFilter(
          'reviews',
          `${bare('SIDECAR_INBOUND')}
    - applyTo: VIRTUAL_HOST
      match:
        context: SIDECAR_INBOUND
        routeConfiguration: {vhost: {name: "inbound|http|9080"}}
      patch:
        operation: MERGE
        value:
          rate_limits:
            - actions: [{request_headers: {header_name: x-user, descriptor_key: user}}]
          typed_per_filter_config:
            ${FILTER}:
              "@type": ${STRUCT}
              type_url: ${TYPE}
              value:
                stat_prefix: by_host
                token_bucket: {max_tokens: 100, tokens_per_fill: 100, fill_interval: 60s}
                filter_enabled: ${on('a')}
                filter_enforced: ${on('b')}
                descriptors:
                  - entries: [{key: user}]
                    token_bucket: {max_tokens: 2, tokens_per_fill: 2, fill_interval: 6000s}
                  - entries: [{key: user, value: gold}]
                    token_bucket: {max_tokens: 4, tokens_per_fill: 4, fill_interval: 6000s}`,
        ),
      ].join(''),
    )
    const as = (user: string, count: number) => statuses(count, 'http://reviews:9080/', 'client', { 'x-user': user })
    expect(await as('ann', 3)).toEqual([200, 200, 429])
    expect(await as('bob', 3)).toEqual([200, 200, 429])
    expect(await as('gold', 5)).toEqual([200, 200, 200, 200, 429])
    expect(await statuses(3, 'http://reviews:9080/')).toEqual([200, 200, 200])
  })

  test('a limit for one client by its mTLS identity', async () => {
    mesh = await startMesh(
      [
        client('clt'),
        client('friend'),
        service('srv', 'default', { name: 'http', port: 80 }),
        pod('srv', 'v1', { port: 80 }),
        envoyFilter(
          'srv',
          `${perPod(
            1000,
            '1s',
            `              descriptors:
                - entries: [{key: client_id, value: "spiffe://cluster.local/ns/default/sa/clt"}]
                  token_bucket: {max_tokens: 1, tokens_per_fill: 1, fill_interval: 600s}`,
          )}
    - applyTo: HTTP_ROUTE
      match:
        context: SIDECAR_INBOUND
        routeConfiguration: {vhost: {name: "inbound|http|80"}}
      patch:
        operation: MERGE
        value:
          route:
            rate_limits:
              - actions:
                  - extension:
                      name: custom
                      typed_config:
                        "@type": ${STRUCT}
                        type_url: type.googleapis.com/envoy.extensions.rate_limit_descriptors.expr.v3.Descriptor
                        value:
                          descriptor_key: client_id
                          text: connection.uri_san_peer_certificate`,
        ),
      ].join(''),
    )
    expect(await statuses(3, 'http://srv/', 'clt')).toEqual([200, 429, 429])
    expect(await statuses(3, 'http://srv/', 'friend')).toEqual([200, 200, 200])
  })

  test('a limit of connections: the network filter closes what is too many', async () => {
    mesh = await startMesh(
      [
        client(),
        service('reviews'),
        pod('reviews', 'v1'),
        `
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews}
spec: {host: reviews, trafficPolicy: {connectionPool: {http: {maxRequestsPerConnection: 1}}}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews}
spec: {hosts: [reviews], http: [{retries: {attempts: 0}, route: [{destination: {host: reviews}}]}]}
---`,
        envoyFilter(
          'reviews',
          `
    - applyTo: NETWORK_FILTER
      match: {context: SIDECAR_INBOUND, listener: {filterChain: {destinationPort: 9080}}}
      patch:
        operation: INSERT_FIRST
        value:
          name: envoy.filters.network.local_ratelimit
          typed_config:
            "@type": type.googleapis.com/envoy.extensions.filters.network.local_ratelimit.v3.LocalRateLimit
            stat_prefix: connections
            token_bucket: {max_tokens: 3, tokens_per_fill: 1, fill_interval: 60s}`,
        ),
      ].join(''),
    )
    expect(await statuses(5, 'http://reviews:9080/')).toEqual([200, 200, 200, 503, 503])
    await mesh.clock.advance('60s')
    expect(await statuses(2, 'http://reviews:9080/')).toEqual([200, 503])
  })
})

describe('the bucket is exact on real traffic', () => {
  test('over a minute of moved clock as many pass as the bucket held and what has flowed in', async () => {
    const [max, tokens, interval] = [12, 5, 3]
    const limit = perPod(max, `${interval}s`).replace(`tokens_per_fill: ${max}`, `tokens_per_fill: ${tokens}`)
    mesh = await startMesh([client(), service('reviews'), pod('reviews', 'v1'), envoyFilter('reviews', limit)].join(''))
    let passed = 0
    // Never full again between two looks. Time goes on by itself as well: what has flowed in lies between what it has at the first sight and at the last.
    const began = mesh.clock.now()
    let started: number | undefined
    const drain = async () => {
      const since = mesh.clock.now()
      for (let refused = 0; refused < 3; ) {
        const { status } = await mesh.call('client', 'http://reviews:9080/')
        started ??= mesh.clock.now()
        if (status === 200) passed++
        else refused++
      }
      expect(passed).toBeGreaterThanOrEqual(Math.floor(max + (tokens * (since - started!)) / (interval * 1000)))
      expect(passed).toBeLessThanOrEqual(Math.floor(max + (tokens * (mesh.clock.now() - began)) / (interval * 1000)))
    }
    await drain()
    for (const ms of [1, 599, 100, 1200, 700.5, 2500, 33, 600, 1800, 4000, 0.25, 899]) {
      await mesh.clock.advance(`${ms}ms`)
      await drain()
    }
    while (mesh.clock.now() - began < 60_000) {
      await mesh.clock.advance('3100ms')
      await drain()
    }
    expect(passed).toBeGreaterThan(100)
  })
})
