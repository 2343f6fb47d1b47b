import https from 'node:https'
import net from 'node:net'
import type tls from 'node:tls'
import { afterEach, expect, it } from 'vitest'
import { Ca, type Identity } from '../src/ca/ca.ts'
import { RequestHead } from '../src/proxy/http/headers.ts'
import type { CertificateInfo } from '../src/proxy/listener/connection.ts'
import { verifySanList } from '../src/proxy/tls/san-match.ts'
import { SystemRuntime } from '../src/runtime-system.ts'
import { TestRuntime } from '../src/runtime-test.ts'
import { type Init, make, packed } from '../src/xds/messages.ts'
import { assignment, edsCluster, get, listen, staticCluster, type World, world } from './support/upstream-cluster.ts'

const ca = new Ca({ runtime: new SystemRuntime() })
const client = ca.identityFor('spiffe://cluster.local/ns/default/sa/client')
const server = ca.identityFor('spiffe://cluster.local/ns/default/sa/server')

const servers: net.Server[] = []
const worlds: World[] = []
afterEach(() => {
  for (const w of worlds.splice(0)) w.clusters.close()
  for (const s of servers.splice(0)) {
    if (s instanceof https.Server) s.closeAllConnections()
    s.close()
  }
})

function start(): World {
  const w = world()
  worlds.push(w)
  return w
}

/** An upstream that wants a client certificate and answers with its SPIFFE id, the SNI and the protocol. */
async function upstream(who: Identity, roots = ca.rootPem, handshakes: boolean[] = []): Promise<number> {
  const options = {
    cert: who.certChainPem,
    key: who.privateKeyPem,
    ca: roots,
    requestCert: true,
    ALPNProtocols: ['istio', 'http/1.1'],
  }
  const s = https.createServer(options, (request, response) => {
    const socket = request.socket as tls.TLSSocket
    response.end(
      `${socket.getPeerCertificate().subjectaltname} ${socket.servername || '-'} ${socket.alpnProtocol || '-'}`,
    )
  })
  s.on('secureConnection', (socket: tls.TLSSocket) => handshakes.push(socket.isSessionReused()))
  servers.push(s)
  return listen(s)
}

type Common = Init<'envoy.extensions.transport_sockets.tls.v3.CommonTlsContext'>

function tlsSocket(common: Common, sni = 'outbound_.80_._.svc') {
  const value = packed('envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext', {
    sni,
    commonTlsContext: common,
  })
  return { name: 'envoy.transport_sockets.tls', configType: { case: 'typedConfig' as const, value } }
}

function inline(text: string) {
  return { specifier: { case: 'inlineString' as const, value: text } }
}

function certificate(who: Pick<Identity, 'certChainPem' | 'privateKeyPem'>) {
  return { certificateChain: inline(who.certChainPem), privateKey: inline(who.privateKeyPem) }
}

/** A context with everything inline, that expects this SPIFFE id. */
function inlineContext(san: string): Common {
  const validation = { trustedCa: inline(ca.rootPem), matchTypedSubjectAltNames: [uriSan(san)] }
  return {
    tlsCertificates: [certificate(client)],
    validationContextType: { case: 'validationContext', value: validation },
  } as Common
}

function uriSan(exact: string) {
  return { sanType: 3, matcher: { matchPattern: { case: 'exact' as const, value: exact } } }
}

const SDS = { configSourceSpecifier: { case: 'ads' as const, value: {} } }

/** What Istio generates: both secrets by SDS, SANs beside. */
const sdsContext = {
  alpnProtocols: ['istio'],
  tlsCertificateSdsSecretConfigs: [{ name: 'default', sdsConfig: SDS }],
  validationContextType: {
    case: 'combinedValidationContext',
    value: {
      defaultValidationContext: { matchTypedSubjectAltNames: [uriSan(server.spiffeId)] },
      validationContextSdsSecretConfig: { name: 'ROOTCA', sdsConfig: SDS },
    },
  },
} as Common

