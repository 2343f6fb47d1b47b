import crypto from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { get, httpFilter, httpHarness, oneHost, routerFilter } from './support/http.ts'
import { b64, bearer, FAR, forAll, jwksOf, jwtFilter, KEYS, provider, rawToken, token } from './support/jwt-authn.ts'

const { upstream, proxy } = httpHarness()
const A = { provider_name: 'a' }
const PER_ROUTE = 'type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.PerRouteConfig'

/** A proxy with the filter in front of an upstream `a`. */
async function guarded(config: object, routes: object[] = [], more: object[] = []) {
  const a = await upstream('a')
  const all = [...routes, { match: { prefix: '/' }, route: { cluster: 'a' } }]
  const p = await proxy({ route_config: oneHost(all), http_filters: [jwtFilter(config), ...more, routerFilter()] }, [a])
  const counter = (name: string): number => p.counter(`http.h.jwt_authn.${name}`)
  return { http: p.http, counter, upstream: a }
}

/** A proxy with one provider that every request needs a token of. */
const one = (more: object = {}, config: object = {}) =>
  guarded({ providers: { a: provider(more) }, rules: [forAll(A)], ...config })

describe('a token', () => {
  test('that is good lets the request pass; without one it gets 401 and a challenge', async () => {
    const p = await one()
    expect((await get(p.http, '/', bearer(token()))).status).toBe(200)
    const missing = await get(p.http, '/x?y=1')
    expect([missing.status, missing.body]).toEqual([401, 'Jwt is missing'])
    expect(missing.headers.get('www-authenticate')).toBe('Bearer realm="http://svc.test/x?y=1"')
    const bad = await get(p.http, '/', bearer('bad'))
    expect(bad.body).toBe('Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections')
    expect(bad.headers.get('www-authenticate')).toBe('Bearer realm="http://svc.test/", error="invalid_token"')
    expect([p.counter('allowed'), p.counter('denied')]).toEqual([1, 2])
    expect(p.upstream.received).toHaveLength(1)
  })

  test.each([
    ['of another issuer', token({ iss: 'x' }), 401, 'Jwt issuer is not configured'],
    ['of no issuer', token({ iss: undefined }), 401, 'Jwt issuer is not configured'],
    ['signed by somebody else', token({}, { key: KEYS.other }), 401, 'Jwt verification fails'],
    ['that has expired', token({ exp: 1 }), 401, 'Jwt is expired'],
    ['that is not valid yet', token({ nbf: FAR }), 401, 'Jwt not yet valid'],
    ['for others', token({ aud: ['y'] }), 403, 'Audiences in Jwt are not allowed'],
    ['for us, with a scheme and a slash', token({ aud: 'https://x/' }), 200, 'a'],
    ['for us among others', token({ aud: ['y', 'x'] }), 200, 'a'],
  ])('%s', async (_what, text, status, body) => {
    const p = await one(status === 401 ? {} : { audiences: ['x'] })
    const answer = await get(p.http, '/', bearer(text))
    expect([answer.status, answer.body]).toEqual([status, body])
  })

  test('may be up to clock_skew_seconds off, 60 by default', async () => {
    const now = Math.floor(Date.now() / 1000)
    const p = await one()
    expect((await get(p.http, '/', bearer(token({ exp: now - 50 })))).status).toBe(200)
    expect((await get(p.http, '/', bearer(token({ exp: now - 65 })))).status).toBe(401)
    const strict = await one({ clock_skew_seconds: 5 })
    expect((await get(strict.http, '/', bearer(token({ exp: now - 50 })))).status).toBe(401)
    expect((await get(strict.http, '/', bearer(token({ nbf: now + 50 })))).status).toBe(401)
  })

  test.each([
    ['require_expiration', { require_expiration: true }, token(), token({ exp: undefined })],
    ['max_lifetime', { max_lifetime: '4000000000s' }, token(), token({ exp: 8e9 })],
    ['max_lifetime wants an end', { max_lifetime: '4000000000s' }, token(), token({ exp: undefined })],
    ['subjects', { subjects: { prefix: 'm' } }, token(), token({ sub: 'you' })],
  ])('%s', async (_what, more, good, bad) => {
    const p = await one(more)
    expect((await get(p.http, '/', bearer(good))).status).toBe(200)
    expect((await get(p.http, '/', bearer(bad))).body).toBe('Jwt verification fails')
  })

  test('a reply for a gRPC client is one', async () => {
    const p = await one()
    const answer = await get(p.http, '/s/m', { 'content-type': 'application/grpc' }, 'POST', 'x')
    expect(answer.status).toBe(200)
    expect([answer.headers.get('grpc-status'), answer.headers.get('grpc-message')]).toEqual(['16', 'Jwt is missing'])
  })
})

