import { describe, expect, test } from 'vitest'
import { get, httpFilter, httpHarness, oneHost, routerFilter } from './support/http.ts'

const { proxy } = httpHarness()
const RBAC = 'envoy.extensions.filters.http.rbac.v3.RBAC'
const NETWORK = 'envoy.extensions.matching.common_inputs.network.v3'
const ok = { direct_response: { status: 200, body: { inline_string: 'ok' } } }

const extension = (type: string, config: object = {}) => ({
  name: type,
  typed_config: { '@type': `type.googleapis.com/${type}`, ...config },
})
const header = (name: string) => extension('envoy.type.matcher.v3.HttpRequestHeaderMatchInput', { header_name: name })
const input = (name: string, config = {}) => extension(`${NETWORK}.${name}`, config)
const does = (action: string, name: string = action.toLowerCase()) => ({
  action: extension('envoy.config.rbac.v3.Action', { name, action }),
})
const is = (from: object, value_match: object) => ({ single_predicate: { input: from, value_match } })
const list = (...matchers: [predicate: object, on_match: object][]) => ({
  matcher_list: { matchers: matchers.map(([predicate, on_match]) => ({ predicate, on_match })) },
})
const tree = (from: object, kind: object, on_no_match?: object) => ({
  matcher_tree: { input: from, ...kind },
  ...(on_no_match && { on_no_match }),
})

const guarded = (...configs: object[]) =>
  proxy({
    route_config: oneHost([{ match: { prefix: '/' }, ...ok }]),
    http_filters: [...configs.map((config) => httpFilter('rbac', RBAC, config)), routerFilter()],
  })

/** The statuses of requests for these paths, with headers. */
async function statuses(config: object, ...requests: [path: string, headers?: Record<string, string>][]) {
  const p = await guarded(config)
  const out: number[] = []
  for (const [path, headers] of requests) out.push((await get(p.http, path, headers ?? {})).status)
  return out
}

