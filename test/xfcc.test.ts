import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { head, inboundOf, keptAuthority, outboundOf, sendRaw } from './support/attacker.ts'
import { type Identity, makeIdentity } from './support/certificates.ts'
import { ask, gatewayYaml, secretYaml } from './support/gateway.ts'
import { client, type Echo, pod, service, startMesh, type TestMesh } from './support/mesh.ts'

const FORGED = 'By=spiffe://evil;Hash=00;Subject="";URI=spiffe://evil/ns/x/sa/admin'
const ROOT = 'cluster.local/ns/default/sa'

const config = (proxy: string) => `
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data:
  mesh: |
    defaultConfig: {${proxy}}
---`

describe('x-forwarded-client-cert between sidecars', () => {
  let mesh: TestMesh | undefined
  let kept: Awaited<ReturnType<typeof keptAuthority>>
  let peer: Identity
  beforeAll(async () => {
    kept = await keptAuthority()
    peer = await makeIdentity(kept.authority, 'CN=peer,O=us', [
      { type: 'url', value: `spiffe://${ROOT}/peer` },
      { type: 'dns', value: 'peer.example.com' },
    ])
  })
  afterEach(async () => {
    await mesh?.stop()
    mesh = undefined
  })
  afterAll(() => kept?.remove())

  const start = async (proxy: string) => {
    const yaml = [client(), service('reviews'), pod('reviews', 'v1'), config(proxy)].join('')
    mesh = await startMesh(yaml, { dataDir: kept.dataDir })
  }
  /** What the app gets of a header that a client of this certificate has forged. */
  const got = async (identity: Identity | undefined) => {
    const { text } = await sendRaw(
      inboundOf(mesh!, 'reviews-v1'),
      head('/', 'reviews', [`x-forwarded-client-cert: ${FORGED}`, 'connection: close']),
      identity ? { tls: { key: identity.key, cert: identity.cert, ALPNProtocols: ['istio'], servername: 'x' } } : {},
    )
    const echo = JSON.parse(text.slice(text.indexOf('{'), text.lastIndexOf('}') + 1)) as Echo
    return echo.request.headers['x-forwarded-client-cert']
  }
  const element = `By=spiffe://${ROOT}/reviews;Hash=HASH;Subject="O=us,CN=peer";URI=spiffe://${ROOT}/peer;DNS=peer.example.com`
  const hidden = (value: string | undefined) => value?.replace(/Hash=[0-9a-f]{64}/, 'Hash=HASH')

  it('a server’s sidecar adds its client to what the client has said, as Istio has it, and drops it in plain text', async () => {
    await start('')
    expect(hidden(await got(peer))).toBe(`${FORGED},${element}`)
    expect(await got(undefined)).toBeUndefined()
  })

  it('a client’s sidecar passes no word of its app about certificates', async () => {
    await start('')
    const { text } = await sendRaw(
      outboundOf(mesh!, 'client', 9080),
      head('/', 'reviews:9080', [`x-forwarded-client-cert: ${FORGED}`, 'connection: close']),
    )
    expect(text).not.toContain('evil')
    expect(text).toContain(`URI=spiffe://${ROOT}/client`)
  })

  it.each([
    ['SANITIZE_SET', element],
    ['SANITIZE', undefined],
    ['FORWARD_ONLY', FORGED],
    ['ALWAYS_FORWARD_ONLY', FORGED],
    ['APPEND_FORWARD', `${FORGED},${element}`],
  ])('forwardedClientCert: %s', async (mode, expected) => {
    await start(`proxyHeaders: {forwardedClientCert: ${mode}}`)
    expect(hidden(await got(peer))).toBe(expected)
    expect(await got(undefined)).toBe(mode === 'ALWAYS_FORWARD_ONLY' ? FORGED : undefined)
  })

  it('setCurrentClientCertDetails chooses the parts', async () => {
    await start(
      'proxyHeaders: {forwardedClientCert: SANITIZE_SET, setCurrentClientCertDetails: {subject: false, dns: false, cert: true}}',
    )
    expect(hidden(await got(peer))).toMatch(
      new RegExp(
        `^By=spiffe://${ROOT}/reviews;Hash=HASH;Cert="-----BEGIN%20CERTIFICATE-----[^"]*";URI=spiffe://${ROOT}/peer$`,
      ),
    )
  })
})

