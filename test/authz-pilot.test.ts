import { describe, expect, it } from 'vitest'
import { rbacPolicy } from '../src/pilot/authz/rule.ts'
import { client, pod, service } from './support/mesh.ts'
import { type Json, pilotOf } from './support/pilot.ts'

const policy = (name: string, spec: string) => `
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: ${name}, namespace: default}
spec: ${spec}
---`

const HTTP = `name: http
      envoyExtAuthzHttp:
        service: default/authz.default.svc.cluster.local
        port: 9080
        pathPrefix: /check
        failOpen: true
        clearRouteCache: true
        statusOnError: "503"
        includeRequestHeadersInCheck: [x-id, "x-p-*", "*-s"]
        includeAdditionalHeadersInCheck: {x-2: b, x-1: a}
        includeRequestBodyInCheck: {maxRequestBytes: 10, allowPartialMessage: true, packAsBytes: true}
        headersToUpstreamOnAllow: [x-up]
        headersToDownstreamOnDeny: [x-deny]
        headersToDownstreamOnAllow: [x-allow]`
const GRPC = `name: grpc
      envoyExtAuthzGrpc: {service: authz.default.svc.cluster.local, port: 9080, timeout: 2s}`

const mesh = (...providers: string[]) => `
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data:
  mesh: |
    extensionProviders:
${providers.map((provider) => `    - ${provider}\n`).join('')}---`

const base = [client(), service('reviews'), pod('reviews', 'v1'), service('authz')].join('')

/** The HTTP filters of the sidecar of reviews up to the first that every chain has, and the network filters of its TCP chain. */
function filters(yaml: string, env = {}) {
  const listener = pilotOf(base + yaml, { env })
    .proxy('reviews-v1')
    .listener('virtualInbound')
  const chains: Json[] = listener.filter_chains
  const manager = chains
    .flatMap((chain) => chain.filters)
    .find(({ name }) => name === 'envoy.filters.network.http_connection_manager').typed_config
  const end = manager.http_filters.findIndex(({ name }: Json) => name === 'envoy.filters.http.grpc_stats')
  const tcp = chains.findLast((chain) => !chain.filters.some(({ typed_config }: Json) => typed_config.http_filters))
  return { http: manager.http_filters.slice(0, end) as Json[], tcp: tcp.filters as Json[] }
}

const names = (list: Json[]) => list.map(({ name }) => name.replace('envoy.filters.', ''))
const RULE = '{action: CUSTOM, provider: {name: http}, rules: [{to: [{operation: {paths: ["/a"]}}]}]}'