function setCertificate(w: World, who: Pick<Identity, 'certChainPem' | 'privateKeyPem'>, version: string): void {
  const type = { case: 'tlsCertificate' as const, value: certificate(who) }
  w.secrets.set(make('envoy.extensions.transport_sockets.tls.v3.Secret', { name: 'default', type }), version)
}

function setRoot(w: World, pem: string): void {
  const type = { case: 'validationContext' as const, value: { trustedCa: inline(pem) } }
  w.secrets.set(make('envoy.extensions.transport_sockets.tls.v3.Secret', { name: 'ROOTCA', type }), '1')
}

it('both sides show their certificates, SNI and ALPN are sent', async () => {
  const w = start()
  const transportSocket = tlsSocket({
    ...inlineContext(server.spiffeId),
    alpnProtocols: ['istio-peer-exchange', 'istio'],
  } as Common)
  w.clusters.addStatic([staticCluster([await upstream(server)], { transportSocket })])
  expect(await get(w.clusters.get('a')!)).toBe(`200 URI:${client.spiffeId} outbound_.80_._.svc istio`)
  expect(w.value('cluster.a.ssl.handshake')).toBe(1)
  expect(w.value('cluster.a.ssl.versions.TLSv1.2')).toBe(1)
})

it('an upstream with another identity is refused, in the words of Envoy', async () => {
  const w = start()
  const transportSocket = tlsSocket(inlineContext('spiffe://cluster.local/ns/default/sa/other'))
  w.clusters.addStatic([staticCluster([await upstream(server)], { transportSocket })])
  expect(await get(w.clusters.get('a')!)).toBe(
    `remote connection failure: TLS_error:|268435581:SSL routines:OPENSSL_internal:CERTIFICATE_VERIFY_FAILED:verify cert failed: SAN matcher, certificate SANs are [${server.spiffeId}]:TLS_error_end`,
  )
  expect(w.value('cluster.a.ssl.fail_verify_san')).toBe(1)
  expect(w.value('cluster.a.ssl.fail_verify_error')).toBe(0)
  expect(w.value('cluster.a.ssl.connection_error')).toBe(0)
})

it('an upstream of another root is refused', async () => {
  const w = start()
  const stranger = new Ca({ runtime: new SystemRuntime() }).identityFor(server.spiffeId)
  const transportSocket = tlsSocket(inlineContext(server.spiffeId))
  w.clusters.addStatic([staticCluster([await upstream(stranger)], { transportSocket })])
  expect(await get(w.clusters.get('a')!)).toMatch(
    /CERTIFICATE_VERIFY_FAILED:verify cert failed: X509_verify_cert: certificate verification error/,
  )
  expect(w.value('cluster.a.ssl.fail_verify_error')).toBe(1)
})

it('plaintext where TLS was expected is a connection error', async () => {
  const w = start()
  const plain = net.createServer((socket) => socket.end('HTTP/1.1 400 Bad Request\r\n\r\n'))
  servers.push(plain)
  w.clusters.addStatic([
    staticCluster([await listen(plain)], { transportSocket: tlsSocket(inlineContext(server.spiffeId)) }),
  ])
  expect(await get(w.clusters.get('a')!)).toMatch(/^remote connection failure: TLS_error:.*WRONG_VERSION_NUMBER/)
  expect(w.value('cluster.a.ssl.connection_error')).toBe(1)
})

it('a handshake that is reset is told of in the words of Envoy, one that is closed without any', async () => {
  for (const [end, words] of [
    [
      'reset',
      /^remote connection failure: TLS_error:\|33554536:system library:OPENSSL_internal:Connection reset by peer:/,
    ],
    ['close', /^remote connection failure(: undefined)?$/],
  ] as const) {
    const w = start()
    const rude = net.createServer((socket) => {
      socket.on('error', () => {})
      socket.once('data', () => (end === 'reset' ? socket.resetAndDestroy() : socket.end()))
    })
    servers.push(rude)
    w.clusters.addStatic([
      staticCluster([await listen(rude)], { transportSocket: tlsSocket(inlineContext(server.spiffeId)) }),
    ])
    expect(await get(w.clusters.get('a')!)).toMatch(words)
    expect(w.value('cluster.a.ssl.connection_error')).toBe(0)
  }
})

