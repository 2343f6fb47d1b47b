import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { decodeBase64Url } from '../src/proxy/filters/jwt-authn/base64.ts'
import { claimAt, claimText, numberText } from '../src/proxy/filters/jwt-authn/claims.ts'
import { parseStruct } from '../src/proxy/filters/jwt-authn/json.ts'
import { parseJwks } from '../src/proxy/filters/jwt-authn/jwks.ts'
import { STATUS } from '../src/proxy/filters/jwt-authn/status.ts'
import { parseToken, timeStatus } from '../src/proxy/filters/jwt-authn/token.ts'
import { verifySignature } from '../src/proxy/filters/jwt-authn/verify.ts'
import { jsonNumber } from '../src/proxy/observe/format/bytes.ts'
import { makeAuthority } from './support/certificates.ts'
import { exchange, httpHarness, oneHost, routerFilter } from './support/http.ts'
import { b64, forAll, jwksOf, jwtFilter, KEYS, provider, rawToken, token } from './support/jwt-authn.ts'

const { proxy } = httpHarness()
const struct = (text: string) => parseStruct(Buffer.from(text, 'latin1'))

/** What a real Envoy 1.40 took and refused. */
describe('base64url', () => {
  test.each([
    ['YQ', 'a'],
    ['YQ==', 'a'],
    ['YQ..', 'a'],
    [' Y\tQ = =', 'a'],
    ['YR', 'a'],
    ['', ''],
    ['_-A', '\xff\xe0'],
    ['YQ=', undefined],
    ['YQ===', undefined],
    ['Y', undefined],
    ['YQ=Y', undefined],
    ['YWJj=', undefined],
    ['+/A', undefined],
    ['Y\xa0Q', undefined],
  ])('%j', (text, expected) => {
    expect(decodeBase64Url(text)?.toString('latin1')).toBe(expected)
  })

  test('of any bytes', () => {
    fc.assert(
      fc.property(fc.uint8Array(), (bytes) => {
        expect(decodeBase64Url(Buffer.from(bytes).toString('base64url'))).toEqual(Buffer.from(bytes))
      }),
    )
  })
})

describe('the JSON of tokens', () => {
  test.each([
    '{}',
    'null',
    "{'a':1}",
    '{a:1}',
    '{"a":1,}',
    '{"a":[1,2,]}',
    ' {"a" : 1 } ',
    '{"a":"\n\x01\\u00e9\\U00e9\\\'"}',
    `{"a":${'['.repeat(99)}${']'.repeat(99)}}`,
    '{"a":1e-400}',
  ])('%s is taken', (text) => {
    expect(struct(text)).toBeDefined()
  })

  test.each([
    '',
    '[]',
    '1',
    '{',
    '{"a":1}x',
    '{"a":1,"a":1}',
    '{"a":1,,}',
    '{"a":[,]}',
    '{"a":01}',
    '{"a":1.}',
    '{"a":.5}',
    '{"a":+1}',
    '{"a":NaN}',
    '{"a":1e999}',
    '{"a":tru}',
    '{"a":"\\ud800"}',
    '{"a":"\\udc00"}',
    '{"a":"\\x41"}',
    '{"a":"\xff"}',
    '{"a":"\xed\xa0\x80"}',
    '{null:1}',
    '{1:2}',
    '\xef\xbb\xbf{}',
    '{"a":1/**/}',
    `{"a":${'['.repeat(100)}${']'.repeat(100)}}`,
  ])('%s is refused', (text) => {
    expect(struct(text)).toBeUndefined()
  })

  test('is what JSON.parse reads, where that reads an object', () => {
    fc.assert(
      fc.property(fc.dictionary(fc.string(), fc.jsonValue({ maxDepth: 6 })), (value) => {
        const text = JSON.stringify(value)
        expect(JSON.stringify(parseStruct(Buffer.from(text)))).toBe(text)
      }),
    )
  })

  test('knows no inherited names', () => {
    const read = struct('{"__proto__":{"x":1},"toString":2}')!
    expect(Object.keys(read)).toEqual(['__proto__', 'toString'])
    expect([read.constructor, ({} as Record<string, unknown>).x]).toEqual([undefined, undefined])
  })
})