describe('RBAC by a matcher tree', () => {
  test('the first of a list that holds decides; what comes to no action is denied', async () => {
    const matcher = {
      ...list(
        [is(header('x-a'), { exact: '1' }), does('DENY', 'one')],
        [
          { or_matcher: { predicate: [is(header(':path'), { prefix: '/p' }), is(header('x-b'), { exact: 'b' })] } },
          does('ALLOW'),
        ],
      ),
    }
    const p = await guarded({ matcher, track_per_rule_stats: true })
    expect((await get(p.http, '/p')).status).toBe(200)
    expect((await get(p.http, '/q', { 'x-b': 'b' })).status).toBe(200)
    expect((await get(p.http, '/p', { 'x-a': '1' })).status).toBe(403)
    expect((await get(p.http, '/q')).status).toBe(403)
    expect(p.counter('http.h.rbac.policy.one.denied')).toBe(1)
    expect(p.counter('http.h.rbac.denied')).toBe(2)
  })

  test('a nested tree without an answer goes on; and, not', async () => {
    const both = {
      and_matcher: {
        predicate: [is(header('x-a'), { exact: '1' }), { not_matcher: is(header('x-b'), { exact: '2' }) }],
      },
    }
    const matcher = {
      ...list(
        [is(header(':method'), { exact: 'GET' }), { matcher: list([both, does('ALLOW')]) }],
        [is(header(':path'), { exact: '/' }), does('ALLOW', 'root')],
      ),
    }
    expect(
      await statuses({ matcher }, ['/', {}], ['/x', { 'x-a': '1' }], ['/x', { 'x-a': '1', 'x-b': '2' }], ['/x']),
    ).toEqual([200, 200, 403, 403])
  })

  test('maps by the whole value and by the longest prefix', async () => {
    const exact = tree(header(':path'), { exact_match_map: { map: { '/a': does('ALLOW') } } })
    expect(await statuses({ matcher: exact }, ['/a'], ['/ab'])).toEqual([200, 403])
    const map = { '/': does('ALLOW'), '/a': does('DENY'), '/ab': does('ALLOW') }
    const prefixes = tree(header(':path'), { prefix_match_map: { map } })
    expect(await statuses({ matcher: prefixes }, ['/x'], ['/a'], ['/abc'])).toEqual([200, 403, 200])
  })

  test('blocks of addresses by the longest prefix, and names of hosts by the closest', async () => {
    const range = (address_prefix: string, prefix_len: number, on_match: object) => ({
      ranges: [{ address_prefix, prefix_len }],
      on_match,
    })
    const ip = extension('xds.type.matcher.v3.IPMatcher', {
      range_matchers: [range('0.0.0.0', 0, does('DENY')), range('127.0.0.0', 8, does('ALLOW'))],
    })
    expect(await statuses({ matcher: tree(input('SourceIPInput'), { custom_match: ip }) }, ['/'])).toEqual([200])
    const domains = extension('xds.type.matcher.v3.ServerNameMatcher', {
      domain_matchers: [
        { domains: ['a.b.c'], on_match: does('DENY') },
        { domains: ['*.b.c'], on_match: does('ALLOW') },
        { domains: ['*.c'], on_match: does('DENY') },
      ],
    })
    expect(
      await statuses(
        { matcher: tree(header('x-d'), { custom_match: domains }, does('ALLOW')) },
        ['/', { 'x-d': 'a.b.c' }],
        ['/', { 'x-d': 'x.y.b.c' }],
        ['/', { 'x-d': 'z.c' }],
        ['/', { 'x-d': 'other' }],
      ),
    ).toEqual([403, 200, 403, 200])
  })

  test('a fact of TLS on a plaintext connection is no fact: denied, even by what would match nothing', async () => {
    const uri = extension('envoy.extensions.matching.common_inputs.ssl.v3.UriSanInput')
    const matcher = { ...list([is(uri, { prefix: 'spiffe://' }), does('ALLOW')]), on_no_match: does('ALLOW') }
    expect(await statuses({ matcher }, ['/'])).toEqual([403])
  })

  test('values of metadata, and CEL', async () => {
    const denied = { rules: { action: 'DENY', policies: {} } }
    const metadata = input('DynamicMetadataInput', {
      filter: 'envoy.filters.http.rbac',
      path: [{ key: 'enforced_engine_result' }],
    })
    const custom_match = extension('envoy.extensions.matching.input_matchers.metadata.v3.Metadata', {
      value: { string_match: { exact: 'allowed' } },
    })
    const p = await guarded(denied, {
      matcher: list([{ single_predicate: { input: metadata, custom_match } }, does('ALLOW')]),
    })
    expect((await get(p.http, '/')).status).toBe(200)
    const cel = {
      single_predicate: {
        input: extension('xds.type.matcher.v3.HttpAttributesCelMatchInput'),
        custom_match: extension('xds.type.matcher.v3.CelMatcher', {
          expr_match: { cel_expr_parsed: { expr: equals(select('request', 'path'), text('/cel')) } },
        }),
      },
    }
    expect(await statuses({ matcher: list([cel, does('ALLOW')]) }, ['/cel'], ['/'])).toEqual([200, 403])
  })

  test('a shadow tree decides nothing; one leaf for the log makes all tell the log', async () => {
    const shadow = { shadow_matcher: { on_no_match: does('DENY', 'all') }, shadow_rules_stat_prefix: 's' }
    const p = await guarded(shadow, {
      matcher: list(
        [is(header('x-a'), { exact: '1' }), does('LOG')],
        [is(header('x-a'), { exact: '2' }), does('ALLOW')],
      ),
    })
    expect((await get(p.http, '/', { 'x-a': '1' })).status).toBe(200)
    expect((await get(p.http, '/')).status).toBe(403)
    expect(p.counter('http.h.rbac.s.shadow_denied')).toBe(2)
  })

  test.each([
    [
      'an input of answers',
      list([
        is(extension('envoy.type.matcher.v3.HttpResponseHeaderMatchInput', { header_name: 'a' }), { exact: '1' }),
        does('ALLOW'),
      ]),
      "RBAC HTTP filter cannot match on 'type.googleapis.com/envoy.type.matcher.v3.HttpResponseHeaderMatchInput'",
    ],
    [
      'keep_matching',
      { on_no_match: { ...does('ALLOW'), keep_matching: true } },
      'keep_matching is not supported in this context',
    ],
    [
      'the same domain twice',
      tree(header('x'), {
        custom_match: extension('xds.type.matcher.v3.ServerNameMatcher', {
          domain_matchers: [{ domains: ['a', 'a'], on_match: does('ALLOW') }],
        }),
      }),
      'Duplicate domain in ServerNameMatcher: a',
    ],
  ])('refuses %s', async (_what, matcher, words) => {
    await expect(guarded({ matcher })).rejects.toThrow(words)
  })
})

