import { describe, expect, it } from 'vitest'
import { type Json, pilotOf, podYaml, routesOf, serviceYaml } from './support/pilot.ts'

const base =
  serviceYaml('reviews', 'http:9080') +
  serviceYaml('ratings', 'http:9080', '', 'prod') +
  podYaml('client', 'app: client') +
  podYaml('client', 'app: client', '', 'prod')

interface Given {
  name: string
  namespace?: string
  hosts?: string
  more?: string
  http?: string
  created?: string
}

function vs({
  name,
  namespace = 'default',
  hosts = '[reviews.default.svc.cluster.local]',
  more = '',
  http,
  created,
}: Given) {
  const time = created ? `, creationTimestamp: ${created}` : ''
  return `---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: ${name}, namespace: ${namespace}${time}}
spec:
  hosts: ${hosts}${more && `\n  ${more}`}
  http:
  ${http ?? `- {name: ${name}, route: [{destination: {host: reviews.default.svc.cluster.local}}]}`}
`
}

const namesFor = (yaml: string, pod: string, domain = 'reviews.default.svc.cluster.local') =>
  routesOf(
    pilotOf(base + yaml)
      .proxy(pod)
      .route('9080'),
    domain,
  ).map((route: Json) => route.name)

describe('of several VirtualServices for a host', () => {
  it('the oldest counts alone', () => {
    const newer = vs({ name: 'newer', created: '2026-01-02T00:00:00Z' })
    const older = vs({ name: 'older', created: '2026-01-01T00:00:00Z' })
    expect(namesFor(newer + older, 'client')).toEqual(['older'])
  })

  it('the namespace does not matter, but what is exported to the own namespace alone comes first', () => {
    const pub = vs({ name: 'public', created: '2026-01-01T00:00:00Z' })
    const own = (more = '') => vs({ name: 'own', namespace: 'prod', more, created: '2026-01-03T00:00:00Z' })
    expect(namesFor(own() + pub, 'prod/client')).toEqual(['public'])
    expect(namesFor(own('exportTo: ["."]') + pub, 'prod/client')).toEqual(['own'])
    expect(namesFor(own('exportTo: ["."]') + pub, 'client')).toEqual(['public'])
  })

  it('a more specific host wins over a wildcard', () => {
    const wild = vs({ name: 'wild', hosts: '["*.svc.cluster.local"]', created: '2026-01-01T00:00:00Z' })
    const exact = vs({ name: 'exact', created: '2026-01-02T00:00:00Z' })
    expect(namesFor(wild + exact, 'client')).toEqual(['exact'])
    expect(namesFor(wild, 'client')).toEqual(['wild'])
  })
})

describe('exportTo', () => {
  it('"." keeps a VirtualService in its namespace', () => {
    const private_ = vs({ name: 'p', more: 'exportTo: ["."]' })
    expect(namesFor(private_, 'client')).toEqual(['p'])
    expect(namesFor(private_, 'prod/client')).toEqual(['default'])
  })

  it('names other namespaces', () => {
    const made = vs({ name: 'p', more: 'exportTo: [prod]' })
    expect(namesFor(made, 'client')).toEqual(['default'])
    expect(namesFor(made, 'prod/client')).toEqual(['p'])
  })
})

describe('the field gateways', () => {
  it('without mesh takes sidecars out', () => {
    expect(namesFor(vs({ name: 'p', more: 'gateways: [front]' }), 'client')).toEqual(['default'])
    expect(namesFor(vs({ name: 'p', more: 'gateways: [front, mesh]' }), 'client')).toEqual(['p'])
  })
})

describe('short names', () => {
  it('are of the namespace of the VirtualService, in hosts and destinations', () => {
    const made = vs({
      name: 'p',
      namespace: 'prod',
      hosts: '[ratings]',
      http: '- {name: p, route: [{destination: {host: ratings}}]}',
    })
    const [route] = routesOf(
      pilotOf(base + made)
        .proxy('client')
        .route('9080'),
      'ratings.prod.svc.cluster.local',
    )
    expect(route).toMatchObject({ name: 'p', route: { cluster: 'outbound|9080||ratings.prod.svc.cluster.local' } })
  })

  it('with one dot are no host of another namespace', () => {
    expect(namesFor(vs({ name: 'p', hosts: '[reviews.default]' }), 'client')).toEqual(['default'])
  })
})

describe('delegates', () => {
  const root = (more = '') =>
    vs({
      name: 'root',
      hosts: '[reviews]',
      http: `- {name: r, match: [{uri: {prefix: /api}}], delegate: {name: part, namespace: prod}${more}}\n  - {name: rest, route: [{destination: {host: reviews}}]}`,
    })
  const part = (http: string) => `---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: part, namespace: prod}
spec:
  http:
${http.replace(/^/gm, '  ')}
`

  it('are put in the place of the route, with both matches; what lies outside of the root match is left out', () => {
    const delegate = part(
      '- {name: d, match: [{uri: {prefix: /api/v1}}], route: [{destination: {host: ratings}}]}\n- {name: outside, match: [{uri: {prefix: /api/v1}}, {uri: {prefix: /other}}], route: [{destination: {host: ratings}}]}\n- {name: e, route: [{destination: {host: ratings}}]}',
    )
    const routes = routesOf(
      pilotOf(base + root() + delegate)
        .proxy('client')
        .route('9080'),
      'reviews',
    )
    expect(routes.map((route: Json) => [route.name, route.match.prefix])).toEqual([
      ['r-d', '/api/v1'],
      ['r-e', '/api'],
      ['rest', '/'],
    ])
    expect(routes[0].route.cluster).toBe('outbound|9080||ratings.prod.svc.cluster.local')
  })

  it('that are not there leave the route out', () => {
    const routes = routesOf(
      pilotOf(base + root())
        .proxy('client')
        .route('9080'),
      'reviews',
    )
    expect(routes.map((route: Json) => route.name)).toEqual(['rest'])
  })
})

describe('hosts without a service', () => {
  const made = vs({ name: 'p', hosts: '[alias.example.com]' })

  it('get a virtual host on port 80 alone', () => {
    const pilot = pilotOf(base + serviceYaml('web', 'http:80') + made).proxy('client')
    expect(routesOf(pilot.route('80'), 'alias.example.com')[0]).toMatchObject({
      name: 'p',
      route: { cluster: 'outbound|80||reviews.default.svc.cluster.local' },
    })
    expect(JSON.stringify(pilot.route('9080'))).not.toContain('alias.example.com')
  })
})