describe('AuthorizationPolicy with the action CUSTOM, as pilot makes it', () => {
  it('marks what is to be asked about, then asks with all that the provider says', () => {
    const { http, tcp } = filters(mesh(HTTP) + policy('ask', RULE))
    expect(names(http)).toEqual(['http.rbac', 'http.ext_authz'])
    const [mark, ask] = http.map(({ typed_config }) => typed_config)
    expect(mark.rules).toBeUndefined()
    expect(mark.shadow_rules_stat_prefix).toBe('istio_ext_authz_')
    expect(mark.shadow_rules.action).toBe('DENY')
    expect(Object.keys(mark.shadow_rules.policies)).toEqual(['istio-ext-authz-http-ns[default]-policy[ask]-rule[0]'])
    const { '@type': _type, ...settings } = ask
    expect(settings).toEqual({
      transport_api_version: 'V3',
      failure_mode_allow: true,
      clear_route_cache: true,
      status_on_error: { code: 'ServiceUnavailable' },
      with_request_body: { max_request_bytes: 10, allow_partial_message: true, pack_as_bytes: true },
      allowed_headers: {
        patterns: [
          { exact: 'x-id', ignore_case: true },
          { prefix: 'x-p-', ignore_case: true },
          { suffix: '-s', ignore_case: true },
        ],
      },
      filter_enabled_metadata: {
        filter: 'envoy.filters.http.rbac',
        path: [{ key: 'istio_ext_authz_shadow_effective_policy_id' }],
        value: { string_match: { prefix: 'istio-ext-authz-http' } },
      },
      http_service: {
        path_prefix: '/check',
        server_uri: {
          uri: 'http://authz.default.svc.cluster.local',
          cluster: 'outbound|9080||authz.default.svc.cluster.local',
          timeout: '600s',
        },
        authorization_request: {
          headers_to_add: [
            { key: 'x-1', value: 'a' },
            { key: 'x-2', value: 'b' },
          ],
        },
        authorization_response: {
          allowed_upstream_headers: { patterns: [{ exact: 'x-up', ignore_case: true }] },
          allowed_client_headers: { patterns: [{ exact: 'x-deny', ignore_case: true }] },
          allowed_client_headers_on_success: { patterns: [{ exact: 'x-allow', ignore_case: true }] },
        },
      },
    })
    // Nobody can be asked over HTTP about bytes.
    expect(names(tcp)).not.toContain('network.rbac')
  })

  it('asks over gRPC about requests and about connections', () => {
    const { http, tcp } = filters(mesh(GRPC) + policy('ask', '{action: CUSTOM, provider: {name: grpc}, rules: [{}]}'))
    const service = {
      envoy_grpc: {
        cluster_name: 'outbound|9080||authz.default.svc.cluster.local',
        authority: 'authz.default.svc.cluster.local',
      },
      timeout: '2s',
    }
    expect(http[1].typed_config.grpc_service).toEqual(service)
    expect(names(tcp).slice(0, 2)).toEqual(['network.rbac', 'network.ext_authz'])
    expect(tcp[0].typed_config).toMatchObject({ stat_prefix: 'tcp.', shadow_rules_stat_prefix: 'istio_ext_authz_' })
    expect(tcp[1].typed_config).toMatchObject({ stat_prefix: 'tcp.', grpc_service: service })
    expect(tcp[1].typed_config.filter_enabled_metadata.filter).toBe('envoy.filters.network.rbac')
  })

  it('lets connections pass without an answer where the provider says so, and nowhere else', () => {
    const asked = '{action: CUSTOM, provider: {name: grpc}, rules: [{}]}'
    const open = GRPC.replace('timeout: 2s', 'timeout: 2s, failOpen: true')
    const allowed = (provider: string) => {
      const { http, tcp } = filters(mesh(provider) + policy('ask', asked))
      return [http[1], tcp[1]].map(({ typed_config: config }) => config.failure_mode_allow ?? false)
    }
    expect(allowed(open)).toEqual([true, true])
    expect(allowed(GRPC)).toEqual([false, false])
  })

  it('comes first, then AUDIT, DENY and ALLOW', () => {
    const { http } = filters(
      mesh(HTTP) +
        policy('ask', RULE) +
        ['ALLOW', 'DENY', 'AUDIT']
          .map((action) => policy(action.toLowerCase(), `{action: ${action}, rules: [{}]}`))
          .join(''),
    )
    expect(names(http)).toEqual(['http.rbac', 'http.ext_authz', 'http.rbac', 'http.rbac', 'http.rbac'])
    expect(http.slice(2).map(({ typed_config }) => typed_config.rules.action ?? 'ALLOW')).toEqual([
      'LOG',
      'DENY',
      'ALLOW',
    ])
  })

  it.each([
    ['without its provider', mesh(GRPC), RULE],
    ['with a provider whose service is unknown', mesh(HTTP.replace('authz.default', 'nobody.default')), RULE],
    ['with a provider named twice', mesh(HTTP, HTTP), RULE],
    ['with a status that Envoy does not know', mesh(HTTP.replace('"503"', '"299"')), RULE],
    [
      'with a provider whose name is none',
      mesh(HTTP.replace('name: http', 'name: Http_')),
      RULE.replace('http', 'Http_'),
    ],
  ])('%s denies what it matches', (_what, config, rule) => {
    const { http } = filters(config + policy('ask', rule))
    expect(names(http)).toEqual(['http.rbac'])
    const { rules, shadow_rules } = http[0].typed_config
    expect(shadow_rules).toBeUndefined()
    expect(rules.action).toBe('DENY')
    expect(Object.keys(rules.policies)[0]).toMatch(
      /^istio-ext-authz-\w+-ns\[default\]-policy\[ask\]-rule\[0\]-deny-due-to-bad-CUSTOM-action$/,
    )
  })

  it('two providers: denied both, unless PILOT_ENABLE_MULTIPLE_CUSTOM_AUTHZ_PROVIDERS', () => {
    const yaml =
      mesh(HTTP, GRPC) + policy('ask', RULE) + policy('other', '{action: CUSTOM, provider: {name: grpc}, rules: [{}]}')
    expect(names(filters(yaml).http)).toEqual(['http.rbac', 'http.rbac'])
    const { http } = filters(yaml, { PILOT_ENABLE_MULTIPLE_CUSTOM_AUTHZ_PROVIDERS: 'true' })
    expect(names(http)).toEqual(['http.rbac', 'http.ext_authz', 'http.rbac', 'http.ext_authz'])
    expect(http.map(({ typed_config }) => typed_config.filter_enabled_metadata?.value.string_match.prefix)).toEqual([
      undefined,
      'istio-ext-authz-grpc',
      undefined,
      'istio-ext-authz-http',
    ])
  })
})

it.each([true, false])('a condition on something unknown makes no rule that holds for all (ALLOW: %s)', (allow) => {
  const context = { tcp: false, allow, namespace: 'default', trustDomains: ['cluster.local'] }
  expect(rbacPolicy({ when: [{ key: 'request.nonsense', values: ['x'] }] }, context)).toBeUndefined()
  expect(rbacPolicy({ when: [{ key: 'source.namespace', values: ['x'] }] }, context)).toBeDefined()
})
