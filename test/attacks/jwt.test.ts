import crypto from 'node:crypto'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { head, inboundOf, outboundOf, type Recorder, recordingApp, sendRaw } from '../support/attacker.ts'
import { client, pod, service, startMesh, type TestMesh } from '../support/mesh.ts'

type Json = Record<string, unknown>
const rsa = crypto.generateKeyPairSync('rsa', { modulusLength: 2048 })
const evil = crypto.generateKeyPairSync('rsa', { modulusLength: 2048 })
const ec = crypto.generateKeyPairSync('ec', { namedCurve: 'P-256' })
const jwks = JSON.stringify({
  keys: [
    { ...rsa.publicKey.export({ format: 'jwk' }), kid: 'rsa', alg: 'RS256', use: 'sig' },
    { ...ec.publicKey.export({ format: 'jwk' }), kid: 'ec', alg: 'ES256' },
  ],
})
const now = Math.floor(Date.now() / 1000)
const encode = (value: Json | string | unknown[]) =>
  Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)).toString('base64url')
const HEAD = { alg: 'RS256', kid: 'rsa', typ: 'JWT' }
const CLAIMS = { iss: 'https://id.test', sub: 'me', aud: 'shop', exp: now + 3600 }
const rs = (claims: Json | string | unknown[], header: Json | string = HEAD, key = rsa.privateKey) => {
  const text = `${encode(header)}.${encode(claims)}`
  return `${text}.${crypto.sign('sha256', Buffer.from(text), key).toString('base64url')}`
}
const es = (header: Json, dsaEncoding: 'der' | 'ieee-p1363' = 'ieee-p1363') => {
  const text = `${encode(header)}.${encode(CLAIMS)}`
  return `${text}.${crypto.sign('sha256', Buffer.from(text), { key: ec.privateKey, dsaEncoding }).toString('base64url')}`
}
const hs = (secret: crypto.BinaryLike) => {
  const text = `${encode({ alg: 'HS256', kid: 'rsa' })}.${encode(CLAIMS)}`
  return `${text}.${crypto.createHmac('sha256', secret).update(text).digest('base64url')}`
}
const good = rs(CLAIMS)
const [header, payload, signature] = good.split('.') as [string, string, string]
const text = `{"sub":"me","aud":"shop","exp":${now + 3600},`

const FORM = 'Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections'
const NO_KEY = "Jwks doesn't have key to match kid or alg from Jwt"
const FAILS = 'Jwt verification fails'

