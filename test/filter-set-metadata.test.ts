import { describe, expect, test } from 'vitest'
import { get, httpFilter, httpHarness, oneHost, routerFilter } from './support/http.ts'
import { client, pod, service, startMesh } from './support/mesh.ts'

const { proxy, upstream } = httpHarness()
const TYPE = 'envoy.extensions.filters.http.set_metadata.v3.Config'
const m = (value: object, more: object = {}) => ({ metadata_namespace: 'm', value, ...more })
const setting = (...configs: object[]) => ({
  route_config: oneHost([
    {
      match: { prefix: '/' },
      route: { cluster: 'a' },
      request_headers_to_add: [{ header: { key: 'x-m', value: '%DYNAMIC_METADATA(m)%' } }],
    },
  ]),
  http_filters: [...configs.map((config, i) => httpFilter(`s${i}`, TYPE, config)), routerFilter()],
})

describe('the set_metadata filter', () => {
  test.each<[string, object[], object, number]>([
    ['sets what is not there', [{ metadata: [m({ a: 1 })] }], { a: 1 }, 0],
    ['leaves what is there', [{ metadata: [m({ a: 1 }), m({ a: 2, b: 3 })] }], { a: 1 }, 1],
    [
      'merges what may be overwritten',
      [
        {
          metadata: [
            m({ a: 1, l: [1], s: { x: 1 } }),
            m({ a: 2, l: [2], s: { y: [null] } }, { allow_overwrite: true }),
          ],
        },
      ],
      { a: 2, l: [1, 2], s: { x: 1, y: [null] } },
      0,
    ],
    ['merges by its old fields', [{ metadata: [m({ a: 1 })] }, m({ b: 'x' })], { a: 1, b: 'x' }, 0],
  ])('%s', async (_what, configs, metadata, denied) => {
    const a = await upstream('a')
    const p = await proxy(setting(...configs), [a])
    await get(p.http, '/')
    await get(p.http, '/') // nothing stays from request to request
    expect(JSON.parse(a.last.headers.get('x-m') ?? 'null')).toEqual(metadata)
    expect(p.counter('http.h.set_metadata.overwrite_denied')).toBe(2 * denied)
  })

  test('an EnvoyFilter puts it before an app, and its log tells the values', async () => {
    const mesh = await startMesh(`${service('reviews')}${pod('reviews', 'v1')}${client()}
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: shop}
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
        name: envoy.filters.http.set_metadata
        typed_config:
          "@type": type.googleapis.com/${TYPE}
          metadata: [{metadata_namespace: shop, value: {tier: {name: gold}}}]
---
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data:
  mesh: |
    accessLogFile: /dev/stdout
    accessLogFormat: "%RESPONSE_CODE% %DYNAMIC_METADATA(shop:tier:name)%\\n"
`)
    try {
      await mesh.get('client', 'http://reviews:9080/')
      expect(await mesh.logLines('default', 'reviews-v1', 1)).toEqual(['200 gold'])
    } finally {
      await mesh.stop()
    }
  })
})
