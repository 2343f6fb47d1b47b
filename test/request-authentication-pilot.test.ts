import { describe, expect, it } from 'vitest'
import { listenersOf } from '../src/pilot/listener/listeners.ts'
import { writeJson } from '../src/xds/json.ts'
import { type Json, managerOf, pilotOf, podYaml, serviceYaml } from './support/pilot.ts'

const KEYS = '{"keys":[{"kty":"RSA","n":"AQ","e":"AQAB"}]}'

const base = [
  serviceYaml('web', 'http:80>8080'),
  podYaml('web', 'app: web, version: v1'),
  podYaml('gw', 'istio: ingressgateway', '', 'istio-system').replace(
    'labels:',
    'annotations: {inject.istio.io/templates: gateway}, labels:',
  ),
  serviceYaml('gw', 'http:80', '', 'istio-system').replace('{app: gw}', '{istio: ingressgateway}'),
  `---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: gw, namespace: istio-system}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ["*"]}]
`,
].join('')

const policy = (name: string, spec: object, namespace = 'default', created = '2026-01-01T00:00:00Z') =>
  `---\n${JSON.stringify({
    apiVersion: 'security.istio.io/v1',
    kind: 'RequestAuthentication',
    metadata: { name, namespace, creationTimestamp: created },
    spec,
  })}\n`

const rule = (issuer: string, more: object = {}) => ({ issuer, jwks: KEYS, ...more })

/** The HTTP filters of the web pod's port. */
function inbound(yaml: string, env = {}): Json[] {
  const listener = pilotOf(base + yaml, { env })
    .proxy('web')
    .listener('virtualInbound')
  const chain = listener.filter_chains.find((known: Json) => known.name === '0.0.0.0_8080')
  return managerOf(chain).http_filters
}

const jwtOf = (filters: Json[]): Json =>
  filters.find((filter) => filter.name === 'envoy.filters.http.jwt_authn')?.typed_config

const issuersOf = (yaml: string): string[] | undefined => {
  const jwt = jwtOf(inbound(yaml))
  return jwt && Object.values(jwt.providers).map((provider: Json) => provider.issuer + (provider.audiences ?? ''))
}