/** What a real Envoy 1.40 answers to each. */
const table: [what: string, token: string, status: number, text?: string][] = [
  ['a good one', good, 200],
  ['a good one of the other key', es({ alg: 'ES256', kid: 'ec' }), 200],
  ['alg none', `${encode({ alg: 'none' })}.${payload}.`, 401, FORM],
  [
    'alg none with a signature',
    `${encode({ alg: 'none', kid: 'rsa' })}.${payload}.${signature}`,
    401,
    'Jwt header [alg] is not supported',
  ],
  ['no alg', rs(CLAIMS, { kid: 'rsa' }), 401, 'Jwt header [alg] field is required and must be a string'],
  ['no signature', `${header}.${payload}.`, 401, FORM],
  ['no third part', `${header}.${payload}`, 401, FORM],
  ['four parts', `${good}.x`, 401, FORM],
  ['dots alone', '..', 401, FORM],
  ['another key', rs(CLAIMS, HEAD, evil.privateKey), 401, FAILS],
  ['HS256 with the public key in PEM', hs(rsa.publicKey.export({ type: 'spki', format: 'pem' })), 401, NO_KEY],
  ['HS256 with the public key in DER', hs(rsa.publicKey.export({ type: 'spki', format: 'der' })), 401, NO_KEY],
  ['HS256 with an empty key', hs(''), 401, NO_KEY],
  ['RS256 by the id of an EC key', rs(CLAIMS, { ...HEAD, kid: 'ec' }), 401, NO_KEY],
  ['ES256 by the id of an RSA key', es({ alg: 'ES256', kid: 'rsa' }), 401, NO_KEY],
  ['RS512 that was RS256', rs(CLAIMS, { ...HEAD, alg: 'RS512' }), 401, NO_KEY],
  ['PS256 that was RS256', rs(CLAIMS, { ...HEAD, alg: 'PS256' }), 401, NO_KEY],
  ['a signature in DER', es({ alg: 'ES256', kid: 'ec' }, 'der'), 401, FAILS],
  [
    'a signature of zeros',
    `${encode({ alg: 'ES256', kid: 'ec' })}.${payload}.${Buffer.alloc(64).toString('base64url')}`,
    401,
    FAILS,
  ],
  ['an unknown kid', rs(CLAIMS, { ...HEAD, kid: 'nope' }), 401, NO_KEY],
  ['a kid that is a path', rs(CLAIMS, { ...HEAD, kid: '../../etc/passwd' }), 401, NO_KEY],
  ['no kid: each key of the alg is tried', rs(CLAIMS, { alg: 'RS256' }), 200],
  [
    'its own key in its header',
    rs(CLAIMS, { alg: 'RS256', jwk: evil.publicKey.export({ format: 'jwk' }) }, evil.privateKey),
    401,
    FAILS,
  ],
  [
    'a URL of its own keys',
    rs(CLAIMS, { ...HEAD, kid: 'e', jku: 'http://127.0.0.1:1/' }, evil.privateKey),
    401,
    NO_KEY,
  ],
  ['expired', rs({ ...CLAIMS, exp: now - 3600 }), 401, 'Jwt is expired'],
  ['expired within the minute that clocks may differ', rs({ ...CLAIMS, exp: now - 20 }), 200],
  ['an end that is text', rs({ ...CLAIMS, exp: `${now + 3600}` }), 401, 'Jwt payload [exp] field is not an integer'],
  ['a negative end', rs({ ...CLAIMS, exp: -1 }), 401, 'Jwt payload [exp] field is not a positive 64 bit integer'],
  [
    'an end past 64 bits',
    rs({ ...CLAIMS, exp: 1e30 }),
    401,
    'Jwt payload [exp] field is not a positive 64 bit integer',
  ],
  ['no end: it never expires', rs({ ...CLAIMS, exp: undefined }), 200],
  ['not yet valid', rs({ ...CLAIMS, nbf: now + 3600 }), 401, 'Jwt not yet valid'],
  ['another issuer', rs({ ...CLAIMS, iss: 'https://evil.test' }), 401, 'Jwt issuer is not configured'],
  ['the issuer with a slash', rs({ ...CLAIMS, iss: 'https://id.test/' }), 401, 'Jwt issuer is not configured'],
  ['the issuer in a list', rs({ ...CLAIMS, iss: ['https://id.test'] }), 401, 'Jwt payload [iss] field is not a string'],
  ['no audience', rs({ ...CLAIMS, aud: undefined }), 403, 'Audiences in Jwt are not allowed'],
  ['an audience that begins like ours', rs({ ...CLAIMS, aud: 'shopper' }), 403, 'Audiences in Jwt are not allowed'],
  ['an audience in capitals', rs({ ...CLAIMS, aud: 'SHOP' }), 403, 'Audiences in Jwt are not allowed'],
  ['an audience among others', rs({ ...CLAIMS, aud: ['x', 'shop'] }), 200],
  [
    'two issuers, ours last',
    rs(`${text}"iss":"https://evil.test","iss":"https://id.test"}`),
    401,
    'Jwt payload is an invalid JSON',
  ],
  [
    'two issuers, ours first',
    rs(`${text}"iss":"https://id.test","iss":"https://evil.test"}`),
    401,
    'Jwt payload is an invalid JSON',
  ],
  ['two subjects', rs(`${text}"iss":"https://id.test","sub":"admin"}`), 401, 'Jwt payload is an invalid JSON'],
  ['two algs', rs(CLAIMS, '{"alg":"none","alg":"RS256","kid":"rsa"}'), 401, 'Jwt header is an invalid JSON'],
  ['claims that are a list', rs([1]), 401, 'Jwt payload is an invalid JSON'],
  ['claims with something behind', rs(`${JSON.stringify(CLAIMS)} x`), 401, 'Jwt payload is an invalid JSON'],
  ['claims that were changed', `${header}.${encode({ ...CLAIMS, sub: 'admin' })}.${signature}`, 401, FAILS],
  ['a signature that was cut', good.slice(0, -4), 401, FAILS],
  ['a signature with padding', `${good}=`, 401, 'Jwt signature is an invalid Base64url encoded'],
  ['a signature with more behind', `${good}AAAA`, 401, FAILS],
  ['something behind the token', `${good} x`, 401, FAILS],
  ['another subject', rs({ ...CLAIMS, sub: 'other' }), 403, 'RBAC: access denied'],
  ['a subject that ends like ours', rs({ ...CLAIMS, sub: 'x/me' }), 403, 'RBAC: access denied'],
  ['30 KB of claims', rs({ ...CLAIMS, x: 'y'.repeat(30_000) }), 200],
  ['more than headers may be', rs({ ...CLAIMS, x: 'y'.repeat(60_000) }), 431],
]

