import { describe, expect, test } from 'vitest'
import { exchange, get, httpFilter, httpHarness, oneHost, routerFilter } from './support/http.ts'
import { client, pod, service, startMesh } from './support/mesh.ts'

const { proxy, upstream } = httpHarness()
const TYPE = 'envoy.extensions.filters.http.json_to_metadata.v3.JsonToMetadata'
const k = (more: object = {}) => ({ metadata_namespace: 'm', key: 'k', ...more })
const rule = (path: string, more: object = {}) => ({
  selectors: path.split('.').map((key) => ({ key })),
  on_present: k(),
  on_missing: k({ value: 'missing' }),
  on_error: k({ value: 'error' }),
  ...more,
})
const to = (prefix: string, own?: object) => ({
  match: { prefix },
  route: { cluster: 'a' },
  request_headers_to_add: [{ header: { key: 'x-m', value: '%DYNAMIC_METADATA(m)%' } }],
  ...(own && { typed_per_filter_config: { j: { '@type': `type.googleapis.com/${TYPE}`, ...own } } }),
})
const reading = (config: object, routes: object[] = [to('/')]) => ({
  route_config: oneHost(routes),
  http_filters: [httpFilter('j', TYPE, config), routerFilter()],
})
const of = (...rules: object[]) => ({ request_rules: { rules } })
const json = { 'content-type': 'application/json' }
const STRING = { on_present: k({ type: 'STRING' }) }
const NUMBER = { on_present: k({ type: 'NUMBER' }) }

