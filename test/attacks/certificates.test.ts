import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import type net from 'node:net'
import tls from 'node:tls'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { head, inboundOf, keptAuthority, sendRaw } from '../support/attacker.ts'
import { type Identity, makeAuthority, makeIdentity, makeSelfSigned } from '../support/certificates.ts'
import { client, pod, service, startMesh, type TestMesh } from '../support/mesh.ts'

const HOUR = 3_600_000
const uri = (value: string) => [{ type: 'url' as const, value }]
const spiffe = (account: string, domain = 'cluster.local') => `spiffe://${domain}/ns/default/sa/${account}`

const logFormat = `
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data:
  mesh: |
    accessLogFile: /dev/stdout
    accessLogFormat: "%RESPONSE_CODE% %RESPONSE_FLAGS% %UPSTREAM_TRANSPORT_FAILURE_REASON%\\n"
---`

const strict = `
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: default}
spec: {mtls: {mode: STRICT}}
---`

/** reviews is for the account `client` alone. */
const allow = `
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: reviews, namespace: default}
spec:
  selector: {matchLabels: {app: reviews}}
  rules: [{from: [{source: {principals: [cluster.local/ns/default/sa/client]}}]}]
---`

/** Every certificate that there is to try, by what is wrong with it. */
async function forged(authority: Identity, account: string): Promise<Record<string, Identity>> {
  const other = await makeAuthority('O=cluster.local')
  const sub = await makeIdentity(authority, 'CN=leaf', uri(spiffe(account)))
  return {
    'in order': await makeIdentity(authority, 'CN=x', uri(spiffe(account))),
    expired: await makeIdentity(authority, 'CN=x', uri(spiffe(account)), { from: -48 * HOUR, until: -HOUR }),
    'not yet valid': await makeIdentity(authority, 'CN=x', uri(spiffe(account)), { from: HOUR, until: 2 * HOUR }),
    'self-signed': await makeSelfSigned('CN=x', uri(spiffe(account))),
    'from another root': await makeIdentity(other, 'CN=x', uri(spiffe(account))),
    'signed by a workload’s certificate': await makeIdentity(sub, 'CN=x', uri(spiffe(account))),
    'of another trust domain': await makeIdentity(authority, 'CN=x', uri(spiffe(account, 'other.local'))),
    'of a trust domain that begins like ours': await makeIdentity(
      authority,
      'CN=x',
      uri(spiffe(account, 'cluster.local.evil')),
    ),
    'of our trust domain as a path': await makeIdentity(
      authority,
      'CN=x',
      uri(`spiffe://evil/cluster.local/ns/default/sa/${account}`),
    ),
    'without a SAN': await makeIdentity(authority, 'CN=x', []),
    'with the id as its subject only': await makeIdentity(authority, `CN=spiffe:\\/\\/cluster.local`, []),
    'with the id as a DNS name': await makeIdentity(authority, 'CN=x', [{ type: 'dns', value: spiffe(account) }]),
    'with another id before ours': await makeIdentity(authority, 'CN=x', [
      ...uri('spiffe://evil/ns/default/sa/x'),
      ...uri(spiffe(account)),
    ]),
    'of another service account': await makeIdentity(authority, 'CN=x', uri(spiffe(`${account}-2`))),
    'of the same account elsewhere': await makeIdentity(
      authority,
      'CN=x',
      uri(`spiffe://cluster.local/ns/other/sa/${account}`),
    ),
  }
}