describe('where tokens are', () => {
  test('by default in authorization or the parameter access_token, and are taken out', async () => {
    const p = await one({ forward: false })
    await get(p.http, '/', bearer(token()))
    expect(p.upstream.last.headers.has('authorization')).toBe(false)
    await get(p.http, `/x?z=%41&access_token=${token()}&b&a=1`)
    expect(p.upstream.last.path).toBe('/x?a=1&b=&z=A')
  })

  test('a query that holds another line once it is decoded goes nowhere', async () => {
    const p = await one({ forward: false })
    const answer = await get(p.http, `/?a=%0d%0ax-evil:1&access_token=${token()}`)
    expect([answer.status, answer.body]).toEqual([503, 'invalid header value for: :path'])
    expect((await get(p.http, '/?a=%0d%0ax-evil:1', bearer(token()))).status).toBe(200)
    expect(p.upstream.received).toHaveLength(1)
  })

  test('all of them must be good', async () => {
    const p = await one()
    expect((await get(p.http, `/?access_token=${token()}`, bearer('bad'))).status).toBe(401)
    expect((await get(p.http, '/?access_token=bad', bearer(token()))).status).toBe(401)
    expect((await get(p.http, `/?access_token=${token()}`, bearer(token()))).status).toBe(200)
  })

  test('headers, parameters and cookies by name; the defaults do not count then', async () => {
    const places = { from_headers: [{ name: 'X-T', value_prefix: 'T:' }], from_params: ['t'], from_cookies: ['c'] }
    const p = await one({ ...places, forward: false })
    expect((await get(p.http, '/', bearer(token()))).body).toBe('Jwt is missing')
    await get(p.http, '/', { 'x-t': `some T: ${token()}` })
    expect(p.upstream.last.headers.has('x-t')).toBe(false)
    await get(p.http, `/?t=${token()}`)
    expect(p.upstream.last.path).toBe('/')
    await get(p.http, '/', { cookie: `a=b; c="${token()}"` })
    // As Envoy has it, a cookie stays.
    expect(p.upstream.last.headers.get('cookie')).toContain('c=')
    expect(p.upstream.received).toHaveLength(3)
  })
})

