import { afterEach, describe, expect, it } from 'vitest'
import { MovableRuntime } from '../src/runtime-movable.ts'
import { jwksOf, type KeyServer, makeSigner, startKeyServer } from './support/jwt.ts'
import { client, pod, service, startMesh, type TestMesh } from './support/mesh.ts'

const MINUTE = 60_000
const WAIT = { timeout: 5000, interval: 20 }

/** A policy for `reviews`; rules as JSON. */
const policy = (name: string, rules: object[], namespace = 'default', selector = 'app: reviews') => `
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {name: ${name}, namespace: ${namespace}}
spec:
  selector: {matchLabels: {${selector}}}
  jwtRules: ${JSON.stringify(rules)}
---`

/** Connections are encrypted, and each request gets one of its own: a change of listeners holds for new ones. */
const strict = `
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: istio-system}
spec: {mtls: {mode: STRICT}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews}
spec: {host: reviews, trafficPolicy: {connectionPool: {http: {maxRequestsPerConnection: 1}}}}
---`

const needsToken = `
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: needs-token}
spec:
  selector: {matchLabels: {app: reviews}}
  action: DENY
  rules: [{from: [{source: {notRequestPrincipals: ["*"]}}]}]
---`

const base = [client(), service('reviews'), pod('reviews', 'v1'), strict].join('')
const me = makeSigner('mine')
const other = makeSigner('other')
const ISSUER = 'https://id.test'