it('a cluster waits for its secrets, and a rotated certificate is used by new connections', async () => {
  const w = start()
  w.clusters.addOrUpdate(edsCluster({ transportSocket: tlsSocket(sdsContext), maxRequestsPerConnection: 2 }), '1')
  expect(w.secrets.wanted).toEqual(['ROOTCA', 'default'])
  w.clusters.updateEndpoints(assignment('a', [await upstream(server)]), '1')
  expect(w.clusters.warmingNames()).toEqual(['a'])
  setRoot(w, ca.rootPem)
  setCertificate(w, client, '1')
  expect(w.clusters.warmingNames()).toEqual([])
  const cluster = w.clusters.get('a')!
  expect(await get(cluster)).toBe(`200 URI:${client.spiffeId} outbound_.80_._.svc istio`)
  const rotated = ca.identityFor('spiffe://cluster.local/ns/default/sa/rotated')
  setCertificate(w, rotated, '2')
  // The connection there is goes on; the next is made with the new certificate.
  expect(await get(cluster)).toBe(`200 URI:${client.spiffeId} outbound_.80_._.svc istio`)
  expect(await get(cluster)).toBe(`200 URI:${rotated.spiffeId} outbound_.80_._.svc istio`)
  w.clusters.remove('a')
  expect(w.secrets.wanted).toEqual([])
})

it('a cluster whose secrets do not come in time serves, and its connections say what is missing', async () => {
  const runtime = new TestRuntime()
  const w = world({ runtime })
  worlds.push(w)
  w.clusters.addStatic([staticCluster([1], { transportSocket: tlsSocket(sdsContext) })])
  runtime.advance(14_999)
  expect(w.clusters.get('a')).toBeUndefined()
  runtime.advance(1)
  expect(await get(w.clusters.get('a')!)).toBe('remote connection failure: TLS error: Secret is not supplied by SDS')
})

it('a broken secret is refused, and the last good one stays', async () => {
  const w = start()
  w.clusters.addStatic([staticCluster([await upstream(server)], { transportSocket: tlsSocket(sdsContext) })])
  setRoot(w, ca.rootPem)
  setCertificate(w, client, '1')
  expect(() => setCertificate(w, { ...client, privateKeyPem: server.privateKeyPem }, '2')).toThrow(/secret default/)
  expect(await get(w.clusters.get('a')!)).toMatch(/^200 /)
})

it('transport_socket_matches: TLS for endpoints that have it, plaintext for the others', async () => {
  const w = start()
  const plain = net.createServer((socket) =>
    socket.once('data', () => socket.end('HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nplain')),
  )
  servers.push(plain)
  const [secure, open] = [await upstream(server), await listen(plain)]
  w.clusters.addOrUpdate(
    edsCluster({
      transportSocketMatches: [
        {
          name: 'tlsMode-istio',
          match: { tlsMode: 'istio' },
          transportSocket: tlsSocket(inlineContext(server.spiffeId)),
        },
        {
          name: 'tlsMode-disabled',
          match: {},
          transportSocket: {
            name: 'envoy.transport_sockets.raw_buffer',
            configType: {
              case: 'typedConfig',
              value: packed('envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer'),
            },
          },
        },
      ],
    }),
    '1',
  )
  const cluster = () => w.clusters.get('a')!
  w.clusters.updateEndpoints(assignment('a', [open]), '1')
  expect(await get(cluster())).toBe('200 plain')
  const metadata = { filterMetadata: { 'envoy.transport_socket_match': { tlsMode: 'istio' } } }
  w.clusters.updateEndpoints(assignment('a', [secure], { metadata }), '2')
  expect(await get(cluster())).toMatch(/^200 URI:/)
})

