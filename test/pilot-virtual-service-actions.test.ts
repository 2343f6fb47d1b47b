import { describe, expect, it } from 'vitest'
import { type Json, pilotOf, podYaml, routesOf, serviceYaml } from './support/pilot.ts'

const base = `${serviceYaml('reviews', 'http:9080')}${serviceYaml('ratings', 'http:9080')}${podYaml('client', 'app: client')}---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews}
spec: {host: reviews, subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]}
`

const REVIEWS = 'outbound|9080||reviews.default.svc.cluster.local'
const V1 = 'outbound|9080|v1|reviews.default.svc.cluster.local'
const V2 = 'outbound|9080|v2|reviews.default.svc.cluster.local'

const virtualService = (http: string) => `---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews}
spec:
  hosts: [reviews]
  http:
${http.replace(/^/gm, '  ')}
`

/** The Envoy route of a VirtualService with one HTTP route; its lines are given. */
function routeOf(...lines: string[]): Json {
  const test = pilotOf(base + virtualService(`- ${lines.join('\n  ')}`))
  return routesOf(test.proxy('client').route('9080'), 'reviews')[0]
}

const to = (subset: string, weight?: number) =>
  `{destination: {host: reviews, subset: ${subset}}${weight === undefined ? '' : `, weight: ${weight}`}}`
const anywhere = 'route: [{destination: {host: reviews}}]'

describe('destinations', () => {
  it('alone are a cluster', () => {
    expect(routeOf(`route: [${to('v1')}]`).route.cluster).toBe(V1)
  })

  it('with weights are weighted clusters, in any sum', () => {
    const { weighted_clusters: weighted } = routeOf(`route: [${to('v1', 3)}, ${to('v2', 1)}]`).route
    expect(weighted.clusters).toEqual([
      { name: V1, weight: 3 },
      { name: V2, weight: 1 },
    ])
  })

  it('of weight 0 beside others are left out', () => {
    const { weighted_clusters: weighted } = routeOf(`route: [${to('v1', 100)}, ${to('v2', 0)}]`).route
    expect(weighted.clusters).toEqual([{ name: V1, weight: 100 }])
  })

  it('take their port from the service, else from the destination, else from the listener', () => {
    expect(routeOf('route: [{destination: {host: ratings}}]').route.cluster).toContain('outbound|9080||ratings')
    expect(routeOf('route: [{destination: {host: ratings, port: {number: 81}}}]').route.cluster).toContain(
      'outbound|81||ratings',
    )
    expect(routeOf('route: [{destination: {host: nowhere}}]').route.cluster).toContain('outbound|9080||nowhere')
  })
})

