import { describe, expect, test } from 'vitest'
import type { Subject } from '../src/proxy/matching/subject.ts'
import { compilePermission } from '../src/proxy/rbac/permission.ts'
import { compilePrincipal } from '../src/proxy/rbac/principal.ts'
import { make, packed } from '../src/xds/messages.ts'
import { get, httpFilter, httpHarness, oneHost, routerFilter } from './support/http.ts'

const { proxy } = httpHarness()
const RBAC = 'envoy.extensions.filters.http.rbac.v3.RBAC'
const ok = { direct_response: { status: 200, body: { inline_string: 'ok' } } }
const anyone = [{ any: true }]

/** A proxy with RBAC filters before the router; more routes before the one for everything. */
const guarded = (configs: object[], routes: object[] = []) =>
  proxy({
    route_config: oneHost([...routes, { match: { prefix: '/' }, ...ok }]),
    http_filters: [...configs.map((config) => httpFilter('rbac', RBAC, config)), routerFilter()],
  })

const allow = (permission: object, principal: object = { any: true }) => ({
  rules: { action: 'ALLOW', policies: { p: { permissions: [permission], principals: [principal] } } },
})

describe('RBAC', () => {
  test('without a match: 403, and the details name no policy', async () => {
    const p = await guarded([allow({ header: { name: ':method', string_match: { exact: 'GET' } } })])
    expect((await get(p.http, '/')).status).toBe(200)
    const refused = await get(p.http, '/', {}, 'POST', 'x')
    expect([refused.status, refused.body]).toEqual([403, 'RBAC: access denied'])
    expect(p.counter('http.h.rbac.allowed')).toBe(1)
    expect(p.counter('http.h.rbac.denied')).toBe(1)
  })

  test.each([
    ['a path without its query', { url_path: { path: { suffix: '/b' } } }, '/a/b?c', '/a/b/c'],
    ['a path template', template('/t/*/x'), '/t/1/x?y', '/t/1/2/x'],
    ['a destination port range', { destination_port_range: { start: 1, end: 65535 } }, '/', undefined],
    ['not', { not_rule: { url_path: { path: { exact: '/no' } } } }, '/yes', '/no'],
    ['a header', { header: { name: 'x-a', present_match: true } }, undefined, '/'],
  ])('permission: %s', async (_what, permission, passes, refused) => {
    const p = await guarded([allow(permission)])
    if (passes !== undefined) expect((await get(p.http, passes)).status).toBe(200)
    if (refused !== undefined) expect((await get(p.http, refused)).status).toBe(403)
  })

  test.each([
    ['a block of the peer', { direct_remote_ip: { address_prefix: '127.0.0.0', prefix_len: 8 } }, 200],
    ['another block', { remote_ip: { address_prefix: '10.0.0.0', prefix_len: 8 } }, 403],
    ['who has a certificate', { authenticated: {} }, 403],
    ['who is not x', { not_id: { authenticated: { principal_name: { exact: 'x' } } } }, 200],
  ])('principal: %s', async (_what, principal, status) => {
    const p = await guarded([allow({ any: true }, principal)])
    expect((await get(p.http, '/')).status).toBe(status)
  })

  test('DENY names the first policy by name; LOG and shadow rules only count', async () => {
    const all = { permissions: anyone, principals: anyone }
    const p = await guarded([
      { rules: { action: 'LOG', policies: { l: all } } },
      {
        rules: { action: 'DENY', policies: { b: all, 'a b': all } },
        rules_stat_prefix: 'pre',
        shadow_rules: { action: 'ALLOW', policies: {} },
        shadow_rules_stat_prefix: 'sh_',
        track_per_rule_stats: true,
      },
    ])
    expect((await get(p.http, '/')).status).toBe(403)
    // As a real Envoy names them: a prefix is a part of its own.
    expect(p.counter('http.h.rbac.allowed')).toBe(1)
    expect(p.counter('http.h.rbac.pre.denied')).toBe(1)
    expect(p.counter('http.h.rbac.pre.policy.a b.denied')).toBe(1)
    expect(p.counter('http.h.rbac.sh_.shadow_denied')).toBe(1)
  })

  test('a route has rules of its own, or none', async () => {
    const perRoute = (rbac?: object) => ({
      ...ok,
      typed_per_filter_config: { rbac: { '@type': `type.googleapis.com/${RBAC}PerRoute`, ...(rbac ? { rbac } : {}) } },
    })
    const p = await guarded(
      [{ rules: { action: 'ALLOW', policies: {} } }],
      [
        { match: { prefix: '/off' }, ...perRoute() },
        { match: { prefix: '/own' }, ...perRoute(allow({ header: { name: 'x-a', present_match: true } })) },
      ],
    )
    expect((await get(p.http, '/off')).status).toBe(200)
    expect((await get(p.http, '/own', { 'x-a': '1' })).status).toBe(200)
    expect((await get(p.http, '/own')).status).toBe(403)
    expect((await get(p.http, '/')).status).toBe(403)
  })

  test('metadata tells of what was decided, and a prefix of the filter counts where the route has none', async () => {
    const all = { permissions: anyone, principals: anyone }
    const wasAllowed = {
      metadata: {
        filter: 'envoy.filters.http.rbac',
        path: [{ key: 'pre_enforced_engine_result' }],
        value: { string_match: { exact: 'allowed' } },
      },
    }
    const own = { rules: { action: 'LOG', policies: { r: all } } }
    const p = await guarded(
      [
        { rules: { action: 'DENY', policies: { b: all } }, rules_stat_prefix: 'pre_' },
        allow({ any: true }, wasAllowed),
      ],
      [
        {
          match: { prefix: '/own' },
          ...ok,
          typed_per_filter_config: { rbac: { '@type': `type.googleapis.com/${RBAC}PerRoute`, rbac: own } },
        },
      ],
    )
    expect((await get(p.http, '/')).status).toBe(403)
    expect((await get(p.http, '/own')).status).toBe(200)
  })

  test('the metadata of a route, which does not match where there is no route', async () => {
    const metadata_matcher = {
      filter: 'm',
      path: [{ key: 'k' }],
      value: { string_match: { exact: 'v' } },
      invert: true,
    }
    const p = await guarded(
      [allow({ sourced_metadata: { metadata_matcher, metadata_source: 'ROUTE' } })],
      [{ match: { prefix: '/v' }, ...ok, metadata: { filter_metadata: { m: { k: 'v' } } } }],
    )
    expect((await get(p.http, '/v')).status).toBe(403)
    expect((await get(p.http, '/other')).status).toBe(200)
  })

  test.each([
    ['an empty range of ports', { destination_port_range: { start: 5, end: 5 } }, 'cannot be greater or equal'],
    ['an unknown extension', { matcher: { name: 'x' } }, "matcher: 'x' is not supported"],
  ])('refuses %s', async (_what, permission, words) => {
    await expect(guarded([allow(permission)])).rejects.toThrow(words)
  })
})