test.each([
  [1, '1'],
  [0, '0'],
  [2 ** 64 - 2048, '18446744073709549568'],
  [1e21, '1000000000000000000000.000000'],
  [-3, '-3.000000'],
  [1.5, '1.500000'],
  [0.0078125, '0.007812'],
  [-0.0078125, '-0.007812'],
  [0.0234375, '0.023438'],
  [1e-9, '0.000000'],
  [1 / 3, '0.333333'],
])('the number %d in a header is %s', (value, text) => {
  expect(numberText(value)).toBe(text)
})

test.each([
  [
    [0.1, 1 / 3, 1e15, 1e-7, 2 ** 53, 5e-324],
    '[0.1,0.33333333333333331,1e+15,1e-07,9007199254740992,4.94065645841247e-324]',
  ],
  [{ a: 'é<\u2028"\\/\n\u007f\u{e0001}' }, '{"a":"é\\u003c\\u2028\\"\\\\/\\n\\u007f\\udb40\\udc01"}'],
])('a claim that is no text goes to a header as protobuf writes it: %j', (value, text) => {
  expect(Buffer.from(claimText(value as never), 'base64').toString()).toBe(text)
})

test.each([
  [1700000000, '1.7e+09'],
  [4102444800, '4102444800'],
  [100000, '1e+05'],
  [1e-7, '1e-07'],
  [0.0001, '1e-04'],
  [0.00012345678, '0.00012345678'],
  [1 / 3, '0.3333333333333333'],
  [2 ** 64, '18446744073709551616'],
  [1e22, '1e+22'],
  [-1.5, '-1.5'],
])('a log shows the number %d of a claim as %s', (value, text) => {
  expect(jsonNumber(value)).toBe(text)
})

describe('whatever a client sends', () => {
  const jwks = parseJwks(Buffer.from(jwksOf(...Object.values(KEYS))))
  const [header, payload, signature] = token().split('.') as [string, string, string]
  const part = fc.oneof(
    fc.constantFrom(header, payload, signature, '', '.', '..', '=', ' '),
    fc.string(),
    fc.json().map(b64),
    fc.string({ unit: 'binary-ascii' }).map(b64),
  )

  test('nothing throws, and nothing but the token itself is verified', () => {
    if (!('keys' in jwks)) throw new Error(jwks.text)
    fc.assert(
      fc.property(fc.array(part, { maxLength: 6 }), fc.constantFrom('.', '', '..'), (parts, between) => {
        const text = parts.join(between)
        const parsed = parseToken(text)
        if ('code' in parsed || verifySignature(parsed, jwks).code !== 0) return
        expect([parsed.signed, parsed.signature.toString('base64url')]).toEqual([`${header}.${payload}`, signature])
      }),
      { numRuns: 500 },
    )
  })

  test('headers and payloads of any JSON do not throw', () => {
    const claims = fc.record(
      Object.fromEntries(
        ['iss', 'sub', 'aud', 'exp', 'nbf', 'iat', 'jti', 'kid'].map((name) => [name, fc.jsonValue()]),
      ),
      { requiredKeys: [] },
    )
    fc.assert(
      fc.property(claims, claims, (some, others) => {
        const text = rawToken(JSON.stringify({ alg: 'RS256', ...some }), JSON.stringify(others))
        expect(() => parseToken(text)).not.toThrow()
      }),
      { numRuns: 100 },
    )
  })

  test.each([
    ['dots', '.'.repeat(60_000)],
    ['blanks', `${' '.repeat(60_000)}!`],
    ['padding', `${'='.repeat(60_000)}!`],
    ['brackets', `a.${b64('{"a":'.repeat(10_000))}.c`],
  ])('60 KB of %s take no time', (_what, text) => {
    const start = performance.now()
    expect(parseToken(text)).toHaveProperty('code')
    expect(parseToken(`${header}.${text}.${signature}`)).toHaveProperty('code')
    decodeBase64Url(text)
    expect(performance.now() - start).toBeLessThan(200)
  })

  test('the proxy answers, and goes on', async () => {
    const filter = jwtFilter({
      providers: {
        a: provider({ from_headers: [{ name: 'x-t', value_prefix: 'T' }], from_params: ['t'], from_cookies: ['c'] }),
      },
      rules: [forAll({ provider_name: 'a' })],
    })
    const ok = { match: { prefix: '/' }, direct_response: { status: 200 } }
    const p = await proxy({ route_config: oneHost([ok]), http_filters: [filter, routerFilter()] })
    const line = fc
      .array(part, { maxLength: 4 })
      .map((parts) => parts.join('.').replace(/[\x00-\x1f\x7f]|[^\x00-\xff]/g, ''))
    await fc.assert(
      fc.asyncProperty(line, line, line, async (a, b, c) => {
        const path = `/?t=${encodeURIComponent(b)}`
        const [answer] = await exchange(
          p.http,
          `GET ${path} HTTP/1.1\r\nhost: h\r\nx-t: T${a}\r\ncookie: c=${c}\r\nconnection: close\r\n\r\n`,
        )
        expect([200, 401]).toContain(answer?.status)
      }),
      { numRuns: 60 },
    )
    const [good] = await exchange(p.http, `GET / HTTP/1.1\r\nhost: h\r\nx-t: T ${token()}\r\n\r\n`)
    expect(good?.status).toBe(200)
  })

  test('parameters by the thousand take no time', async () => {
    const filter = jwtFilter({ providers: { a: provider() }, rules: [forAll({ provider_name: 'a' })] })
    const ok = { match: { prefix: '/' }, direct_response: { status: 200 } }
    const p = await proxy({ route_config: oneHost([ok]), http_filters: [filter, routerFilter()] })
    const start = performance.now()
    const [answer] = await exchange(p.http, `GET /?${'a&'.repeat(25_000)} HTTP/1.1\r\nhost: h\r\n\r\n`)
    expect(answer?.status).toBe(401)
    expect(performance.now() - start).toBeLessThan(1000)
  })
})