describe('forged tokens', () => {
  let mesh: TestMesh
  let app: Recorder
  beforeAll(async () => {
    app = await recordingApp()
    mesh = await startMesh(
      [
        client(),
        service('reviews'),
        pod('reviews', 'v1', { annotations: app.annotation }),
        `
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {name: jwt}
spec:
  selector: {matchLabels: {app: reviews}}
  jwtRules: ${JSON.stringify([{ issuer: 'https://id.test', jwks, audiences: ['shop'], outputPayloadToHeader: 'x-claims' }])}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: me}
spec:
  selector: {matchLabels: {app: reviews}}
  rules: [{from: [{source: {requestPrincipals: ["https://id.test/me"]}}]}]
---`,
      ].join(''),
    )
  })
  afterAll(async () => {
    await mesh?.stop()
    await app?.close()
  })
  const send = async (lines: string[], target = '/') => {
    app.seen.length = 0
    const to = outboundOf(mesh, 'client', 9080)
    return sendRaw(to, head(target, 'reviews:9080', [...lines, 'connection: close']))
  }

  it.each(table)('%s', async (_, token, status, words) => {
    const answer = await send([`authorization: Bearer ${token}`])
    expect(answer.statuses).toEqual([status])
    if (words) expect(answer.text).toContain(words)
    expect(app.seen).toHaveLength(status === 200 ? 1 : 0)
    if (status === 200) expect(app.seen[0]!.headers.authorization).toBeUndefined()
  })

  it('a token that is in order opens nothing past the client’s sidecar to more than it says, in plain text neither', async () => {
    const direct = async (...lines: string[]) =>
      (await sendRaw(inboundOf(mesh, 'reviews-v1'), head('/', 'reviews', lines))).statuses[0]
    expect(await direct(`authorization: Bearer ${good}`)).toBe(200)
    expect(await direct()).toBe(403)
    expect(await direct(`authorization: Bearer ${good.slice(0, -4)}`)).toBe(401)
  })

  it('of two tokens both must be in order; lists and other schemes are none', async () => {
    const forged = rs(CLAIMS, HEAD, evil.privateKey)
    const status = async (lines: string[], target?: string) => (await send(lines, target)).statuses[0]
    const bearer = (token: string) => `authorization: Bearer ${token}`
    expect(await status([bearer(good), bearer(forged)])).toBe(401)
    expect(await status([bearer(forged), bearer(good)])).toBe(401)
    expect(await status([`${bearer(good)}, Bearer ${forged}`])).toBe(401)
    expect(await status([bearer(good)], `/?access_token=${forged}`)).toBe(401)
    expect(await status([bearer(forged)], `/?access_token=${good}`)).toBe(401)
    for (const value of [`bearer ${good}`, `BEARER ${good}`, `Bearer\t${good}`, good, `Basic ${good}`, 'Bearer '])
      expect(await status([`authorization: ${value}`])).toBe(403)
  })

  it('a token in the query is one as well, and is taken out of it', async () => {
    const { statuses } = await send([], `/x?a=1&access_token=${good}&b=2`)
    expect(statuses).toEqual([200])
    expect(app.seen[0]!.url).not.toContain('access_token')
    expect((await send([], `/?access_token=${rs(CLAIMS, HEAD, evil.privateKey)}`)).statuses).toEqual([401])
    expect((await send([], `/?Access_Token=${good}`)).statuses).toEqual([403])
  })

  it('the header that tells the app the claims cannot be forged', async () => {
    await send([`authorization: Bearer ${good}`, `x-claims: ${encode({ sub: 'admin' })}`])
    expect(app.seen[0]!.headers['x-claims']).toBe(payload)
  })
})
