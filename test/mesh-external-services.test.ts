import { once } from 'node:events'
import fs from 'node:fs'
import https from 'node:https'
import net from 'node:net'
import os from 'node:os'
import path from 'node:path'
import type { TLSSocket } from 'node:tls'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { type App, startApp } from './support/app.ts'
import { type Identity, makeAuthority, makeIdentity } from './support/certificates.ts'
import { client, startMesh, type TestMesh } from './support/mesh.ts'

const entry = (spec: string, port = '{number: 80, name: http, protocol: HTTP}') => `
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: api}
spec: {hosts: [api.example.com], ports: [${port}], ${spec}}
---`

const rule = (tls: string) => `
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: api}
spec: {host: api.example.com, trafficPolicy: {tls: {${tls}}}}
---`

const url = 'http://api.example.com/'

describe('services outside the mesh', () => {
  let mesh: TestMesh | undefined
  let app: App
  let secure: https.Server
  let authority: Identity
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'dinghy-certs-'))
  const file = (name: string, pem: string) => {
    fs.writeFileSync(path.join(folder, name), pem)
    return path.join(folder, name)
  }
  beforeAll(async () => {
    app = await startApp((request, response) => response.end(`plain ${request.headers.host}`))
    authority = await makeAuthority('CN=tests')
    const server = await makeIdentity(authority, 'CN=api', [{ type: 'dns', value: 'api.example.com' }])
    const caller = await makeIdentity(authority, 'CN=caller', [{ type: 'dns', value: 'caller.example.com' }])
    file('ca.pem', authority.cert)
    file('other.pem', (await makeAuthority('CN=others')).cert)
    file('caller.pem', caller.cert)
    file('caller.key', caller.key)
    secure = https.createServer(
      { key: server.key, cert: server.cert, ca: authority.cert, requestCert: true, rejectUnauthorized: false },
      (request, response) => {
        const socket = request.socket as TLSSocket
        const peer = socket.getPeerCertificate().subject as { CN?: string } | undefined
        response.end(`${(socket as { servername?: string }).servername} ${peer?.CN ?? 'nobody'}`)
      },
    )
    secure.listen(0, '127.0.0.1')
    await once(secure, 'listening')
  })
  afterEach(async () => {
    await mesh?.stop()
    mesh = undefined
  })
  afterAll(async () => {
    fs.rmSync(folder, { recursive: true, force: true })
    secure.closeAllConnections()
    secure.close()
    await app.close()
  })
  const get = async (...yaml: string[]) => {
    mesh = await startMesh([client(), ...yaml].join(''))
    return mesh.get('client', url)
  }
  const securePort = () => (secure.address() as net.AddressInfo).port

  it.each(['DNS', 'DNS_ROUND_ROBIN'])('resolution: %s asks for the name of the endpoint', async (resolution) => {
    const endpoints = `endpoints: [{address: localhost, ports: {http: ${app.port}}}]`
    expect((await get(entry(`resolution: ${resolution}, ${endpoints}`))).text).toBe('plain api.example.com')
  })

  it('a name that does not resolve gives 503', async () => {
    expect((await get(entry('resolution: DNS, endpoints: [{address: nowhere.invalid}]'))).status).toBe(503)
  })

  it('resolution: STATIC goes to the addresses', async () => {
    const endpoints = `endpoints: [{address: 127.0.0.1, ports: {http: ${app.port}}}]`
    expect((await get(entry(`resolution: STATIC, ${endpoints}`))).text).toBe('plain api.example.com')
  })

  const tlsEntry = (more = '') =>
    entry(`resolution: STATIC, endpoints: [{address: 127.0.0.1, ports: {http: ${securePort()}}}]${more}`)
  const ca = () => `caCertificates: ${folder}/ca.pem`

  it.each([
    ['SIMPLE encrypts, for the name that the host has', () => `mode: SIMPLE, ${ca()}`, 200, 'api.example.com nobody'],
    ['sni names another', () => `mode: SIMPLE, sni: other.example.com, ${ca()}`, 200, 'other.example.com nobody'],
    [
      'MUTUAL shows a certificate',
      () => `mode: MUTUAL, clientCertificate: ${folder}/caller.pem, privateKey: ${folder}/caller.key, ${ca()}`,
      200,
      'api.example.com caller',
    ],
    ['caCertificates decide whom to trust', () => `mode: SIMPLE, caCertificates: ${folder}/other.pem`, 503, undefined],
    ['insecureSkipVerify trusts anyone', () => 'mode: SIMPLE, insecureSkipVerify: true', 200, 'api.example.com nobody'],
    ['subjectAltNames must match', () => `mode: SIMPLE, subjectAltNames: [x.example.com], ${ca()}`, 503, undefined],
    [
      'subjectAltNames that match',
      () => `mode: SIMPLE, subjectAltNames: [api.example.com], ${ca()}`,
      200,
      'api.example.com nobody',
    ],
  ])('tls: %s', async (_what, tls, status, text) => {
    const got = await get(tlsEntry(), rule(tls()))
    expect(got.status).toBe(status)
    if (text) expect(got.text).toBe(text)
  })

  it("subjectAltNames of the ServiceEntry count where the rule's are absent", async () => {
    const bad = await get(tlsEntry(', subjectAltNames: [x.example.com]'), rule(`mode: SIMPLE, ${ca()}`))
    expect(bad.status).toBe(503)
  })

  it('credentialName takes certificates from a Secret, for selected workloads', async () => {
    const secret = `
apiVersion: v1
kind: Secret
metadata: {name: api-ca, namespace: default}
data: {cacert: ${Buffer.from(authority.cert).toString('base64')}}
---`
    const selected = rule('mode: SIMPLE, credentialName: api-ca').replace(
      'spec: {',
      'spec: {workloadSelector: {matchLabels: {app: client}}, ',
    )
    expect((await get(tlsEntry(), secret, selected)).text).toBe('api.example.com nobody')
  })

  it("an ExternalName Service is another's name", async () => {
    const alias = `
apiVersion: v1
kind: Service
metadata: {name: alias, namespace: default}
spec: {type: ExternalName, externalName: api.example.com, ports: [{name: http, port: 80}]}
---`
    const endpoints = `endpoints: [{address: 127.0.0.1, ports: {http: ${app.port}}}]`
    mesh = await startMesh([client(), alias, entry(`resolution: STATIC, ${endpoints}`)].join(''))
    expect((await mesh.get('client', 'http://alias/')).text).toBe('plain alias')
  })
})