describe('the times of a token', () => {
  const judged = (claims: object, now: number): string => {
    const parsed = parseToken(token(claims))
    if ('code' in parsed) throw new Error(parsed.text)
    return timeStatus(parsed, now, 60).text
  }

  test('hold to the second: good up to exp and the skew, and from nbf less the skew on', () => {
    expect(judged({ exp: 1000 }, 1060)).toBe('OK')
    expect(judged({ exp: 1000 }, 1061)).toBe('Jwt is expired')
    expect(judged({ nbf: 1000 }, 940)).toBe('OK')
    expect(judged({ nbf: 1000 }, 939)).toBe('Jwt not yet valid')
  })
})

describe('a key that is too weak to vouch for anything', () => {
  const read = (document: object) => parseJwks(Buffer.from(JSON.stringify(document)))
  const modulus = (bytes: number, last = 0xff) =>
    Buffer.alloc(bytes, 0xff)
      .fill(last, bytes - 1)
      .toString('base64url')
  const rsa = (n: string) => read({ keys: [{ kty: 'RSA', n, e: 'AQAB' }] })

  test('an RSA modulus of less than 512 bits, of more than 16384, or an even one', () => {
    expect(rsa(modulus(64))).toMatchObject({ keys: [{ kind: 'RSA' }] })
    expect(rsa(modulus(63))).toBe(STATUS.rsaParseError)
    expect(rsa(modulus(2048))).toMatchObject({ keys: [{ kind: 'RSA' }] })
    expect(rsa(modulus(2049))).toBe(STATUS.rsaParseError)
    expect(rsa(modulus(256, 0xfe))).toBe(STATUS.rsaParseError)
  })

  test('an empty secret', () => {
    expect(read({ keys: [{ kty: 'oct', k: '' }] })).toBe(STATUS.octBadBase64)
    expect(read({ keys: [{ kty: 'oct', k: 'YQ' }] })).toMatchObject({ keys: [{ kind: 'oct' }] })
  })

  test('the certificate of a key that is none of RSA', async () => {
    const { cert } = await makeAuthority('CN=of P-256')
    expect(read({ one: `${cert.trim()}\n` })).toBe(STATUS.x509GetKeyError)
  })

  test('another curve than Ed25519', () => {
    const x = Buffer.alloc(32, 7).toString('base64url')
    expect(read({ keys: [{ kty: 'OKP', crv: 'X25519', x }] })).toBe(STATUS.okpUnsupported)
  })
})

test.each([[['toString']], [['__proto__']], [['a', 'constructor']], [['a', 'constructor', 'name']]])(
  'what every object inherits is no claim: %j',
  (path) => {
    expect(claimAt({ a: {} }, path)).toBeUndefined()
  },
)
