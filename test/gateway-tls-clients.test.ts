import 'reflect-metadata'
import { createHash, webcrypto, X509Certificate } from 'node:crypto'
import { once } from 'node:events'
import fs from 'node:fs'
import http from 'node:http'
import type net from 'node:net'
import os from 'node:os'
import path from 'node:path'
import tls from 'node:tls'
import * as x509 from '@peculiar/x509'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { keptAuthority } from './support/attacker.ts'
import { type Identity, makeAuthority, makeIdentity } from './support/certificates.ts'
import { addressOf, ask, gatewayYaml, secretYaml } from './support/gateway.ts'
import { pod, service, startMesh, type TestMesh } from './support/mesh.ts'

const server = (name: string, settings: string, port = 443, protocol = 'HTTPS') => `
  - port: {number: ${port}, name: ${name}, protocol: ${protocol}}
    hosts: [${name}.example.com]
    tls: {${settings}}`

/** A list of revoked certificates. */
async function crlOf(authority: Identity, revoked: Identity): Promise<string> {
  const crl = await x509.X509CrlGenerator.create(
    {
      issuer: new x509.X509Certificate(authority.cert).subject,
      thisUpdate: new Date(Date.now() - 60_000),
      nextUpdate: new Date(Date.now() + 3_600_000),
      entries: [{ serialNumber: new x509.X509Certificate(revoked.cert).serialNumber, revocationDate: new Date() }],
      signingAlgorithm: { name: 'ECDSA', hash: 'SHA-256' },
      signingKey: authority.keys.privateKey as never,
    },
    webcrypto as never,
  )
  // Its name in PEM is another one there.
  return crl.toString('pem').replaceAll(/(BEGIN|END) CRL/g, '$1 X509 CRL')
}

