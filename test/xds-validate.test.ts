import { expect, test } from 'vitest'
import { type Init, type MessageName, make, packed } from '../src/xds/messages.ts'
import { problemText } from '../src/xds/problem.ts'
import { constraintText, validate } from '../src/xds/validate.ts'

const check = <N extends MessageName>(name: N, init?: Init<N>) => validate(make(name, init) as never)

test('a message that keeps every constraint has no violations', () => {
  expect(check('envoy.config.cluster.v3.Cluster', { name: 'a', connectTimeout: { seconds: 1n } })).toEqual([])
})

test('each violation has a path, and Envoy words for its chain of messages', () => {
  const violations = check('envoy.config.route.v3.RouteConfiguration', {
    virtualHosts: [
      { name: '', domains: ['*'], routes: [{ match: {}, action: { case: 'directResponse', value: { status: 99 } } }] },
      { name: 'b', domains: [], routes: [{}] },
    ],
  })
  expect(violations.map(problemText)).toEqual([
    'virtual_hosts[0].name: value length must be at least 1 characters',
    'virtual_hosts[0].routes[0].match.path_specifier: value is required',
    'virtual_hosts[0].routes[0].direct_response.status: value must be inside range [200, 600)',
    'virtual_hosts[1].domains: value must contain at least 1 item(s)',
    'virtual_hosts[1].routes[0].match: value is required',
    'virtual_hosts[1].routes[0].action: value is required',
  ])
  expect(constraintText([violations[2]!])).toBe(
    'Proto constraint validation failed (RouteConfigurationValidationError.VirtualHosts[0]: embedded message failed ' +
      'validation | caused by VirtualHostValidationError.Routes[0]: embedded message failed validation | caused by ' +
      'RouteValidationError.DirectResponse: embedded message failed validation | caused by ' +
      'DirectResponseActionValidationError.Status: value must be inside range [200, 600))',
  )
  expect(violations[1]!.constraint).toMatch(/caused by field: "path_specifier", reason: is required$/)
})

test('what is wrong in the same words in several places is told once', () => {
  const violations = check('envoy.config.listener.v3.FilterChain', { filters: [{ name: '' }] })
  expect(constraintText([...violations, ...violations])).toBe(constraintText(violations))
})

test('typed configs are opened and checked, TypedStructs too', () => {
  const buffer = packed('envoy.extensions.filters.http.buffer.v3.Buffer', { maxRequestBytes: 0 })
  const struct = packed('udpa.type.v1.TypedStruct', { typeUrl: buffer.typeUrl, value: { max_request_byte: 1 } })
  const unknown = packed('udpa.type.v1.TypedStruct', { typeUrl: 'type.googleapis.com/foo.Bar' })
  const violations = check('envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager', {
    statPrefix: 'x',
    routeSpecifier: { case: 'routeConfig', value: {} },
    httpFilters: [buffer, struct, unknown].map((value) => ({
      name: 'f',
      configType: { case: 'typedConfig' as const, value },
    })),
  })
  expect(violations.map(problemText)).toEqual([
    'http_filters[0].typed_config.max_request_bytes: value must be greater than 0',
    'http_filters[1].typed_config.value.max_request_byte: unknown field "max_request_byte": did you mean "max_request_bytes"?',
  ])
})

test.each([
  [
    'a bound that is zero',
    { outlierDetection: { interval: {} } },
    'outlier_detection.interval: value must be greater than 0s',
  ],
  [
    'an upper bound',
    { outlierDetection: { maxEjectionPercent: 101 } },
    'outlier_detection.max_ejection_percent: value must be less than or equal to 100',
  ],
  ['an enum value that is not defined', { lbPolicy: 99 }, 'lb_policy: value must be one of the defined enum values'],
  [
    'a header value with a line feed',
    { loadAssignment: { clusterName: '' } },
    'load_assignment.cluster_name: value length must be at least 1 characters',
  ],
] as [string, Init<'envoy.config.cluster.v3.Cluster'>, string][])('%s is found', (_, init, expected) => {
  expect(check('envoy.config.cluster.v3.Cluster', { name: 'a', ...init }).map(problemText)).toEqual([expected])
})

test('a list that must be unique, a map value, and a header name are checked', () => {
  expect(
    check('envoy.config.rbac.v3.RBAC', {
      policies: { p: { permissions: [], principals: [{ identifier: { case: 'any', value: true } }] } },
    }).map((v) => v.constraint),
  ).toEqual([
    'RBACValidationError.Policies[p]: embedded message failed validation | caused by PolicyValidationError.Permissions: value must contain at least 1 item(s)',
  ])
  expect(check('envoy.config.core.v3.HeaderValue', { key: 'a\nb', value: 'x' }).map((v) => v.message)).toEqual([
    'value does not match regex pattern "^[^\\x00\\n\\r]*$"',
  ])
})

test('checking a hundred routes takes well under a tenth of a second once the rules are compiled', () => {
  const config = make('envoy.config.route.v3.RouteConfiguration', {
    virtualHosts: Array.from({ length: 100 }, (_, i) => ({
      name: `v${i}`,
      domains: [`v${i}`],
      routes: [
        {
          match: { pathSpecifier: { case: 'prefix' as const, value: '/' } },
          action: {
            case: 'route' as const,
            value: { clusterSpecifier: { case: 'cluster' as const, value: 'a' }, timeout: { seconds: 1n } },
          },
        },
      ],
    })),
  })
  expect(validate(config as never)).toEqual([])
  const start = performance.now()
  for (let i = 0; i < 10; i++) validate(config as never)
  expect((performance.now() - start) / 10).toBeLessThan(100)
})
