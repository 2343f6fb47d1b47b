import https from 'node:https'
import type { AddressInfo } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { describe, expect, test } from 'vitest'
import { makeAuthority, makeIdentity } from './support/certificates.ts'
import { type Answer, exchange, get, httpHarness, routerFilter, toA, type Upstream } from './support/http.ts'
import { bearer, forAll, jwksOf, jwtFilter, KEYS, provider, token } from './support/jwt-authn.ts'

const { upstream, proxy } = httpHarness()
const UPSTREAM_TLS = 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext'
const GOOD = { body: jwksOf(KEYS.rsa) }

/** A proxy whose provider's keys are at an upstream `keys`, which answers so. */
async function remote(remoteJwks: object, answers: Answer[], more = {}, config = {}, manager = {}) {
  const [a, keys] = [await upstream('a'), await upstream('keys', ...answers)]
  const uri = { uri: 'http://keys.test/jwks?x=1', cluster: 'keys', timeout: '1s' }
  const providers = { a: provider({ local_jwks: undefined, remote_jwks: { http_uri: uri, ...remoteJwks }, ...more }) }
  const filter = jwtFilter({ providers, rules: [forAll({ provider_name: 'a' })], ...config })
  const p = await proxy({ ...toA(), ...manager, http_filters: [filter, routerFilter()] }, [a, keys])
  return { ...p, keys, a, of: (name: string) => p.counter(`http.h.jwt_authn.${name}`) }
}