describe('TCP and TLS routes of a VirtualService', () => {
  let mesh: TestMesh | undefined
  const servers: net.Server[] = []
  afterEach(async () => {
    await mesh?.stop()
    mesh = undefined
    for (const server of servers.splice(0)) server.close()
  })
  /** A TCP service outside with this answer. */
  const tcpEntry = async (name: string, address: string) => {
    const server = net.createServer((socket) => socket.end(name)).listen(0, '127.0.0.1')
    servers.push(server)
    await once(server, 'listening')
    const { port } = server.address() as net.AddressInfo
    return `
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: ${name}}
spec:
  hosts: [${name}.example.com]
  addresses: [${address}]
  ports: [{number: 9000, name: tcp, protocol: TCP}]
  resolution: STATIC
  endpoints: [{address: 127.0.0.1, ports: {tcp: ${port}}}]
---`
  }
  const answer = async (address: string) => {
    const socket = net.connect(await mesh!.mesh.captureOf('client', address, 9000))
    const chunks: Buffer[] = []
    socket.on('data', (chunk) => chunks.push(chunk))
    await once(socket, 'close')
    return Buffer.concat(chunks).toString()
  }

  it.each([
    ['port: 9000', 'b'],
    ['port: 9001', 'a'],
    ['sourceLabels: {app: client}', 'b'],
    ['sourceLabels: {app: another}', 'a'],
    ['sourceNamespace: default', 'b'],
    ['sourceNamespace: another', 'a'],
    ['destinationSubnets: [10.9.0.0/16]', 'b'],
  ])('tcp match {%s} leads to %s', async (match, expected) => {
    const route = `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: a}
spec:
  hosts: [a.example.com]
  tcp: [{match: [{${match}}], route: [{destination: {host: b.example.com, port: {number: 9000}}}]}]
---`
    mesh = await startMesh([client(), await tcpEntry('a', '10.9.0.1'), await tcpEntry('b', '10.8.0.1'), route].join(''))
    expect(await answer('10.9.0.1')).toBe(expected)
  })
})
