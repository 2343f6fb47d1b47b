import { describe, expect, test } from 'vitest'
import { get, httpFilter, httpHarness, oneHost, routerFilter } from './support/http.ts'
import { client, pod, service, startMesh } from './support/mesh.ts'

const { proxy, upstream } = httpHarness()
const TYPE = 'envoy.extensions.filters.http.set_filter_state.v3.Config'
const value = (text: string, more: object = {}) => ({
  object_key: 'k',
  factory_key: 'envoy.string',
  format_string: { text_format_source: { inline_string: text } },
  ...more,
})
const to = (prefix: string, own?: object) => ({
  match: { prefix },
  route: { cluster: 'a' },
  request_headers_to_add: [{ header: { key: 'x-k', value: '%FILTER_STATE(k:PLAIN)%' } }],
  ...(own && { typed_per_filter_config: { s: { '@type': `type.googleapis.com/${TYPE}`, ...own } } }),
})
const setting = (on_request_headers: object[], routes: object[] = [to('/')]) => ({
  route_config: oneHost(routes),
  http_filters: [httpFilter('s', TYPE, { on_request_headers }), routerFilter()],
})

describe('the set_filter_state filter', () => {
  test.each<[string, object[], string | undefined]>([
    ['text', [value('v=%REQ(x-v)% %PROTOCOL%')], 'v=12 HTTP/1.1'],
    ['the last of two', [value('one'), value('two')], 'two'],
    ['the last though the first is read-only', [value('one', { read_only: true }), value('two')], 'two'],
    ['JSON', [value('', { format_string: { json_format: { a: '%REQ(x-v)%' } } })], '{"a":"12"}'],
    ['a number', [value(' %REQ(x-v)% ', { factory_key: 'envoy.upstream.dynamic_port' })], '12'],
    ['no number', [value('x', { factory_key: 'envoy.upstream.dynamic_port' })], undefined],
    [
      'nothing when it is empty',
      [
        value('before'),
        value('', {
          format_string: { text_format_source: { inline_string: '%REQ(x-no)%' }, omit_empty_values: true },
          skip_if_empty: true,
        }),
      ],
      'before',
    ],
  ])('keeps %s', async (_what, values, text) => {
    const a = await upstream('a')
    const p = await proxy(setting(values), [a])
    await get(p.http, '/', { 'x-v': '12' })
    expect(a.last.headers.get('x-k')).toBe(text)
  })

  test('a route adds its own', async () => {
    const a = await upstream('a')
    const p = await proxy(setting([value('all')], [to('/own', { on_request_headers: [value('own')] }), to('/')]), [a])
    await get(p.http, '/own')
    expect(a.last.headers.get('x-k')).toBe('own')
    await get(p.http, '/')
    expect(a.last.headers.get('x-k')).toBe('all')
  })

  test.each([
    [value('x', { object_key: 'nope', factory_key: '' }), "'nope' does not have an object factory"],
    [value('x', { shared_with_upstream: 'ONCE' }), 'shared_with_upstream: not supported'],
    [value('x', { factory_key: 'envoy.network.ip' }), "'envoy.network.ip': not supported"],
  ])('%j is refused', async (config, why) => {
    await expect(proxy(setting([config]))).rejects.toThrow(why)
  })

  test('EnvoyFilters keep values of connections and requests, and logs tell them', async () => {
    const mesh = await startMesh(`${service('reviews')}${pod('reviews', 'v1')}${client()}
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: state}
spec:
  workloadSelector: {labels: {app: reviews}}
  configPatches:
  - applyTo: NETWORK_FILTER
    match:
      context: SIDECAR_INBOUND
      listener: {filterChain: {filter: {name: envoy.filters.network.http_connection_manager}}}
    patch:
      operation: INSERT_BEFORE
      value:
        name: envoy.filters.network.set_filter_state
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.set_filter_state.v3.Config
          on_new_connection:
          - object_key: port
            factory_key: envoy.string
            format_string: {text_format_source: {inline_string: "at %DOWNSTREAM_LOCAL_PORT%"}}
  - applyTo: HTTP_FILTER
    match:
      context: SIDECAR_INBOUND
      listener:
        filterChain: {filter: {name: envoy.filters.network.http_connection_manager, subFilter: {name: envoy.filters.http.router}}}
    patch:
      operation: INSERT_BEFORE
      value:
        name: envoy.filters.http.set_filter_state
        typed_config:
          "@type": type.googleapis.com/${TYPE}
          on_request_headers:
          - object_key: asked
            factory_key: envoy.string
            format_string: {text_format_source: {inline_string: "%REQ(:path)%"}}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data:
  mesh: |
    accessLogFile: /dev/stdout
    accessLogFormat: "%FILTER_STATE(port:PLAIN)% %FILTER_STATE(asked:PLAIN)%\\n"
`)
    try {
      await mesh.get('client', 'http://reviews:9080/one')
      expect(await mesh.logLines('default', 'reviews-v1', 1)).toEqual(['at 9080 /one'])
    } finally {
      await mesh.stop()
    }
  })
})