describe('keys that are fetched', () => {
  test('for the first request that needs them, which waits, body and all', async () => {
    const p = await remote({}, [{ ...GOOD, delay: 50 }])
    const head = `POST / HTTP/1.1\r\nhost: svc.test\r\nauthorization: Bearer ${token()}\r\n`
    const [answer] = await exchange(p.http, `${head}content-length: 5\r\n\r\nhello`)
    expect([answer?.status, p.a.last.body]).toEqual([200, 'hello'])
    expect((await get(p.http, '/', bearer(token({}, { key: KEYS.other })))).body).toBe('Jwt verification fails')
    expect(p.keys.received).toHaveLength(1)
    expect([p.keys.last.path, p.keys.last.headers.get('host')]).toEqual(['/jwks?x=1', 'keys.test'])
    expect([p.of('jwks_fetch_success'), p.of('jwks_fetch_failed')]).toEqual([1, 0])
  })

  test('while a request waits for them, its trailers wait, too', async () => {
    const p = await remote({}, [{ ...GOOD, delay: 50 }], {}, {}, { http_protocol_options: { enable_trailers: true } })
    const head = 'POST / HTTP/1.1\r\nhost: svc.test\r\ntransfer-encoding: chunked\r\n'
    const forged = `authorization: Bearer ${token({}, { key: KEYS.other })}\r\n`
    const [answer] = await exchange(p.http, `${head}${forged}\r\n0\r\nx-t: 1\r\n\r\n`)
    expect([answer?.status, p.a.received.length]).toEqual([401, 0])
  })

  test('not for tokens that are bad anyhow', async () => {
    const p = await remote({}, [GOOD])
    expect((await get(p.http, '/', bearer(token({ exp: 1 })))).body).toBe('Jwt is expired')
    expect((await get(p.http, '/')).body).toBe('Jwt is missing')
    expect(p.keys.received).toHaveLength(0)
  })

  test.each<[string, Answer]>([
    ['an error', { status: 404, ...GOOD }],
    ['nothing', { body: '' }],
    ['no JSON', { body: '{' }],
    ['no key', { body: '{"keys":[]}' }],
    ['a connection that closes', { fail: 'close' }],
    ['no answer in time', { fail: 'hang' }],
  ])('instead of which %s comes: 401, and the next request tries again', async (_what, answer) => {
    const p = await remote({}, [answer, GOOD])
    expect((await get(p.http, '/', bearer(token()))).body).toBe('Jwks remote fetch is failed')
    expect((await get(p.http, '/', bearer(token()))).status).toBe(200)
    expect(p.of('jwks_fetch_failed')).toBe(1)
  })

  test('from a cluster that there is not: 401', async () => {
    const p = await remote({ http_uri: { uri: 'http://x/', cluster: 'nowhere', timeout: '1s' } }, [GOOD])
    expect((await get(p.http, '/', bearer(token()))).body).toBe('Jwks remote fetch is failed')
  })

  test('are kept for cache_duration; a token that was good with older keys is checked again', async () => {
    const p = await remote({ cache_duration: '1s' }, [GOOD, { body: jwksOf(KEYS.other) }])
    expect((await get(p.http, '/', bearer(token()))).status).toBe(200)
    expect((await get(p.http, '/', bearer(token()))).status).toBe(200)
    await sleep(1050)
    expect((await get(p.http, '/', bearer(token()))).body).toBe('Jwt verification fails')
    expect(p.keys.received).toHaveLength(2)
  })

  test('again and again with a retry policy', async () => {
    const backOff = { retry_back_off: { base_interval: '0.005s', max_interval: '0.5s' } }
    const p = await remote({ retry_policy: { num_retries: 2, ...backOff } }, [{ status: 500 }, { fail: 'close' }, GOOD])
    expect((await get(p.http, '/', bearer(token()))).status).toBe(200)
    expect(p.keys.received).toHaveLength(3)
    expect(p.counter('cluster.keys.upstream_rq_retry_success')).toBe(1)
    const once = await remote({ retry_policy: backOff }, [{ status: 500 }, { status: 500 }, GOOD])
    expect((await get(once.http, '/', bearer(token()))).status).toBe(401)
    expect(once.counter('cluster.keys.upstream_rq_retry_limit_exceeded')).toBe(1)
  })

  test('beforehand with async_fetch: the listener waits for them', async () => {
    const p = await remote({ async_fetch: {} }, [{ ...GOOD, delay: 100 }])
    expect(p.of('jwks_fetch_success')).toBe(1)
    expect((await get(p.http, '/', bearer(token()))).status).toBe(200)
    expect(p.keys.received).toHaveLength(1)
  })

  test('beforehand, but a fast_listener does not wait', async () => {
    const p = await remote({ async_fetch: { fast_listener: true } }, [{ ...GOOD, delay: 200 }])
    expect(p.of('jwks_fetch_success')).toBe(0)
  })

  test('beforehand, and once more after failed_refetch_duration', async () => {
    const p = await remote({ async_fetch: { failed_refetch_duration: '0.05s' } }, [{ status: 500 }, GOOD])
    while (p.of('jwks_fetch_success') === 0) await sleep(5)
    expect(p.of('jwks_fetch_failed')).toBe(1)
    expect((await get(p.http, '/', bearer(token()))).status).toBe(200)
    expect(p.keys.received).toHaveLength(2)
  })

  test('for a client that does not wait for them: nobody misses it', async () => {
    const p = await remote({}, [{ ...GOOD, delay: 150 }, GOOD])
    const gone = AbortSignal.timeout(40)
    await expect(fetch(`http://127.0.0.1:${p.http}/`, { headers: bearer(token()), signal: gone })).rejects.toThrow()
    await sleep(150)
    expect(p.a.received).toHaveLength(0)
    expect((await get(p.http, '/', bearer(token()))).status).toBe(200)
  })

  test('of two providers at once: the good one lets the request pass', async () => {
    const [a, k1, k2] = [
      await upstream('a'),
      await upstream('k1', { fail: 'hang' }),
      await upstream('k2', { ...GOOD, delay: 30 }),
    ]
    const at = (cluster: string, header: string) =>
      provider({
        local_jwks: undefined,
        remote_jwks: { http_uri: { uri: 'http://k/', cluster, timeout: '5s' } },
        from_headers: [{ name: header }],
      })
    const either = { requires_any: { requirements: [{ provider_name: 'x' }, { provider_name: 'y' }] } }
    const filter = jwtFilter({ providers: { x: at('k1', 'x-1'), y: at('k2', 'x-2') }, rules: [forAll(either)] })
    const p = await proxy({ ...toA(), http_filters: [filter, routerFilter()] }, [a, k1, k2])
    const answer = await get(p.http, '/', { 'x-1': token(), 'x-2': token() })
    expect(answer.status).toBe(200)
  })

  test('over TLS, from a server that has to prove who it is', async () => {
    const authority = await makeAuthority('CN=keys CA')
    const identity = await makeIdentity(authority, 'CN=keys', [{ type: 'dns', value: 'keys.test' }])
    const server = https.createServer({ key: identity.key, cert: identity.cert }, (_, response) => {
      response.end(GOOD.body)
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const a = await upstream('a')
    const { port } = server.address() as AddressInfo
    const keys = { name: 'keys', port } as Upstream
    for (const [name, status] of [
      ['keys.test', 200],
      ['other.test', 401],
    ] as const) {
      const validation = {
        trusted_ca: { inline_string: authority.cert },
        match_typed_subject_alt_names: [{ san_type: 'DNS', matcher: { exact: name } }],
      }
      const tls = { '@type': UPSTREAM_TLS, sni: name, common_tls_context: { validation_context: validation } }
      const uri = { uri: 'https://keys.test/jwks', cluster: 'keys', timeout: '1s' }
      const providers = { a: provider({ local_jwks: undefined, remote_jwks: { http_uri: uri } }) }
      const filter = jwtFilter({ providers, rules: [forAll({ provider_name: 'a' })] })
      const p = await proxy({ ...toA(), http_filters: [filter, routerFilter()] }, [a, keys], {
        keys: { transport_socket: { name: 'tls', typed_config: tls } },
      })
      expect([name, (await get(p.http, '/', bearer(token()))).status]).toEqual([name, status])
    }
    server.closeAllConnections()
    server.close()
  })

  test('from a URI that is none: the config is refused', async () => {
    await expect(remote({ http_uri: { uri: 'keys', cluster: 'keys', timeout: '1s' } }, [GOOD])).rejects.toThrow(
      "Provider 'a' has an invalid URI: 'keys'",
    )
  })
})
