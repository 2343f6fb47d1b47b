import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { client, pod, service, startMesh, type TestMesh } from './support/mesh.ts'

const base = [
  client(),
  service('reviews'),
  pod('reviews', 'v1'),
  pod('reviews', 'v2'),
  service('ratings'),
  pod('ratings', 'v1'),
].join('')

const subsets = `
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews}
spec:
  host: reviews
  subsets:
    - {name: v1, labels: {version: v1}}
    - {name: v2, labels: {version: v2}}
---`

/** A VirtualService for reviews whose `http` is given; requests it does not match go to v1. */
const routes = (http: string) => `${subsets}
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews}
spec:
  hosts: [reviews]
  http:
${http.replace(/^/gm, '  ')}
    - route: [{destination: {host: reviews, subset: v1}}]
`

const toV2 = 'route: [{destination: {host: reviews, subset: v2}}]'

describe('matches of a VirtualService', () => {
  let mesh: TestMesh
  beforeAll(async () => {
    mesh = await startMesh({ 'base.yaml': base, 'routes.yaml': routes('') }, { watch: true })
  })
  afterAll(() => mesh?.stop())

  const url = 'http://reviews:9080'
  const cases: { name: string; match: string; hit: [string, object?][]; miss: [string, object?][] }[] = [
    { name: 'uri exact', match: 'uri: {exact: /a}', hit: [['/a'], ['/a?x=1']], miss: [['/a/'], ['/A']] },
    { name: 'uri prefix', match: 'uri: {prefix: /a}', hit: [['/a'], ['/ab/c']], miss: [['/'], ['/A']] },
    { name: 'uri regex, the whole path', match: 'uri: {regex: "/[0-9]+"}', hit: [['/42'], ['/42?q=x']], miss: [['/42/x'], ['/x42']] },
    { name: 'ignoreUriCase', match: '{uri: {exact: /Abc}, ignoreUriCase: true}', hit: [['/aBC']], miss: [['/abcd']] },
    { name: 'header exact', match: 'headers: {end-user: {exact: jason}}', hit: [['/', { headers: { 'end-user': 'jason' } }]], miss: [['/'], ['/', { headers: { 'end-user': 'jasons' } }]] },
    { name: 'header prefix', match: 'headers: {x-p: {prefix: ab}}', hit: [['/', { headers: { 'x-p': 'abc' } }]], miss: [['/', { headers: { 'x-p': 'ac' } }]] },
    { name: 'header regex, the whole value', match: 'headers: {x-r: {regex: "a.c"}}', hit: [['/', { headers: { 'x-r': 'abc' } }]], miss: [['/', { headers: { 'x-r': 'abcd' } }]] },
    { name: 'header present', match: 'headers: {x-any: {}}', hit: [['/', { headers: { 'x-any': '' } }]], miss: [['/']] },
    { name: 'withoutHeaders', match: 'withoutHeaders: {x-no: {exact: "1"}}', hit: [['/'], ['/', { headers: { 'x-no': '2' } }]], miss: [['/', { headers: { 'x-no': '1' } }]] },
    { name: 'queryParams', match: 'queryParams: {v: {exact: "2"}}', hit: [['/?v=2'], ['/?a=b&v=2']], miss: [['/?v=3'], ['/']] },
    { name: 'method', match: 'method: {exact: POST}', hit: [['/', { method: 'POST', body: 'x' }]], miss: [['/']] },
    { name: 'authority', match: 'authority: {prefix: reviews.default}', hit: [['/', { headers: { host: 'reviews.default:9080' } }]], miss: [['/']] },
    { name: 'scheme', match: 'scheme: {exact: http}', hit: [['/']], miss: [] },
    { name: 'port', match: 'port: 9080', hit: [['/']], miss: [] },
    { name: 'another port', match: 'port: 9081', hit: [], miss: [['/']] },
    { name: 'sourceLabels', match: 'sourceLabels: {app: client}', hit: [['/']], miss: [] },
    { name: 'sourceLabels of others', match: 'sourceLabels: {app: other}', hit: [], miss: [['/']] },
    { name: 'sourceNamespace', match: 'sourceNamespace: default', hit: [['/']], miss: [] },
    { name: 'another sourceNamespace', match: 'sourceNamespace: prod', hit: [], miss: [['/']] },
    { name: 'gateways with mesh', match: 'gateways: [mesh]', hit: [['/']], miss: [] },
    { name: 'gateways without mesh', match: 'gateways: [some-gateway]', hit: [], miss: [['/']] },
    { name: 'conditions of one match together', match: '{uri: {prefix: /a}, headers: {x-a: {exact: "1"}}}', hit: [['/a', { headers: { 'x-a': '1' } }]], miss: [['/a'], ['/', { headers: { 'x-a': '1' } }]] },
  ] // biome-ignore format: a table

  for (const { name, match, hit, miss } of cases)
    it(`${name}: ${match}`, async () => {
      await mesh.write(
        'routes.yaml',
        routes(`  - match: [${match.startsWith('{') ? match : `{${match}}`}]\n    ${toV2}`),
      )
      for (const [path, send] of hit)
        expect((await mesh.get('client', url + path, send)).echo?.version, `${path} ${JSON.stringify(send)}`).toBe('v2')
      for (const [path, send] of miss)
        expect((await mesh.get('client', url + path, send)).echo?.version, `${path} ${JSON.stringify(send)}`).toBe('v1')
    })

  it('several matches are alternatives, and the first route that matches wins', async () => {
    await mesh.write(
      'routes.yaml',
      routes(
        `  - match: [{uri: {exact: /a}}, {uri: {exact: /b}}]\n    ${toV2}\n  - match: [{uri: {prefix: /a}}]\n    directResponse: {status: 418}`,
      ),
    )
    expect((await mesh.get('client', `${url}/a`)).echo?.version).toBe('v2')
    expect((await mesh.get('client', `${url}/b`)).echo?.version).toBe('v2')
    expect((await mesh.get('client', `${url}/ab`)).status).toBe(418)
    expect((await mesh.get('client', `${url}/c`)).echo?.version).toBe('v1')
  })

  it('weights split the requests', async () => {
    await mesh.write(
      'routes.yaml',
      routes(
        '  - route:\n      - {destination: {host: reviews, subset: v1}, weight: 75}\n      - {destination: {host: reviews, subset: v2}, weight: 25}',
      ),
    )
    const split = await mesh.split('client', `${url}/`, 400)
    expect(split.v1! + split.v2!).toBe(400)
    expect(split.v2).toBeGreaterThan(60)
    expect(split.v2).toBeLessThan(140)
  })

  it('rewrites the matched prefix, and tells the app the original path', async () => {
    await mesh.write(
      'routes.yaml',
      routes(`  - match: [{uri: {prefix: /old}}]\n    rewrite: {uri: /new, authority: other.example}\n    ${toV2}`),
    )
    const { echo } = await mesh.get('client', `${url}/old/x?q=1`)
    expect(echo?.request.path).toBe('/new/x?q=1')
    expect(echo?.request.headers).toMatchObject({ host: 'other.example', 'x-envoy-original-path': '/old/x?q=1' })
  })

  it('rewrites by a regular expression', async () => {
    await mesh.write(
      'routes.yaml',
      routes(
        `  - match: [{uri: {prefix: /service}}]\n    rewrite: {uriRegexRewrite: {match: "^/service/([^/]+)(/.*)$", rewrite: "\\\\2/instance/\\\\1"}}\n    ${toV2}`,
      ),
    )
    expect((await mesh.get('client', `${url}/service/foo/v1/api`)).echo?.request.path).toBe('/v1/api/instance/foo')
  })

  it('redirects', async () => {
    await mesh.write(
      'routes.yaml',
      routes(
        '  - match: [{uri: {prefix: /go}}]\n    redirect: {uri: /there, authority: else.example, redirectCode: 302}',
      ),
    )
    const got = await mesh.get('client', `${url}/go?q=1`)
    expect([got.status, got.headers.location, got.text]).toEqual([302, 'http://else.example/there?q=1', ''])
    expect(got.answer.details).toBe('direct_response')
  })

  it('answers directly', async () => {
    await mesh.write(
      'routes.yaml',
      routes(
        '  - match: [{uri: {exact: /teapot}}]\n    directResponse: {status: 418, body: {string: short and stout}}',
      ),
    )
    const got = await mesh.get('client', `${url}/teapot`)
    expect([got.status, got.text, got.headers['content-type']]).toEqual([418, 'short and stout', 'text/plain'])
  })

  it('changes headers of the route and of the destination', async () => {
    await mesh.write(
      'routes.yaml',
      routes(`  - headers:
      request: {set: {x-set: route}, add: {x-add: more}, remove: [x-gone]}
      response: {set: {x-answer: "%RESPONSE_CODE%"}, remove: [x-instance]}
    route:
      - destination: {host: reviews, subset: v2}
        headers: {request: {set: {x-destination: v2}}}`),
    )
    const { echo, headers } = await mesh.get('client', `${url}/`, {
      headers: { 'x-set': 'mine', 'x-add': 'mine', 'x-gone': 'yes' },
    })
    expect(echo?.request.headers).toMatchObject({ 'x-set': 'route', 'x-add': 'mine, more', 'x-destination': 'v2' })
    expect(echo?.request.headers).not.toHaveProperty('x-gone')
    expect(headers['x-answer']).toBe('200')
  })

  it('a subset that no DestinationRule defines gives 503 NC', async () => {
    await mesh.write('routes.yaml', routes('  - route: [{destination: {host: reviews, subset: v9}}]'))
    const got = await mesh.get('client', `${url}/`)
    expect([got.status, got.text, got.answer.flags, got.answer.details]).toEqual([503, '', 'NC', 'cluster_not_found'])
  })

  it('a change of weights under load fails no request', async () => {
    const weighted = (v2: number) =>
      routes(
        `  - route:\n      - {destination: {host: reviews, subset: v1}, weight: ${100 - v2}}\n      - {destination: {host: reviews, subset: v2}, weight: ${v2}}`,
      )
    await mesh.write('routes.yaml', weighted(1))
    let done = false
    const load = mesh.split('client', `${url}/`, 1000).finally(() => {
      done = true
    })
    let changes = 0
    for (; !done; changes++) {
      await mesh.write('routes.yaml', weighted(2 + (changes % 98)))
      await new Promise((resolve) => setTimeout(resolve, 50))
    }
    const split = await load
    expect(changes).toBeGreaterThan(3)
    expect(Object.keys(split).sort()).toEqual(['v1', 'v2'])
    expect(split.v1! + split.v2!).toBe(1000)
  }, 60_000)
})