function template(path: string): object {
  const type = 'type.googleapis.com/envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig'
  return { uri_template: { name: 'uri-template', typed_config: { '@type': type, path_template: path } } }
}

describe('what a permission or a principal says of addresses', () => {
  const subject = (port: number, filterState: object = {}) =>
    ({
      connection: { local: { ip: '10.0.0.1', port } },
      head: undefined,
      info: { filterState: new Map(Object.entries(filterState)) },
    }) as unknown as Subject

  test('a range of ports ends before its end; one of the upstream does not', () => {
    const destination = { rule: { case: 'destinationPortRange', value: { start: 80, end: 90 } } } as const
    const here = compilePermission(make('envoy.config.rbac.v3.Permission', destination))
    expect([79, 80, 89, 90].map((port) => here.matches(subject(port)))).toEqual([false, true, true, false])
    const typedConfig = packed('envoy.extensions.rbac.matchers.upstream_ip_port.v3.UpstreamIpPortMatcher', {
      upstreamPortRange: { start: 80n, end: 90n },
    })
    const upstream = { rule: { case: 'matcher', value: { name: 'upstream', typedConfig } } } as const
    const there = compilePermission(make('envoy.config.rbac.v3.Permission', upstream))
    const at = (port: number) => subject(1, { 'envoy.stream.upstream_address': `10.0.0.2:${port}` })
    expect([79, 80, 90, 91].map((port) => there.matches(at(port)))).toEqual([false, true, true, false])
  })

  test('an inverted match of an address holds for the others, and for nothing that is not there', () => {
    const ranges = [{ addressPrefix: '10.0.0.0', prefixLen: 8 }]
    const value = { key: 'k', matcher: { case: 'addressMatch', value: { ranges, invertMatch: true } } } as const
    const matcher = compilePrincipal(
      make('envoy.config.rbac.v3.Principal', { identifier: { case: 'filterState', value } }),
    )
    expect(matcher.matches(subject(1, { k: '10.1.1.1:5' }))).toBe(false)
    expect(matcher.matches(subject(1, { k: '11.1.1.1:5' }))).toBe(true)
    expect(matcher.matches(subject(1))).toBe(false)
  })
})
