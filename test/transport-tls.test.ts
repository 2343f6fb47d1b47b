import tls from 'node:tls'
import { afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import type { Transport } from '../src/proxy/listener/connection.ts'
import {
  type ClientTlsOptions,
  type ServerTlsOptions,
  serverTls,
  type TransportVariant,
} from '../src/proxy/net/transport.ts'
import { type Identity, makeAuthority, makeIdentity } from './support/certificates.ts'
import { peek } from './support/peek.ts'
import { connect, Recorder, Server } from './support/socket-pair.ts'

let authority: Identity
let serverId: Identity
let clientId: Identity
let strangerId: Identity
const spiffe = 'spiffe://cluster.local/ns/default/sa/client'

beforeAll(async () => {
  authority = await makeAuthority('CN=Test CA, O=Test')
  serverId = await makeIdentity(authority, 'CN=server, O=Test, C=DE', [
    { type: 'dns', value: 'server.test' },
    { type: 'url', value: 'spiffe://cluster.local/ns/default/sa/server' },
  ])
  clientId = await makeIdentity(authority, 'CN=client', [{ type: 'url', value: spiffe }])
  strangerId = await makeIdentity(await makeAuthority('CN=Other CA'), 'CN=stranger', [{ type: 'url', value: spiffe }])
})

const contextOf = (id: Identity): tls.SecureContext =>
  tls.createSecureContext({ key: id.key, cert: id.cert, ca: authority.cert, sessionIdContext: 'test' })

describe.each<TransportVariant>(['shared', 'plain'])('TLS over a %s transport', (variant) => {
  let server: Server
  let port: number

  beforeEach(async () => {
    server = new Server(variant)
    port = await server.listen()
  })

  afterEach(() => server.close())

  const serverOptions = (changes: Partial<ServerTlsOptions> = {}): ServerTlsOptions => ({
    context: contextOf(serverId),
    alpn: ['h2', 'http/1.1'],
    requestCert: true,
    requireCert: true,
    verifyChain: true,
    ...changes,
  })

  const clientOptions = (changes: Partial<ClientTlsOptions> = {}): ClientTlsOptions => ({
    context: contextOf(clientId),
    sni: 'Server.Test',
    alpn: ['http/1.1'],
    verifyChain: true,
    ...changes,
  })

  /** Accepts one connection and runs the server's handshake. */
  const accept = async (options: ServerTlsOptions, peeked = false): Promise<Transport> => {
    const accepted = await server.next()
    if (peeked)
      await new Promise<void>((resolve) =>
        peek(
          accepted,
          (bytes) => {
            if (bytes.length < 6) return false
            resolve()
            return true
          },
          () => {},
        ),
      )
    return new Promise((resolve, reject) =>
      serverTls(accepted, options, {
        onSecure(transport) {
          transport.handler = new Recorder()
          resolve(transport)
        },
        onFailed: (details) => reject(new Error(details)),
      }),
    )
  }

  const both = async (
    s: Partial<ServerTlsOptions> = {},
    c: Partial<ClientTlsOptions> = {},
    peeked = false,
  ): Promise<{ near: Transport; far: Transport; nearSees: Recorder; farSees: Recorder }> => {
    const [far, near] = await Promise.all([
      accept(serverOptions(s), peeked),
      connect(port, { variant, tls: clientOptions(c) }),
    ])
    return { near, far, nearSees: near.handler as Recorder, farSees: far.handler as Recorder }
  }

  test.each([false, true])('both sides know each other (peeked: %s)', async (peeked) => {
    const { near, far, nearSees, farSees } = await both({}, {}, peeked)
    near.write(Buffer.from('hello'))
    await farSees.until(() => farSees.received === 'hello')
    far.write(Buffer.alloc(200_000, 'y'))
    await nearSees.until(() => nearSees.received.length === 200_000)
    expect(far.info.tls!.sni).toBe('server.test')
    expect(far.info.tls).toMatchObject({ version: 'TLSv1.3', alpn: 'http/1.1', sni: 'server.test' })
    expect(far.info.tls!.cipher).toMatch(/^TLS_/)
    expect(far.info.tls!.peer!.uriSans).toEqual([spiffe])
    const peer = near.info.tls!.peer!
    expect(peer.dnsSans).toEqual(['server.test'])
    expect(peer.uriSans).toEqual(['spiffe://cluster.local/ns/default/sa/server'])
    expect(peer.subject).toBe('C=DE,O=Test,CN=server')
    expect(peer.issuer).toBe('O=Test,CN=Test CA')
    expect(peer.sha256).toMatch(/^[0-9a-f]{64}$/)
    expect(peer.sha256).toBe(far.info.tls!.local!.sha256)
    expect(peer.pem).toContain('-----BEGIN CERTIFICATE-----')
    expect(peer.serial).toMatch(/^[0-9a-f]+$/)
  })

  test('closing is orderly', async () => {
    const { near, nearSees, far, farSees } = await both()
    near.write(Buffer.alloc(1_000_000, 'z'))
    near.close()
    await farSees.until(() => farSees.ended)
    expect(farSees.received.length).toBe(1_000_000)
    far.close()
    await nearSees.until(() => nearSees.closed)
    await farSees.until(() => farSees.closed)
    expect([nearSees.error, farSees.error]).toEqual([undefined, undefined])
  })

  test('backpressure works', async () => {
    const { near, nearSees, far, farSees } = await both()
    far.pause()
    let room = true
    let sent = 0
    while (room) {
      room = near.write(Buffer.alloc(500_000, 'q'))
      sent += 500_000
      await new Promise((resolve) => setImmediate(resolve))
    }
    far.resume()
    await nearSees.until(() => nearSees.drained > 0)
    await farSees.until(() => farSees.received.length === sent)
  })

  test('a client without a certificate is let in where none is required', async () => {
    const anonymous = tls.createSecureContext({ ca: authority.cert })
    const { far } = await both({ requireCert: false }, { context: anonymous })
    expect(far.info.tls!.peer).toBeUndefined()
  })

  test('a client without a certificate is refused where one is required', async () => {
    const refused = expect(accept(serverOptions())).rejects.toThrow(
      /^TLS_error:\|268435648:.*PEER_DID_NOT_RETURN_A_CERTIFICATE/,
    )
    const anonymous = tls.createSecureContext({ ca: authority.cert })
    const client = connect(port, { variant, tls: clientOptions({ context: anonymous }) })
    await refused
    await client.then(
      (t) => t.destroy(),
      () => {},
    )
  })

  test('a client of another authority is refused', async () => {
    const refused = expect(accept(serverOptions({ requireCert: false }))).rejects.toThrow(
      /CERTIFICATE_VERIFY_FAILED:verify cert failed: X509_verify_cert/,
    )
    const client = connect(port, { variant, tls: clientOptions({ context: contextOf(strangerId) }) })
    await refused
    await client.then(
      (t) => t.destroy(),
      () => {},
    )
  })

  test('a server of another authority is refused', async () => {
    const serverSide = accept(serverOptions({ context: contextOf(strangerId) })).catch(() => {})
    await expect(connect(port, { variant, tls: clientOptions() })).rejects.toThrow(
      /^TLS: TLS_error:\|268435581:.*X509_verify_cert/,
    )
    await serverSide
  })

  test('names are checked by the caller’s words', async () => {
    const serverSide = accept(serverOptions()).catch(() => {})
    const verify: ClientTlsOptions['verify'] = (peer) =>
      peer!.dnsSans.includes('other.test')
        ? undefined
        : `verify cert failed: SAN matcher, certificate SANs are [${peer!.uriSans}]`
    await expect(connect(port, { variant, tls: clientOptions({ verify }) })).rejects.toThrow(
      'verify cert failed: SAN matcher',
    )
    await serverSide
  })

  test('without a protocol in common the handshake goes on without one', async () => {
    const { near } = await both({ alpn: ['h2'], clientAlpn: ['istio'] }, { alpn: ['istio'] })
    expect(near.info.tls!.alpn).toBe('')
  })

  test('plaintext is refused by a TLS server', async () => {
    const refused = expect(accept(serverOptions())).rejects.toThrow(/TLS_error:.*HTTP_REQUEST/)
    const near = await connect(port, { variant })
    near.write(Buffer.from('GET / HTTP/1.1\r\nhost: a\r\n\r\n'))
    await refused
    near.destroy()
  })

  test('TLS to a plaintext server fails in Envoy’s words', async () => {
    const accepted = server.next().then((t) => {
      const sees = new Recorder()
      sees.onData = () => t.write(Buffer.from('HTTP/1.1 400 Bad Request\r\n\r\n'))
      t.handler = sees
    })
    await expect(connect(port, { variant, tls: clientOptions() })).rejects.toThrow(
      /^TLS: TLS_error:\|268435703:.*WRONG_VERSION_NUMBER/,
    )
    await accepted
  })

  test('a session can be resumed', async () => {
    const context = contextOf(serverId)
    let first: Transport | undefined
    const session = await new Promise<Buffer>((resolve) => {
      both({ context }, { onSession: resolve }).then((pair) => {
        first = pair.near
        pair.far.write(Buffer.from('x'))
      })
    })
    first?.destroy()
    const second = await both({ context }, { session })
    expect(second.near.info.tls!.peer!.dnsSans).toEqual(['server.test'])
  })
})