const sanIs = is(extension('envoy.extensions.matching.common_inputs.ssl.v3.UriSanInput'), { exact: 'x' })

test.each([
  ['not', { not_matcher: sanIs }],
  ['or', { or_matcher: { predicate: [sanIs, is(header('x-a'), { exact: '1' })] } }],
  ['and', { and_matcher: { predicate: [sanIs, is(header(':path'), { prefix: '/' })] } }],
])('over plaintext, what a certificate would have to tell permits nothing: %s', async (_what, predicate) => {
  const matcher = { ...list([predicate, does('ALLOW')]), on_no_match: does('ALLOW') }
  expect(await statuses({ matcher }, ['/'])).toEqual([403])
})

const text = (string_value: string) => ({ const_expr: { string_value } })
const select = (of: string, field: string) => ({ select_expr: { operand: { ident_expr: { name: of } }, field } })
const call = (name: string, ...args: object[]) => ({ call_expr: { function: name, args } })
const equals = (a: object, b: object) => call('_==_', a, b)

describe('RBAC with a condition in CEL', () => {
  const policy = (condition: object, more = {}) => ({
    rules: { policies: { p: { permissions: [{ any: true }], principals: [{ any: true }], condition, ...more } } },
  })
  const headers = { select_expr: { operand: { ident_expr: { name: 'request' } }, field: 'headers' } }

  test('holds where the expression is true; what has no value is false', async () => {
    expect(await statuses(policy(equals(select('request', 'url_path'), text('/a'))), ['/a?b'], ['/b'])).toEqual([
      200, 403,
    ])
    const nothing = equals(call('_[_]', headers, text('x-none')), text('1'))
    expect(await statuses(policy(nothing), ['/'])).toEqual([403])
    expect(await statuses(policy(call('!_', nothing)), ['/'])).toEqual([403])
    expect(await statuses(policy(call('_in_', text('x-a'), headers)), ['/', { 'x-a': '' }], ['/'])).toEqual([200, 403])
    expect(await statuses(policy({ const_expr: { int64_value: 1 } }), ['/'])).toEqual([403])
  })

  test('strings are joined only where that is switched on', async () => {
    const joined = equals(call('_+_', text('a'), text('b')), text('ab'))
    expect(await statuses(policy(joined), ['/'])).toEqual([403])
    expect(await statuses(policy(joined, { cel_config: { enable_string_concat: true } }), ['/'])).toEqual([200])
  })

  test.each([
    ['no expression', {}, 'Invalid empty expression'],
    ['an unknown function', call('foo'), 'No overload found in reference resolve step for foo'],
    ['a conversion to a string', call('string', text('a')), 'No overload found in reference resolve step for string'],
    ['a comprehension', { comprehension_expr: { iter_var: 'x' } }, 'Comprehension support is disabled'],
    [
      'a bad regular expression',
      { call_expr: { target: text('a'), function: 'matches', args: [text('(')] } },
      'invalid regular expression',
    ],
  ])('refuses %s', async (_what, condition, words) => {
    await expect(guarded(policy(condition))).rejects.toThrow(
      `policies[p].condition: failed to create an expression: ${words}`,
    )
  })
})