describe('what becomes of a good token', () => {
  const claims = { n: 1, f: 1.5, b: true, l: ['x', 2], o: { k: '<' }, nest: { deep: 'd' }, 'a.b': 'dot', e: '' }

  test('its payload and claims go to headers, which clients cannot set', async () => {
    const names = ['sub', 'n', 'f', 'b', 'l', 'o', 'nest.deep', 'a.b', 'e', 'none', 'toString', '__proto__']
    const toHeaders = names.map((claim, i) => ({ claim_name: claim, header_name: `x-${i}` }))
    const p = await one({
      forward_payload_header: 'X-Payload',
      pad_forward_payload_header: true,
      claim_to_headers: [...toHeaders, { claim_path: [{ key: 'a.b' }], header_name: 'x-path' }],
    })
    await get(p.http, '/', bearer(token(claims), { 'x-0': 'spoof', 'x-9': 'spoof', 'x-payload': 'spoof' }))
    const { headers } = p.upstream.last
    const seen = names.map((_, i) => headers.get(`x-${i}`))
    expect(seen.slice(0, 4)).toEqual(['me', '1', '1.500000', 'true'])
    expect(seen.slice(4, 6).map((v) => Buffer.from(v!, 'base64').toString())).toEqual(['["x",2]', '{"k":"\\u003c"}'])
    expect(seen.slice(6)).toEqual(['d', undefined, undefined, undefined, undefined, undefined])
    expect(headers.get('x-path')).toBe('dot')
    const payload = headers.get('X-Payload') ?? headers.get('x-payload') ?? ''
    expect(payload.length % 4).toBe(0)
    expect(JSON.parse(Buffer.from(payload, 'base64url').toString())).toMatchObject(claims)
  })

  test('its claims decide in RBAC, words of a scope as a list', async () => {
    const principal = {
      metadata: {
        filter: 'envoy.filters.http.jwt_authn',
        path: [{ key: 'p' }, { key: 'scope' }],
        value: { list_match: { one_of: { string_match: { exact: 'write' } } } },
      },
    }
    const policies = { p: { permissions: [{ any: true }], principals: [principal] } }
    const rbac = httpFilter('rbac', 'envoy.extensions.filters.http.rbac.v3.RBAC', {
      rules: { action: 'ALLOW', policies },
    })
    const normalize = { normalize_payload_in_metadata: { space_delimited_claims: ['scope'] } }
    const p = await guarded({ providers: { a: provider(normalize) }, rules: [forAll(A)] }, [], [rbac])
    expect((await get(p.http, '/', bearer(token({ scope: 'read  write' })))).status).toBe(200)
    expect((await get(p.http, '/', bearer(token({ scope: 'read' })))).status).toBe(403)
  })

  test('its claims choose the route with clear_route_cache', async () => {
    const header = { name: 'x-sub', string_match: { exact: 'me' } }
    const mine = {
      match: { prefix: '/', headers: [header] },
      direct_response: { status: 200, body: { inline_string: 'mine' } },
    }
    const toHeader = { claim_to_headers: [{ claim_name: 'sub', header_name: 'x-sub' }] }
    for (const clears of [true, false]) {
      const providers = { a: provider({ ...toHeader, clear_route_cache: clears }) }
      const perRoute = httpFilter('cors', 'envoy.extensions.filters.http.cors.v3.Cors')
      const a = await upstream('a')
      const routes = oneHost([mine, { match: { prefix: '/' }, route: { cluster: 'a' } }])
      const filters = [perRoute, jwtFilter({ providers, rules: [forAll(A)] }), routerFilter()]
      const p = await proxy({ route_config: routes, http_filters: filters }, [a])
      expect((await get(p.http, '/', bearer(token()))).body).toBe(clears ? 'mine' : 'a')
    }
  })

  test('a claim that no header can hold is not sent on', async () => {
    const p = await one({ claim_to_headers: [{ claim_name: 'x', header_name: 'x-x' }] })
    const answer = await get(p.http, '/', bearer(token({ x: 'a\r\nb: c' })))
    expect([answer.status, answer.body]).toEqual([503, 'invalid header value for: x-x'])
    expect(p.upstream.received).toHaveLength(0)
  })
})