describe('clients of a gateway over TLS', () => {
  let folder: string
  let kept: Awaited<ReturnType<typeof keptAuthority>>
  let mesh: TestMesh
  let behind: tls.Server
  let ids: Record<'edge' | 'a' | 'b' | 'inside', Identity>
  const inMesh: Record<string, Identity> = {}
  let yaml: (edge: { cert: string; key: string }) => string

  beforeAll(async () => {
    kept = await keptAuthority()
    const authority = await makeAuthority('CN=clients')
    const made = (name: string) =>
      makeIdentity(authority, `CN=${name}`, [{ type: 'dns', value: `${name}.example.com` }])
    ids = { edge: await made('edge'), a: await made('a'), b: await made('b'), inside: await made('inside') }
    for (const account of ['one', 'two'])
      inMesh[account] = await makeIdentity(kept.authority, 'CN=x', [
        { type: 'url', value: `spiffe://cluster.local/ns/default/sa/${account}` },
      ])
    folder = fs.mkdtempSync(path.join(os.tmpdir(), 'dinghy-gateway-clients-'))
    const files: Record<string, string> = {
      'cert.pem': ids.edge.cert,
      'key.pem': ids.edge.key,
      'ca.pem': authority.cert,
      'crl.pem': await crlOf(authority, ids.b),
    }
    for (const [name, text] of Object.entries(files)) fs.writeFileSync(path.join(folder, name), text)
    behind = tls.createServer({ key: ids.inside.key, cert: ids.inside.cert }, (socket) => {
      socket.on('error', () => {})
      socket.on('data', () => socket.end(`HTTP/1.1 200 OK\r\ncontent-length: 0\r\nx-sni: ${socket.servername}\r\n\r\n`))
    })
    behind.listen(0, '127.0.0.1')
    await once(behind, 'listening')
    const certificate = new X509Certificate(ids.a.cert)
    const hash = createHash('sha256').update(certificate.raw).digest('hex')
    const key = certificate.publicKey.export({ type: 'spki', format: 'der' })
    const spki = createHash('sha256').update(key).digest('base64')
    const secrets = (edge: { cert: string; key: string }) =>
      secretYaml('edge', { 'tls.crt': edge.cert, 'tls.key': edge.key, 'ca.crt': authority.cert }) +
      secretYaml('listed', {
        'tls.crt': ids.edge.cert,
        'tls.key': ids.edge.key,
        'ca.crt': authority.cert,
        'ca.crl': files['crl.pem']!,
      })
    yaml = secrets
    mesh = await startMesh(
      {
        'mesh.yaml': [
          gatewayYaml(),
          service('reviews'),
          pod('reviews', 'v1'),
          service('inside', 'default', { name: 'tls', port: 9080 }),
          pod('inside', 'v1', {
            annotations: `sidecar.istio.io/inject: "false", dinghy.dev/app: "9080=127.0.0.1:${(behind.address() as net.AddressInfo).port}"`,
          }),
          `
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: shop}
spec:
  selector: {istio: ingressgateway}
  servers:`,
          server('plain', 'mode: SIMPLE, credentialName: edge'),
          server('named', 'mode: MUTUAL, credentialName: edge, subjectAltNames: [a.example.com]'),
          server('keyed', `mode: MUTUAL, credentialName: edge, verifyCertificateSpki: ["${spki}"]`),
          server('hashed', `mode: MUTUAL, credentialName: edge, verifyCertificateHash: ["${hash}"]`),
          server(
            'revoked',
            `mode: MUTUAL, serverCertificate: ${folder}/cert.pem, privateKey: ${folder}/key.pem, caCertificates: ${folder}/ca.pem, caCrl: ${folder}/crl.pem`,
          ),
          server('listed', 'mode: MUTUAL, credentialName: listed'),
          server(
            'ciphers',
            'mode: SIMPLE, credentialName: edge, maxProtocolVersion: TLSV1_2, cipherSuites: [ECDHE-ECDSA-AES256-GCM-SHA384]',
          ),
          server('own', 'mode: ISTIO_MUTUAL'),
          server('ownnamed', 'mode: ISTIO_MUTUAL, subjectAltNames: [spiffe://cluster.local/ns/default/sa/one]'),
          server('inside', 'mode: PASSTHROUGH', 443, 'TLS'),
          `
  - port: {number: 15443, name: auto, protocol: TLS}
    hosts: ["*.local"]
    tls: {mode: AUTO_PASSTHROUGH}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: shop}
spec:
  hosts: ["*"]
  gateways: [shop]
  http:
  - route: [{destination: {host: reviews}}]
  tls:
  - match: [{port: 443, sniHosts: [inside.example.com]}]
    route: [{destination: {host: inside, port: {number: 9080}}}]
---`,
        ].join(''),
        'secrets.yaml': secrets(ids.edge),
      },
      { watch: true, dataDir: kept.dataDir },
    )
  })
  afterAll(async () => {
    await mesh?.stop()
    behind?.close()
    kept?.remove()
    fs.rmSync(folder, { recursive: true, force: true })
  })
  const as = (identity?: Identity): tls.ConnectionOptions =>
    identity ? { key: identity.key, cert: identity.cert } : {}
  /** The status that a client gets; `refused` without one. */
  const status = (name: string, identity?: Identity, more: tls.ConnectionOptions = {}) =>
    ask(mesh, `${name}.example.com`, { tls: { ...as(identity), ...more } }).then(
      (answer) => answer.status,
      () => 'refused',
    )

  it.each(['named', 'keyed', 'hashed', 'revoked', 'listed'])(
    '%s: takes the one client, and no other of the authority',
    async (name) => {
      expect([await status(name, ids.a), await status(name, ids.b), await status(name)]).toEqual([
        200,
        'refused',
        'refused',
      ])
    },
  )

  it('cipherSuites are the ones that are spoken', async () => {
    const of = (ciphers: string) => status('ciphers', undefined, { ciphers, maxVersion: 'TLSv1.2' })
    expect([await of('ECDHE-ECDSA-AES256-GCM-SHA384'), await of('ECDHE-ECDSA-AES128-GCM-SHA256')]).toEqual([
      200,
      'refused',
    ])
  })

  it('ISTIO_MUTUAL takes workloads of the mesh, those that are named, and nobody else', async () => {
    expect([await status('own', inMesh.one), await status('own', inMesh.two)]).toEqual([200, 200])
    expect([await status('ownnamed', inMesh.one), await status('ownnamed', inMesh.two)]).toEqual([200, 'refused'])
    expect([await status('own', ids.a), await status('own')]).toEqual(['refused', 'refused'])
    const answer = await ask(mesh, 'own.example.com', { tls: as(inMesh.one) })
    expect(answer.certificate!.subjectaltname).toContain(
      'URI:spiffe://cluster.local/ns/istio-system/sa/istio-ingressgateway',
    )
    expect(answer.echo.request.headers['x-forwarded-client-cert']).toContain(
      'URI=spiffe://cluster.local/ns/default/sa/one',
    )
  })

  it('PASSTHROUGH leaves TLS to the server behind', async () => {
    const answer = await ask(mesh, 'inside.example.com', { tls: {} })
    expect([answer.status, answer.headers['x-sni'], answer.certificate?.subject.CN]).toEqual([
      200,
      'inside.example.com',
      'inside',
    ])
  })

  it('AUTO_PASSTHROUGH leads by the name of the cluster to its sidecar, whose certificate is seen', async () => {
    const to = (sni: string, alpn: string[]) =>
      ask(mesh, sni, {
        port: 15443,
        tls: { ...as(inMesh.one), servername: sni, ALPNProtocols: alpn },
        headers: { host: 'reviews' },
      })
    const answer = await to('outbound_.9080_._.reviews.default.svc.cluster.local', ['istio'])
    expect([answer.status, answer.certificate!.subjectaltname]).toEqual([
      200,
      expect.stringContaining('URI:spiffe://cluster.local/ns/default/sa/reviews'),
    ])
    await expect(to('outbound_.9080_._.nobody.default.svc.cluster.local', ['istio'])).rejects.toThrow()
    await expect(to('outbound_.9080_._.reviews.default.svc.cluster.local', ['h2'])).rejects.toThrow()
    await expect(to('reviews.default.svc.cluster.local', ['istio'])).rejects.toThrow()
  })

  describe('a Secret that changes', () => {
    const cn = async () => (await ask(mesh, 'plain.example.com', { tls: {} })).certificate!.subject.CN

    it('old connections go on with the old certificate, new ones see the new', async () => {
      const { host, port } = addressOf(mesh, 'istio-ingressgateway', 8443)
      const socket = tls.connect({ host, port, servername: 'plain.example.com', rejectUnauthorized: false })
      await once(socket, 'secureConnect')
      const agent = new http.Agent({ keepAlive: true, maxSockets: 1 })
      agent.createConnection = () => socket
      const get = () =>
        new Promise<number | undefined>((resolve, reject) => {
          http
            .get({ agent, path: '/', headers: { host: 'plain.example.com' } }, (response) => {
              response.resume().on('end', () => resolve(response.statusCode))
            })
            .on('error', reject)
        })
      expect(await get()).toBe(200)
      await mesh.write('secrets.yaml', yaml({ cert: ids.inside.cert, key: ids.inside.key }))
      expect(await cn()).toBe('inside')
      expect(await get()).toBe(200)
      expect(socket.getPeerCertificate().subject.CN).toBe('edge')
      agent.destroy()
      socket.destroy()
    })

    it('a broken one leaves the certificate of before in force, and is told with its place', async () => {
      const events = mesh.events.length
      await mesh.write('secrets.yaml', yaml({ cert: 'nonsense', key: ids.edge.key }))
      expect(await cn()).toBe('inside')
      const told = mesh.events.slice(events).map((event) => JSON.stringify(event))
      expect(told.join('\n')).toMatch(/secrets\.yaml/)
      await mesh.write('secrets.yaml', yaml({ cert: ids.edge.cert, key: ids.inside.key }))
      expect(await cn()).toBe('inside')
      await mesh.write('secrets.yaml', yaml(ids.edge))
      expect(await cn()).toBe('edge')
    })

    it('changes under load lose no request', async () => {
      let stop = false
      const statuses: (number | string)[] = []
      const load = (async () => {
        while (!stop) statuses.push(await status('plain'))
      })()
      for (const edge of [ids.inside, ids.edge, ids.a, ids.edge]) await mesh.write('secrets.yaml', yaml(edge))
      stop = true
      await load
      expect(statuses.length).toBeGreaterThan(4)
      expect(statuses.filter((one) => one !== 200)).toEqual([])
    })
  })
})
