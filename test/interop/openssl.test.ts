import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import fs from 'node:fs'
import path from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { makeAuthority, makeIdentity } from '../support/certificates.ts'
import { leafOf, secretStream } from '../support/control-plane.ts'
import { dinghyProxy, realEnvoy } from './envoy.ts'
import { freePorts } from './processes.ts'
import { IPS, idOf, type Sidecar, startWorld, type World } from './sidecars.ts'

// openssl as a client of a server sidecar, and as the server that a client sidecar is led to; a real Envoy in place of ours
// gives the same answers.

let world: World
const file = (name: string) => path.join(world.dir, name)

/** A service outside of the mesh, called over TLS in some mode. */
const outside = (name: string, mode: string, port: number, server: number, dir: string) => `---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: ${name}}
spec:
  hosts: [${name}.example.com]
  location: MESH_EXTERNAL
  resolution: STATIC
  ports: [{number: ${port}, name: http, protocol: HTTP, targetPort: ${server}}]
  endpoints: [{address: 127.0.0.1}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: ${name}}
spec:
  host: ${name}.example.com
  trafficPolicy:
    tls:
      mode: ${mode}
      sni: asked.example.com
      subjectAltNames: [outside.example.com]
      caCertificates: ${path.join(dir, 'outside-root.pem')}
${mode === 'MUTUAL' ? `      clientCertificate: ${path.join(dir, 'own.pem')}\n      privateKey: ${path.join(dir, 'own.key')}\n` : ''}`

let serverPort = 0
beforeAll(async () => {
  ;[serverPort] = (await freePorts(1)) as [number]
  world = await startWorld(
    ({ outside: port }, dir) =>
      outside('mutual', 'MUTUAL', port, serverPort, dir) + outside('simple', 'SIMPLE', port, serverPort, dir),
  )
  const authority = await makeAuthority('CN=outside root')
  const server = await makeIdentity(authority, 'CN=outside', [{ type: 'dns', value: 'outside.example.com' }])
  const own = await makeIdentity(authority, 'CN=own', [{ type: 'dns', value: 'own.example.com' }])
  fs.writeFileSync(file('outside-root.pem'), authority.cert)
  fs.writeFileSync(file('outside.pem'), server.cert)
  fs.writeFileSync(file('outside.key'), server.key, { mode: 0o600 })
  fs.writeFileSync(file('own.pem'), own.cert)
  fs.writeFileSync(file('own.key'), own.key, { mode: 0o600 })
  fs.writeFileSync(file('root.pem'), world.root)
  const other = await makeIdentity(authority, 'CN=x', [{ type: 'url', value: idOf('client') }])
  fs.writeFileSync(file('foreign.pem'), other.cert)
  fs.writeFileSync(file('foreign.key'), other.key, { mode: 0o600 })
  // What the client's agent hands to its proxy.
  const stream = secretStream(`unix:${file('client/socket')}`, { service: 'sds', node: 'x', names: ['default'] })
  const secret = (await stream.next()).secrets.get('default')
  stream.close()
  expect(leafOf(secret).subjectAltName).toBe(`URI:${idOf('client')}`)
  if (secret?.type.case !== 'tlsCertificate') throw new Error('no certificate')
  const { certificateChain, privateKey } = secret.type.value
  fs.writeFileSync(file('client.pem'), certificateChain!.specifier.value as Uint8Array)
  fs.writeFileSync(file('client.key'), privateKey!.specifier.value as Uint8Array, { mode: 0o600 })
})
afterAll(() => world.stop())

/** Runs openssl with an input; what it wrote, both ways, once it has ended. */
async function openssl(args: string[], input = ''): Promise<string> {
  const child = spawn('openssl', args)
  let text = ''
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk: Buffer) => (text += chunk.toString()))
  child.stdin.on('error', () => {})
  child.stdin.end(input)
  await once(child, 'close')
  return text
}

const REQUEST = 'GET /x HTTP/1.1\r\nhost: server\r\nconnection: close\r\n\r\n'

