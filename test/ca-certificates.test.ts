import { X509Certificate } from 'node:crypto'
import { once } from 'node:events'
import fs from 'node:fs'
import type { AddressInfo } from 'node:net'
import os from 'node:os'
import path from 'node:path'
import tls from 'node:tls'
import { afterEach, describe, expect, it } from 'vitest'
import { Ca, ROOT_TTL, renewAt, spiffeId, WORKLOAD_TTL } from '../src/ca/ca.ts'
import type { Runtime } from '../src/runtime.ts'
import { SystemRuntime } from '../src/runtime-system.ts'

const dirs: string[] = []
afterEach(() => {
  for (const dir of dirs.splice(0)) fs.rmSync(dir, { recursive: true })
})

function tempDir(): string {
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'dinghy-ca-'))
  dirs.push(dir)
  return dir
}

/** A runtime whose wall clock can be set. */
function clock(): Runtime & { ahead: number } {
  const real = new SystemRuntime()
  return {
    ahead: 0,
    now: () => real.now(),
    wallNow() {
      return real.wallNow() + this.ahead
    },
    after: (ms, call) => real.after(ms, call),
    random: () => real.random(),
    randomU32: () => real.randomU32(),
    uuid: () => real.uuid(),
    fork: () => real,
  }
}

const ID = spiffeId('cluster.local', 'default', 'reader')

describe('the certificate authority', () => {
  it('signs a certificate for a SPIFFE id alone, by the root that it made', () => {
    const ca = new Ca({ runtime: new SystemRuntime() })
    const identity = ca.identityFor(ID)
    const leaf = new X509Certificate(identity.certChainPem)
    const root = new X509Certificate(ca.rootPem)
    expect(leaf.subjectAltName).toBe(`URI:${ID}`)
    expect(leaf.subject ?? '').toBe('')
    expect(leaf.verify(root.publicKey)).toBe(true)
    expect(leaf.checkIssued(root)).toBe(true)
    expect(leaf.ca).toBe(false)
    expect(root.ca).toBe(true)
    expect(root.subject).toBe('O=cluster.local')
    expect(identity.rootPem).toBe(ca.rootPem)
  })

  it('lets workloads live 24 hours and the root ten years', () => {
    const ca = new Ca({ runtime: new SystemRuntime() })
    const lifetime = (pem: string) => {
      const cert = new X509Certificate(pem)
      return Date.parse(cert.validTo) - Date.now()
    }
    expect(Math.abs(lifetime(ca.identityFor(ID).certChainPem) - WORKLOAD_TTL)).toBeLessThan(60_000)
    expect(Math.abs(lifetime(ca.rootPem) - ROOT_TTL)).toBeLessThan(60_000)
  })

  it('gives one identity the same certificate until half of its life is over', () => {
    const runtime = clock()
    const ca = new Ca({ runtime })
    const first = ca.identityFor(ID)
    expect(ca.identityFor(ID)).toBe(first)
    expect(ca.identityFor(spiffeId('cluster.local', 'default', 'other'))).not.toBe(first)
    runtime.ahead = renewAt(first) - runtime.wallNow() + 1000
    const second = ca.identityFor(ID)
    expect(second.certChainPem).not.toBe(first.certChainPem)
    expect(second.notAfter).toBeGreaterThan(first.notAfter)
  })

  it('keeps the root in the data directory, the key readable by its owner alone', () => {
    const dataDir = tempDir()
    const first = new Ca({ runtime: new SystemRuntime(), dataDir })
    const again = new Ca({ runtime: new SystemRuntime(), dataDir })
    expect(again.rootPem).toBe(first.rootPem)
    const keyFile = fs.readdirSync(dataDir).find((name) => name.includes('key'))
    expect(fs.statSync(path.join(dataDir, keyFile as string)).mode & 0o777).toBe(0o600)
  })

  it('makes certificates with which both sides of mutual TLS know each other', async () => {
    const ca = new Ca({ runtime: new SystemRuntime() })
    const options = (name: string) => {
      const { certChainPem, privateKeyPem, rootPem } = ca.identityFor(spiffeId('cluster.local', 'default', name))
      return { cert: certChainPem, key: privateKeyPem, ca: rootPem }
    }
    const server = tls.createServer({ ...options('server'), requestCert: true, rejectUnauthorized: true })
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    const { port } = server.address() as AddressInfo
    const accepted = once(server, 'secureConnection') as Promise<[tls.TLSSocket]>
    const client = tls.connect({ ...options('client'), port, host: '127.0.0.1', checkServerIdentity: () => undefined })
    const [[socket]] = await Promise.all([accepted, once(client, 'secureConnect')])
    expect(socket.getPeerCertificate().subjectaltname).toBe('URI:spiffe://cluster.local/ns/default/sa/client')
    expect(client.getPeerCertificate().subjectaltname).toBe('URI:spiffe://cluster.local/ns/default/sa/server')
    client.destroy()
    socket.destroy()
    server.close()
  })
})