describe('RequestAuthentication', () => {
  const ends: (() => Promise<void>)[] = []
  let mesh: TestMesh
  afterEach(async () => {
    for (const end of ends.splice(0)) await end()
  })
  const start = async (yaml: string, options = {}): Promise<TestMesh> => {
    mesh = await startMesh({ 'base.yaml': base, 'policies.yaml': yaml }, { watch: true, ...options })
    ends.push(() => mesh.stop())
    return mesh
  }
  const keyServer = async (...args: Parameters<typeof startKeyServer>): Promise<KeyServer> => {
    const server = await startKeyServer(...args)
    ends.push(() => server.stop())
    return server
  }
  /** Replaces the policies. A file may be read while it is half written, which is told of and mended at once. */
  const write = async (yaml: string): Promise<void> => {
    const seen = mesh.events.length
    await mesh.write('policies.yaml', yaml)
    await expect.poll(() => mesh.events.slice(seen).some(({ type }) => type === 'changed'), WAIT).toBe(true)
    await mesh.mesh.settled()
  }
  const send = (token?: string, headers: Record<string, string> = {}, path = '/') =>
    mesh.get('client', `http://reviews:9080${path}`, {
      headers: { ...(token === undefined ? {} : { authorization: `Bearer ${token}` }), ...headers },
    })
  const status = async (token?: string, path = '/') => (await send(token, {}, path)).status
  const warnings = () => mesh.events.flatMap((event) => (event.type === 'warning' ? [event.message] : []))

  it('refuses bad tokens with 401, asks for none, and shows the app neither', async () => {
    await start(policy('jwt', [{ issuer: ISSUER, jwks: jwksOf(me), audiences: ['shop'] }]))
    expect(await status()).toBe(200)
    const good = await send(me.sign({ iss: ISSUER, aud: 'shop' }))
    expect(good.status).toBe(200)
    expect(good.echo?.request.headers.authorization).toBeUndefined()
    expect(good.echo?.request.headers['x-forwarded-client-cert']).toContain('URI=spiffe://')
    const bad = await send(other.sign({ iss: ISSUER, aud: 'shop' }))
    expect([bad.status, bad.text]).toEqual([401, "Jwks doesn't have key to match kid or alg from Jwt"])
    expect(bad.headers['www-authenticate']).toContain('Bearer realm="http://reviews:9080/"')
    expect(await status(me.sign({ iss: ISSUER, aud: 'shop', exp: 1 }))).toBe(401)
    expect(await status(me.sign({ iss: 'https://else.test' }))).toBe(401)
    expect(await status(me.sign({ iss: ISSUER, aud: 'other' }))).toBe(403)
  })

  it('with an AuthorizationPolicy lets no request pass without a token', async () => {
    await start(policy('jwt', [{ issuer: ISSUER, jwks: jwksOf(me) }]) + needsToken)
    expect(await status()).toBe(403)
    expect(await status(me.sign({ iss: ISSUER, sub: 'ann' }))).toBe(200)
  })

  it('takes tokens from headers, parameters and cookies, and hands claims to the app', async () => {
    const rule = {
      issuer: ISSUER,
      jwks: jwksOf(me),
      fromHeaders: [{ name: 'x-token', prefix: 'Token ' }],
      fromParams: ['t'],
      fromCookies: ['c'],
      outputPayloadToHeader: 'x-payload',
      outputClaimToHeaders: [{ header: 'x-team', claim: 'org.team' }],
    }
    await start(policy('jwt', [rule]) + needsToken)
    const token = me.sign({ iss: ISSUER, sub: 'ann', org: { team: 'blue' } })
    expect(await status(token)).toBe(403)
    expect(await status(undefined, `/?t=${token}`)).toBe(200)
    expect((await send(undefined, { cookie: `a=b; c=${token}` })).status).toBe(200)
    const { echo } = await send(undefined, { 'x-token': `Token ${token}`, 'x-team': 'forged' })
    const { headers } = echo!.request
    expect(headers['x-team']).toBe('blue')
    expect(JSON.parse(Buffer.from(headers['x-payload']!, 'base64url').toString()).sub).toBe('ann')
    expect(headers['x-token']).toBeUndefined()
  })

  it('is for a gateway of the Gateway API where targetRefs name it, and for no sidecar then', async () => {
    const gateway = `
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec: {gatewayClassName: istio, listeners: [{name: http, port: 8080, protocol: HTTP}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: all}
spec: {parentRefs: [{name: edge}], rules: [{backendRefs: [{name: reviews, port: 9080}]}]}
---
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {name: jwt}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: edge}]
  jwtRules: ${JSON.stringify([{ issuer: ISSUER, jwks: jwksOf(me) }])}
---`
    await start(gateway)
    const atEdge = async (token: string) =>
      (await mesh.get('outside', 'http://web.test:8080/', { headers: { authorization: `Bearer ${token}` } })).status
    expect(await atEdge('rubbish')).toBe(401)
    expect(await atEdge(me.sign({ iss: ISSUER }))).toBe(200)
    expect(await status('rubbish')).toBe(200)
  })

  it('changes with the file', async () => {
    await start(policy('jwt', [{ issuer: ISSUER, jwks: jwksOf(me) }]))
    const token = other.sign({ iss: ISSUER })
    expect(await status(token)).toBe(401)
    await write(policy('jwt', [{ issuer: ISSUER, jwks: jwksOf(me, other), forwardOriginalToken: true }]))
    await expect.poll(() => status(token), WAIT).toBe(200)
    expect((await send(token)).echo?.request.headers.authorization).toBe(`Bearer ${token}`)
    await write('')
    await expect.poll(() => status('rubbish'), WAIT).toBe(200)
  })

  it('takes the policies of the root namespace for all', async () => {
    await start(policy('jwt', [{ issuer: ISSUER, jwks: jwksOf(me) }], 'istio-system'))
    expect(await status('rubbish')).toBe(401)
    expect(await status(me.sign({ iss: ISSUER }))).toBe(200)
  })

  it('knows fetched keys before the first request, and asks for them once', async () => {
    const server = await keyServer(jwksOf(me))
    await start(policy('jwt', [{ issuer: ISSUER, jwksUri: `${server.url}/jwks` }]) + pod('reviews', 'v2'))
    expect(await status(me.sign({ iss: ISSUER }))).toBe(200)
    expect(await status(other.sign({ iss: ISSUER }))).toBe(401)
    expect(server.requests).toEqual(['/jwks'])
  })

  it('finds keys by OpenID Connect Discovery', async () => {
    const server = await keyServer(jwksOf(me))
    await start(policy('jwt', [{ issuer: server.url }]))
    expect(await status(me.sign({ iss: server.url }))).toBe(200)
    expect(server.requests).toEqual(['/.well-known/openid-configuration', '/jwks'])
  })

  it('takes rotated keys after 20 minutes, without a change of any file', async () => {
    const server = await keyServer(jwksOf(me))
    const runtime = new MovableRuntime()
    await start(policy('jwt', [{ issuer: ISSUER, jwksUri: `${server.url}/jwks` }]), { runtime })
    server.jwks = jwksOf(other)
    await runtime.advance(19 * MINUTE)
    expect(await status(other.sign({ iss: ISSUER, exp: 4e9 }))).toBe(401)
    await runtime.advance(MINUTE)
    await mesh.mesh.settled()
    expect(await status(other.sign({ iss: ISSUER, exp: 4e9 }))).toBe(200)
    expect(await status(me.sign({ iss: ISSUER, exp: 4e9 }))).toBe(401)
  })

  it('refuses tokens whose keys cannot be fetched, says so once with the place, and recovers', async () => {
    const server = await keyServer(jwksOf(me))
    await server.stop()
    const runtime = new MovableRuntime()
    await start(policy('jwt', [{ issuer: ISSUER, jwksUri: `${server.url}/jwks` }]), { runtime })
    const token = me.sign({ iss: ISSUER, exp: 4e9 })
    expect(await status(token)).toBe(401)
    expect(await status()).toBe(200)
    await runtime.advance(30_000)
    await server.start()
    await runtime.advance(MINUTE)
    await mesh.mesh.settled()
    expect(await status(token)).toBe(200)
    expect(warnings()).toEqual([
      expect.stringMatching(
        /policies\.yaml:7:\d+: the keys of issuer "https:\/\/id\.test" cannot be fetched from \S+\/jwks: .*ECONNREFUSED.*; its tokens are refused until they can$/,
      ),
      expect.stringMatching(
        /policies\.yaml:7:\d+: the keys of issuer "https:\/\/id\.test" could be fetched at last, from/,
      ),
    ])
  })

  it('keeps the keys it has when their server is gone', async () => {
    const server = await keyServer(jwksOf(me))
    const runtime = new MovableRuntime()
    await start(policy('jwt', [{ issuer: ISSUER, jwksUri: `${server.url}/jwks` }]), { runtime })
    await server.stop()
    await runtime.advance(60 * MINUTE)
    expect(await status(me.sign({ iss: ISSUER, exp: 4e9 }))).toBe(200)
    expect(warnings()).toEqual([expect.stringContaining('those of before stay in use')])
  })

  it('is not held up by a server of keys that says nothing for longer than the rule allows', async () => {
    const server = await keyServer(jwksOf(me))
    server.silent = true
    await start(policy('jwt', [{ issuer: ISSUER, jwksUri: `${server.url}/jwks`, timeout: '0.3s' }]))
    expect(await status(me.sign({ iss: ISSUER }))).toBe(401)
    expect(warnings()).toEqual([expect.stringContaining('no answer within 0.3 s')])
  })

  it('goes on with the policies of before until the keys of a new one are there', async () => {
    await start(policy('jwt', [{ issuer: ISSUER, jwks: jwksOf(me) }]))
    const server = await keyServer(jwksOf(other))
    server.silent = true
    const two = [
      { issuer: ISSUER, jwks: jwksOf(me) },
      { issuer: 'https://two.test', jwksUri: `${server.url}/jwks`, timeout: '0.5s' },
    ]
    const written = write(policy('jwt', two))
    while (server.requests.length === 0) await new Promise((resolve) => setImmediate(resolve))
    expect(await status(me.sign({ iss: ISSUER }))).toBe(200)
    await written
    await expect.poll(warnings, WAIT).toHaveLength(1)
    server.silent = false
    // The next push asks again.
    await write(`${policy('jwt', two)}${client('late')}`)
    await expect.poll(() => status(other.sign({ iss: 'https://two.test' })), WAIT).toBe(200)
  })

  it('fetches keys for a workload that starts later before it counts as ready', async () => {
    await start('')
    const server = await keyServer(jwksOf(me))
    const late = [
      service('late'),
      pod('late', 'v1'),
      policy('late', [{ issuer: ISSUER, jwksUri: `${server.url}/jwks` }], 'default', 'app: late'),
    ]
    await write(late.join(''))
    const at = async (token: string) =>
      (await mesh.get('client', 'http://late:9080/', { headers: { authorization: `Bearer ${token}` } })).status
    await expect.poll(() => at(me.sign({ iss: ISSUER })).catch(() => 'unknown'), WAIT).toBe(200)
    expect(await at(other.sign({ iss: ISSUER }))).toBe(401)
    expect(mesh.events.filter(({ type }) => type === 'workload')).toEqual([])
  })

  it.each([
    ['with a sidecar that takes plaintext', '', 'PERMISSIVE', 200],
    ['without a sidecar', 'sidecar.istio.io/inject: "false"', 'PERMISSIVE', 200],
    ['with a sidecar that wants mutual TLS, which pilot has not', '', 'STRICT', 401],
  ])('fetches keys from a service of the mesh %s', async (_, annotations, mode, expected) => {
    const handler = (workload: { workloadName: string }) =>
      workload.workloadName.startsWith('keycloak')
        ? (_request: unknown, response: { end(text: string): void }) => response.end(jwksOf(me))
        : undefined
    const keycloak = [
      service('keycloak', 'auth', { name: 'http', port: 8080 }).replace('port: 8080', 'port: 8080, targetPort: 9080'),
      pod('keycloak', 'v1', { namespace: 'auth', annotations }),
      `
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: auth}
spec: {mtls: {mode: ${mode}}}
---`,
      // For every workload, the one that has the keys included.
      policy(
        'jwt',
        [{ issuer: ISSUER, jwksUri: 'http://keycloak.auth.svc.cluster.local:8080/jwks' }],
        'istio-system',
        '',
      ),
    ]
    await start(keycloak.join(''), { handler })
    expect(await status(me.sign({ iss: ISSUER }))).toBe(expected)
    expect(await status()).toBe(200)
    if (expected === 401) expect(warnings()).toEqual([expect.stringContaining('cannot be fetched')])
  })

  it('lets proxies fetch the keys of a service of the mesh with PILOT_JWT_ENABLE_REMOTE_JWKS', async () => {
    let asked = 0
    const handler = (workload: { workloadName: string }) =>
      workload.workloadName.startsWith('keycloak')
        ? (_request: unknown, response: { end(text: string): void }) => {
            asked++
            response.end(jwksOf(me))
          }
        : undefined
    await start(
      service('keycloak', 'auth') +
        pod('keycloak', 'v1', { namespace: 'auth' }) +
        policy('jwt', [{ issuer: ISSUER, jwksUri: 'http://keycloak.auth.svc.cluster.local:9080/jwks' }]),
      { handler, env: { PILOT_JWT_ENABLE_REMOTE_JWKS: 'hybrid' } },
    )
    expect(await status(me.sign({ iss: ISSUER }))).toBe(200)
    expect(await status(other.sign({ iss: ISSUER }))).toBe(401)
    expect(asked).toBeGreaterThan(0)
  })
})