describe.each([
  ['a sidecar of ours', dinghyProxy],
  ['a real Envoy', realEnvoy],
] as const)('openssl is a client of %s', (_, command) => {
  let server: Sidecar
  beforeAll(async () => {
    server = await world.sidecar('server', command)
  })
  afterAll(() => server.stop())

  const NAME = ['-servername', 'outbound_.80_._.server.default.svc.cluster.local']
  const connect = (...more: string[]) => {
    const name = more.some((arg) => arg.endsWith('servername')) ? [] : NAME
    return ['s_client', '-connect', `${IPS.server}:${world.listenPort}`, '-CAfile', file('root.pem'), ...name, ...more]
  }
  const own = (name = 'client') => ['-cert', file(`${name}.pem`), '-key', file(`${name}.key`)]
  const fetch = (...more: string[]) => openssl(connect('-quiet', '-ign_eof', ...own(), ...more), REQUEST)

  test('which shows its chain, leaf first, and its SPIFFE id', async () => {
    const text = await openssl(connect('-showcerts', ...own()))
    expect(text).toContain('Verify return code: 0 (ok)')
    const certificates = text.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? []
    expect(certificates.length).toBeGreaterThanOrEqual(1)
    const names = await openssl(['x509', '-noout', '-ext', 'subjectAltName'], certificates[0])
    expect(names).toContain('critical')
    expect(names).toContain(`URI:${idOf('server')}`)
    const issuer = await openssl(['x509', '-noout', '-issuer'], certificates[0])
    const rootSubject = await openssl(['x509', '-noout', '-subject'], world.root)
    expect(issuer.replace('issuer=', '')).toBe(rootSubject.replace('subject=', ''))
  })

  test('and answers a request with the certificate of the right account', async () => {
    const text = await fetch('-alpn', 'http/1.1')
    expect(text).toContain('HTTP/1.1 200 OK')
    expect(text).toContain(`URI=${idOf('client')}`)
  })

  test.each([
    ['h2,http/1.1', 'ALPN protocol: h2'],
    ['http/1.1', 'ALPN protocol: http/1.1'],
    ['http/1.1,h2', 'ALPN protocol: h2'],
    ['istio', 'No ALPN negotiated'],
  ])('to the ALPN list %s it says: %s', async (list, answer) => {
    expect(await openssl(connect(...own(), '-alpn', list))).toContain(answer)
  })

  test('without ALPN it says none, and speaks HTTP/1.1', async () => {
    expect(await openssl(connect(...own()))).toContain('No ALPN negotiated')
    expect(await fetch()).toContain('HTTP/1.1 200 OK')
  })

  test.each<[string, () => string[]]>([
    ['without a certificate', () => []],
    ['with a certificate of another root', () => own('foreign')],
  ])('%s nothing is answered, in TLS 1.2 and 1.3', async (_what, certificate) => {
    for (const version of ['-tls1_2', '-tls1_3']) {
      const text = await openssl(connect('-quiet', '-ign_eof', version, ...certificate()), REQUEST)
      expect(text).not.toContain('HTTP/1.1')
      expect(text).toMatch(/alert|unexpected eof|errno=104|Connection reset|closed/i)
    }
  })

  test('TLS 1.1 is not spoken', async () => {
    const text = await openssl(connect('-tls1_1', '-cipher', 'DEFAULT@SECLEVEL=0', ...own()))
    expect(text).toMatch(/protocol version|no protocols available|unsupported protocol/)
    expect(text).toContain('Cipher is (NONE)')
  })

  test('of the ciphers of TLS 1.2 only those of the mesh are', async () => {
    expect(await openssl(connect('-tls1_2', '-cipher', 'ECDHE-ECDSA-AES256-GCM-SHA384', ...own()))).toContain(
      'Cipher is ECDHE-ECDSA-AES256-GCM-SHA384',
    )
    expect(await openssl(connect('-tls1_2', '-cipher', 'ECDHE-ECDSA-AES128-SHA', ...own()))).toContain(
      'Cipher is (NONE)',
    )
  })

  test('the server name does not matter', async () => {
    expect(await fetch('-servername', 'anything.example.com')).toContain('HTTP/1.1 200 OK')
    expect(await fetch('-noservername')).toContain('HTTP/1.1 200 OK')
  })
})

describe.each([
  ['a sidecar of ours', dinghyProxy],
  ['a real Envoy', realEnvoy],
] as const)('openssl is the server that %s calls', (_, command) => {
  const running: ChildProcess[] = []
  let client: Sidecar
  beforeAll(async () => {
    client = await world.sidecar('client', command)
  })
  afterAll(() => client.stop())
  afterEach(async () => {
    for (const child of running.splice(0)) {
      const gone = once(child, 'close')
      child.kill('SIGKILL')
      await gone
    }
  })

  /** Answers each request with a page about the connection; shows one certificate to those who ask for the name, else another. */
  async function serve(asked: string, otherwise: string, ...more: string[]): Promise<void> {
    const first = ['-cert', file(`${otherwise}.pem`), '-key', file(`${otherwise}.key`)]
    const second = ['-servername', 'asked.example.com', '-cert2', file(`${asked}.pem`), '-key2', file(`${asked}.key`)]
    const at = ['-accept', `127.0.0.1:${serverPort}`, '-www', '-CAfile', file('outside-root.pem')]
    const child = spawn('openssl', ['s_server', ...at, ...first, ...second, ...more])
    running.push(child)
    let text = ''
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk: Buffer) => (text += chunk.toString()))
    while (!text.includes('ACCEPT')) await once(child.stdout, 'data')
  }

  test('MUTUAL: with a certificate, by the server name of the DestinationRule', async () => {
    await serve('outside', 'foreign', '-Verify', '2', '-verify_return_error')
    const { status, text } = await client.get('mutual.example.com', world.outsidePort)
    expect(status, text).toBe(200)
    expect(text).toMatch(/TLSv1\.[23], Cipher is/)
    expect(text).toMatch(/Subject: CN ?= ?own/)
  })

  test('SIMPLE: without one', async () => {
    await serve('outside', 'foreign', '-verify', '2')
    const { status, text } = await client.get('simple.example.com', world.outsidePort)
    expect(status, text).toBe(200)
    expect(text).toContain('no client certificate available')
  })

  test.each(['mutual', 'simple'])('but not one that shows another name: %s', async (mode) => {
    await serve('foreign', 'outside', '-verify', '2')
    const { status, text } = await client.get(`${mode}.example.com`, world.outsidePort)
    expect(status).toBe(503)
    expect(text).toMatch(/^upstream connect error or disconnect\/reset before headers\./)
  })
})