describe('certificates that clients show to a STRICT server', () => {
  let mesh: TestMesh
  let kept: Awaited<ReturnType<typeof keptAuthority>>
  let certificates: Record<string, Identity>
  beforeAll(async () => {
    kept = await keptAuthority()
    certificates = await forged(kept.authority, 'client')
    mesh = await startMesh(
      [client(), service('reviews'), pod('reviews', 'v1'), service('all'), pod('all', 'v1'), strict, allow].join(''),
      { dataDir: kept.dataDir },
    )
  })
  afterAll(async () => {
    await mesh?.stop()
    kept?.remove()
  })

  const shows = (identity: Identity | undefined, to = 'reviews-v1', more: tls.ConnectionOptions = {}) =>
    sendRaw(inboundOf(mesh, to), head('/'), {
      tls: {
        ALPNProtocols: ['istio'],
        servername: 'outbound_.9080_._.reviews.default.svc.cluster.local',
        ...(identity ? { key: identity.key, cert: identity.cert } : {}),
        ...more,
      },
    })

  /** What each gets from `all`, which takes every workload of the mesh, and from `reviews`, which takes one. */
  const table: [what: string, all: number | 'refused', reviews: number | 'refused'][] = [
    ['in order', 200, 200],
    ['expired', 'refused', 'refused'],
    ['not yet valid', 'refused', 'refused'],
    ['self-signed', 'refused', 'refused'],
    ['from another root', 'refused', 'refused'],
    ['signed by a workload’s certificate', 'refused', 'refused'],
    ['of another trust domain', 'refused', 'refused'],
    ['of a trust domain that begins like ours', 'refused', 'refused'],
    ['of our trust domain as a path', 'refused', 'refused'],
    ['without a SAN', 'refused', 'refused'],
    ['with the id as its subject only', 'refused', 'refused'],
    // Envoy matches names of every kind, and takes a DNS name for the principal when there is no URI: seen of the real one.
    ['with the id as a DNS name', 200, 200],
    ['with another id before ours', 200, 200],
    ['of another service account', 200, 403],
    ['of the same account elsewhere', 200, 403],
  ]
  it.each(table)('%s: %s, with a rule for one principal %s', async (what, all, reviews) => {
    for (const [to, expected] of [
      ['all-v1', all],
      ['reviews-v1', reviews],
    ] as const) {
      const { statuses, end } = await shows(certificates[what], to)
      if (expected === 'refused') {
        expect([statuses, end]).toEqual([[], expect.stringMatching(/^ERR_SSL_|^ECONNRESET$|^closed$/)])
      } else expect(statuses).toEqual([expected])
    }
  })

  it('plain text gets no byte of an answer', async () => {
    const { text, end } = await sendRaw(inboundOf(mesh, 'all-v1'), head('/'))
    expect([text, end]).toEqual(['', 'ECONNRESET'])
  })

  it('ordinary TLS, without a certificate, gets no answer either, whatever it offers', async () => {
    for (const protocols of [[], ['http/1.1'], ['h2'], ['istio'], ['istio-http/1.1'], ['istio-peer-exchange']]) {
      const { text, end } = await shows(undefined, 'all-v1', { ALPNProtocols: protocols })
      expect([protocols, text, end]).toEqual([
        protocols,
        '',
        expect.stringMatching(/CERTIFICATE_REQUIRED|HANDSHAKE|^ECONNRESET$|^closed$/),
      ])
    }
  })

  it('TLS older than 1.2 is not spoken', async () => {
    const { text, end } = await shows(certificates['in order'], 'all-v1', {
      minVersion: 'TLSv1',
      maxVersion: 'TLSv1.1',
      ciphers: 'DEFAULT@SECLEVEL=0',
    })
    expect([text, end]).toEqual(['', expect.stringMatching(/PROTOCOL_VERSION|ECONNRESET|UNSUPPORTED_PROTOCOL/)])
  })

  it('plain text inside of the port of another protocol is not answered', async () => {
    const { text, end } = await sendRaw(inboundOf(mesh, 'all-v1'), 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n')
    expect([text, end]).toEqual(['', 'ECONNRESET'])
  })
})

describe('certificates that servers show to a sidecar', () => {
  let mesh: TestMesh
  let kept: Awaited<ReturnType<typeof keptAuthority>>
  let certificates: Record<string, Identity>
  let server: tls.Server
  let shown: Identity
  let requests = 0
  beforeAll(async () => {
    kept = await keptAuthority()
    certificates = await forged(kept.authority, 'rogue')
    shown = certificates['in order']!
    server = tls.createServer(
      {
        requestCert: true,
        rejectUnauthorized: false,
        ALPNProtocols: ['istio', 'http/1.1'],
        SNICallback: (_, done) => done(null, tls.createSecureContext({ key: shown.key, cert: shown.cert })),
      },
      (socket) => {
        socket.on('error', () => {})
        socket.on('data', () => {
          requests++
          socket.end('HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok')
        })
      },
    )
    server.on('tlsClientError', () => {})
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    const { port } = server.address() as net.AddressInfo
    mesh = await startMesh(
      [
        client(),
        service('rogue'),
        pod('rogue', 'v1', {
          annotations: `sidecar.istio.io/inject: "false", dinghy.dev/app: "9080=127.0.0.1:${port}"`,
          labels: 'security.istio.io/tlsMode: istio',
        }),
        logFormat,
        `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: rogue}
spec: {hosts: [rogue], http: [{route: [{destination: {host: rogue}}], retries: {attempts: 0}}]}
---`,
      ].join(''),
      { dataDir: kept.dataDir },
    )
  })
  afterAll(async () => {
    await mesh?.stop()
    server?.close()
    kept?.remove()
  })

  it('one that is in order is taken', async () => {
    shown = certificates['in order']!
    expect((await mesh.get('client', 'http://rogue:9080/')).status).toBe(200)
    expect(requests).toBe(1)
  })

  const table: [what: string, why: RegExp][] = [
    ['expired', /certificate has expired/],
    ['not yet valid', /certificate is not yet valid/],
    ['self-signed', /self.signed certificate/],
    ['from another root', /unable to get local issuer certificate|signature failure/],
    ['of another trust domain', /SAN matcher/],
    ['of a trust domain that begins like ours', /SAN matcher/],
    ['of our trust domain as a path', /SAN matcher/],
    ['without a SAN', /SAN matcher/],
    ['of another service account', /SAN matcher/],
    ['of the same account elsewhere', /SAN matcher/],
  ]
  it.each(table)('%s: 503 UF, and the server gets no request', async (what, why) => {
    shown = certificates[what]!
    // What was shown before must not be vouched for by a resumed session.
    server.setTicketKeys(randomBytes(48))
    const before = (await mesh.logLines('default', 'client', 1)).length
    requests = 0
    const { status, text } = await mesh.get('client', 'http://rogue:9080/')
    expect(status).toBe(503)
    expect(text).toMatch(/^upstream connect error or disconnect\/reset before headers/)
    expect(requests).toBe(0)
    const line = (await mesh.logLines('default', 'client', before + 1)).at(-1)!
    expect(line).toMatch(/^503 (UF|URX,UF|UF,URX) TLS_error:/)
    expect(line.replaceAll('_', ' ')).toMatch(why)
  })
})