describe('keys and algorithms', () => {
  const kinds = [
    ['RS256', KEYS.rsa],
    ['RS384', KEYS.rsa],
    ['RS512', KEYS.rsa],
    ['PS256', KEYS.rsa],
    ['PS384', KEYS.rsa],
    ['PS512', KEYS.rsa],
    ['ES256', KEYS.p256],
    ['ES384', KEYS.p384],
    ['ES512', KEYS.p521],
    ['EdDSA', KEYS.ed],
    ['HS256', KEYS.secret],
    ['HS384', KEYS.secret],
    ['HS512', KEYS.secret],
  ] as const

  test.each(kinds)('%s', async (alg, key) => {
    const p = await one({ local_jwks: { inline_string: jwksOf({ ...key.jwk, kid: 'k', alg }) } })
    expect((await get(p.http, '/', bearer(token({}, { alg, key })))).status).toBe(200)
    expect((await get(p.http, '/', bearer(token({}, { alg, key, header: { kid: 'k' } })))).status).toBe(200)
    const elsewhere = await get(p.http, '/', bearer(token({}, { alg, key, header: { kid: 'other' } })))
    expect(elsewhere.body).toBe("Jwks doesn't have key to match kid or alg from Jwt")
    const [header, , signature] = token({}, { alg, key }).split('.')
    const forged = `${header}.${b64({ iss: 'iss1', sub: 'root', exp: FAR })}.${signature}`
    expect((await get(p.http, '/', bearer(forged))).body).toBe('Jwt verification fails')
  })

  test('no algorithm, or the public key as a secret, is no signature', async () => {
    const p = await one()
    const claims = b64({ iss: 'iss1', exp: FAR })
    expect((await get(p.http, '/', bearer(`${b64({ alg: 'none' })}.${claims}.x`))).body).toContain('not supported')
    const asSecret = { jwk: {}, sign: KEYS.secret.sign }
    const confused = await get(p.http, '/', bearer(token({}, { alg: 'HS256', key: asSecret })))
    expect(confused.body).toBe('Jwt verification fails')
  })

  test('an RSA key vouches for the algorithms of RSA alone, and with a salt as long as the hash', async () => {
    const { privateKey, publicKey } = crypto.generateKeyPairSync('rsa', { modulusLength: 2048 })
    const jwk = publicKey.export({ format: 'jwk' })
    const p = await one({ local_jwks: { inline_string: jwksOf(jwk) } })
    const salted = (saltLength: number) => ({
      jwk,
      sign: (_alg: string, data: string) =>
        crypto.sign('sha256', Buffer.from(data), {
          key: privateKey,
          padding: crypto.constants.RSA_PKCS1_PSS_PADDING,
          saltLength,
        }),
    })
    const answer = async (alg: string, salt: number) =>
      (await get(p.http, '/', bearer(token({}, { alg, key: salted(salt) })))).body
    expect(await answer('PS256', 32)).toBe('a')
    expect(await answer('PS256', 20)).toBe('Jwt verification fails')
    expect(await answer('ES256', 32)).toBe('Jwt verification fails')
  })

  test('a signature of another length than those of Ed25519 is told apart', async () => {
    const p = await one({ local_jwks: { inline_string: jwksOf(KEYS.ed) } })
    const text = `${token({}, { alg: 'EdDSA', key: KEYS.ed })}AAAA`
    expect((await get(p.http, '/', bearer(text))).body).toBe('Jwt ED25519 signature is wrong length')
  })

  test.each([
    ['no JSON', '{', 'Jwks is an invalid JSON'],
    ['no keys', '{}', 'Jwks does not have [keys] field'],
    ['keys that are none', '{"keys":[{"kty":"x"}]}', '[kty] is not supported in [keys]'],
    ['an odd exponent', jwksOf({ ...KEYS.rsa.jwk, e: 'BQ' }), 'Jwks RSA [n] or [e] field is missing or has'],
    [
      'a point off the curve',
      jwksOf({ ...KEYS.p256.jwk, x: 'AAAA' }),
      'Jwks EC [x] and [y] fields have a parse error.',
    ],
  ])('a config with %s is refused', async (_what, text, why) => {
    await expect(one({ local_jwks: { inline_string: text } })).rejects.toThrow(why)
  })
})