describe('the JWT filter of RequestAuthentications', () => {
  it('is as istiod writes it for one rule', () => {
    expect(jwtOf(inbound(policy('a', { jwtRules: [rule('x')] })))).toEqual({
      '@type': 'type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication',
      providers: {
        'origins-0': {
          issuer: 'x',
          local_jwks: { inline_string: KEYS },
          payload_in_metadata: 'payload',
          normalize_payload_in_metadata: { space_delimited_claims: ['permission', 'scope'] },
        },
      },
      rules: [
        {
          match: { prefix: '/' },
          requires: { requires_any: { requirements: [{ provider_name: 'origins-0' }, { allow_missing: {} }] } },
        },
      ],
      bypass_cors_preflight: true,
    })
  })

  it('has every field of a rule', () => {
    const all = rule('x', {
      audiences: ['a', 'b'],
      fromHeaders: [{ name: 'x-a', prefix: 'P ' }, { name: 'x-b' }],
      fromParams: ['p'],
      fromCookies: ['c'],
      outputPayloadToHeader: 'x-payload',
      forwardOriginalToken: true,
      outputClaimToHeaders: [{ header: 'x-n', claim: 'a.b' }],
      spaceDelimitedClaims: ['roles', 'scope', 'aaa'],
    })
    expect(jwtOf(inbound(policy('a', { jwtRules: [all] }))).providers['origins-0']).toEqual({
      issuer: 'x',
      audiences: ['a', 'b'],
      local_jwks: { inline_string: KEYS },
      forward: true,
      from_headers: [{ name: 'x-a', value_prefix: 'P ' }, { name: 'x-b' }],
      from_params: ['p'],
      from_cookies: ['c'],
      forward_payload_header: 'x-payload',
      payload_in_metadata: 'payload',
      normalize_payload_in_metadata: { space_delimited_claims: ['aaa', 'permission', 'roles', 'scope'] },
      claim_to_headers: [{ header_name: 'x-n', claim_name: 'a.b' }],
    })
  })

  it('of several rules wants one token to be good, or all that are there', () => {
    const { rules } = jwtOf(inbound(policy('a', { jwtRules: [rule('y'), rule('x')] })))
    const orMissing = (name: string) => ({
      requires_any: { requirements: [{ provider_name: name }, { allow_missing: {} }] },
    })
    expect(rules[0].requires.requires_any.requirements).toEqual([
      { provider_name: 'origins-0' },
      { provider_name: 'origins-1' },
      { requires_all: { requirements: [orMissing('origins-0'), orMissing('origins-1')] } },
    ])
  })

  it('unites the policies of the namespace and the root namespace, sorted by issuer', () => {
    const all = [
      policy('a', { jwtRules: [rule('z'), rule('b', { audiences: ['1'] })] }),
      policy('b', { jwtRules: [rule('b', { audiences: ['2'] }), rule('a')] }, 'default', '2025-01-01T00:00:00Z'),
      policy('c', { jwtRules: [rule('b', { audiences: ['3'] }), rule('Z')] }, 'istio-system'),
      policy('d', { jwtRules: [rule('elsewhere')] }, 'other'),
    ]
    expect(issuersOf(all.join(''))).toEqual(['Z', 'a', 'b2', 'b1', 'b3', 'z'])
  })

  it('is for the workloads that a selector means', () => {
    const selected = (app: string, namespace = 'default') =>
      issuersOf(policy('a', { selector: { matchLabels: { app } }, jwtRules: [rule('x')] }, namespace))
    expect(selected('web')).toEqual(['x'])
    expect(selected('web', 'istio-system')).toEqual(['x'])
    expect(selected('other')).toBeUndefined()
    expect(issuersOf(policy('a', {}))).toBeUndefined()
  })

  it('is not for sidecars when the policy names targets', () => {
    const targetRefs = [{ group: 'gateway.networking.k8s.io', kind: 'Gateway', name: 'gw' }]
    expect(issuersOf(policy('a', { targetRefs, jwtRules: [rule('x')] }))).toBeUndefined()
  })

  it('stands after what asks authorizers and before what authorizes by claims', () => {
    const rules = [{ from: [{ source: { requestPrincipals: ['*'] } }] }]
    const authorization = (action: string, more = {}) =>
      `---\n${JSON.stringify({
        apiVersion: 'security.istio.io/v1',
        kind: 'AuthorizationPolicy',
        metadata: { name: action.toLowerCase() },
        spec: { action, rules, ...more },
      })}\n`
    const names = inbound(
      policy('a', { jwtRules: [rule('x')] }) +
        ['AUDIT', 'DENY', 'ALLOW'].map((action) => authorization(action)).join('') +
        authorization('CUSTOM', { provider: { name: 'nobody' }, rules: [{}] }),
    ).map(({ name }) => name as string)
    const jwt = names.indexOf('envoy.filters.http.jwt_authn')
    expect(names.slice(jwt - 1, jwt + 4)).toEqual([
      'envoy.filters.http.rbac',
      'envoy.filters.http.jwt_authn',
      'envoy.filters.http.rbac',
      'envoy.filters.http.rbac',
      'envoy.filters.http.rbac',
    ])
  })

  it('lets routes be chosen again at gateways alone', () => {
    const pilot = pilotOf(base + policy('a', { jwtRules: [rule('x')] }, 'istio-system'))
    const gateway = pilot.pilot.proxy({
      id: `router~${pilot.registry.workload('istio-system', 'gw')?.ip}~gw.istio-system~istio-system.svc.cluster.local`,
      metadata: { CLUSTER_ID: 'Kubernetes', NAMESPACE: 'istio-system' },
    })
    expect(gateway.type).toBe('router')
    const [built] = listenersOf(pilot.pilot.context, gateway)
    const listener: Json = built && writeJson(built.listener)
    const { http_filters } = managerOf(listener.filter_chains[0])
    expect(jwtOf(http_filters).providers['origins-0'].clear_route_cache).toBe(true)
  })

  it('has keys that nobody can sign with until they are fetched', () => {
    const yaml = policy('a', { jwtRules: [{ issuer: 'x', jwksUri: 'http://127.0.0.1:1/jwks' }] })
    const text = jwtOf(inbound(yaml)).providers['origins-0'].local_jwks.inline_string
    expect(JSON.parse(text).keys).toHaveLength(1)
  })

  it('lets proxies fetch keys where PILOT_JWT_ENABLE_REMOTE_JWKS says so', () => {
    const rules = [
      { issuer: 'in', jwksUri: 'http://web.default.svc.cluster.local/jwks', timeout: '2.5s' },
      { issuer: 'out', jwksUri: 'https://nobody.test/jwks' },
      rule('text'),
    ]
    const sources = (mode: string) =>
      Object.values(
        jwtOf(inbound(policy('a', { jwtRules: rules }), { PILOT_JWT_ENABLE_REMOTE_JWKS: mode })).providers,
      ).map((provider: Json) => provider.remote_jwks ?? 'local')
    const remote = (uri: string, cluster: string, timeout: string) => ({
      http_uri: { uri, cluster, timeout },
      cache_duration: '300s',
    })
    const inside = remote(
      'http://web.default.svc.cluster.local/jwks',
      'outbound|80||web.default.svc.cluster.local',
      '2.500s',
    )
    for (const mode of ['', 'false', 'istiod', 'nonsense']) expect(sources(mode)).toEqual(['local', 'local', 'local'])
    for (const mode of ['hybrid', 'true']) expect(sources(mode)).toEqual([inside, 'local', 'local'])
    expect(sources('envoy')).toEqual([
      inside,
      remote('https://nobody.test/jwks', 'outbound|443||nobody.test', '5s'),
      'local',
    ])
  })
})
