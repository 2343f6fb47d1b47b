import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Identity, makeAuthority, makeIdentity } from './support/certificates.ts'
import { ask, gatewayYaml, secretYaml } from './support/gateway.ts'
import { pod, service, startMesh, type TestMesh } from './support/mesh.ts'

const server = (name: string, hosts: string, tls: string) => `
  - port: {number: 443, name: ${name}, protocol: HTTPS}
    hosts: [${hosts}]
    tls: {${tls}}`

const gateway = (servers: string) => `
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: shop}
spec:
  selector: {istio: ingressgateway}
  servers:${servers}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: shop}
spec:
  hosts: ["*"]
  gateways: [shop]
  http:
  - route: [{destination: {host: reviews}}]
---`

describe('TLS at a gateway', () => {
  let authority: Identity
  let other: Identity
  let certs: Record<'a' | 'b' | 'new' | 'client' | 'stranger', Identity>
  let folder: string
  let mesh: TestMesh

  const secrets = (a = certs.a) =>
    secretYaml('a', { 'tls.crt': a.cert, 'tls.key': a.key }) +
    secretYaml('b', { cert: certs.b.cert, key: certs.b.key, cacert: authority.cert }) +
    secretYaml('c', { 'tls.crt': certs.b.cert, 'tls.key': certs.b.key }) +
    secretYaml('c-cacert', { 'ca.crt': authority.cert })

  beforeAll(async () => {
    authority = await makeAuthority('CN=ca')
    other = await makeAuthority('CN=other')
    const made = (name: string, by = authority) =>
      makeIdentity(by, `CN=${name}`, [{ type: 'dns', value: `${name}.example.com` }])
    certs = {
      a: await made('a'),
      b: await made('b'),
      new: await made('new'),
      client: await made('client'),
      stranger: await made('stranger', other),
    }
    folder = fs.mkdtempSync(path.join(os.tmpdir(), 'dinghy-gateway-'))
    fs.writeFileSync(path.join(folder, 'cert.pem'), certs.a.cert)
    fs.writeFileSync(path.join(folder, 'key.pem'), certs.a.key)
    fs.writeFileSync(path.join(folder, 'ca.pem'), authority.cert)
    const files = `serverCertificate: ${folder}/cert.pem, privateKey: ${folder}/key.pem, caCertificates: ${folder}/ca.pem`
    mesh = await startMesh(
      {
        'mesh.yaml':
          gatewayYaml() +
          service('reviews') +
          pod('reviews', 'v1') +
          gateway(
            server('a', 'a.example.com', 'mode: SIMPLE, credentialName: a') +
              server('b', 'b.example.com', 'mode: MUTUAL, credentialName: b') +
              server('c', 'c.example.com', 'mode: OPTIONAL_MUTUAL, credentialName: c') +
              server('d', 'd.example.com', `mode: MUTUAL, ${files}`) +
              server('new', 'new.example.com', 'mode: SIMPLE, credentialName: a, minProtocolVersion: TLSV1_3') +
              server('old', 'old.example.com', 'mode: SIMPLE, credentialName: a, maxProtocolVersion: TLSV1_2') +
              server('missing', 'missing.example.com', 'mode: SIMPLE, credentialName: missing') +
              server('wild', '"*.wild.example.com"', 'mode: SIMPLE, credentialName: c'),
          ),
        'secrets.yaml': secrets(),
      },
      { watch: true },
    )
  })

  afterAll(async () => {
    await mesh?.stop()
    fs.rmSync(folder, { recursive: true, force: true })
  })

  const client = () => ({ key: certs.client.key, cert: certs.client.cert })
  const name = (answer: Awaited<ReturnType<typeof ask>>) => answer.certificate?.subject.CN

  it('SIMPLE presents the certificate of its secret, by the name that the client asks for', async () => {
    const a = await ask(mesh, 'a.example.com', { tls: {} })
    expect([a.status, name(a), a.echo.workload]).toEqual([200, 'a', 'reviews-v1'])
    expect(a.echo.request.headers['x-forwarded-proto']).toBe('https')
    const wild = await ask(mesh, 'x.wild.example.com', { tls: {} })
    expect([wild.status, name(wild)]).toEqual([200, 'b'])
  })

  it('can be called with `outside` as well', async () => {
    const got = await mesh.get('outside', 'https://a.example.com/')
    expect([got.status, got.echo?.workload]).toEqual([200, 'reviews-v1'])
  })

  it('a name that no server has gets no handshake', async () => {
    await expect(ask(mesh, 'z.example.com', { tls: {} })).rejects.toThrow(/ECONNRESET|disconnected|closed/)
  })

  it('MUTUAL takes clients of its authority alone, and tells the app who they are', async () => {
    const good = await ask(mesh, 'b.example.com', { tls: client() })
    expect(good.status).toBe(200)
    expect(good.echo.request.headers['x-forwarded-client-cert']).toMatch(
      /Subject="CN=client".*DNS=client\.example\.com/,
    )
    await expect(ask(mesh, 'b.example.com', { tls: {} })).rejects.toThrow()
    const stranger = { key: certs.stranger.key, cert: certs.stranger.cert }
    await expect(ask(mesh, 'b.example.com', { tls: stranger })).rejects.toThrow()
  })

  it('OPTIONAL_MUTUAL takes clients without a certificate, but none with a wrong one; its roots are in a secret of their own', async () => {
    expect((await ask(mesh, 'c.example.com', { tls: {} })).status).toBe(200)
    const good = await ask(mesh, 'c.example.com', { tls: client() })
    expect(good.echo.request.headers['x-forwarded-client-cert']).toContain('Subject="CN=client"')
    const stranger = { key: certs.stranger.key, cert: certs.stranger.cert }
    await expect(ask(mesh, 'c.example.com', { tls: stranger })).rejects.toThrow()
  })

  it('certificates may be in files', async () => {
    const good = await ask(mesh, 'd.example.com', { tls: client() })
    expect([good.status, name(good)]).toEqual([200, 'a'])
    await expect(ask(mesh, 'd.example.com', { tls: {} })).rejects.toThrow()
  })

  it('versions of TLS are bounded as written', async () => {
    expect((await ask(mesh, 'new.example.com', { tls: {} })).protocol).toBe('TLSv1.3')
    await expect(ask(mesh, 'new.example.com', { tls: { maxVersion: 'TLSv1.2' } })).rejects.toThrow()
    expect((await ask(mesh, 'old.example.com', { tls: {} })).protocol).toBe('TLSv1.2')
    await expect(ask(mesh, 'old.example.com', { tls: { minVersion: 'TLSv1.3' } })).rejects.toThrow()
  })

  it('without its secret a server lets no handshake through, and the others work', async () => {
    await expect(ask(mesh, 'missing.example.com', { tls: {} })).rejects.toThrow()
    expect((await ask(mesh, 'a.example.com', { tls: {} })).status).toBe(200)
  })

  it('a host of another server is not served on this one', async () => {
    // The connection is for a; its routes have a alone.
    expect((await ask(mesh, 'a.example.com', { tls: {}, headers: { host: 'b.example.com' } })).status).toBe(404)
  })

  it('of two certificates each client gets the one that it can verify', async () => {
    const rsa = await makeIdentity(authority, 'CN=rsa', [{ type: 'dns', value: 'a.example.com' }], { rsa: true })
    const both = await startMesh(
      gatewayYaml() +
        service('reviews') +
        pod('reviews', 'v1') +
        gateway(server('a', 'a.example.com', 'mode: SIMPLE, credentialNames: [a, rsa]')) +
        secrets() +
        secretYaml('rsa', { 'tls.crt': rsa.cert, 'tls.key': rsa.key }),
    )
    try {
      const of = (cipher: string) => ask(both, 'a.example.com', { tls: { maxVersion: 'TLSv1.2', ciphers: cipher } })
      expect(name(await of('ECDHE-RSA-AES128-GCM-SHA256'))).toBe('rsa')
      expect(name(await of('ECDHE-ECDSA-AES128-GCM-SHA256'))).toBe('a')
    } finally {
      await both.stop()
    }
  })

  it('a certificate that is none keeps its own server shut alone', async () => {
    const servers =
      server('a', 'a.example.com', 'mode: SIMPLE, credentialName: a') +
      server('broken', 'broken.example.com', 'mode: SIMPLE, credentialName: broken')
    const other = await startMesh(
      gatewayYaml() +
        service('reviews') +
        pod('reviews', 'v1') +
        gateway(servers) +
        secrets() +
        secretYaml('broken', { 'tls.crt': 'nonsense', 'tls.key': 'nonsense' }),
    )
    try {
      await expect(ask(other, 'broken.example.com', { tls: {} })).rejects.toThrow()
      expect((await ask(other, 'a.example.com', { tls: {} })).status).toBe(200)
    } finally {
      await other.stop()
    }
  })

  it('a secret that comes, or changes, is in force at once', async () => {
    await mesh.write(
      'secrets.yaml',
      secrets(certs.new) + secretYaml('missing', { 'tls.crt': certs.b.cert, 'tls.key': certs.b.key }),
    )
    expect(name(await ask(mesh, 'a.example.com', { tls: {} }))).toBe('new')
    expect(name(await ask(mesh, 'missing.example.com', { tls: {} }))).toBe('b')
  })
})