describe('what happens to a request', () => {
  it('timeout', () => {
    expect(routeOf('timeout: 2.5s', anywhere).route).toMatchObject({ timeout: '2.500s' })
    expect(routeOf(anywhere).route).toMatchObject({ timeout: '0s' })
  })

  it('is retried twice by default', () => {
    expect(routeOf(anywhere).route.retry_policy).toMatchObject({
      num_retries: 2,
      retry_on: 'connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes',
      host_selection_retry_max_attempts: '5',
      retry_host_predicate: [{ name: 'envoy.retry_host_predicates.previous_hosts' }],
    })
  })

  it('is retried as asked: conditions and codes apart', () => {
    expect(
      routeOf('retries: {attempts: 3, perTryTimeout: 1s, retryOn: "5xx,gateway-error,503"}', anywhere).route
        .retry_policy,
    ).toMatchObject({
      num_retries: 3,
      per_try_timeout: '1s',
      retry_on: '5xx,gateway-error,retriable-status-codes',
      retriable_status_codes: [503],
    })
  })

  it('is not retried with attempts 0', () => {
    expect(routeOf('retries: {attempts: 0}', anywhere).route.retry_policy).toBeUndefined()
  })

  it('retryRemoteLocalities reaches for other localities', () => {
    expect(
      routeOf('retries: {attempts: 1, retryRemoteLocalities: true}', anywhere).route.retry_policy.retry_priority.name,
    ).toBe('envoy.retry_priorities.previous_priorities')
  })

  it('rewrite of a prefix, and of the authority', () => {
    const made = routeOf('match: [{uri: {prefix: /old}}]', 'rewrite: {uri: /new, authority: other.example}', anywhere)
    expect(made.route).toMatchObject({ prefix_rewrite: '/new', host_rewrite_literal: 'other.example' })
  })

  it('rewrite of a prefix with a slash at its end drops the slash for an exact prefix', () => {
    const made = routeOf('match: [{uri: {prefix: /old/}}]', 'rewrite: {uri: /}', anywhere)
    expect(made.route.prefix_rewrite).toBe('/')
  })

  it('rewrite by regular expression', () => {
    const made = routeOf('rewrite: {uriRegexRewrite: {match: "^/a/(.*)", rewrite: "/b/\\\\1"}}', anywhere)
    expect(made.route.regex_rewrite).toEqual({ pattern: { regex: '^/a/(.*)' }, substitution: '/b/\\1' })
  })

  it('redirect', () => {
    const made = routeOf('redirect: {uri: /x, authority: other.example, redirectCode: 308, scheme: https}')
    expect(made.redirect).toMatchObject({
      path_redirect: '/x',
      host_redirect: 'other.example',
      response_code: 'PERMANENT_REDIRECT',
      scheme_redirect: 'https',
    })
  })

  it('direct response', () => {
    const made = routeOf('directResponse: {status: 503, body: {string: "no"}}')
    expect(made.direct_response).toEqual({ status: 503, body: { inline_string: 'no' } })
  })

  it('fault: abort and delay, for a part of the requests', () => {
    const made = routeOf(
      'fault: {abort: {httpStatus: 500, percentage: {value: 12.5}}, delay: {fixedDelay: 2s, percentage: {value: 100}}}',
      anywhere,
    )
    expect(made.typed_per_filter_config['envoy.filters.http.fault']).toMatchObject({
      abort: { http_status: 500, percentage: { numerator: 125000, denominator: 'MILLION' } },
      delay: { fixed_delay: '2s', percentage: { numerator: 1000000, denominator: 'MILLION' } },
    })
  })

  it('mirror, for a part of the requests', () => {
    const made = routeOf(anywhere, 'mirror: {host: reviews, subset: v2}', 'mirrorPercentage: {value: 50}')
    expect(made.route.request_mirror_policies).toEqual([
      {
        cluster: V2,
        runtime_fraction: { default_value: { numerator: 500000, denominator: 'MILLION' } },
        disable_shadow_host_suffix_append: true,
        trace_sampled: false,
      },
    ])
  })

  it('mirrors, several', () => {
    const made = routeOf(
      anywhere,
      `mirrors: [{destination: {host: reviews, subset: v1}}, {destination: {host: reviews, subset: v2}, percentage: {value: 1}}]`,
    )
    expect(made.route.request_mirror_policies.map((policy: Json) => policy.cluster)).toEqual([V1, V2])
  })

  it('CORS', () => {
    const made = routeOf(
      anywhere,
      'corsPolicy: {allowOrigins: [{exact: "https://a.example"}], allowMethods: [GET, POST], allowHeaders: [x], exposeHeaders: [y], maxAge: 24h, allowCredentials: true}',
    )
    expect(made.typed_per_filter_config['envoy.filters.http.cors']).toMatchObject({
      allow_origin_string_match: [{ exact: 'https://a.example' }],
      allow_methods: 'GET,POST',
      allow_headers: 'x',
      expose_headers: 'y',
      max_age: '86400',
      allow_credentials: true,
    })
  })

  it('headers of the route and of a destination', () => {
    const made = routeOf(
      'headers: {request: {set: {a: "1"}, add: {b: "2"}, remove: [c]}, response: {remove: [d]}}',
      'route: [{destination: {host: reviews}, headers: {response: {set: {e: "3"}}}}]',
    )
    const route = { ...made, ...made.route }
    expect(route.request_headers_to_add).toEqual([
      { header: { key: 'a', value: '1' }, append_action: 'OVERWRITE_IF_EXISTS_OR_ADD' },
      { header: { key: 'b', value: '2' } },
    ])
    expect(route.request_headers_to_remove).toEqual(['c'])
    expect(route.response_headers_to_remove).toEqual(['d'])
    expect(JSON.stringify(made)).toContain('"key":"e"')
  })

  it('a Host header that is set is a rewrite', () => {
    const made = routeOf('headers: {request: {set: {Host: other.example}}}', anywhere)
    expect(made.route.host_rewrite_literal).toBe('other.example')
  })
})

describe('the hash of a request', () => {
  it('is what the DestinationRule of the destination says', () => {
    const rule = base.replace(
      'spec: {host: reviews,',
      'spec: {host: reviews, trafficPolicy: {loadBalancer: {consistentHash: {httpHeaderName: x-user}}},',
    )
    const test = pilotOf(rule + virtualService(`- ${anywhere}`))
    expect(routesOf(test.proxy('client').route('9080'), 'reviews')[0].route).toMatchObject({
      cluster: REVIEWS,
      hash_policy: [{ header: { header_name: 'x-user' } }],
    })
  })

  it('is there without a VirtualService too', () => {
    const rule = base.replace(
      'spec: {host: reviews,',
      'spec: {host: reviews, trafficPolicy: {loadBalancer: {consistentHash: {httpCookie: {name: c, ttl: 60s}}}},',
    )
    expect(routesOf(pilotOf(rule).proxy('client').route('9080'), 'reviews')[0].route.hash_policy).toEqual([
      { cookie: { name: 'c', ttl: '60s' } },
    ])
  })
})