describe('requirements', () => {
  const two = {
    a: provider(),
    b: provider({
      issuer: 'iss2',
      local_jwks: { inline_string: jwksOf(KEYS.other) },
      from_headers: [{ name: 'x-b' }],
    }),
  }
  const B = { provider_name: 'b' }
  const anyOf = (...requirements: object[]) => ({ requires_any: { requirements } })
  const allOf = (...requirements: object[]) => ({ requires_all: { requirements } })
  const optional = { allow_missing: {} }
  const good = { a: bearer(token()), b: { 'x-b': token({ iss: 'iss2' }, { key: KEYS.other }) } }
  const bad = { a: bearer(token({ exp: 1 })), b: { 'x-b': 'bad' } }

  test.each([
    ['any', anyOf(A, B), { none: 401, a: 200, b: 200, both: 200, badA: 401, badAgoodB: 200 }],
    ['all', allOf(A, B), { none: 401, a: 401, b: 401, both: 200, badA: 401, badAgoodB: 401 }],
    ['any or none', anyOf(A, optional), { none: 200, a: 200, b: 200, both: 200, badA: 401, badAgoodB: 401 }],
    ['any or whatever', anyOf(A, { allow_missing_or_failed: {} }), { none: 200, badA: 200, a: 200 }],
    [
      'as Istio asks for two',
      anyOf(A, B, allOf(anyOf(A, optional), anyOf(B, optional))),
      { none: 200, a: 200, b: 200, both: 200, badA: 401, badAgoodB: 200 },
    ],
    ['nothing', {}, { none: 200, badA: 200 }],
    ['other audiences', { provider_and_audiences: { provider_name: 'a', audiences: ['q'] } }, { a: 403 }],
    ['extraction only', { extract_only_without_validation: {} }, { none: 200, a: 200, badA: 200 }],
  ])('%s', async (_what, requirement, expected: Record<string, number>) => {
    const p = await guarded({ providers: two, rules: [forAll(requirement)] })
    const requests: Record<string, Record<string, string>> = {
      none: {},
      a: good.a,
      b: good.b,
      both: { ...good.a, ...good.b },
      badA: bad.a,
      badAgoodB: { ...bad.a, ...good.b },
    }
    for (const [name, status] of Object.entries(expected)) {
      expect([name, (await get(p.http, '/', requests[name]!)).status]).toEqual([name, status])
    }
  })

  test('of any, the failure that tells most is told', async () => {
    const p = await guarded({ providers: two, rules: [forAll(anyOf(A, B))] })
    expect((await get(p.http, '/', bad.a)).body).toBe('Jwt is expired')
    expect((await get(p.http, '/', bearer(token({ iss: 'x' })))).body).toBe('Jwt issuer is not configured')
  })

  test('extraction only says which tokens were not verified', async () => {
    const only = { extract_only_without_validation: { verification_status_header: 'x-verified' } }
    const p = await guarded({ providers: { a: provider() }, rules: [forAll(only)] })
    await get(p.http, '/', bad.a)
    expect(p.upstream.last.headers.get('x-verified')).toBe('false')
    await get(p.http, '/', good.a)
    expect(p.upstream.last.headers.has('x-verified')).toBe(false)
  })

  test('the first rule that matches counts; no rule, no requirement', async () => {
    const p = await guarded({
      providers: two,
      requirement_map: { named: A },
      rules: [
        { match: { path: '/open' } },
        { match: { prefix: '/', query_parameters: [{ name: 'q', present_match: true }] }, requirement_name: 'named' },
        { match: { prefix: '/h', headers: [{ name: 'x-h', present_match: true }] }, requires: A },
      ],
    })
    const statuses = await Promise.all(
      ['/open?q', '/x?q', '/x', '/h'].map(async (path) => (await get(p.http, path)).status),
    )
    expect(statuses).toEqual([200, 401, 200, 200])
    expect((await get(p.http, '/h', { 'x-h': '1' })).status).toBe(401)
  })

  test('routes have requirements of their own, or none', async () => {
    const route = (prefix: string, config: object) => ({
      match: { prefix },
      route: { cluster: 'a' },
      typed_per_filter_config: { 'envoy.filters.http.jwt_authn': { '@type': PER_ROUTE, ...config } },
    })
    const config = { providers: two, rules: [forAll(A)], requirement_map: { b: B, a: A } }
    const p = await guarded(config, [
      route('/off', { disabled: true }),
      route('/b', { requirement_name: 'b' }),
      route('/wrong', { requirement_name: 'z' }),
    ])
    expect((await get(p.http, '/off')).status).toBe(200)
    expect((await get(p.http, '/b', good.b)).status).toBe(200)
    expect((await get(p.http, '/b', good.a)).status).toBe(401)
    const wrong = await get(p.http, '/wrong', good.a)
    expect([wrong.status, wrong.body]).toEqual([
      403,
      'Failed JWT authentication: Wrong requirement_name: z. It should be one of [a,b]',
    ])
  })

  test.each([
    ['a provider that there is not', { rules: [forAll({ provider_name: 'z' })] }, "provider ['z'] is not configured"],
    [
      'a requirement that there is not',
      { rules: [{ match: { prefix: '/' }, requirement_name: 'z' }], requirement_map: { n: A } },
      'Wrong requirement_name: z. It should be one of [n]',
    ],
  ])('%s is refused', async (_what, config, why) => {
    await expect(guarded({ providers: two, ...config })).rejects.toThrow(why)
  })
})