describe('what a gateway tells of its clients', () => {
  let mesh: TestMesh | undefined
  let authority: Awaited<ReturnType<typeof keptAuthority>>
  let edge: Identity
  let peer: Identity
  beforeAll(async () => {
    authority = await keptAuthority()
    edge = await makeIdentity(authority.authority, 'CN=edge', [{ type: 'dns', value: 'shop.example.com' }])
    peer = await makeIdentity(authority.authority, 'CN=peer', [{ type: 'dns', value: 'peer.example.com' }])
  })
  afterEach(async () => {
    await mesh?.stop()
    mesh = undefined
  })
  afterAll(() => authority?.remove())

  const start = async (topology: string) => {
    mesh = await startMesh(
      [
        gatewayYaml(),
        service('reviews'),
        pod('reviews', 'v1'),
        config(topology ? `gatewayTopology: {${topology}}` : ''),
        secretYaml('edge', { 'tls.crt': edge.cert, 'tls.key': edge.key, 'ca.crt': authority.authority.cert }),
        `
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: shop}
spec:
  selector: {istio: ingressgateway}
  servers:
  - {port: {number: 80, name: http, protocol: HTTP}, hosts: ["*"]}
  - {port: {number: 443, name: https, protocol: HTTPS}, hosts: ["*"], tls: {mode: OPTIONAL_MUTUAL, credentialName: edge}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: shop}
spec: {hosts: ["*"], gateways: [shop], http: [{route: [{destination: {host: reviews}}]}]}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: denied, namespace: istio-system}
spec:
  selector: {matchLabels: {istio: ingressgateway}}
  action: DENY
  rules: [{from: [{source: {remoteIpBlocks: [203.0.113.9]}}]}]
---`,
      ].join(''),
    )
  }
  const headers = async (sent: Record<string, string>, secure?: Identity | 'nobody') => {
    const tls = secure === undefined ? undefined : secure === 'nobody' ? {} : { key: secure.key, cert: secure.cert }
    const answer = await ask(mesh!, 'shop.example.com', { ...(tls ? { tls } : {}), headers: sent })
    return answer.status === 200 ? answer.echo.request.headers : { status: String(answer.status) }
  }
  const cert = { 'x-forwarded-client-cert': FORGED }

  it('SANITIZE_SET by default: the client of the connection, and nobody else', async () => {
    await start('')
    // The sidecar behind adds the gateway to what the gateway says.
    const got = (await headers(cert, peer))['x-forwarded-client-cert']!
    expect(got).not.toContain('evil')
    expect(got).toMatch(/^Hash=[0-9a-f]{64};Cert="[^"]*";Subject="CN=peer";URI=;DNS=peer\.example\.com,By=spiffe:/)
    for (const secure of [undefined, 'nobody'] as const) {
      const alone = (await headers(cert, secure))['x-forwarded-client-cert']!
      expect(alone).toMatch(/^By=spiffe:\/\/cluster\.local\/ns\/default\/sa\/reviews;Hash=[0-9a-f]{64};[^,]*$/)
      expect(alone).not.toContain('evil')
    }
  })

  it.each([
    ['SANITIZE', /^By=[^,]*$/, /^By=[^,]*$/],
    ['FORWARD_ONLY', /^By=spiffe:\/\/evil;[^,]*,By=spiffe:/, /^By=[^,]*$/],
    ['ALWAYS_FORWARD_ONLY', /^By=spiffe:\/\/evil;[^,]*,By=spiffe:/, /^By=spiffe:\/\/evil;[^,]*,By=spiffe:/],
    ['APPEND_FORWARD', /^By=spiffe:\/\/evil;[^,]*,Hash=[^,]*,By=spiffe:/, /^By=[^,]*$/],
  ])('forwardClientCertDetails: %s', async (mode, mutual, plain) => {
    await start(`forwardClientCertDetails: ${mode}`)
    expect((await headers(cert, peer))['x-forwarded-client-cert']).toMatch(mutual)
    expect((await headers(cert))['x-forwarded-client-cert']).toMatch(plain)
  })

  it('without trusted proxies the address of the connection counts, whatever X-Forwarded-For says', async () => {
    await start('')
    const got = await headers({ 'x-forwarded-for': '203.0.113.9', 'x-forwarded-proto': 'https' })
    expect(got['x-forwarded-for']).toMatch(/^203\.0\.113\.9,[^,]+$/)
    expect([
      got['x-forwarded-proto'],
      (await headers({ 'x-forwarded-proto': 'http' }, 'nobody'))['x-forwarded-proto'],
    ]).toEqual(['http', 'https'])
    expect(got['x-envoy-external-address']).not.toBe('203.0.113.9')
  })

  it('with one trusted proxy the last address counts, with two the one before', async () => {
    await start('numTrustedProxies: 1')
    expect((await headers({ 'x-forwarded-for': '1.1.1.1, 203.0.113.9' })).status).toBe('403')
    expect((await headers({ 'x-forwarded-for': '203.0.113.9, 1.1.1.1' }))['x-envoy-external-address']).toBe('1.1.1.1')
    expect((await headers({ 'x-forwarded-for': '1.1.1.1', 'x-forwarded-proto': 'https' }))['x-forwarded-proto']).toBe(
      'https',
    )
    await mesh!.stop()
    await start('numTrustedProxies: 2')
    expect((await headers({ 'x-forwarded-for': '203.0.113.9, 1.1.1.1' })).status).toBe('403')
    expect((await headers({ 'x-forwarded-for': '1.1.1.1, 203.0.113.9' })).status).toBeUndefined()
  })

  it('x-envoy-* of clients ends at the gateway, also those that a sidecar lets pass', async () => {
    await start('')
    const names = [
      ...['x-envoy-decorator-operation', 'x-envoy-original-path', 'x-envoy-original-host', 'x-envoy-internal'],
      ...['x-envoy-downstream-service-cluster', 'x-envoy-downstream-service-node', 'x-envoy-retry-on'],
      ...['x-envoy-upstream-alt-stat-name', 'x-envoy-force-trace', 'x-envoy-ip-tags'],
    ]
    const got = await headers(Object.fromEntries(names.map((name) => [name, 'forged'])))
    for (const name of names) expect([name, got[name]]).toEqual([name, undefined])
    expect((await headers({ 'x-envoy-external-address': '9.9.9.9' }))['x-envoy-external-address']).not.toBe('9.9.9.9')
    expect((await headers({ 'x-request-id': 'mine' }))['x-request-id']).not.toBe('mine')
  })
})
