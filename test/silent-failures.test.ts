import { once } from 'node:events'
import fs from 'node:fs'
import https from 'node:https'
import type net from 'node:net'
import os from 'node:os'
import path from 'node:path'
import type tls from 'node:tls'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { type Identity, makeAuthority, makeIdentity } from './support/certificates.ts'
import { client, startMesh, type TestMesh } from './support/mesh.ts'
import { pilotOf } from './support/pilot.ts'

const SANS = [{ type: 'dns' as const, value: 'api.example.com' }]

describe('certificate files of a DestinationRule', () => {
  let folder: string
  let server: https.Server
  let authority: Identity
  let caller: Identity
  let mesh: TestMesh | undefined
  beforeAll(async () => {
    authority = await makeAuthority('CN=ca')
    caller = await makeIdentity(authority, 'CN=caller', SANS)
    const { cert, key } = await makeIdentity(authority, 'CN=server', SANS)
    const options = { cert, key, ca: authority.cert, requestCert: true, rejectUnauthorized: true }
    server = https.createServer(options, (request, response) => {
      const { subject } = (request.socket as tls.TLSSocket).getPeerCertificate()
      response.setHeader('connection', 'close').end(String(subject.CN))
    })
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
  })
  afterEach(async () => {
    await mesh?.stop()
    mesh = undefined
    fs.rmSync(folder, { recursive: true, force: true })
  })
  afterAll(() => {
    server.closeAllConnections()
    server.close()
  })

  const write = (name: string, text: string) => fs.writeFileSync(path.join(folder, name), text)
  const warnings = () => mesh!.events.flatMap((event) => (event.type === 'warning' ? [event.message] : []))
  const start = async () => {
    mesh = await startMesh(`${client()}
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: api}
spec:
  hosts: [api.example.com]
  ports: [{number: 80, name: http, protocol: HTTP}]
  location: MESH_EXTERNAL
  resolution: STATIC
  endpoints: [{address: 127.0.0.1, ports: {http: ${(server.address() as net.AddressInfo).port}}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: api}
spec:
  host: api.example.com
  trafficPolicy:
    tls:
      mode: MUTUAL
      clientCertificate: ${folder}/caller.pem
      privateKey: ${folder}/caller.key
      caCertificates: ${folder}/ca.pem
---`)
    return mesh
  }
  const get = () => mesh!.get('client', 'http://api.example.com/')
  /** The answer of a request, once it is as wanted; requests go on until then. */
  const until = async (wanted: string) => {
    const deadline = performance.now() + 10_000
    for (;;) {
      const { text } = await get()
      if (text === wanted || performance.now() > deadline) return text
    }
  }

  it('that are missing are told of once, with the field, and work when they appear', async () => {
    folder = fs.mkdtempSync(path.join(os.tmpdir(), 'dinghy-files-'))
    write('ca.pem', authority.cert)
    await start()
    expect(warnings()).toEqual([
      expect.stringMatching(
        /mesh\.yaml:\d+:26: DestinationRule default\/api: clientCertificate \S+caller\.pem cannot be read: there is no such file; connections that need it fail/,
      ),
    ])
    expect((await get()).status).toBe(503)
    write('caller.key', caller.key)
    write('caller.pem', caller.cert)
    expect(await until('caller')).toBe('caller')
    expect(warnings()).toHaveLength(1)
  })

  it('that are replaced are served anew', async () => {
    folder = fs.mkdtempSync(path.join(os.tmpdir(), 'dinghy-files-'))
    write('ca.pem', authority.cert)
    write('caller.key', caller.key)
    write('caller.pem', caller.cert)
    await start()
    expect((await get()).text).toBe('caller')
    const next = await makeIdentity(authority, 'CN=next', SANS)
    write('caller.key', next.key)
    write('caller.pem', next.cert)
    expect(await until('next')).toBe('next')
    expect(warnings()).toEqual([])
  })

  it('that are replaced as in a volume of Kubernetes are served anew', async () => {
    folder = fs.mkdtempSync(path.join(os.tmpdir(), 'dinghy-files-'))
    const names = ['ca.pem', 'caller.pem', 'caller.key']
    const version = (name: string, pems: readonly string[]) => {
      fs.mkdirSync(path.join(folder, name))
      for (const [i, pem] of pems.entries()) write(path.join(name, names[i]!), pem)
      fs.symlinkSync(name, path.join(folder, '..next'))
      fs.renameSync(path.join(folder, '..next'), path.join(folder, '..data'))
    }
    version('..1', [authority.cert, caller.cert, caller.key])
    for (const name of names) fs.symlinkSync(path.join('..data', name), path.join(folder, name))
    await start()
    expect((await get()).text).toBe('caller')
    const next = await makeIdentity(authority, 'CN=next', SANS)
    version('..2', [authority.cert, next.cert, next.key])
    fs.rmSync(path.join(folder, '..1'), { recursive: true })
    expect(await until('next')).toBe('next')
  })

  it('that hold something else are told of', async () => {
    folder = fs.mkdtempSync(path.join(os.tmpdir(), 'dinghy-files-'))
    write('ca.pem', 'no certificate')
    write('caller.pem', caller.cert)
    write('caller.key', authority.key)
    await start()
    expect(warnings().join('\n')).toMatch(/privateKey \S+caller\.key is not the key of \S+caller\.pem/)
    expect(warnings().join('\n')).toMatch(/caCertificates \S+ca\.pem holds no certificate/)
  })
})

describe('overlays of a Gateway', () => {
  const yaml = (deployment: string, more = '') => `
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  gatewayClassName: istio
  infrastructure: {parametersRef: {group: "", kind: ConfigMap, name: more}}
  listeners: [{name: http, port: 80, protocol: HTTP}]
---
apiVersion: v1
kind: ConfigMap
metadata: {name: more}
data:
  deployment: ${deployment}${more}`

  it.each([
    ['"spec: ["', 'it is no YAML'],
    ['"- a list"', 'it is no map of fields'],
    ['"{metadata: {name: other}}"', 'it changes metadata.name'],
    ['"{spec: {replicas: many}}"', 'it makes no Deployment: spec.replicas'],
  ])('%s is left out, and told of once with its place', (overlay, reason) => {
    const said: string[] = []
    const { pilot, apply } = pilotOf(yaml(overlay), { warn: (line) => said.push(line) })
    expect(said).toEqual([expect.stringContaining(reason)])
    expect(said[0]).toMatch(
      /^test\.yaml:14:15: ConfigMap default\/more: the overlay "deployment" of a Gateway is left out: /,
    )
    apply('apiVersion: v1\nkind: Namespace\nmetadata: {name: other}')
    expect(said).toHaveLength(1)
    pilot.close()
  })

  it('one of an unknown name is told of; one that fits is not', () => {
    const said: string[] = []
    const { pilot } = pilotOf(yaml('"{spec: {replicas: 2}}"', '\n  deploymnet: "{}"'), {
      warn: (line) => said.push(line),
    })
    expect(said).toEqual([expect.stringContaining('"deploymnet" of a Gateway is left out: there is no such overlay')])
    expect(pilot.registry.workloads).toHaveLength(2)
    pilot.close()
  })
})