describe('the filter', () => {
  test('lets preflights pass, but not what they bring in headers of its own', async () => {
    const p = await one({ forward_payload_header: 'x-p' }, { bypass_cors_preflight: true })
    const preflight = { origin: 'http://x', 'access-control-request-method': 'GET', 'x-p': 'spoof' }
    expect((await get(p.http, '/', preflight, 'OPTIONS')).status).toBe(200)
    expect(p.upstream.last.headers.has('x-p')).toBe(false)
    expect((await get(p.http, '/', { origin: 'http://x' }, 'OPTIONS')).status).toBe(401)
    expect(p.counter('cors_preflight_bypassed')).toBe(1)
    const closed = await one()
    expect((await get(closed.http, '/', preflight, 'OPTIONS')).status).toBe(401)
  })

  test('says nothing with strip_failure_response, and counts under its own prefix', async () => {
    const p = await one({}, { strip_failure_response: true, stat_prefix: 'own' })
    const answer = await get(p.http, '/')
    expect([answer.status, answer.body, answer.headers.has('www-authenticate')]).toEqual([401, '', false])
    expect(p.counter('own.denied')).toBe(1)
  })

  test('remembers tokens with jwt_cache_config: they hit until they expire', async () => {
    const p = await one({ jwt_cache_config: { jwt_cache_size: 1 } })
    const [x, y] = [token({ n: 1 }), token({ n: 2 })]
    for (const text of [x, x, y, x, 'bad', 'bad']) await get(p.http, '/', bearer(text))
    expect([p.counter('jwt_cache_hit'), p.counter('jwt_cache_miss')]).toEqual([1, 5])
  })

  test('remembers no token that is longer than jwt_max_token_size, or a minute past its end', async () => {
    const long = await one({ jwt_cache_config: { jwt_max_token_size: 100 } })
    for (let i = 0; i < 2; i++) expect((await get(long.http, '/', bearer(token()))).status).toBe(200)
    expect([long.counter('jwt_cache_hit'), long.counter('jwt_cache_miss')]).toEqual([0, 2])
    const late = await one({ jwt_cache_config: {}, clock_skew_seconds: 3600 })
    const text = token({ exp: Math.floor(Date.now() / 1000) - 100 })
    for (let i = 0; i < 2; i++) expect((await get(late.http, '/', bearer(text))).status).toBe(200)
    expect([late.counter('jwt_cache_hit'), late.counter('jwt_cache_miss')]).toEqual([0, 2])
  })

  test('what it remembers of its own accord changes nothing', async () => {
    const p = await one({ audiences: ['x'] })
    const text = token({ aud: 'x' })
    for (let i = 0; i < 3; i++) expect((await get(p.http, '/', bearer(text))).status).toBe(200)
    expect([p.counter('jwt_cache_hit'), p.counter('jwt_cache_miss')]).toEqual([0, 3])
    expect((await get(p.http, '/', bearer(`${text.slice(0, -4)}AAAA`))).body).toBe('Jwt verification fails')
  })

  test('tells failures in metadata, which logs and filters see', async () => {
    const tell =
      'function envoy_on_request(h) local m = h:streamInfo():dynamicMetadata():get("envoy.filters.http.jwt_authn") h:headers():add("x-failed", m.f.code .. " " .. m.f.message) end'
    const lua = httpFilter('lua', 'envoy.extensions.filters.http.lua.v3.Lua', {
      default_source_code: { inline_string: tell },
    })
    const providers = { a: provider({ failed_status_in_metadata: 'f' }) }
    const p = await guarded({ providers, rules: [forAll({ allow_missing_or_failed: {} })] }, [], [lua])
    await get(p.http, '/', bearer(token({ exp: 1 })))
    expect(p.upstream.last.headers.get('x-failed')).toMatch(/^3(\.0)? Jwt is expired$/)
  })

  test.each([
    ['{"alg":"RS256"}', '{"iss":1}', 'Jwt payload [iss] field is not a string'],
    ['{"alg":"RS256"}', '{"iss":"iss1","exp":"1"}', 'Jwt payload [exp] field is not an integer'],
    ['{"alg":"RS256"}', '{"iss":"iss1","iss":"iss1"}', 'Jwt payload is an invalid JSON'],
    ['{"alg":"RS256","kid":1}', '{}', 'Jwt header [kid] field is not a string'],
    ['{"__proto__":{"alg":"RS256"}}', '{}', 'Jwt header [alg] field is required and must be a string'],
    ['{"alg":"RS256","crit":["x"]}', '{"iss":"iss1"}', undefined],
  ])('header %s, payload %s', async (header, payload, why) => {
    const p = await one()
    const answer = await get(p.http, '/', bearer(rawToken(header, payload)))
    expect(answer.body).toBe(why ?? 'a')
  })
})