describe('the json_to_metadata filter', () => {
  test.each<[string, object, unknown]>([
    ['{"a":"x"}', rule('a'), { k: 'x' }],
    ['{"a":{"b":1.5}}', rule('a.b'), { k: 1.5 }],
    ['{"a":true}', rule('a'), { k: true }],
    ['{"a":true}', rule('a', STRING), { k: '1' }],
    ['{"a":1}', rule('a', STRING), { k: '1' }],
    ['{"a":1.0}', rule('a', STRING), { k: '1.000000' }],
    ['{"a":" 0x10 "}', rule('a', NUMBER), { k: 16 }],
    ['{"a":"x"}', rule('a', NUMBER), { k: 'missing' }],
    ['{"a":{}}', rule('a'), { k: 'missing' }],
    ['{"a":null}', rule('a'), { k: 'missing' }],
    ['{"a":1}', rule('a.b'), { k: 'missing' }],
    ['[1]', rule('a'), { k: 'missing' }],
    ['7', rule('a'), { k: 'missing' }],
    ['{"a":', rule('a'), { k: 'error' }],
    ['{"a":9223372036854775808}', rule('a'), { k: 'error' }],
    ['{}', rule('a', { on_present: k({ value: { fixed: [1] } }) }), { k: { fixed: [1] } }],
    ['{"a":""}', rule('a', STRING), null],
    [`{"a":"${'x'.repeat(8193)}"}`, rule('a'), { k: 'missing' }],
  ])('%.40s with %j', async (body, rules, metadata) => {
    const a = await upstream('a')
    const p = await proxy(reading(of(rules)), [a])
    await get(p.http, '/', json, 'POST', body)
    expect([a.last.body, JSON.parse(a.last.headers.get('x-m') ?? 'null')]).toEqual([body, metadata])
  })

  test('content types, bodies in pieces, and what is counted', async () => {
    const a = await upstream('a')
    const p = await proxy(reading(of(rule('a'))), [a])
    const seen = async (headers: Record<string, string>, body: string) => {
      await get(p.http, '/', headers, 'POST', body)
      return a.last.headers.get('x-m')
    }
    expect(await seen({ 'content-type': 'application/json; charset=utf-8' }, '{"a":1}')).toBe('{"k":"error"}')
    expect(await seen({}, '{"a":1}')).toBe('{"k":"error"}')
    expect(await seen(json, '')).toBe('{"k":"missing"}')
    expect(await seen(json, '{')).toBe('{"k":"error"}')
    const head = 'POST / HTTP/1.1\r\nhost: h\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n'
    await exchange(p.http, `${head}5\r\n{"a":\r\n2\r\n1}\r\n0\r\n\r\n`)
    expect([a.last.body, a.last.headers.get('x-m')]).toEqual(['{"a":1}', '{"k":1}'])
    const count = (name: string) => p.counter(`json_to_metadata.rq.${name}`)
    expect(['mismatched_content_type', 'no_body', 'invalid_json_body', 'success'].map(count)).toEqual([2, 1, 1, 1])
  })

  test('other content types can be let in', async () => {
    const a = await upstream('a')
    const more = { allow_content_types: ['text/plain'], allow_content_types_regex: { regex: 'application/.*\\+json' } }
    const p = await proxy(reading({ request_rules: { rules: [rule('a')], allow_empty_content_type: true, ...more } }), [
      a,
    ])
    const seen: Record<string, string | undefined> = {}
    for (const type of ['text/plain', 'application/x+json', 'application/json', '']) {
      await get(p.http, '/', type === '' ? {} : { 'content-type': type }, 'POST', '{"a":1}')
      seen[type] = a.last.headers.get('x-m')
    }
    const [yes, no] = ['{"k":1}', '{"k":"error"}']
    expect(seen).toEqual({ 'text/plain': yes, 'application/x+json': yes, 'application/json': no, '': yes })
  })

  test('a route is chosen by what the body says; a route has rules of its own', async () => {
    const a = await upstream('a')
    const gold = {
      match: {
        prefix: '/',
        dynamic_metadata: [{ filter: 'm', path: [{ key: 'k' }], value: { string_match: { exact: 'gold' } } }],
      },
      direct_response: { status: 299 },
    }
    const p = await proxy(reading(of(rule('a')), [gold, to('/own', of(rule('b'))), to('/')]), [a])
    expect((await get(p.http, '/', json, 'POST', '{"a":"gold"}')).status).toBe(299)
    expect((await get(p.http, '/', json, 'POST', '{"a":"tin"}')).status).toBe(200)
    await get(p.http, '/own', json, 'POST', '{"a":1,"b":2}')
    expect(a.last.headers.get('x-m')).toBe('{"k":2}')
  })

  test.each([
    [{ on_present: undefined, on_missing: undefined }, 'neither `on_present` nor `on_missing` set'],
    [{ on_missing: k() }, 'cannot specify on_missing rule with empty value'],
    [{ on_error: k() }, 'cannot specify on_error rule with empty value'],
  ])('a rule with %j is refused', async (more, why) => {
    const a = await upstream('a')
    await expect(proxy(reading(of(rule('a', more))), [a])).rejects.toThrow(`json to metadata filter: ${why}`)
    await expect(proxy(reading({}, [to('/', {})]), [a])).rejects.toThrow('Per route configs must at least specify one')
  })

  test('an EnvoyFilter puts it before an app, whose log tells what requests and responses say', async () => {
    const mesh = await startMesh(`${service('reviews')}${pod('reviews', 'v1')}${client()}
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: models}
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
        name: envoy.filters.http.json_to_metadata
        typed_config:
          "@type": type.googleapis.com/${TYPE}
          request_rules: {rules: [{selectors: [{key: model}], on_present: {metadata_namespace: ai, key: model}}]}
          response_rules: {rules: [{selectors: [{key: workload}], on_present: {metadata_namespace: ai, key: by}}]}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data:
  mesh: |
    accessLogFile: /dev/stdout
    accessLogFormat: "%DYNAMIC_METADATA(ai:model)% %DYNAMIC_METADATA(ai:by)%\\n"
`)
    try {
      const got = await mesh.get('client', 'http://reviews:9080/', { body: '{"model":"small"}', headers: json })
      const by = got.echo?.workload
      expect(await mesh.logLines('default', 'reviews-v1', 1)).toEqual([`small ${by}`])
    } finally {
      await mesh.stop()
    }
  })
})
