import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { describe, expect, test } from 'vitest'
import { exchange, get, httpFilter, httpHarness, oneHost, routerFilter } from './support/http.ts'
import { client, pod, service, startMesh } from './support/mesh.ts'
import { eventually } from './support/proxy.ts'

const { proxy, upstream } = httpHarness()
const TYPE = 'envoy.extensions.filters.http.header_to_metadata.v3.Config'
const NAME = 'envoy.filters.http.header_to_metadata'
const k = (more: object = {}) => ({ metadata_namespace: 'm', key: 'k', ...more })
const to = (prefix: string, own?: object) => ({
  match: { prefix },
  route: { cluster: 'a' },
  request_headers_to_add: [
    { header: { key: 'x-m', value: '%DYNAMIC_METADATA(m)%' } },
    { header: { key: 'x-default', value: `%DYNAMIC_METADATA(${NAME})%` } },
  ],
  ...(own && { typed_per_filter_config: { h: { '@type': `type.googleapis.com/${TYPE}`, ...own } } }),
})
const taking = (config: object, routes: object[] = [to('/')], more: object = {}) => ({
  route_config: oneHost(routes),
  http_filters: [httpFilter('h', TYPE, config), routerFilter()],
  ...more,
})

describe('the header_to_metadata filter', () => {
  test.each<[string, object, Record<string, string>, unknown]>([
    ['a value', { header: 'X-V', on_header_present: k() }, { 'x-v': 'hi' }, { k: 'hi' }],
    ['a fixed value', { header: 'x-v', on_header_present: k({ value: 'there' }) }, { 'x-v': 'hi' }, { k: 'there' }],
    ['a number', { header: 'x-v', on_header_present: k({ type: 'NUMBER' }) }, { 'x-v': '1.5e3' }, { k: 1500 }],
    ['no number', { header: 'x-v', on_header_present: k({ type: 'NUMBER' }) }, { 'x-v': 'hi' }, undefined],
    ['base64', { header: 'x-v', on_header_present: k({ encode: 'BASE64' }) }, { 'x-v': 'aGVsbG8=' }, { k: 'hello' }],
    ['no base64', { header: 'x-v', on_header_present: k({ encode: 'BASE64' }) }, { 'x-v': 'aGVsbG9' }, undefined],
    [
      'a protobuf value',
      { header: 'x-v', on_header_present: k({ encode: 'BASE64', type: 'PROTOBUF_VALUE' }) },
      { 'x-v': 'GgNhYmM=' },
      { k: 'abc' },
    ],
    [
      'a part of a value',
      {
        header: ':path',
        on_header_present: k({ regex_value_rewrite: { pattern: { regex: '^/(\\w+)/.*' }, substitution: '\\1' } }),
      },
      {},
      { k: 'shop' },
    ],
    ['a cookie', { cookie: 'c', on_header_present: k() }, { cookie: 'a=b; c=2' }, { k: '2' }],
    ['a cookie that is missing', { cookie: 'c', on_header_missing: k({ value: '-' }) }, { cookie: 'a=b' }, { k: '-' }],
    ['a header that is missing', { header: 'x-v', on_header_missing: k({ value: 'none' }) }, {}, { k: 'none' }],
    ['a long value', { header: 'x-v', on_header_present: k() }, { 'x-v': 'x'.repeat(8192) }, undefined],
  ])('%s', async (_what, rule, headers, metadata) => {
    const a = await upstream('a')
    const p = await proxy(taking({ request_rules: [rule] }), [a])
    await get(p.http, '/shop/item', headers)
    const seen = a.last.headers.get('x-m')
    expect(seen === undefined ? undefined : JSON.parse(seen)).toEqual(metadata)
  })

  test('a header can be taken away; without a namespace the values are under the name of the filter', async () => {
    const a = await upstream('a')
    const rule = { header: 'x-v', on_header_present: { key: 'k' }, remove: true }
    const p = await proxy(taking({ request_rules: [rule] }), [a])
    await get(p.http, '/', { 'x-v': 'hi' })
    expect([a.last.headers.has('x-v'), a.last.headers.get('x-default')]).toEqual([false, '{"k":"hi"}'])
    await exchange(p.http, 'GET / HTTP/1.1\r\nhost: svc.test\r\nx-v: a\r\nx-v: b\r\n\r\n')
    expect([a.last.headers.has('x-v'), a.last.headers.get('x-default')]).toEqual([false, '{"k":"a,b"}'])
  })

  test('a route has rules of its own, and a config with a stat_prefix counts', async () => {
    const a = await upstream('a')
    const config = { request_rules: [{ header: 'x-v', on_header_present: k({ type: 'NUMBER' }) }], stat_prefix: 's' }
    const own = { request_rules: [{ header: 'x-v', on_header_missing: k({ value: 'own' }) }] }
    const p = await proxy(taking(config, [to('/own', own), to('/')]), [a])
    await get(p.http, '/own')
    expect(a.last.headers.get('x-m')).toBe('{"k":"own"}')
    await get(p.http, '/', { 'x-v': '1' })
    await get(p.http, '/', { 'x-v': 'one' })
    await get(p.http, '/', { 'x-v': 'x'.repeat(8192) })
    const count = (name: string) => p.counter(`http_filter_name.s.${name}`)
    expect([count('request_rules_processed'), count('request_metadata_added'), count('header_value_too_long')]).toEqual(
      [3, 1, 1],
    )
  })

  test('headers of responses', async () => {
    const a = await upstream('a', { headers: { 'x-plan': 'free' } })
    const file = path.join(fs.mkdtempSync(path.join(os.tmpdir(), 'dinghy-test-')), 'log')
    const log = {
      name: 'f',
      typed_config: {
        '@type': 'type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog',
        path: file,
        log_format: { text_format_source: { inline_string: '%DYNAMIC_METADATA(m:k)%\n' } },
      },
    }
    const rule = { header: 'x-plan', on_header_present: k(), remove: true }
    const p = await proxy(taking({ response_rules: [rule] }, undefined, { access_log: [log] }), [a])
    expect((await get(p.http, '/')).headers.has('x-plan')).toBe(false)
    await eventually(() => fs.existsSync(file) && fs.readFileSync(file, 'utf8') !== '')
    expect(fs.readFileSync(file, 'utf8')).toBe('free\n')
  })

  test.each([
    [{ header: 'a', cookie: 'b', on_header_present: k() }, 'Cannot specify both header and cookie in the same rule'],
    [{ on_header_present: k() }, 'One of Cookie or Header option needs to be specified'],
    [{ header: 'A' }, "rule for header 'a' has neither `on_header_present` nor `on_header_missing` set"],
    [{ cookie: 'a', remove: true, on_header_present: k() }, 'Cannot specify remove for cookie'],
    [{ header: 'a', on_header_missing: k() }, 'Cannot specify on_header_missing rule with an empty value'],
  ])('the rule %j is refused', async (rule, why) => {
    await expect(proxy(taking({ request_rules: [rule] }))).rejects.toThrow(why)
  })

  test('an EnvoyFilter puts it before an app, whose log tells what it found', async () => {
    const mesh = await startMesh(`${service('reviews')}${pod('reviews', 'v1')}${client()}
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: plans}
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
        name: ${NAME}
        typed_config:
          "@type": type.googleapis.com/${TYPE}
          request_rules:
          - {header: x-plan, on_header_present: {metadata_namespace: shop, key: plan}, remove: true}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data:
  mesh: |
    accessLogFile: /dev/stdout
    accessLogFormat: "%RESPONSE_CODE% %DYNAMIC_METADATA(shop:plan)%\\n"
`)
    try {
      const got = await mesh.get('client', 'http://reviews:9080/', { headers: { 'x-plan': 'free' } })
      expect(got.echo?.request.headers['x-plan']).toBe(undefined)
      expect(await mesh.logLines('default', 'reviews-v1', 1)).toEqual(['200 free'])
    } finally {
      await mesh.stop()
    }
  })
})
