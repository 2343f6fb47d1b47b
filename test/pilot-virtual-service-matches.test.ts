import { describe, expect, it } from 'vitest'
import { type Json, pilotOf, podYaml, routesOf, serviceYaml } from './support/pilot.ts'

const base = serviceYaml('reviews', 'http:9080') + podYaml('client', 'app: client') + podYaml('reviews', 'app: reviews')

const virtualService = (http: string) => `---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews}
spec:
  hosts: [reviews]
  http:
${http.replace(/^/gm, '  ')}
`

/** The Envoy match of the one route of a VirtualService whose route has the given match. */
function matchOf(match: string): Json {
  const test = pilotOf(base + virtualService(`- match: [${match}]\n  route: [{destination: {host: reviews}}]`))
  return routesOf(test.proxy('client').route('9080'), 'reviews')[0]?.match
}

describe('a match of a VirtualService becomes', () => {
  it.each<[string, Json]>([
    ['{uri: {exact: /a}}', { path: '/a' }],
    ['{uri: {prefix: /a}}', { prefix: '/a' }],
    ['{uri: {prefix: /a/}}', { prefix: '/a/' }],
    ['{uri: {regex: "/a.*"}}', { safe_regex: { regex: '/a.*' } }],
    ['{uri: {exact: /Ab}, ignoreUriCase: true}', { path: '/Ab', case_sensitive: false }],
    ['{method: {exact: POST}}', { prefix: '/', headers: [{ name: ':method', string_match: { exact: 'POST' } }] }],
    ['{authority: {prefix: a.}}', { prefix: '/', headers: [{ name: ':authority', string_match: { prefix: 'a.' } }] }],
    ['{scheme: {exact: http}}', { prefix: '/', headers: [{ name: ':scheme', string_match: { exact: 'http' } }] }],
    ['{headers: {x: {exact: a}}}', { prefix: '/', headers: [{ name: 'x', string_match: { exact: 'a' } }] }],
    [
      '{headers: {x: {regex: a+}}}',
      { prefix: '/', headers: [{ name: 'x', string_match: { safe_regex: { regex: 'a+' } } }] },
    ],
    ['{headers: {x: {}}}', { prefix: '/', headers: [{ name: 'x', present_match: true }] }],
    [
      '{withoutHeaders: {x: {exact: a}}}',
      {
        prefix: '/',
        headers: [{ name: 'x', string_match: { exact: 'a' }, invert_match: true, treat_missing_header_as_empty: true }],
      },
    ],
    ['{withoutHeaders: {x: {}}}', { prefix: '/', headers: [{ name: 'x', present_match: true, invert_match: true }] }],
    [
      '{queryParams: {q: {exact: a}}}',
      { prefix: '/', query_parameters: [{ name: 'q', string_match: { exact: 'a' } }] },
    ],
    [
      '{queryParams: {q: {regex: a+}}}',
      { prefix: '/', query_parameters: [{ name: 'q', string_match: { safe_regex: { regex: 'a+' } } }] },
    ],
  ])('%s', (match, expected) => {
    expect(matchOf(match)).toEqual({ case_sensitive: true, ...expected })
  })

  it('headers in the order of their names', () => {
    expect(matchOf('{headers: {b: {exact: "1"}, a: {exact: "2"}}}').headers.map((header: Json) => header.name)).toEqual(
      ['a', 'b'],
    )
  })

  it.each([
    ['{sourceLabels: {app: client}}', true],
    ['{sourceLabels: {app: other}}', false],
    ['{sourceNamespace: default}', true],
    ['{sourceNamespace: prod}', false],
    ['{port: 9080}', true],
    ['{port: 9081}', false],
    ['{gateways: [mesh]}', true],
    ['{gateways: [front]}', false],
  ])('%s, decided by pilot: %s', (match, kept) => {
    const test = pilotOf(
      base +
        virtualService(
          `- name: matched\n  match: [${match}]\n  route: [{destination: {host: reviews}}]\n- name: rest\n  route: [{destination: {host: reviews}}]`,
        ),
    )
    const names = routesOf(test.proxy('client').route('9080'), 'reviews').map((route: Json) => route.name)
    expect(names[0]?.startsWith('matched')).toBe(kept)
  })
})

describe('routes of a VirtualService', () => {
  const routes = (http: string) =>
    routesOf(
      pilotOf(base + virtualService(http))
        .proxy('client')
        .route('9080'),
      'reviews',
    )
  const to = 'route: [{destination: {host: reviews}}]'

  it('are one per match, named route.match', () => {
    const made = routes(
      `- name: r\n  match: [{name: a, uri: {exact: /a}}, {uri: {exact: /b}}]\n  ${to}\n- name: last\n  ${to}`,
    )
    expect(made.map((route: Json) => route.name)).toEqual(['r.a', 'r', 'last'])
  })

  it('end at the first that takes everything', () => {
    const made = routes(`- name: all\n  ${to}\n- name: never\n  match: [{uri: {exact: /a}}]\n  ${to}`)
    expect(made.map((route: Json) => route.name)).toEqual(['all'])
    const prefixed = routes(`- name: all\n  match: [{uri: {prefix: /}}]\n  ${to}\n- name: never\n  ${to}`)
    expect(prefixed.map((route: Json) => route.name)).toEqual(['all'])
  })

  it('say where they were written', () => {
    const made = routes(`- match: [{uri: {exact: /a}}]\n  ${to}\n- ${to}`)
    expect(made.map((route: Json) => route.metadata.filter_metadata.istio.config)).toEqual(
      made.map(() => '/apis/networking.istio.io/v1/namespaces/default/virtual-service/reviews'),
    )
    const lines = made.map((route: Json) => route.metadata.filter_metadata.dinghy)
    expect(lines[0]).toMatchObject({ kind: 'VirtualService', namespace: 'default', name: 'reviews', file: 'test.yaml' })
    expect(lines[1].line).toBe(lines[0].line + 2)
    expect(made[0].decorator).toEqual({ operation: 'reviews.default.svc.cluster.local:9080/a' })
  })
})