it('the request may choose SNI and ALPN, with connections of its own', async () => {
  const w = start()
  w.clusters.addStatic([
    staticCluster([await upstream(server)], { transportSocket: tlsSocket(inlineContext(server.spiffeId)) }),
  ])
  const cluster = w.clusters.get('a')!
  // Nothing configured: the protocol's own name is offered.
  expect(await get(cluster)).toMatch(/ outbound_.80_._.svc http\/1.1$/)
  expect(await get(cluster, { upstreamAlpn: ['istio-http/1.1', 'istio'] })).toMatch(/ istio$/)
  expect(await get(cluster, { upstreamServerName: 'other.test' })).toMatch(/ other.test http\/1.1$/)
  expect(w.value('cluster.a.upstream_cx_total')).toBe(3)
})

it('auto_sni sends the host that the request is for, and auto_san_validation checks it', async () => {
  const w = start()
  const transportSocket = tlsSocket({ ...inlineContext(server.spiffeId) } as Common, '')
  const config = (autoSanValidation: boolean) =>
    staticCluster([port], { transportSocket, upstreamHttpProtocolOptions: { autoSni: true, autoSanValidation } })
  const port = await upstream(server)
  w.clusters.addOrUpdate(config(false), '1')
  const headers = RequestHead.create('GET', '/', 'svc.test:8443')
  expect(await get(w.clusters.get('a')!, { headers })).toMatch(/ svc.test http\/1.1$/)
  w.clusters.addOrUpdate(config(true), '2')
  expect(await get(w.clusters.get('a')!, { headers })).toMatch(/verify cert failed: verify SAN list/)
})

it('a second connection resumes the session of the first', async () => {
  const w = start()
  const handshakes: boolean[] = []
  const port = await upstream(server, ca.rootPem, handshakes)
  const transportSocket = tlsSocket(inlineContext(server.spiffeId))
  w.clusters.addStatic([staticCluster([port], { transportSocket, maxRequestsPerConnection: 1 })])
  const cluster = w.clusters.get('a')!
  expect(await get(cluster)).toMatch(/^200 URI:/)
  expect(await get(cluster)).toMatch(/^200 URI:/)
  expect(handshakes).toEqual([false, true])
})

it('SAN checks without a trusted CA are refused', () => {
  const w = start()
  const validation = { matchTypedSubjectAltNames: [uriSan('x')] }
  const context = { validationContextType: { case: 'validationContext', value: validation } } as Common
  expect(() => w.clusters.addStatic([staticCluster([1], { transportSocket: tlsSocket(context) })])).toThrow(
    /SAN-based verification of peer certificates without trusted CA is insecure and not allowed/,
  )
})

it.each([
  ['10.0.0.1', { ipSans: ['10.0.0.1'] }, true],
  ['10.0.0.2', { ipSans: ['10.0.0.1'] }, false],
  ['10.0.0.1', { dnsSans: ['10.0.0.1'] }, false],
  ['spiffe://td/ns/a/sa/x', { uriSans: ['spiffe://td/ns/a/sa/x'] }, true],
  ['spiffe://td/ns/a/sa/y', { uriSans: ['spiffe://td/ns/a/sa/x'] }, false],
  ['a.test', { dnsSans: ['*.test'] }, true],
  ['A.Example.Test', { dnsSans: ['*.example.test'] }, true],
  ['a.b.example.test', { dnsSans: ['*.example.test'] }, false],
  ['example.test', { dnsSans: ['*.example.test'] }, false],
  ['.example.test', { dnsSans: ['*.example.test'] }, false],
])('a server that is to be %s with the names %j: %s', (name, sans, good) => {
  const peer = { uriSans: [], dnsSans: [], ipSans: [], emailSans: [], ...sans } as unknown as CertificateInfo
  expect(verifySanList(peer, [name]) === undefined).toBe(good)
})
